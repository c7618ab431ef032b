// Positive numbers m * 2^e with an integer exponent of their own: probabilities of any size, added
// and multiplied without logarithms. 0 is m = 0; its exponent is only ever low.
#pragma once

#include "core/math.h"

namespace gtnet {

template <class T>
struct Wide;

template <>
struct Wide<float> {
  using Exponent = int32_t;
  using Bits = uint32_t;
  static constexpr int kMantissaBits = 23;
  static constexpr Exponent kBias = 127;
  static constexpr Bits kMantissa = (1u << 23) - 1, kOne = 0x3f800000u;
  static constexpr Exponent kZero = -(1 << 29);  // three of them add up without overflow
  static constexpr double kLimit = 1 << 27;      // exponents of what is not 0 stay within
  static constexpr double kNarrow = 60;          // exp of minus this needs no exponent of its own
};

template <>
struct Wide<double> {
  using Exponent = int64_t;
  using Bits = uint64_t;
  static constexpr int kMantissaBits = 52;
  static constexpr Exponent kBias = 1023;
  static constexpr Bits kMantissa = (Bits{1} << 52) - 1, kOne = 0x3ff0000000000000u;
  static constexpr Exponent kZero = -(Exponent{1} << 60);
  static constexpr double kLimit = static_cast<double>(Exponent{1} << 58);
  static constexpr double kNarrow = 600;
};

template <class T>
using Exponent = typename Wide<T>::Exponent;

// 2^d for d up to a few, 0 where it would underflow.
template <class T>
GTNET_HD GTNET_INLINE T power_of_two(Exponent<T> d) {
  using W = Wide<T>;
  const Exponent<T> biased = d + W::kBias;
  return __builtin_bit_cast(
      T, static_cast<typename W::Bits>(static_cast<typename W::Bits>(biased > 0 ? biased : 0)
                                       << W::kMantissaBits));
}

// Moves the binary exponent of m >= 0 into e, so that m lies in [1, 2) or is 0.
template <class T>
GTNET_HD GTNET_INLINE void normalize(T& m, Exponent<T>& e) {
  using W = Wide<T>;
  const auto bits = __builtin_bit_cast(typename W::Bits, m);
  const bool zero = m == 0;
  const T mantissa = __builtin_bit_cast(T, (bits & W::kMantissa) | W::kOne);
  e = zero ? W::kZero : e + static_cast<Exponent<T>>(bits >> W::kMantissaBits) - W::kBias;
  m = zero ? T{0} : mantissa;
}

// exp(x) for a score within the limit; -inf gives 0.
template <class T>
GTNET_HD GTNET_INLINE void exp_wide(double x, T& m, Exponent<T>& e) {
  const bool zero = x == kNegInf;
  const double finite = zero ? 0 : x;
  const double k = (finite * detail::kLog2e + detail::kRound) - detail::kRound;
  const double r = (finite - k * detail::kLn2High) - k * detail::kLn2Low;
  m = zero ? T{0} : exp_of<T>(r);
  e = zero ? Wide<T>::kZero : static_cast<Exponent<T>>(k);
}

// a += b
template <class T>
GTNET_HD GTNET_INLINE void add_wide(T& m, Exponent<T>& e, T other_m, Exponent<T> other_e) {
  const Exponent<T> top = e > other_e ? e : other_e;
  m = m * power_of_two<T>(e - top) + other_m * power_of_two<T>(other_e - top);
  e = top;
}

}  // namespace gtnet
