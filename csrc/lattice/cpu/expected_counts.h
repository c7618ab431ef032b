// How often paths take each arc of a graph, counted cut by cut.
#pragma once

#include <vector>

#include "lattice/cpu/cut_sums.h"

namespace gtnet::lattice {

// counts[k] += probability of the arc of entry k: near[its row] * weight * from[other end] * scale.
template <class T>
struct CountArcs {
  using E = Exponent<T>;
  layout::SlicedRows rows;
  Numbers<T> weight, near, from;
  T scale_m;
  E scale_e;
  T* counts;

  GTNET_INLINE void operator()() const {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int32_t* const to = rows.to + int64_t{k} * kLanes;
      const bool along = rows.kind[k] == kLongRow;
      T m[kLanes];
      E e[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const int32_t p = along ? to[0] : to[i] < 0 ? 0 : to[i];
        m[i] = near.m[p] * scale_m;
        e[i] = near.e[p] + scale_e;
      }
      for (int32_t j = rows.begin[k]; j < rows.begin[k + 1]; ++j) {
        const int64_t at = int64_t{j} * kLanes;
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
  template <layout::Access A>
  GTNET_INLINE void entry(const T* m, const E* e, int64_t at) const {
    const int32_t* const other = rows.other + at;
    const int32_t first = A == kGathered ? 0 : other[0];
    const T *const wm = weight.m + at, *const fm = from.m + first;
    const E *const we = weight.e + at, *const fe = from.e + first;
    T* const count = counts + at;
    GTNET_SIMD()
    for (int i = 0; i < kLanes; ++i) {
      const int32_t p = A == kGathered ? other[i] : A == kContiguous ? i : 0;
      // A product of zeros has the exponent of two; with two more the sum would overflow.
      const E far = fe[p] < extended::Limits<T>::kZero ? extended::Limits<T>::kZero : fe[p];
      count[i] += m[i] * (wm[i] * fm[p]) * extended::power_of_two<T>(e[i] + we[i] + far);
    }
  }
};

// Sums of probabilities of arcs over cuts: in T for a few, then in double.
template <class T>
class ArcCounter {
 public:
  ArcCounter(const layout::SlicedRows& rows, const RowWeights<T>& weights,
             const ScaledWeights<T>* scaled, int64_t num_positions, bool counting)
      : rows_(rows),
        weights_(weights),
        scaled_(scaled && scaled->usable ? scaled : nullptr),
        size_(counting ? int64_t{rows.num_entries} * kLanes : 0),
        few_(size_),
        all_(size_, 0.0),
        few_scaled_(scaled_ ? size_ : 0) {
    for (int f = 0; f < kFrames && scaled_ && counting; ++f) {
      near_.emplace_back(num_positions);
      from_.emplace_back(num_positions);
    }
  }

  // Where the positions of the next frame may be scaled to, if they are to be.
  ScaledPositions<T>* room() { return near_.empty() ? nullptr : &from_[frames_]; }

  // `from` is in room() as well.
  void add(Numbers<T> near, Numbers<T> from, Scale<T> scale) {
    if (!near_.empty()) {
      near_[frames_].set(near);
      const Exponent<T> exponent = near_[frames_].top + from_[frames_].top + scale.e + scaled_->top;
      // What was lost of a factor must not matter in the product.
      if (exponent <= Scaled<T>::kWeights) {
        scale_[frames_] = scale.m * extended::power_of_two<T>(exponent);
        if (++frames_ == kFrames) count_frames();
        return;
      }
    }
    few_used_ = true;
    vectorized(CountArcs<T>{rows_, weights_.begin(), near, from, scale.m, scale.e, few_.begin()});
  }

  // Into by_cut, the totals of this cut alone, if it is not null.
  void advance(double* by_cut, double scale) {
    if (by_cut != nullptr) {
      collect(scale, by_cut);
      std::fill(all_.begin(), all_.end(), 0.0);
    } else if (++cuts_ % 128 == 0) {
      flush();
    }
  }

  void collect(double scale, double* totals) {
    flush();
    for (size_t k = 0; k < all_.size(); ++k) {
      if (rows_.arc[k] >= 0) totals[rows_.arc[k]] += scale * all_[k];
    }
  }

 private:
  static constexpr int kFrames = CountScaled<T>::kFrames;
  const layout::SlicedRows& rows_;
  const RowWeights<T>& weights_;
  const ScaledWeights<T>* const scaled_;
  const int64_t size_;
  Aligned<T> few_;
  std::vector<double> all_;
  Aligned<T> few_scaled_;
  std::vector<ScaledPositions<T>> near_, from_;
  T scale_[kFrames];
  int frames_ = 0;
  bool few_used_ = false;
  int64_t cuts_ = 0;

  void count_frames() {
    if (frames_ == 0) return;
    CountScaled<T> count{rows_, *scaled_, {}, {}, {}, few_scaled_.begin()};
    for (int f = 0; f < kFrames; ++f) {
      count.scale[f] = f < frames_ ? scale_[f] : T{0};
      count.near[f] = near_[f].begin();
      count.from[f] = from_[f].begin();
    }
    vectorized(count);
    frames_ = 0;
  }

  // all += few * weight, few = 0.
  struct Flush {
    int64_t size;
    T* few;
    const T* weight;  // null: 1
    double* all;

    GTNET_INLINE void operator()() const {
      if (weight == nullptr) {
        GTNET_SIMD()
        for (int64_t k = 0; k < size; ++k) all[k] += static_cast<double>(few[k]);
      } else {
        GTNET_SIMD()
        for (int64_t k = 0; k < size; ++k) {
          all[k] += static_cast<double>(few[k]) * static_cast<double>(weight[k]);
        }
      }
      std::fill_n(few, size, T{0});
    }
  };

  void flush() {
    count_frames();
    if (few_used_) vectorized(Flush{size_, few_.begin(), nullptr, all_.data()});
    few_used_ = false;
    if (scaled_) vectorized(Flush{size_, few_scaled_.begin(), scaled_->begin(), all_.data()});
  }
};

}  // namespace gtnet::lattice
