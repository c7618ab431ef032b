// Sums over the positions that a label leads to, and the row of scores that they belong in.
#pragma once

#include <algorithm>
#include <vector>

#include "lattice/cpu/extended_array.h"
#include "layout/transition_rows.h"

namespace gtnet::lattice {

using enum layout::SliceKind;

// The column of a row of scores that each row of `by_label` adds up to: -1 for none.
class LabelColumns {
 public:
  LabelColumns(const layout::SlicedRows& rows, const int32_t* labels, int64_t num_columns)
      : columns_(int64_t{rows.num_slices} * kLanes), contiguous_(rows.num_slices) {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int32_t* const to = rows.to + int64_t{k} * kLanes;
      int32_t* const columns = columns_.data() + int64_t{k} * kLanes;
      bool contiguous = true;
      for (int i = 0; i < kLanes; ++i) {
        columns[i] = to[i] > layout::kNoLabel && labels[to[i]] < num_columns ? labels[to[i]] : -1;
        contiguous = contiguous && columns[i] >= 0 && columns[i] == columns[0] + i;
      }
      contiguous_[k] = contiguous;
    }
  }

  const int32_t* of(int32_t slice) const { return columns_.data() + int64_t{slice} * kLanes; }
  bool contiguous(int32_t slice) const { return contiguous_[slice] != 0; }

 private:
  std::vector<int32_t> columns_;
  std::vector<char> contiguous_;
};

// Sums by label take a number for every lane of the slices of `by_label`.
inline int64_t label_lanes(const layout::SlicedRows& by_label) {
  return int64_t{by_label.num_slices} * kLanes;
}

// sums[l] = scale * sum of values[p] over the positions p that label l leads to; padding stands at
// position -1, whose value is 0.
template <class T, class Score>
struct SumByLabel {
  const layout::SlicedRows& rows;
  const T* values;
  T scale;
  Score* sums;

  GTNET_INLINE void operator()() const {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      Lanes<T> sum{};
      for (int32_t j = rows.begin[k]; j < rows.begin[k + 1]; ++j) {
        const int32_t* const other = rows.other + int64_t{j} * kLanes;
        T gathered[kLanes];
        GTNET_SIMD()
        for (int i = 0; i < kLanes; ++i) gathered[i] = values[other[i]];
        Lanes<T> lanes;
        load<T>(lanes, gathered);
        sum += lanes;
      }
      sum *= scale;
      Score* const to = sums + int64_t{k} * kLanes;
      if (rows.kind[k] == kLongRow) {
        to[0] = static_cast<Score>(sum_of<T>(sum));
        for (int i = 1; i < kLanes; ++i) to[i] = 0;
      } else {
        for (int i = 0; i < kLanes; ++i) to[i] = static_cast<Score>(sum[i]);
      }
    }
  }
};

// row[column of l] = sums[l], 0 elsewhere. A long row comes after its empty namesake.
template <class Score>
struct SpreadLabels {
  int32_t num_slices;
  const LabelColumns& columns;
  const Score* sums;
  Score* row;
  int64_t row_size;

  GTNET_INLINE void operator()() const {
    std::fill_n(row, row_size, Score{0});
    for (int32_t k = 0; k < num_slices; ++k) {
      const int32_t* const column = columns.of(k);
      const Score* const sum = sums + int64_t{k} * kLanes;
      if (columns.contiguous(k)) {
        GTNET_SIMD()
        for (int i = 0; i < kLanes; ++i) row[column[0] + i] = sum[i];
      } else {
        GTNET_SIMD()
        for (int i = 0; i < kLanes; ++i) {
          if (column[i] >= 0) row[column[i]] = sum[i];
        }
      }
    }
  }
};

}  // namespace gtnet::lattice
