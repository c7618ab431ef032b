// Probabilities for kernels: m * 2^e as in wide_numbers.h, one value of two words, with a lowest
// size below which a number becomes 0. That is exact where the total of an item is far above it,
// and flags tell where it is not; so no exponent ever overflows, whatever the scores.
#pragma once

#include "core/wide_numbers.h"

namespace gtnet {

enum Flag : int32_t {
  kNotFinite = 1,  // NaN, +inf or too large a score
  kLost = 2,       // something became 0 that is not
};

template <class T>
struct Number {
  T m;
  Exponent<T> e;

  static constexpr Exponent<T> kLowest = Wide<T>::kZero / 2;
  static constexpr double kLn2 = 0.69314718055994530942;

  GTNET_HD GTNET_INLINE static Number zero() { return {T{0}, Wide<T>::kZero}; }
  GTNET_HD GTNET_INLINE static Number one() { return {T{1}, 0}; }

  // The largest score of which `factors` may be multiplied.
  GTNET_HD GTNET_INLINE static double highest(int64_t factors) {
    return Wide<T>::kLimit / 2 * kLn2 / static_cast<double>(factors);
  }

  // exp(x) for a score up to `highest`.
  GTNET_HD GTNET_INLINE static Number exp(double x, double highest, int32_t& flags) {
    if (!(x <= highest)) {
      flags |= kNotFinite;
      return zero();
    }
    if (x < static_cast<double>(kLowest) * kLn2) {
      flags |= x == kNegInf ? 0 : kLost;
      return zero();
    }
    Number number;
    exp_wide<T>(x, number.m, number.e);
    return number;
  }

  GTNET_HD GTNET_INLINE Number operator*(const Number& other) const {
    return {m * other.m, e + other.e};
  }

  GTNET_HD GTNET_INLINE Number operator+(const Number& other) const {
    Number sum = *this;
    add_wide<T>(sum.m, sum.e, other.m, other.e);
    return sum;
  }

  // The same number with m in [1, 2), or 0.
  GTNET_HD GTNET_INLINE Number settled(int32_t& flags) const {
    Number number = *this;
    normalize<T>(number.m, number.e);
    if (number.m != 0 && number.e < kLowest) {
      flags |= kLost;
      return zero();
    }
    return number;
  }

  // Its value after division by 2^e; it must not be far above 2^e.
  GTNET_HD GTNET_INLINE T over(Exponent<T> other) const { return m * power_of_two<T>(e - other); }

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
