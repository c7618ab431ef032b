// The exponential of a difference of scores, branch-free so that a loop over arcs vectorizes.
#pragma once

#include <bit>
#include <cmath>

#include "platform.h"

namespace gtnet {

namespace detail {

constexpr double kLog2e = 1.4426950408889634074;
constexpr double kLn2High = 6.93147180369123816490e-01;
constexpr double kLn2Low = 1.90821492927058770002e-10;
constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
constexpr float kSmallestFloat = -87.0f;
constexpr double kSmallestDouble = -708.0;

}  // namespace detail

// exp(x) for x <= about 1, rounded to T; x is a double so that large scores cancel exactly.
// x = k ln 2 + r with |r| <= ln(2) / 2, then a polynomial in r and 2^k written into the exponent.
// -inf and whatever would underflow give 0.
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

#else

template <>
GTNET_HD GTNET_INLINE float exp_of<float>(double x) {
  using namespace detail;
  const double clamped = x < kSmallestFloat ? static_cast<double>(kSmallestFloat) : x;
  const double k = (clamped * kLog2e + kRound) - kRound;
  const float r = static_cast<float>(clamped - k * (kLn2High + kLn2Low));
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(k) + 127) << 23;
  const float result = p * std::bit_cast<float>(bits);
  return static_cast<float>(x) < kSmallestFloat ? 0.0f : result;
}

template <>
GTNET_HD GTNET_INLINE double exp_of<double>(double x) {
  using namespace detail;
  const double clamped = x < kSmallestDouble ? kSmallestDouble : x;
  const double shifted = clamped * kLog2e + kRound;
  const double k = shifted - kRound;
  const double r = (clamped - k * kLn2High) - k * kLn2Low;
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
  p = p * r + 1.0;
  const int64_t exponent = std::bit_cast<int64_t>(shifted) - std::bit_cast<int64_t>(kRound);
  const double result = p * std::bit_cast<double>((exponent + 1023) << 52);
  return x < kSmallestDouble ? 0.0 : result;
}

#endif

}  // namespace gtnet
