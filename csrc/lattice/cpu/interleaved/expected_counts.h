// How often paths take each arc, counted for interleaved items.
#pragma once

#include <vector>

#include "lattice/cpu/interleaved/spmm.h"

namespace gtnet::lattice::interleaved {

// counts[entry] += sum of near[row] * from[other] over vectors of items, of a few cuts, which are
// `size` numbers apart.
template <class T>
struct Count {
  static constexpr int L = 16;
  const Rows<T>& rows;
  int vectors;
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
  GTNET_INLINE void together(const typename Rows<T>::Block& block) const {
    constexpr int J = 8 / R;
    const T* const here = near + int64_t{block.row} * L;
    const int32_t* const other = rows.other() + block.other;
    double* count = counts + block.begin;
    int32_t j = 0;
    for (; j + J <= block.entries; j += J, count += 8) {
      Vector<T, L> sum[8] = {}, x[R], y;
      for (int c = 0; c < vectors; ++c) {
        for (int i = 0; i < R; ++i) fetch(x[i], here + c * size + i * L);
        for (int k = 0; k < J; ++k) {
          fetch(y, from + c * size + int64_t{other[j + k]} * L);
          for (int i = 0; i < R; ++i) sum[k * R + i] += x[i] * y;
        }
      }
      Vector<T, 8> sums;
      add_up<T>(sum, sums);
      for (int i = 0; i < 8; ++i) count[i] += static_cast<double>(sums[i]);
    }
    for (; j < block.entries; ++j) {
      for (int i = 0; i < R; ++i) *count++ += alone(here + i * L, from + int64_t{other[j]} * L);
    }
  }

  GTNET_INLINE double alone(const T* x, const T* y) const {
    Vector<T, L> sum{}, a, b;
    for (int c = 0; c < vectors; ++c) {
      fetch(a, x + c * size);
      fetch(b, y + c * size);
      sum += a * b;
    }
    T total = 0;
    for (int i = 0; i < L; ++i) total += sum[i];
    return static_cast<double>(total);
  }
};

// to = from * scale of the item, 0 where that is 0, into vectors of sixteen; W at once.
template <class T, int L, int W>
struct Scale {
  int64_t num_positions;
  const T *from, *scale;
  T* to;

  GTNET_INLINE void operator()() const {
    Vector<T, W> factor[L / W], x;
    for (int i = 0; i < L / W; ++i) fetch(factor[i], scale + i * W);
    for (int64_t p = 0; p < num_positions; ++p) {
      for (int i = 0; i < L / W; ++i) {
        fetch(x, from + p * L + i * W);
        x = factor[i] == 0 ? factor[i] : x * factor[i];
        put(x, to + p * 16 + i * W);
      }
    }
  }
};

// How often paths take each arc, times the grad of their item. The weights of the arcs are left for
// the end. Two cuts of eight items share vectors of sixteen.
template <class T, int L>
class ArcCounter {
 public:
  ArcCounter(const Rows<T>& rows, int64_t num_positions, bool counting)
      : rows_(rows),
        positions_(num_positions),
        most_(static_cast<int>(std::clamp<int64_t>(kHeld / size(), 4, 16)) * kShare),
        counts_(counting ? rows.arcs().size() : 0, 0.0),
        near_(counts_.empty() ? 0 : most_ / kShare * size()),
        from_(counts_.empty() ? 0 : most_ / kShare * size()) {}

  // A path passes an arc near[row] * near_scale * weight * from[other] * from_scale times.
  void add(const T* near, const T* near_scale, const T* from, const T* from_scale) {
    if (counts_.empty()) return;
    const int64_t at = held_ / kShare * size() + held_ % kShare * L;
    in_registers<T, L>([&](auto width) {
      vectorized(Scale<T, L, width()>{positions_, near, near_scale, near_.begin() + at});
      vectorized(Scale<T, L, width()>{positions_, from, from_scale, from_.begin() + at});
    });
    if (++held_ == most_) count();
  }

  void collect(double* totals) {
    if (held_ % kShare) clear_half();
    count();
    for (size_t k = 0; k < counts_.size(); ++k) {
      const int32_t arc = rows_.arcs()[k];
      if (arc >= 0) totals[arc] += counts_[k] * static_cast<double>(rows_.weights()[k]);
    }
  }

 private:
  static constexpr int kShare = 16 / L;      // cuts
  static constexpr int64_t kHeld = 1 << 15;  // numbers

  const Rows<T>& rows_;
  const int64_t positions_;
  const int most_;  // cuts counted at once
  std::vector<double> counts_;
  Aligned<T> near_, from_;  // of the cuts not counted yet
  int held_ = 0;

  int64_t size() const { return positions_ * 16; }

  // The last cut has a vector to itself.
  void clear_half() {
    const int64_t half = held_ / kShare * size() + L;
    for (int64_t p = 0; p < positions_; ++p) {
      std::fill_n(near_.begin() + half + p * 16, L, T{0});
      std::fill_n(from_.begin() + half + p * 16, L, T{0});
    }
    ++held_;
  }

  void count() {
    if (held_ == 0) return;
    vectorized(
        Count<T>{rows_, held_ / kShare, size(), near_.begin(), from_.begin(), counts_.data()});
    held_ = 0;
  }
};

}  // namespace gtnet::lattice::interleaved
