// The grid of alignments of a transducer (Graves 2012, section 2.4), row by row, for both devices:
// from (t frames read, u labels written) a blank leads to (t + 1, u), the next label to
// (t + 1 - skew, u + 1). Row d holds the places (d - skew u, u): with a skew of 1 a diagonal of the
// grid, with 0, where a label takes its frame with it, a row of it. So each row depends on the one
// before it alone:
//   alpha_d+1(u) = log(exp(alpha_d(u) + blank_d(u)) + exp(alpha_d(u - 1) + label_d(u - 1))).
#pragma once

#include "core/math.h"

namespace gtnet::lattice {

constexpr int32_t kNoLabel = -1;  // nothing follows but the blank
constexpr int32_t kUnread = -2;

// log(exp(a) + exp(b))
GTNET_HD GTNET_INLINE double log_add(double a, double b) {
  const double high = a > b ? a : b, low = a > b ? b : a;
  return high + log_of(1 + exp_of<double>(high == kNegInf ? kNegInf : low - high));
}

// The part of a place that came by a step: exp(alpha + score of the step - alpha of the place).
GTNET_HD GTNET_INLINE double part_of_place(double come, double all) {
  return exp_of<double>(come - (all == kNegInf ? 0 : all));
}

// The largest score of a step that is taken.
template <class Score>
constexpr double kHighestStep = std::is_same_v<Score, float> ? 0x1p107 : 0x1p1000;

// The rows of one item, whose steps are scored in arrays [frames, width].
struct TransducerRows {
  int64_t frames, labels, width, skew;

  GTNET_HD int64_t count() const { return frames + skew * labels; }
  // The places of row d from which steps lead: u in [begin, end).
  GTNET_HD int64_t begin(int64_t d) const {
    const int64_t first = d + 1 - frames;
    return skew != 0 && first > 0 ? first : 0;
  }
  GTNET_HD int64_t end(int64_t d) const { return (d < labels ? d : labels) + 1; }
  // Where the steps from place u of row d are scored.
  GTNET_HD int64_t at(int64_t d, int64_t u) const { return d * width + u * (1 - skew * width); }
};

}  // namespace gtnet::lattice
