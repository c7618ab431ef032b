// Maxima over the rows of a layout, sixteen positions at a time: one step of Viterbi's recursion.
// Scores are read in their own type, distances are doubles.
#pragma once

#include <vector>

#include "core/simd_dispatch.h"
#include "lattice/cpu/emissions.h"

namespace gtnet::lattice {

// best[i] = max(best[i], from[other[i]] + weight[i]) over W entries, in each lane.
template <int W, layout::Access A, class Score>
GTNET_INLINE void best_lanes(const int32_t* other, const Score* weight, const double* from,
                             double* best) {
  constexpr int L = kLanes;
  constexpr int j1 = W > 1 ? L : 0, j2 = W > 2 ? 2 * L : 0, j3 = W > 3 ? 3 * L : 0;
  const double *const x0 = from + (A == kGathered ? 0 : other[0]),
                      *const x1 = from + (A == kGathered ? 0 : other[j1]),
                      *const x2 = from + (A == kGathered ? 0 : other[j2]),
                      *const x3 = from + (A == kGathered ? 0 : other[j3]);
  const auto at = [&](int j, int i) __attribute__((always_inline)) {
    return A == kGathered ? other[j + i] : A == kContiguous ? i : 0;
  };
  GTNET_SIMD()
  GTNET_ROLLED
  for (int i = 0; i < L; ++i) {
    double high = best[i];
    const double y0 = x0[at(0, i)] + static_cast<double>(weight[i]);
    high = y0 > high ? y0 : high;
    if constexpr (W > 1) {
      const double y1 = x1[at(j1, i)] + static_cast<double>(weight[j1 + i]);
      high = y1 > high ? y1 : high;
    }
    if constexpr (W > 2) {
      const double y2 = x2[at(j2, i)] + static_cast<double>(weight[j2 + i]);
      high = y2 > high ? y2 : high;
    }
    if constexpr (W > 3) {
      const double y3 = x3[at(j3, i)] + static_cast<double>(weight[j3 + i]);
      high = y3 > high ? y3 : high;
    }
    best[i] = high;
  }
}

// out[p] = emission[label[p]] + max over the entries k of row p of from[other[k]] + weight[k];
// rows outside of the window, if there is one, are left as they are.
// kAdding: the value that out[p] held is one more candidate, and there is no emission.
template <class Score, bool kAdding>
struct BestRows {
  layout::SlicedRows rows;
  const Score* weight;
  const double* from;
  double* out;
  const Score* emission;
  const int32_t* label;
  Window window = {};

  GTNET_INLINE void operator()() const {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      if (window.holds(rows.to[int64_t{k} * kLanes])) slice(k);
    }
  }

 private:
  GTNET_INLINE void slice(int32_t k) const {
    double best[kLanes];
    for (int i = 0; i < kLanes; ++i) best[i] = kNegInf;
    int32_t j = rows.begin[k];
    for (const int32_t end = rows.begin[k + 1]; j < end;) {
      const int32_t count = end - j < 4 ? end - j : 4;
      take(j, count, best);
      j += count;
    }
    const int32_t* const to = rows.to + int64_t{k} * kLanes;
    if (rows.kind[k] == kLongRow) {
      for (int i = 1; i < kLanes; ++i) best[0] = best[i] > best[0] ? best[i] : best[0];
      write(to[0], best[0]);
    } else if (rows.kind[k] == kInOrder && !kAdding) {
      const int32_t first = to[0];
      GTNET_SIMD()
      GTNET_ROLLED
      for (int i = 0; i < kLanes; ++i) {
        out[first + i] = best[i] + static_cast<double>(emission[label[first + i]]);
      }
    } else {
      for (int i = 0; i < kLanes; ++i) {
        if (to[i] >= 0) write(to[i], best[i]);
      }
    }
  }

  GTNET_INLINE void take(int32_t j, int32_t count, double* best) const {
    int32_t access = rows.access[j];
    for (int32_t i = 1; i < count; ++i) access = rows.access[j + i] == access ? access : kGathered;
    const int32_t* const other = rows.other + int64_t{j} * kLanes;
    const Score* const w = weight + int64_t{j} * kLanes;
#define GTNET_CASES(W)                                       \
  case W * 4 + kGathered:                                    \
    return best_lanes<W, kGathered>(other, w, from, best);   \
  case W * 4 + kContiguous:                                  \
    return best_lanes<W, kContiguous>(other, w, from, best); \
  case W * 4 + kBroadcast:                                   \
    return best_lanes<W, kBroadcast>(other, w, from, best);
    switch (count * 4 + access) {
      GTNET_CASES(1)
      GTNET_CASES(2)
      GTNET_CASES(3)
      GTNET_CASES(4)
    }
#undef GTNET_CASES
  }

  GTNET_INLINE void write(int32_t p, double best) const {
    if constexpr (kAdding) {
      out[p] = best > out[p] ? best : out[p];
    } else {
      out[p] = best + static_cast<double>(emission[label[p]]);
    }
  }
};

// to[p] = max(to[p], from[p] + emission[label[p]]).
template <class Score>
struct BestOf {
  int32_t num_positions;
  double* to;
  const double* from;
  const Score* emission;
  const int32_t* label;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int32_t p = 0; p < num_positions; ++p) {
      const double x = from[p] + static_cast<double>(emission[label[p]]);
      to[p] = x > to[p] ? x : to[p];
    }
  }
};

// The scores of the arcs of a layout, put where the entries are.
template <class Score>
std::vector<Score> entry_scores(const layout::SlicedRows& rows, const Score* scores) {
  std::vector<Score> weights(int64_t{rows.num_entries} * kLanes);
  for (size_t k = 0; k < weights.size(); ++k) {
    const int32_t arc = rows.arc[k];
    weights[k] = arc >= 0                  ? scores[arc]
                 : arc == layout::kPadding ? -std::numeric_limits<Score>::infinity()
                                           : Score{0};
  }
  return weights;
}

// Scores of a row for the local labels of a graph; 0 for reading nothing.
template <class Score>
void read_scores(const LatticeItem<Score>& item, int32_t segment, Score* emission) {
  const Score* const row = item.row(segment);
  emission[layout::kNoLabel] = 0;
  for (int32_t l = 1; l < item.steps.num_labels; ++l) {
    const int32_t label = item.steps.labels[l];
    emission[l] = label < item.num_labels ? row[label] : -std::numeric_limits<Score>::infinity();
  }
}

}  // namespace gtnet::lattice
