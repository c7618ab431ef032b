// The emissions of a frame for interleaved items: read for the labels of a graph, and their
// gradient written back.
#pragma once

#include <vector>

#include "lattice/cpu/emissions.h"
#include "lattice/cpu/interleaved/spmm.h"

namespace gtnet::lattice::interleaved {

// One item: its number in the batch and its frames.
template <class T>
struct Item {
  int64_t number;
  int32_t length;
  const T* scores;
};

// Up to L items, the longest first, whose frames are so far apart and so large.
template <class T, int L>
struct Items {
  int count;
  int32_t length[L];  // -1 where there is no item
  const T* scores[L] = {};
  int64_t row_stride, row_size;

  Items(const Item<T>* items, int count_, int64_t row_stride_, int64_t row_size_)
      : count(count_), row_stride(row_stride_), row_size(row_size_) {
    std::fill_n(length, L, -1);
    for (int i = 0; i < count; ++i) length[i] = items[i].length, scores[i] = items[i].scores;
  }

  int32_t longest() const { return length[0]; }
};

// How many of the first labels, which ascend, are less than `size`.
GTNET_INLINE int32_t labels_below(int64_t size, const int32_t* labels, int32_t num_labels) {
  while (num_labels > 1 && labels[num_labels - 1] >= size) --num_labels;
  return num_labels;
}

// factor[label, item] = exp(score - top) * lift, and the smallest of them that is not 0.
template <class T, int L>
struct Read {
  int32_t num_labels;
  const int32_t* labels;
  const T* const* row;
  int64_t row_size;
  const T* lift;
  T *factor, *top, *least;
  int32_t* wrong;  // NaN, +inf, or too wide a range

  GTNET_INLINE void operator()() const {
    constexpr T kInfinity = std::numeric_limits<T>::infinity();
    gather();
    T best[L], worst[L];
    for (int i = 0; i < L; ++i) best[i] = -kInfinity, worst[i] = kInfinity;
    for (int32_t l = 1; l < num_labels; ++l) {
      const T* const x = factor + int64_t{l} * L;
      GTNET_SIMD()
      GTNET_ROLLED
      for (int i = 0; i < L; ++i) {
        wrong[i] |= x[i] < kInfinity ? 0 : 1;
        best[i] = x[i] > best[i] ? x[i] : best[i];
        const T possible = x[i] == -kInfinity ? kInfinity : x[i];
        worst[i] = possible < worst[i] ? possible : worst[i];
      }
    }
    GTNET_SIMD()
    GTNET_ROLLED
    for (int i = 0; i < L; ++i) {
      top[i] = best[i] == -kInfinity ? T{0} : best[i];
      const T low = worst[i] == kInfinity ? top[i] : worst[i];
      wrong[i] |= top[i] - low <= static_cast<T>(extended::Limits<T>::kNarrow) ? 0 : 1;
      least[i] = exp_below(low, top[i]) * lift[i];
      factor[i] = lift[i];
    }
    for (int32_t l = 1; l < num_labels; ++l) {
      T* const x = factor + int64_t{l} * L;
      GTNET_SIMD()
      GTNET_ROLLED
      for (int i = 0; i < L; ++i) x[i] = exp_below(x[i], top[i]) * lift[i];
    }
  }

 private:
  GTNET_INLINE void gather() const {
    const int32_t readable = labels_below(row_size, labels, num_labels);
    int32_t l = 1;
    if (readable > 1 && labels[readable - 1] - labels[1] == readable - 2) {
      for (; l + 8 <= readable; l += 8) gather_block(l);
    }
    for (; l < num_labels; ++l) {
      for (int i = 0; i < L; ++i) {
        factor[l * L + i] = l < readable ? row[i][labels[l]] : -std::numeric_limits<T>::infinity();
      }
    }
  }

  GTNET_INLINE void gather_block(int32_t l) const {
    for (int half = 0; half < L; half += 8) {
      Vector<T, 8> x[8];
      for (int i = 0; i < 8; ++i) fetch(x[i], row[half + i] + labels[l]);
      transpose<T>(x);
      for (int i = 0; i < 8; ++i) put(x[i], factor + (l + i) * L + half);
    }
  }
};

// Emissions of one frame of all items, as factors with `lift` in them.
template <class T, int L>
class FrameEmissions {
 public:
  T top[L], least[L];
  int32_t wrong[L] = {};

  FrameEmissions(const layout::TransitionRows& steps, const Items<T, L>& items)
      : steps_(steps),
        items_(items),
        nothing_(items.row_size, -std::numeric_limits<T>::infinity()),
        factor_(int64_t{steps.num_labels} * L) {}

  void read(int32_t frame, const T* lift) {
    const T* rows[L];
    for (int i = 0; i < L; ++i) {
      const bool inside = frame < items_.length[i];
      rows[i] = inside ? items_.scores[i] + frame * items_.row_stride : nothing_.data();
    }
    vectorized(Read<T, L>{steps_.num_labels, steps_.labels, rows, items_.row_size, lift,
                          factor_.begin(), top, least, wrong});
  }

  // No frame: before the first.
  void pass(const T* lift) {
    for (int32_t l = 0; l < steps_.num_labels; ++l) {
      std::copy_n(lift, L, factor_.begin() + int64_t{l} * L);
    }
    std::copy_n(lift, L, least);
    std::fill_n(top, L, T{0});
  }

  const T* factors() const { return factor_.begin(); }

 private:
  const layout::TransitionRows& steps_;
  const Items<T, L>& items_;
  std::vector<T> nothing_;
  Aligned<T> factor_;
};

// row[labels[l]] = totals[l, item] * share, 0 elsewhere; where there is a row.
template <class T, int L>
struct Spread {
  int32_t num_labels;
  const int32_t* labels;
  const T* totals;
  const T* share;
  T* const* row;
  int64_t row_size;

  GTNET_INLINE void operator()() const {
    const int32_t written = labels_below(row_size, labels, num_labels);
    for (int i = 0; i < L && written - 1 < row_size; ++i) {
      if (row[i] != nullptr) std::fill_n(row[i], row_size, T{0});
    }
    int32_t l = 1;
    if (written > 1 && labels[written - 1] - labels[1] == written - 2) {
      for (; l + 8 <= written; l += 8) spread_block(l);
    }
    for (; l < written; ++l) {
      for (int i = 0; i < L; ++i) {
        if (row[i] != nullptr) row[i][labels[l]] = totals[l * L + i] * share[i];
      }
    }
  }

 private:
  GTNET_INLINE void spread_block(int32_t l) const {
    for (int half = 0; half < L; half += 8) {
      Vector<T, 8> x[8], factor;
      fetch(factor, share + half);
      for (int i = 0; i < 8; ++i) {
        fetch(x[i], totals + (l + i) * L + half);
        x[i] *= factor;
      }
      transpose<T>(x);
      for (int i = 0; i < 8; ++i) {
        if (row[half + i] != nullptr) put(x[i], row[half + i] + labels[l]);
      }
    }
  }
};

}  // namespace gtnet::lattice::interleaved
