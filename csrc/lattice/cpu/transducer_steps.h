// The scores of blanks and labels taken out of rows of a network's outputs, normalized by the way:
// no table of log-probabilities stands in memory, only the log of each row's sum.
#pragma once

#include <algorithm>
#include <limits>

#include "core/extremes.h"
#include "lattice/transducer_rows.h"

namespace gtnet::lattice {

// Rows [count, size] of the outputs of one frame, and which label each may write.
template <class Score>
struct OutputRows {
  int64_t count, size, blank;
  const int32_t* label;
};

template <class Score>
GTNET_INLINE double log_sum_exp(const Score* row, int64_t size, bool& valid) {
  SideBySide<Score> most(static_cast<Score>(kNegInf));
  in_lanes(size, [&](int64_t v, int i) __attribute__((always_inline)) { most.raise(i, row[v]); });
  int32_t bad = 0;
  GTNET_SIMD(reduction(| : bad))
  for (int64_t v = 0; v < size; ++v) {
    bad |= row[v] < std::numeric_limits<Score>::infinity() ? 0 : 1;
  }
  const Score top = most.largest();
  if (bad != 0 || top == static_cast<Score>(kNegInf)) {
    valid = false;
    return 0;
  }
  Score sum = 0;
  GTNET_SIMD(reduction(+ : sum))
  for (int64_t v = 0; v < size; ++v) sum += exp_of<Score>(static_cast<double>(row[v] - top));
  return static_cast<double>(top) + std::log(static_cast<double>(sum));
}

// blank and label: the scores of each row, -inf where there is none; `norm` is null for rows that
// are log-probabilities already.
template <class Score>
struct ReadSteps {
  OutputRows<Score> rows;
  const Score* from;
  Score *blank, *label, *norm;
  bool& valid;

  GTNET_INLINE void operator()() const {
    const Score* row = from;
    for (int64_t i = 0; i < rows.count; ++i, row += rows.size) {
      const int32_t next = rows.label[i];
      blank[i] = label[i] = static_cast<Score>(kNegInf);
      if (norm) norm[i] = 0;
      if (next == kUnread) continue;
      const double all = norm ? log_sum_exp(row, rows.size, valid) : 0;
      if (norm) norm[i] = static_cast<Score>(all);
      blank[i] = static_cast<Score>(static_cast<double>(row[rows.blank]) - all);
      if (next >= 0) label[i] = static_cast<Score>(static_cast<double>(row[next]) - all);
    }
  }
};

// The gradient of the outputs from those of the scores.
template <class Score>
struct SpreadSteps {
  OutputRows<Score> rows;
  const Score *from, *blank, *label, *norm;
  Score* to;

  GTNET_INLINE void operator()() const {
    const Score* row = from;
    Score* grad = to;
    for (int64_t i = 0; i < rows.count; ++i, row += rows.size, grad += rows.size) {
      const int32_t next = rows.label[i];
      const bool read = next != kUnread;
      const Score wrote = next >= 0 ? label[i] : Score{0},
                  both = read ? blank[i] + wrote : Score{0};
      if (norm && both != 0) {
        const Score all = norm[i];
        GTNET_SIMD()
        for (int64_t v = 0; v < rows.size; ++v) {
          const Score gap = row[v] - all;
          // Rounding can make a probability a little more than 1.
          grad[v] = -both * exp_of<Score>(static_cast<double>(gap < 0 ? gap : Score{0}));
        }
      } else {
        std::fill_n(grad, rows.size, Score{0});
      }
      if (read) grad[rows.blank] += blank[i];
      if (next >= 0) grad[next] += wrote;
    }
  }
};

}  // namespace gtnet::lattice
