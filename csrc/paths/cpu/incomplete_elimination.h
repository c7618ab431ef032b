// Incomplete elimination of a sparse matrix of numbers that are not negative: what preconditions
// iterations on components whose elimination would fill up (Saad 1994, ILUT).
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <queue>
#include <vector>

#include "core/interrupt.h"
#include "core/span.h"

namespace gtnet::paths {

// The rows of a square matrix: row i holds entries [offsets[i], offsets[i + 1]).
struct SparseRows {
  std::vector<int64_t> offsets;
  std::vector<int32_t> columns;
  std::vector<double> values;

  int32_t size() const { return static_cast<int32_t>(offsets.size()) - 1; }
};

// shift - P is about (1 - L)(D - U), where small entries of L and U are dropped. Nothing negative
// is ever added, so the loops in D never exceed those of the whole elimination: as long as that has
// a limit, so has this.
class IncompleteElimination {
 public:
  // How much is kept: at most `fill` entries of each half of a row, and none below `least`.
  struct Precision {
    int32_t fill;
    double least;
  };

  IncompleteElimination(const SparseRows& p, double shift, Precision precision)
      : precision_(precision), pivots_(p.size()), work_(p.size(), 0), touched_(p.size(), kNone) {
    lower_.offsets.push_back(0);
    upper_.offsets.push_back(0);
    for (int32_t i = 0; i < p.size(); ++i) eliminate(p, i, shift);
  }

  // x becomes about (shift - P)^-1 x.
  void solve(double* x) const {
    const auto size = static_cast<int32_t>(pivots_.size());
    for (int32_t i = 0; i < size; ++i) x[i] += times(lower_, i, x);
    for (int32_t i = size; i-- > 0;) x[i] = (x[i] + times(upper_, i, x)) / pivots_[i];
  }

 private:
  static constexpr double kLeastPivot = 1e-12;

  static double times(const SparseRows& rows, int32_t i, const double* x) {
    double total = 0;
    for (int64_t e = rows.offsets[i]; e < rows.offsets[i + 1]; ++e) {
      total += rows.values[e] * x[rows.columns[e]];
    }
    return total;
  }

  // Row i of the matrix, less what leads through the states before it.
  void eliminate(const SparseRows& p, int32_t i, double shift) {
    seen_.clear();
    std::priority_queue<int32_t, std::vector<int32_t>, std::greater<>> before;
    const auto add = [&](int32_t column, double value) {
      if (touched_[column] != i) {
        touched_[column] = i;
        work_[column] = 0;
        seen_.push_back(column);
        if (column < i) before.push(column);
      }
      work_[column] += value;
    };
    add(i, 0);
    for (int64_t e = p.offsets[i]; e < p.offsets[i + 1]; ++e) {
      if (p.values[e] != 0) add(p.columns[e], p.values[e]);
    }
    for (; !before.empty(); before.pop()) {
      poll(64);
      const int32_t k = before.top();
      const double factor = work_[k] / pivots_[k];
      work_[k] = factor;
      if (std::abs(factor) < precision_.least) continue;
      for (int64_t e = upper_.offsets[k]; e < upper_.offsets[k + 1]; ++e) {
        add(upper_.columns[e], factor * upper_.values[e]);
      }
    }
    const double pivot = shift - work_[i];
    pivots_[i] = std::abs(pivot) < kLeastPivot ? kLeastPivot : pivot;
    keep([&](int32_t column) { return column < i; }, precision_.least, lower_);
    keep([&](int32_t column) { return column > i; }, precision_.least * std::abs(pivots_[i]),
         upper_);
  }

  template <class Half>
  void keep(const Half& half, double least, SparseRows& rows) {
    kept_.clear();
    for (const int32_t column : seen_) {
      if (half(column) && std::abs(work_[column]) >= least) kept_.push_back(column);
    }
    if (const auto most = static_cast<size_t>(precision_.fill); kept_.size() > most) {
      std::nth_element(kept_.begin(), kept_.begin() + precision_.fill, kept_.end(),
                       [&](int32_t a, int32_t b) {
                         return std::abs(work_[a]) > std::abs(work_[b]) ||
                                (std::abs(work_[a]) == std::abs(work_[b]) && a < b);
                       });
      kept_.resize(most);
    }
    for (const int32_t column : kept_) {
      rows.columns.push_back(column);
      rows.values.push_back(work_[column]);
    }
    rows.offsets.push_back(static_cast<int64_t>(rows.columns.size()));
  }

  const Precision precision_;
  SparseRows lower_, upper_;
  std::vector<double> pivots_;
  std::vector<double> work_;          // the row at work, where touched_ says that it is
  std::vector<int32_t> touched_;      // the last row that had an entry in the column
  std::vector<int32_t> seen_, kept_;  // columns of the row at work
};

}  // namespace gtnet::paths
