// Scores of one of several types, known at run time: converted where they are read and written.
#pragma once

#include "core/half.h"
#include "core/span.h"

namespace gtnet {

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
