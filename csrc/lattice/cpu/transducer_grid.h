// Sums over the alignments of a transducer (Graves 2012, section 2.4): from (t frames read, u
// labels written) a blank leads to (t + 1, u), the next label to (t + 1 - skew, u + 1). Row d holds
// the places (d - skew u, u): with a skew of 1 a diagonal of the grid, with 0, where a label takes
// its frame with it, a row of it. So each row depends on the one before it alone, in vectors:
//   alpha_d+1(u) = log(exp(alpha_d(u) + blank_d(u)) + exp(alpha_d(u - 1) + label_d(u - 1))).
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "core/interrupt.h"
#include "core/math.h"
#include "core/simd_dispatch.h"

namespace gtnet::lattice {

// log(exp(a) + exp(b))
GTNET_INLINE double log_add(double a, double b) {
  const double high = a > b ? a : b, low = a > b ? b : a;
  return high + log_of(1 + exp_of<double>(high == kNegInf ? kNegInf : low - high));
}

// The scores of one item, [frames, width], of which the first `labels` + 1 columns are read.
template <class Score>
struct TransducerSteps {
  const Score *blank, *label;
  int64_t frames, labels, width, skew;

  int64_t num_rows() const { return frames + skew * labels; }
};

template <class Score>
class TransducerGrid {
 public:
  explicit TransducerGrid(const TransducerSteps<Score>& steps)
      : steps_(steps),
        size_(steps.labels + 1 + kEdge),
        alpha_((steps.num_rows() + 2) * size_, kNegInf),
        blank_(steps.num_rows() * size_, kNegInf),
        label_(steps.num_rows() * size_, kNegInf) {}

  // The log of the sum over all alignments; NaN if a score is NaN, +inf or too large.
  double score() {
    bool valid = true;
    vectorized(Forward{*this, valid});
    return valid ? total() : std::numeric_limits<double>::quiet_NaN();
  }

  // After `score`: how probable each step is, zero beyond the item, [frames, width].
  void posteriors(Score* blank, Score* label) {
    const int64_t cells = steps_.frames * steps_.width;
    std::fill_n(blank, cells, Score{0});
    std::fill_n(label, cells, Score{0});
    if (total() > kNegInf) vectorized(Backward{*this, blank, label});
  }

 private:
  static constexpr int64_t kEdge = 1;  // a place before the first label, never reached
  static constexpr double kHighest = std::is_same_v<Score, float> ? 0x1p107 : 0x1p1000;

  const TransducerSteps<Score> steps_;
  const int64_t size_;
  std::vector<double> alpha_, blank_, label_;  // rows that begin with the edge

  double* row(std::vector<double>& rows, int64_t d) { return rows.data() + d * size_ + kEdge; }
  double total() { return row(alpha_, steps_.num_rows())[steps_.labels]; }
  // The places of row d from which steps lead.
  int64_t begin(int64_t d) const {
    return steps_.skew ? std::max<int64_t>(0, d + 1 - steps_.frames) : 0;
  }
  int64_t end(int64_t d) const { return std::min(d, steps_.labels) + 1; }

  struct Forward {
    TransducerGrid& grid;
    bool& valid;

    GTNET_INLINE void operator()() const {
      const TransducerSteps<Score>& steps = grid.steps_;
      grid.row(grid.alpha_, 0)[0] = 0;
      for (int64_t d = 0; d < steps.num_rows(); ++d) {
        const int64_t begin = grid.begin(d), end = grid.end(d);
        double *const blank = grid.row(grid.blank_, d), *const label = grid.row(grid.label_, d);
        read(d, begin, end, blank, label);
        const double* const here = grid.row(grid.alpha_, d);
        double* const next = grid.row(grid.alpha_, d + 1);
        const int64_t last = std::min(end, steps.labels);
        GTNET_SIMD()
        for (int64_t u = begin; u <= last; ++u) {
          next[u] = log_add(here[u] + blank[u], here[u - 1] + label[u - 1]);
        }
        poll(8 * (end - begin));
      }
    }

    GTNET_INLINE void read(int64_t d, int64_t begin, int64_t end, double* blank,
                           double* label) const {
      const TransducerSteps<Score>& steps = grid.steps_;
      const int64_t step = 1 - steps.skew * steps.width, first = d * steps.width;
      const int64_t labels = std::min(end, steps.labels);
      int64_t bad = 0;
      GTNET_SIMD(reduction(+ : bad))
      for (int64_t u = begin; u < end; ++u) {
        blank[u] = static_cast<double>(steps.blank[first + u * step]);
        bad += !(blank[u] <= kHighest);
      }
      GTNET_SIMD(reduction(+ : bad))
      for (int64_t u = begin; u < labels; ++u) {
        label[u] = static_cast<double>(steps.label[first + u * step]);
        bad += !(label[u] <= kHighest);
      }
      if (bad) valid = false;
    }
  };

  // The part of a place that came by a step is exp(alpha + score of the step - alpha of the place).
  struct Backward {
    TransducerGrid& grid;
    Score *to_blank, *to_label;

    GTNET_INLINE void operator()() const {
      const TransducerSteps<Score>& steps = grid.steps_;
      std::vector<double> parts(2 * grid.size_, 0.0), sums(2 * (grid.size_ + 1), 0.0);
      double *after = sums.data(), *now = after + grid.size_ + 1;
      after[steps.labels] = 1;
      for (int64_t d = steps.num_rows(); d-- > 0;) {
        const int64_t begin = grid.begin(d), end = grid.end(d);
        const double *const here = grid.row(grid.alpha_, d), *const next =
                                                                 grid.row(grid.alpha_, d + 1);
        const double *const blank = grid.row(grid.blank_, d), *const label =
                                                                  grid.row(grid.label_, d);
        double *const stays = parts.data(), *const writes = stays + grid.size_;
        std::fill_n(now, grid.size_ + 1, 0.0);
        GTNET_SIMD()
        for (int64_t u = begin; u < end; ++u) {
          stays[u] = after[u] * part(here[u] + blank[u], next[u]);
          // Behind the last label stands the edge of the next row.
          writes[u] = after[u + 1] * part(here[u] + label[u], next[u + 1]);
          now[u] = stays[u] + writes[u];
        }
        const int64_t step = 1 - steps.skew * steps.width, first = d * steps.width;
        for (int64_t u = begin; u < end; ++u) {
          to_blank[first + u * step] = static_cast<Score>(stays[u]);
          to_label[first + u * step] = static_cast<Score>(writes[u]);
        }
        std::swap(now, after);
        poll(8 * (end - begin));
      }
    }

    GTNET_INLINE static double part(double come, double all) {
      return exp_of<double>(come - (all == kNegInf ? 0 : all));
    }
  };
};

}  // namespace gtnet::lattice
