// Sums over the alignments of a transducer, row by row of its grid, in vectors.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "core/interrupt.h"
#include "core/simd_dispatch.h"
#include "lattice/transducer_rows.h"

namespace gtnet::lattice {

// The scores of one item, [frames, width], of which the first `labels` + 1 columns are read.
template <class Score>
struct TransducerSteps {
  const Score *blank, *label;
  TransducerRows rows;
};

template <class Score>
class TransducerGrid {
 public:
  explicit TransducerGrid(const TransducerSteps<Score>& steps)
      : steps_(steps),
        size_(steps.rows.labels + 1 + kEdge),
        alpha_((steps.rows.count() + 2) * size_, kNegInf),
        blank_(steps.rows.count() * size_, kNegInf),
        label_(steps.rows.count() * size_, kNegInf) {}

  // The log of the sum over all alignments; NaN if a score is NaN, +inf or too large.
  double score() {
    bool valid = true;
    vectorized(Forward{*this, valid});
    return valid ? total() : std::numeric_limits<double>::quiet_NaN();
  }

  // After `score`: how probable each step is, zero beyond the item, [frames, width].
  void posteriors(Score* blank, Score* label) {
    const int64_t cells = steps_.rows.frames * steps_.rows.width;
    std::fill_n(blank, cells, Score{0});
    std::fill_n(label, cells, Score{0});
    if (total() > kNegInf) vectorized(Backward{*this, blank, label});
  }

 private:
  static constexpr int64_t kEdge = 1;  // a place before the first label, never reached

  const TransducerSteps<Score> steps_;
  const int64_t size_;
  std::vector<double> alpha_, blank_, label_;  // rows that begin with the edge

  double* row(std::vector<double>& rows, int64_t d) { return rows.data() + d * size_ + kEdge; }
  double total() { return row(alpha_, steps_.rows.count())[steps_.rows.labels]; }

  struct Forward {
    TransducerGrid& grid;
    bool& valid;

    GTNET_INLINE void operator()() const {
      const TransducerRows& rows = grid.steps_.rows;
      grid.row(grid.alpha_, 0)[0] = 0;
      for (int64_t d = 0; d < rows.count(); ++d) {
        const int64_t begin = rows.begin(d), end = rows.end(d);
        double *const blank = grid.row(grid.blank_, d), *const label = grid.row(grid.label_, d);
        read(d, begin, end, blank, label);
        const double* const here = grid.row(grid.alpha_, d);
        double* const next = grid.row(grid.alpha_, d + 1);
        const int64_t last = std::min(end, rows.labels);
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
      const int64_t step = 1 - steps.rows.skew * steps.rows.width, first = d * steps.rows.width;
      const int64_t labels = std::min(end, steps.rows.labels);
      int64_t bad = 0;
      GTNET_SIMD(reduction(+ : bad))
      for (int64_t u = begin; u < end; ++u) {
        blank[u] = static_cast<double>(steps.blank[first + u * step]);
        bad += !(blank[u] <= kHighestStep<Score>);
      }
      GTNET_SIMD(reduction(+ : bad))
      for (int64_t u = begin; u < labels; ++u) {
        label[u] = static_cast<double>(steps.label[first + u * step]);
        bad += !(label[u] <= kHighestStep<Score>);
      }
      if (bad) valid = false;
    }
  };

  struct Backward {
    TransducerGrid& grid;
    Score *to_blank, *to_label;

    GTNET_INLINE void operator()() const {
      const TransducerRows& rows = grid.steps_.rows;
      std::vector<double> parts(2 * grid.size_, 0.0), sums(2 * (grid.size_ + 1), 0.0);
      double *after = sums.data(), *now = after + grid.size_ + 1;
      after[rows.labels] = 1;
      for (int64_t d = rows.count(); d-- > 0;) {
        const int64_t begin = rows.begin(d), end = rows.end(d);
        const double *const here = grid.row(grid.alpha_, d), *const next =
                                                                 grid.row(grid.alpha_, d + 1);
        const double *const blank = grid.row(grid.blank_, d), *const label =
                                                                  grid.row(grid.label_, d);
        double *const stays = parts.data(), *const writes = stays + grid.size_;
        std::fill_n(now, grid.size_ + 1, 0.0);
        GTNET_SIMD()
        for (int64_t u = begin; u < end; ++u) {
          stays[u] = after[u] * part_of_place(here[u] + blank[u], next[u]);
          // Behind the last label stands the edge of the next row.
          writes[u] = after[u + 1] * part_of_place(here[u] + label[u], next[u + 1]);
          now[u] = stays[u] + writes[u];
        }
        const int64_t step = 1 - rows.skew * rows.width, first = d * rows.width;
        for (int64_t u = begin; u < end; ++u) {
          to_blank[first + u * step] = static_cast<Score>(stays[u]);
          to_label[first + u * step] = static_cast<Score>(writes[u]);
        }
        std::swap(now, after);
        poll(8 * (end - begin));
      }
    }
  };
};

}  // namespace gtnet::lattice
