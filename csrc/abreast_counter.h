// How often paths take each arc, counted for items abreast.
#pragma once

#include <vector>

#include "abreast_rows.h"

namespace gtnet {

// counts[entry] += sum of near[row] * from[other] over the items and a few cuts, which are `size`
// numbers apart.
template <class T, int L>
struct CountAbreast {
  const AbreastRows<T>& rows;
  int cuts;
  int64_t size;
  const T *near, *from;
  double* counts;

  GTNET_INLINE void operator()() const {
    for (const auto& block : rows.blocks()) {
      if (block.rows == 8) {
        together<8>(block);
      } else if (block.rows == 4) {
        together<4>(block);
      } else {
        together<1>(block);
      }
    }
  }

 private:
  // Eight entries at once, of R rows each.
  template <int R>
  GTNET_INLINE void together(const typename AbreastRows<T>::Block& block) const {
    constexpr int J = 8 / R;
    const T* const here = near + int64_t{block.row} * L;
    const int32_t* const other = rows.other() + block.other;
    double* count = counts + block.begin;
    int32_t j = 0;
    for (; j + J <= block.entries; j += J, count += 8) {
      Abreast<T, L> sum[8] = {}, x[R], y;
      for (int c = 0; c < cuts; ++c) {
        for (int i = 0; i < R; ++i) fetch(x[i], here + c * size + i * L);
        for (int k = 0; k < J; ++k) {
          fetch(y, from + c * size + int64_t{other[j + k]} * L);
          for (int i = 0; i < R; ++i) sum[k * R + i] += x[i] * y;
        }
      }
      Abreast<T, 8> sums;
      add_up<T>(sum, sums);
      for (int i = 0; i < 8; ++i) count[i] += static_cast<double>(sums[i]);
    }
    for (; j < block.entries; ++j) {
      for (int i = 0; i < R; ++i) *count++ += alone(here + i * L, from + int64_t{other[j]} * L);
    }
  }

  GTNET_INLINE double alone(const T* x, const T* y) const {
    Abreast<T, L> sum{}, a, b;
    for (int c = 0; c < cuts; ++c) {
      fetch(a, x + c * size);
      fetch(b, y + c * size);
      sum += a * b;
    }
    T total = 0;
    for (int i = 0; i < L; ++i) total += sum[i];
    return static_cast<double>(total);
  }
};

// to = from * scale of the item, 0 where that is 0.
template <class T, int L>
struct ScaleAbreast {
  int64_t num_positions;
  const T *from, *scale;
  T* to;

  GTNET_INLINE void operator()() const {
    Abreast<T, L> factor, x;
    fetch(factor, scale);
    for (int64_t p = 0; p < num_positions; ++p) {
      fetch(x, from + p * L);
      x = factor == 0 ? factor : x * factor;
      put(x, to + p * L);
    }
  }
};

// How often paths take each arc, times the grad of their item. The weights of the arcs are left for
// the end.
template <class T, int L>
class AbreastCounter {
 public:
  AbreastCounter(const AbreastRows<T>& rows, int64_t num_positions, bool counting)
      : rows_(rows),
        size_(num_positions * L),
        most_(static_cast<int>(std::clamp<int64_t>(kHeld / size_, 4, 16))),
        counts_(counting ? rows.arcs().size() : 0, 0.0),
        near_(counts_.empty() ? 0 : most_ * size_, false),
        from_(counts_.empty() ? 0 : most_ * size_, false) {}

  // A path passes an arc near[row] * near_scale * weight * from[other] * from_scale times.
  void add(const T* near, const T* near_scale, const T* from, const T* from_scale) {
    if (counts_.empty()) return;
    const int64_t at = held_ * size_, positions = size_ / L;
    vectorized(ScaleAbreast<T, L>{positions, near, near_scale, near_.begin() + at});
    vectorized(ScaleAbreast<T, L>{positions, from, from_scale, from_.begin() + at});
    if (++held_ == most_) count();
  }

  void collect(double* totals) {
    count();
    for (size_t k = 0; k < counts_.size(); ++k) {
      const int32_t arc = rows_.arcs()[k];
      if (arc >= 0) totals[arc] += counts_[k] * static_cast<double>(rows_.weights()[k]);
    }
  }

 private:
  static constexpr int64_t kHeld = 1 << 15;  // numbers

  const AbreastRows<T>& rows_;
  const int64_t size_;  // of the values of a cut
  const int most_;      // cuts counted at once
  std::vector<double> counts_;
  Aligned<T> near_, from_;  // of the cuts not counted yet
  int held_ = 0;

  void count() {
    if (held_ == 0) return;
    vectorized(
        CountAbreast<T, L>{rows_, held_, size_, near_.begin(), from_.begin(), counts_.data()});
    held_ = 0;
  }
};

}  // namespace gtnet
