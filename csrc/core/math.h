// Exponentials of differences of scores and logarithms of their sums, branch-free so that loops
// over arcs and states vectorize.
#pragma once

#include <bit>
#include <cmath>

#include "core/platform.h"

namespace gtnet {

namespace detail {

constexpr double kLog2e = 1.4426950408889634074;
constexpr double kLn2High = 6.93147180369123816490e-01;
constexpr double kLn2Low = 1.90821492927058770002e-10;
constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
constexpr float kLn2HighFloat = 6.93145752e-01f, kLn2LowFloat = 1.42860677e-06f;
constexpr float kRoundFloat = 12582912.0f;  // 1.5 * 2^23
constexpr float kSmallestFloat = -87.0f;
constexpr double kSmallestDouble = -708.0;

// exp(r) for |r| <= ln(2) / 2, to the precision of its type: Taylor's series.
GTNET_HD GTNET_INLINE float exp_series(float r) {
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  return p * r + 1.0f;
}
GTNET_HD GTNET_INLINE double exp_series(double r) {
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  return p * r + 1.0;
}

}  // namespace detail

// exp(x) for x <= about 1, rounded to T; x is a double so that large scores cancel exactly before
// it is rounded to T as well. x = k ln 2 + r with |r| <= ln(2) / 2, then a polynomial in r and 2^k
// written into the exponent. -inf and whatever would underflow give 0.
template <class T>
GTNET_HD GTNET_INLINE T exp_of(double x);

#if defined(__CUDA_ARCH__)

template <>
GTNET_HD GTNET_INLINE float exp_of<float>(double x) {
  return expf(static_cast<float>(x));
}

template <>
GTNET_HD GTNET_INLINE double exp_of<double>(double x) {
  return exp(x);
}

GTNET_HD GTNET_INLINE double log_of(double x) {
  return log(x);
}

#else

template <>
GTNET_HD GTNET_INLINE float exp_of<float>(double x) {
  using namespace detail;
  const auto rounded = static_cast<float>(x);
  const float clamped = rounded < kSmallestFloat ? kSmallestFloat : rounded;
  const float shifted = clamped * static_cast<float>(kLog2e) + kRoundFloat;
  const float k = shifted - kRoundFloat;
  const float r = (clamped - k * kLn2HighFloat) - k * kLn2LowFloat;
  const float p = exp_series(r);
  const int32_t exponent = std::bit_cast<int32_t>(shifted)
                           << 23;  // what does not fit is shifted out
  const float result = std::bit_cast<float>(std::bit_cast<int32_t>(p) + exponent);
  return rounded < kSmallestFloat ? 0.0f : result;
}

template <>
GTNET_HD GTNET_INLINE double exp_of<double>(double x) {
  using namespace detail;
  const double clamped = x < kSmallestDouble ? kSmallestDouble : x;
  const double shifted = clamped * kLog2e + kRound;
  const double k = shifted - kRound;
  const double r = (clamped - k * kLn2High) - k * kLn2Low;
  const double p = exp_series(r);
  const int64_t exponent = std::bit_cast<int64_t>(shifted) - std::bit_cast<int64_t>(kRound);
  const double result = p * std::bit_cast<double>((exponent + 1023) << 52);
  return x < kSmallestDouble ? 0.0 : result;
}

// log(x) for a positive normal x, to 1e-15. x = 2^k m with m in [sqrt(1/2), sqrt(2)), and
// log m = 2 artanh f with f = (m - 1) / (m + 1). Exactly 0 for 1.
GTNET_HD GTNET_INLINE double log_of(double x) {
  constexpr int64_t kRootOfHalf = 0x3fe6a09e667f3bcd;
  const auto bits = std::bit_cast<int64_t>(x);
  const int64_t k = (bits - kRootOfHalf) >> 52;
  const auto m = std::bit_cast<double>(bits - (k << 52));
  const double f = (m - 1) / (m + 1), square = f * f;
  double p = 2.0 / 21;
  p = p * square + 2.0 / 19;
  p = p * square + 2.0 / 17;
  p = p * square + 2.0 / 15;
  p = p * square + 2.0 / 13;
  p = p * square + 2.0 / 11;
  p = p * square + 2.0 / 9;
  p = p * square + 2.0 / 7;
  p = p * square + 2.0 / 5;
  p = p * square + 2.0 / 3;
  p = p * square + 2.0;
  const auto exponent = static_cast<double>(k);
  return exponent * detail::kLn2High + (exponent * detail::kLn2Low + p * f);
}

#endif

}  // namespace gtnet
