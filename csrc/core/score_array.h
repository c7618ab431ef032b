// Scores of one of several types, known at run time: converted where they are read and written.
#pragma once

#include "core/span.h"

namespace gtnet {

// Floats of 16 bits, by their bits: no compiler or GPU needs to know them.
GTNET_HD GTNET_INLINE float from_bfloat16(uint16_t bits) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
}

GTNET_HD GTNET_INLINE float from_half(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16, size = bits & 0x7fffu;
  const bool finite = size < 0x7c00u;
  // Read as a float the bits are 2^-112 of the value, also where it is subnormal.
  const float value = __builtin_bit_cast(float, size << 13) * 0x1p112f;
  const uint32_t other = 0x7f800000u | (size & 0x3ffu) << 13;  // infinity, NaN
  return __builtin_bit_cast(float, sign | (finite ? __builtin_bit_cast(uint32_t, value) : other));
}

// To the nearest, ties to even.
GTNET_HD GTNET_INLINE uint16_t to_bfloat16(float x) {
  const auto bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

GTNET_HD GTNET_INLINE uint16_t to_half(float x) {
  const auto bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (size >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to 2^16
  if (size < 0x38800000u) {  // subnormal: adding 1/2 puts its 2^-24 into the last bit
    const float shifted = __builtin_bit_cast(float, size) + 0.5f;
    return static_cast<uint16_t>(sign | (__builtin_bit_cast(uint32_t, shifted) - 0x3f000000u));
  }
  const uint32_t rounded = size - 0x38000000u + 0xfffu + (size >> 13 & 1u);
  return static_cast<uint16_t>(sign | rounded >> 13);
}

enum class ScoreKind : int32_t { kFloat, kDouble, kHalf, kBfloat16 };

template <class Wide, class Single, class Short>
struct ScoreArrayOf {
  ScoreKind kind;
  Span<Wide> wide;
  Span<Single> single;
  Span<Short> narrow;

  GTNET_HD GTNET_INLINE double operator[](int64_t i) const {
    switch (kind) {
      case ScoreKind::kFloat:
        return static_cast<double>(single[i]);
      case ScoreKind::kDouble:
        return wide[i];
      case ScoreKind::kHalf:
        return static_cast<double>(from_half(narrow[i]));
      default:
        return static_cast<double>(from_bfloat16(narrow[i]));
    }
  }

  GTNET_HD GTNET_INLINE void write(int64_t i, double x) const {
    switch (kind) {
      case ScoreKind::kFloat:
        single[i] = static_cast<float>(x);
        break;
      case ScoreKind::kDouble:
        wide[i] = x;
        break;
      case ScoreKind::kHalf:
        narrow[i] = to_half(static_cast<float>(x));
        break;
      default:
        narrow[i] = to_bfloat16(static_cast<float>(x));
    }
  }

  GTNET_HD GTNET_INLINE const void* address(int64_t i) const {
    switch (kind) {
      case ScoreKind::kFloat:
        return &single[i];
      case ScoreKind::kDouble:
        return &wide[i];
      default:
        return &narrow[i];
    }
  }
};

using ScoreArray = ScoreArrayOf<const double, const float, const uint16_t>;
using ScoreGradient = ScoreArrayOf<double, float, uint16_t>;

}  // namespace gtnet
