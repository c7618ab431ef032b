// Positive numbers m * 2^e with an integer exponent of their own: probabilities of any size, added
// and multiplied without logarithms. 0 is m = 0; its exponent is only ever low.
#pragma once

#include "core/math.h"

namespace gtnet {

namespace extended {

// How many bits and which exponents T leaves.
template <class T>
struct Limits;

template <>
struct Limits<float> {
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
struct Limits<double> {
  using Exponent = int64_t;
  using Bits = uint64_t;
  static constexpr int kMantissaBits = 52;
  static constexpr Exponent kBias = 1023;
  static constexpr Bits kMantissa = (Bits{1} << 52) - 1, kOne = 0x3ff0000000000000u;
  static constexpr Exponent kZero = -(Exponent{1} << 60);
  static constexpr double kLimit = static_cast<double>(Exponent{1} << 58);
  static constexpr double kNarrow = 600;
};

}  // namespace extended

template <class T>
using Exponent = typename extended::Limits<T>::Exponent;

namespace extended {

// 2^d for d up to a few, 0 where it would underflow.
template <class T>
GTNET_HD GTNET_INLINE T power_of_two(Exponent<T> d) {
  using L = Limits<T>;
  const Exponent<T> biased = d + L::kBias;
  return __builtin_bit_cast(
      T, static_cast<typename L::Bits>(static_cast<typename L::Bits>(biased > 0 ? biased : 0)
                                       << L::kMantissaBits));
}

// Moves the binary exponent of m >= 0 into e, so that m lies in [1, 2) or is 0.
template <class T>
GTNET_HD GTNET_INLINE void normalize(T& m, Exponent<T>& e) {
  using L = Limits<T>;
  const auto bits = __builtin_bit_cast(typename L::Bits, m);
  const bool zero = m == 0;
  const T mantissa = __builtin_bit_cast(T, (bits & L::kMantissa) | L::kOne);
  e = zero ? L::kZero : e + static_cast<Exponent<T>>(bits >> L::kMantissaBits) - L::kBias;
  m = zero ? T{0} : mantissa;
}

// exp(x) for a score within the limit; -inf gives 0.
template <class T>
GTNET_HD GTNET_INLINE void exp(double x, T& m, Exponent<T>& e) {
  const bool zero = x == kNegInf;
  const double finite = zero ? 0 : x;
  const double k = (finite * detail::kLog2e + detail::kRound) - detail::kRound;
  const double r = (finite - k * detail::kLn2High) - k * detail::kLn2Low;
  m = zero ? T{0} : exp_of<T>(r);
  e = zero ? Limits<T>::kZero : static_cast<Exponent<T>>(k);
}

// a += b
template <class T>
GTNET_HD GTNET_INLINE void add(T& m, Exponent<T>& e, T other_m, Exponent<T> other_e) {
  const Exponent<T> top = e > other_e ? e : other_e;
  m = m * power_of_two<T>(e - top) + other_m * power_of_two<T>(other_e - top);
  e = top;
}

}  // namespace extended

enum Flag : int32_t {
  kNotFinite = 1,  // NaN, +inf or too large a score
  kLost = 2,       // something became 0 that is not
};

// One value of two words for kernels, with a lowest size below which a number becomes 0. That is
// exact where the total of an item is far above it, and flags tell where it is not; so no exponent
// ever overflows, whatever the scores.
template <class T>
struct ExtendedFloat {
  T m;
  Exponent<T> e;

  static constexpr Exponent<T> kLowest = extended::Limits<T>::kZero / 2;
  static constexpr double kLn2 = 0.69314718055994530942;

  GTNET_HD GTNET_INLINE static ExtendedFloat zero() { return {T{0}, extended::Limits<T>::kZero}; }
  GTNET_HD GTNET_INLINE static ExtendedFloat one() { return {T{1}, 0}; }

  // The largest score of which `factors` may be multiplied.
  GTNET_HD GTNET_INLINE static double highest(int64_t factors) {
    return extended::Limits<T>::kLimit / 2 * kLn2 / static_cast<double>(factors);
  }

  // exp(x) for a score up to `highest`.
  GTNET_HD GTNET_INLINE static ExtendedFloat exp(double x, double highest, int32_t& flags) {
    if (!(x <= highest)) {
      flags |= kNotFinite;
      return zero();
    }
    if (x < static_cast<double>(kLowest) * kLn2) {
      flags |= x == kNegInf ? 0 : kLost;
      return zero();
    }
    ExtendedFloat number;
    extended::exp<T>(x, number.m, number.e);
    return number;
  }

  GTNET_HD GTNET_INLINE ExtendedFloat operator*(const ExtendedFloat& other) const {
    return {m * other.m, e + other.e};
  }

  GTNET_HD GTNET_INLINE ExtendedFloat operator+(const ExtendedFloat& other) const {
    ExtendedFloat sum = *this;
    extended::add<T>(sum.m, sum.e, other.m, other.e);
    return sum;
  }

  // The same number with m in [1, 2), or 0.
  GTNET_HD GTNET_INLINE ExtendedFloat settled(int32_t& flags) const {
    ExtendedFloat number = *this;
    extended::normalize<T>(number.m, number.e);
    if (number.m != 0 && number.e < kLowest) {
      flags |= kLost;
      return zero();
    }
    return number;
  }

  // Its value after division by 2^e; it must not be far above 2^e.
  GTNET_HD GTNET_INLINE T over(Exponent<T> other) const {
    return m * extended::power_of_two<T>(e - other);
  }

  GTNET_HD GTNET_INLINE double log() const {
    return m == 0 ? kNegInf : std::log(static_cast<double>(m)) + static_cast<double>(e) * kLn2;
  }

  // Whether this total is what the flags say: nothing wrong was read, what was lost is too little.
  GTNET_HD GTNET_INLINE bool is_right(int32_t flags) const {
    if (flags & kNotFinite) return false;
    return !(flags & kLost) || (m != 0 && e > kLowest / 2);
  }
};

}  // namespace gtnet
