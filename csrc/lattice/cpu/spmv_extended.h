// Sums over the rows of a layout, sixteen positions at a time, in numbers with wide exponents.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "core/simd_dispatch.h"
#include "core/wide_numbers.h"
#include "layout/transition_rows.h"

namespace gtnet {

// An array of numbers, one per position.
template <class T>
struct Numbers {
  T* m;
  Exponent<T>* e;

  Numbers operator+(int64_t positions) const { return {m + positions, e + positions}; }
};

// Arrays of positions have this much room on both sides for vectors that reach over.
constexpr int64_t kMargin = kRowLanes;

// As many numbers as a slice has lanes, in a register or two.
template <class T>
struct LanesOf {
  typedef T type __attribute__((vector_size(kRowLanes * sizeof(T))));
};
template <class T>
using Lanes = typename LanesOf<T>::type;

template <class T>
GTNET_INLINE void load(Lanes<T>& lanes, const T* from) {
  std::memcpy(&lanes, from, sizeof lanes);
}

// One of all lanes: take(a, b) takes b into a, numbers or vectors of them.
template <class T, int N = kRowLanes, class Lanes, class Take>
GTNET_INLINE T folded(const Lanes& lanes, const Take& take) {
  if constexpr (N == 2) {
    T low = lanes[0];
    const T high = lanes[1];
    take(low, high);
    return low;
  } else {
    typedef T Half __attribute__((vector_size(N / 2 * sizeof(T))));
    Half low, high;
    std::memcpy(&low, &lanes, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&lanes) + sizeof low, sizeof high);
    take(low, high);
    return folded<T, N / 2>(low, take);
  }
}

template <class T>
GTNET_INLINE T sum_of(const Lanes<T>& lanes) {
  return folded<T>(lanes, [](auto& a, const auto& b) __attribute__((always_inline)) { a += b; });
}

// Numbers of one kind with margins, at an address that vectors like.
template <class T>
class Aligned {
 public:
  explicit Aligned(int64_t count, bool cleared = true)
      : begin_(static_cast<T*>(::operator new(bytes(count), kAlignment))) {
    if (cleared) std::fill_n(begin_.get(), count + 2 * kMargin, T{0});
  }

  T* begin() const { return begin_.get() + kMargin; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Delete {
    void operator()(T* at) const { ::operator delete(at, kAlignment); }
  };
  std::unique_ptr<T[], Delete> begin_;

  static size_t bytes(int64_t count) {
    return static_cast<size_t>(count + 2 * kMargin) * sizeof(T);
  }
};

template <class T>
GTNET_INLINE void clear_lanes(Numbers<T> numbers) {
  for (int i = 0; i < kRowLanes; ++i) numbers.m[i] = 0, numbers.e[i] = Wide<T>::kZero;
}

template <class T>
class Array {
 public:
  // All 0, or with margins of 0 around what is yet to be written.
  explicit Array(int64_t positions) : m_(positions, false), e_(positions, false) {
    clear(begin() + -kMargin, positions + 2 * kMargin);
  }
  static Array unwritten(int64_t positions) {
    Array array(positions, nullptr);
    clear_margins(array.begin(), positions);
    return array;
  }

  static void clear_margins(Numbers<T> begin, int64_t positions) {
    clear(begin + -kMargin, kMargin);
    clear(begin + positions, kMargin);
  }

  static void clear(Numbers<T> numbers, int64_t count) {
    std::fill_n(numbers.m, count, T{0});
    std::fill_n(numbers.e, count, Wide<T>::kZero);
  }

  Numbers<T> begin() const { return {m_.begin(), e_.begin()}; }

 private:
  Aligned<T> m_;
  Aligned<Exponent<T>> e_;

  Array(int64_t positions, std::nullptr_t) : m_(positions, false), e_(positions, false) {}
};

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
      exp_wide(arc[k] == kPadding ? kNegInf : score, weight.m[k], weight.e[k]);
    }
  }
};

// The weights of the arcs of a layout, exponentiated and put where the entries are.
template <class T>
class RowWeights {
 public:
  template <class Score>
  RowWeights(const Rows& rows, const Score* scores)
      : numbers_(int64_t{rows.num_entries} * kRowLanes) {
    vectorized(ExpEntries<T, Score>{rows.arc, int64_t{rows.num_entries} * kRowLanes, scores,
                                    numbers_.begin()});
  }

  Numbers<T> begin() const { return numbers_.begin(); }

 private:
  Array<T> numbers_;
};

// The sum of W entries in each lane, given to finish(lane, mantissa, exponent).
template <int W, Access A, class T, class Finish>
GTNET_INLINE void sum_lanes(const int32_t* other, const T* wm, const Exponent<T>* we,
                            Numbers<T> from, const Finish& finish) {
  using E = Exponent<T>;
  constexpr int L = kRowLanes;
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
      T sum = x0 * power_of_two<T>(y0 - top) + x1 * power_of_two<T>(y1 - top);
      if constexpr (W > 2) sum += x2 * power_of_two<T>(y2 - top);
      if constexpr (W > 3) sum += x3 * power_of_two<T>(y3 - top);
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
struct RunRows {
  using E = Exponent<T>;
  Rows rows;
  Numbers<T> weight, from, out;
  const T* emission;
  const int32_t* label;
  Window window = {};

  GTNET_INLINE void operator()() const {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int32_t first = rows.to[int64_t{k} * kRowLanes];
      if (window.holds(first)) {
        run(k);
      } else {
        clear_lanes(out + first);
      }
    }
  }

  GTNET_INLINE void run(int32_t k) const {
    const int32_t begin = rows.begin[k], entries = rows.begin[k + 1] - begin;
    const int32_t* const to = rows.to + int64_t{k} * kRowLanes;
    if (rows.kind[k] == kLongRow) return long_row(to[0], begin, entries);
    const bool direct = rows.kind[k] == kInOrder && !kAdding;
    T m[kRowLanes];
    E e[kRowLanes];
    int32_t reads[kRowLanes];
    if (!direct) gather(to, {m, e}, reads);
    slice(begin, entries, direct ? out + to[0] : Numbers<T>{m, e}, direct ? label + to[0] : reads);
    if (!direct) scatter(to, {m, e});
  }

 private:
  GTNET_INLINE void finish(T& m, E& e, int32_t reads) const {
    if constexpr (kReading) m *= emission[reads];
    if constexpr (kReading || kAdding) normalize(m, e);
  }

  GTNET_INLINE void slice(int32_t begin, int32_t entries, Numbers<T> to,
                          const int32_t* reads) const {
    if (!kAdding && entries > 0 && entries <= 4) {
      const int64_t at = int64_t{begin} * kRowLanes;
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
      const int64_t at = (int64_t{begin} + j) * kRowLanes;
      sum_entries<false>(count, common_access(begin + j, count), rows.other + at, weight + at, from,
                         [&](int i, T m, E e)
                             __attribute__((always_inline)) { add_wide(to.m[i], to.e[i], m, e); });
      j += count;
    }
    GTNET_SIMD()
    for (int i = 0; i < kRowLanes; ++i) finish(to.m[i], to.e[i], reads[i]);
  }

  GTNET_INLINE int32_t common_access(int32_t begin, int32_t entries) const {
    const int32_t access = rows.access[begin];
    for (int32_t j = 1; j < entries; ++j) {
      if (rows.access[begin + j] != access) return kGathered;
    }
    return access;
  }

  GTNET_INLINE void gather(const int32_t* to, Numbers<T> held, int32_t* reads) const {
    for (int i = 0; i < kRowLanes; ++i) {
      const int32_t p = to[i] < 0 ? 0 : to[i];
      reads[i] = kReading ? label[p] : 0;
      if constexpr (kAdding) held.m[i] = out.m[p], held.e[i] = out.e[p];
    }
  }

  GTNET_INLINE void scatter(const int32_t* to, Numbers<T> held) const {
    for (int i = 0; i < kRowLanes; ++i) {
      if (to[i] >= 0) out.m[to[i]] = held.m[i], out.e[to[i]] = held.e[i];
    }
  }

  GTNET_INLINE void long_row(int32_t p, int32_t begin, int32_t entries) const {
    T m[kRowLanes] = {};
    E e[kRowLanes];
    for (int i = 0; i < kRowLanes; ++i) e[i] = Wide<T>::kZero;
    if constexpr (kAdding) m[0] = out.m[p], e[0] = out.e[p];
    for (int64_t at = int64_t{begin} * kRowLanes, end = at + int64_t{entries} * kRowLanes; at < end;
         at += kRowLanes) {
      sum_lanes<1, kGathered, T>(
          rows.other + at, weight.m + at, weight.e + at, from,
          [&](int i, T x, E y) __attribute__((always_inline)) { add_wide(m[i], e[i], x, y); });
    }
    for (int i = 1; i < kRowLanes; ++i) add_wide(m[0], e[0], m[i], e[i]);
    finish(m[0], e[0], kReading ? label[p] : 0);
    out.m[p] = m[0];
    out.e[p] = e[0];
  }
};

// The column of a row of scores that each row of `by_label` adds up to: -1 for none.
class LabelColumns {
 public:
  LabelColumns(const Rows& rows, const int32_t* labels, int64_t num_columns)
      : columns_(int64_t{rows.num_slices} * kRowLanes), contiguous_(rows.num_slices) {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int32_t* const to = rows.to + int64_t{k} * kRowLanes;
      int32_t* const columns = columns_.data() + int64_t{k} * kRowLanes;
      bool contiguous = true;
      for (int i = 0; i < kRowLanes; ++i) {
        columns[i] = to[i] > kNoLabel && labels[to[i]] < num_columns ? labels[to[i]] : -1;
        contiguous = contiguous && columns[i] >= 0 && columns[i] == columns[0] + i;
      }
      contiguous_[k] = contiguous;
    }
  }

  const int32_t* of(int32_t slice) const { return columns_.data() + int64_t{slice} * kRowLanes; }
  bool contiguous(int32_t slice) const { return contiguous_[slice] != 0; }

 private:
  std::vector<int32_t> columns_;
  std::vector<char> contiguous_;
};

// Sums by label take a number for every lane of the slices of `by_label`.
inline int64_t label_lanes(const Rows& by_label) {
  return int64_t{by_label.num_slices} * kRowLanes;
}

// sums[l] = scale * sum of values[p] over the positions p that label l leads to; padding stands at
// position -1, whose value is 0.
template <class T, class Score>
struct SumByLabel {
  const Rows& rows;
  const T* values;
  T scale;
  Score* sums;

  GTNET_INLINE void operator()() const {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      Lanes<T> sum{};
      for (int32_t j = rows.begin[k]; j < rows.begin[k + 1]; ++j) {
        const int32_t* const other = rows.other + int64_t{j} * kRowLanes;
        T gathered[kRowLanes];
        GTNET_SIMD()
        for (int i = 0; i < kRowLanes; ++i) gathered[i] = values[other[i]];
        Lanes<T> lanes;
        load<T>(lanes, gathered);
        sum += lanes;
      }
      sum *= scale;
      Score* const to = sums + int64_t{k} * kRowLanes;
      if (rows.kind[k] == kLongRow) {
        to[0] = static_cast<Score>(sum_of<T>(sum));
        for (int i = 1; i < kRowLanes; ++i) to[i] = 0;
      } else {
        for (int i = 0; i < kRowLanes; ++i) to[i] = static_cast<Score>(sum[i]);
      }
    }
  }
};

// row[column of l] = scale * sums[l], 0 elsewhere. A long row comes after its empty namesake.
template <class Score>
struct SpreadLabels {
  int32_t num_slices;
  const LabelColumns& columns;
  const Score* sums;
  Score scale;
  Score* row;
  int64_t row_size;

  GTNET_INLINE void operator()() const {
    std::fill_n(row, row_size, Score{0});
    for (int32_t k = 0; k < num_slices; ++k) {
      const int32_t* const column = columns.of(k);
      const Score* const sum = sums + int64_t{k} * kRowLanes;
      if (columns.contiguous(k)) {
        GTNET_SIMD()
        for (int i = 0; i < kRowLanes; ++i) row[column[0] + i] = scale * sum[i];
      } else {
        GTNET_SIMD()
        for (int i = 0; i < kRowLanes; ++i) {
          if (column[i] >= 0) row[column[i]] = scale * sum[i];
        }
      }
    }
  }
};

// counts[k] += probability of the arc of entry k: near[its row] * weight * from[other end] * scale.
template <class T>
struct CountArcs {
  using E = Exponent<T>;
  Rows rows;
  Numbers<T> weight, near, from;
  T scale_m;
  E scale_e;
  T* counts;

  GTNET_INLINE void operator()() const {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int32_t* const to = rows.to + int64_t{k} * kRowLanes;
      const bool along = rows.kind[k] == kLongRow;
      T m[kRowLanes];
      E e[kRowLanes];
      for (int i = 0; i < kRowLanes; ++i) {
        const int32_t p = along ? to[0] : to[i] < 0 ? 0 : to[i];
        m[i] = near.m[p] * scale_m;
        e[i] = near.e[p] + scale_e;
      }
      for (int32_t j = rows.begin[k]; j < rows.begin[k + 1]; ++j) {
        const int64_t at = int64_t{j} * kRowLanes;
        if (rows.access[j] == kBroadcast) {
          entry<kBroadcast>(m, e, at);
        } else if (rows.access[j] == kContiguous) {
          entry<kContiguous>(m, e, at);
        } else {
          entry<kGathered>(m, e, at);
        }
      }
    }
  }

 private:
  template <Access A>
  GTNET_INLINE void entry(const T* m, const E* e, int64_t at) const {
    const int32_t* const other = rows.other + at;
    const int32_t first = A == kGathered ? 0 : other[0];
    const T *const wm = weight.m + at, *const fm = from.m + first;
    const E *const we = weight.e + at, *const fe = from.e + first;
    T* const count = counts + at;
    GTNET_SIMD()
    for (int i = 0; i < kRowLanes; ++i) {
      const int32_t p = A == kGathered ? other[i] : A == kContiguous ? i : 0;
      count[i] += m[i] * (wm[i] * fm[p]) * power_of_two<T>(e[i] + we[i] + fe[p]);
    }
  }
};

}  // namespace gtnet
