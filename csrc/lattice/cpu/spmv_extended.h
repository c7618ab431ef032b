// Sums over the rows of a layout, sixteen positions at a time, in numbers with wide exponents.
#pragma once

#include <limits>

#include "core/simd_dispatch.h"
#include "lattice/cpu/extended_array.h"
#include "layout/transition_rows.h"

namespace gtnet::lattice {

using enum layout::Access;
using enum layout::SliceKind;

// weight[k] = exp of the score of the arc of entry k.
template <class T, class Score>
struct ExpEntries {
  const int32_t* arc;
  int64_t count;
  const Score* scores;
  Numbers<T> weight;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int64_t k = 0; k < count; ++k) {
      const double score = arc[k] >= 0 ? static_cast<double>(scores[arc[k]]) : 0;
      extended::exp(arc[k] == layout::kPadding ? kNegInf : score, weight.m[k], weight.e[k]);
    }
  }
};

// The weights of the arcs of a layout, exponentiated and put where the entries are.
template <class T>
class RowWeights {
 public:
  template <class Score>
  RowWeights(const layout::SlicedRows& rows, const Score* scores)
      : numbers_(int64_t{rows.num_entries} * kLanes) {
    vectorized(ExpEntries<T, Score>{rows.arc, int64_t{rows.num_entries} * kLanes, scores,
                                    numbers_.begin()});
  }

  Numbers<T> begin() const { return numbers_.begin(); }

 private:
  Array<T> numbers_;
};

// The sum of W entries in each lane, given to finish(lane, mantissa, exponent).
template <int W, layout::Access A, class T, class Finish>
GTNET_INLINE void sum_lanes(const int32_t* other, const T* wm, const Exponent<T>* we,
                            Numbers<T> from, const Finish& finish) {
  using E = Exponent<T>;
  constexpr int L = kLanes;
  constexpr int j1 = W > 1 ? L : 0, j2 = W > 2 ? 2 * L : 0, j3 = W > 3 ? 3 * L : 0;
  const T *const m0 = from.m + (A == kGathered ? 0 : other[0]),
                 *const m1 = from.m + (A == kGathered ? 0 : other[j1]),
                 *const m2 = from.m + (A == kGathered ? 0 : other[j2]),
                 *const m3 = from.m + (A == kGathered ? 0 : other[j3]);
  const E *const e0 = from.e + (A == kGathered ? 0 : other[0]),
                 *const e1 = from.e + (A == kGathered ? 0 : other[j1]),
                 *const e2 = from.e + (A == kGathered ? 0 : other[j2]),
                 *const e3 = from.e + (A == kGathered ? 0 : other[j3]);
  const auto at = [&](int j, int i) __attribute__((always_inline)) {
    return A == kGathered ? other[j + i] : A == kContiguous ? i : 0;
  };
  GTNET_SIMD()
  for (int i = 0; i < L; ++i) {
    const T x0 = m0[at(0, i)] * wm[i];
    const E y0 = e0[at(0, i)] + we[i];
    if constexpr (W == 1) {
      finish(i, x0, y0);
    } else {
      const T x1 = m1[at(j1, i)] * wm[j1 + i];
      const E y1 = e1[at(j1, i)] + we[j1 + i];
      T x2 = 0, x3 = 0;
      E y2 = 0, y3 = 0, top = y0 > y1 ? y0 : y1;
      if constexpr (W > 2) {
        x2 = m2[at(j2, i)] * wm[j2 + i];
        y2 = e2[at(j2, i)] + we[j2 + i];
        top = y2 > top ? y2 : top;
      }
      if constexpr (W > 3) {
        x3 = m3[at(j3, i)] * wm[j3 + i];
        y3 = e3[at(j3, i)] + we[j3 + i];
        top = y3 > top ? y3 : top;
      }
      T sum = x0 * extended::power_of_two<T>(y0 - top) + x1 * extended::power_of_two<T>(y1 - top);
      if constexpr (W > 2) sum += x2 * extended::power_of_two<T>(y2 - top);
      if constexpr (W > 3) sum += x3 * extended::power_of_two<T>(y3 - top);
      finish(i, sum, top);
    }
  }
}

// sum_lanes for a number of entries (up to 4) and a way to reach them that are known at run time.
template <bool kFew, class T, class Finish>
GTNET_INLINE void sum_entries(int32_t entries, int32_t access, const int32_t* other,
                              Numbers<T> weight, Numbers<T> from, const Finish& finish) {
#define GTNET_CASES(W)                                                            \
  case W * 4 + kGathered:                                                         \
    return sum_lanes<W, kGathered, T>(other, weight.m, weight.e, from, finish);   \
  case W * 4 + kContiguous:                                                       \
    return sum_lanes<W, kContiguous, T>(other, weight.m, weight.e, from, finish); \
  case W * 4 + kBroadcast:                                                        \
    return sum_lanes<W, kBroadcast, T>(other, weight.m, weight.e, from, finish);
  if constexpr (kFew) {
    switch (entries * 4 + access) {
      GTNET_CASES(2)
      GTNET_CASES(3)
    }
  }
  switch (entries * 4 + access) {
    GTNET_CASES(1)
    GTNET_CASES(4)
  }
#undef GTNET_CASES
}

// Positions [begin, end), whole vectors.
struct Window {
  int32_t begin = 0, end = std::numeric_limits<int32_t>::max();

  GTNET_INLINE bool holds(int32_t position) const { return begin <= position && position < end; }
};

// out[p] = emission[label[p]] * sum over the entries k of row p of from[other[k]] * weight[k], and
// 0 for rows outside of the window, if there is one: then they are in order.
// kReading: multiply by the emission; kAdding: keep what out[p] held as one more term, and only
// touch positions that have a row. What is not kReading or kAdding stays unnormalized.
template <class T, bool kReading, bool kAdding>
struct SpmvExtended {
  using E = Exponent<T>;
  layout::SlicedRows rows;
  Numbers<T> weight, from, out;
  const T* emission;
  const int32_t* label;
  Window window = {};

  GTNET_INLINE void operator()() const {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int32_t first = rows.to[int64_t{k} * kLanes];
      if (window.holds(first)) {
        run(k);
      } else {
        clear_lanes(out + first);
      }
    }
  }

  GTNET_INLINE void run(int32_t k) const {
    const int32_t begin = rows.begin[k], entries = rows.begin[k + 1] - begin;
    const int32_t* const to = rows.to + int64_t{k} * kLanes;
    if (rows.kind[k] == kLongRow) return long_row(to[0], begin, entries);
    const bool direct = rows.kind[k] == kInOrder && !kAdding;
    T m[kLanes];
    E e[kLanes];
    int32_t reads[kLanes];
    if (!direct) gather(to, {m, e}, reads);
    slice(begin, entries, direct ? out + to[0] : Numbers<T>{m, e}, direct ? label + to[0] : reads);
    if (!direct) scatter(to, {m, e});
  }

 private:
  GTNET_INLINE void finish(T& m, E& e, int32_t reads) const {
    if constexpr (kReading) m *= emission[reads];
    if constexpr (kReading || kAdding) extended::normalize(m, e);
  }

  GTNET_INLINE void slice(int32_t begin, int32_t entries, Numbers<T> to,
                          const int32_t* reads) const {
    if (!kAdding && entries > 0 && entries <= 4) {
      const int64_t at = int64_t{begin} * kLanes;
      sum_entries<true>(entries, common_access(begin, entries), rows.other + at, weight + at, from,
                        [&](int i, T m, E e) __attribute__((always_inline)) {
                          finish(m, e, reads[i]);
                          to.m[i] = m;
                          to.e[i] = e;
                        });
      return;
    }
    if constexpr (!kAdding) {
      clear_lanes(to);
    }
    for (int32_t j = 0; j < entries;) {
      const int32_t count = entries - j < 4 ? 1 : 4;
      const int64_t at = (int64_t{begin} + j) * kLanes;
      sum_entries<false>(count, common_access(begin + j, count), rows.other + at, weight + at, from,
                         [&](int i, T m, E e) __attribute__((always_inline)) {
                           extended::add(to.m[i], to.e[i], m, e);
                         });
      j += count;
    }
    GTNET_SIMD()
    for (int i = 0; i < kLanes; ++i) finish(to.m[i], to.e[i], reads[i]);
  }

  GTNET_INLINE int32_t common_access(int32_t begin, int32_t entries) const {
    const int32_t access = rows.access[begin];
    for (int32_t j = 1; j < entries; ++j) {
      if (rows.access[begin + j] != access) return kGathered;
    }
    return access;
  }

  GTNET_INLINE void gather(const int32_t* to, Numbers<T> held, int32_t* reads) const {
    for (int i = 0; i < kLanes; ++i) {
      const int32_t p = to[i] < 0 ? 0 : to[i];
      reads[i] = kReading ? label[p] : 0;
      if constexpr (kAdding) held.m[i] = out.m[p], held.e[i] = out.e[p];
    }
  }

  GTNET_INLINE void scatter(const int32_t* to, Numbers<T> held) const {
    for (int i = 0; i < kLanes; ++i) {
      if (to[i] >= 0) out.m[to[i]] = held.m[i], out.e[to[i]] = held.e[i];
    }
  }

  GTNET_INLINE void long_row(int32_t p, int32_t begin, int32_t entries) const {
    T m[kLanes] = {};
    E e[kLanes];
    for (int i = 0; i < kLanes; ++i) e[i] = extended::Limits<T>::kZero;
    if constexpr (kAdding) m[0] = out.m[p], e[0] = out.e[p];
    for (int64_t at = int64_t{begin} * kLanes, end = at + int64_t{entries} * kLanes; at < end;
         at += kLanes) {
      sum_lanes<1, kGathered, T>(
          rows.other + at, weight.m + at, weight.e + at, from,
          [&](int i, T x, E y) __attribute__((always_inline)) { extended::add(m[i], e[i], x, y); });
    }
    for (int i = 1; i < kLanes; ++i) extended::add(m[0], e[0], m[i], e[i]);
    finish(m[0], e[0], kReading ? label[p] : 0);
    out.m[p] = m[0];
    out.e[p] = e[0];
  }
};

}  // namespace gtnet::lattice
