// Sums over the rows of a layout with many entries, in ordinary numbers: a matrix-vector product of
// weights and positions, all relative to the largest. What is too small for that counts as 0, and a
// slice whose sums may miss it is done again with exponents, so the result is as good.
#pragma once

#include <algorithm>
#include <vector>

#include "core/drivers.h"
#include "lattice/cpu/spmv_extended.h"

namespace gtnet::lattice {

template <class T>
struct Scaled;

// Weights reach down to 2^-kWeights, positions to 2^-kPositions; a sum of 2^-kSure misses nothing.
template <>
struct Scaled<float> {
  static constexpr int32_t kWeights = 40, kPositions = 80;
  static constexpr float kSure = 0x1p-40f;
};

template <>
struct Scaled<double> {
  static constexpr int64_t kWeights = 300, kPositions = 600;
  static constexpr double kSure = 0x1p-500;
};

// Positions relative to the largest, with margins of 0.
template <class T>
class ScaledPositions {
 public:
  Exponent<T> top = 0;
  int32_t lost = 0;  // positions that are not 0 and became it

  explicit ScaledPositions(int64_t count) : count_(count), x_(count) {}

  void set(Numbers<T> from) { vectorized(Fill{count_, from, x_.begin(), &top, &lost}); }
  const T* begin() const { return x_.begin(); }

 private:
  int64_t count_;
  Aligned<T> x_;

  struct Fill {
    int64_t count;
    Numbers<T> from;
    T* x;
    Exponent<T>* top;
    int32_t* lost;

    GTNET_INLINE void operator()() const {
      Exponent<T> largest = extended::Limits<T>::kZero;
      GTNET_SIMD(reduction(max : largest))
      for (int64_t p = 0; p < count; ++p) largest = from.e[p] > largest ? from.e[p] : largest;
      int32_t small = 0;
      GTNET_SIMD(reduction(+ : small))
      for (int64_t p = 0; p < count; ++p) {
        const Exponent<T> d = from.e[p] - largest;
        const bool is_small = d < -Scaled<T>::kPositions;
        small += is_small && from.m[p] != 0 ? 1 : 0;
        x[p] = is_small ? T{0} : from.m[p] * extended::power_of_two<T>(d);
      }
      *top = largest;
      *lost = small;
    }
  };
};

// The weights of a layout relative to the largest, where it has many entries and they are of about
// one size; not usable elsewhere.
template <class T>
class ScaledWeights {
 public:
  bool usable = false;
  Exponent<T> top = extended::Limits<T>::kZero;

  ScaledWeights(const layout::SlicedRows& rows, Numbers<T> weights) : w_(0) {
    const int64_t count = int64_t{rows.num_entries} * kLanes;
    if (rows.num_entries < 4 * rows.num_slices) return;
    Exponent<T> least = -extended::Limits<T>::kZero;
    for (int64_t k = 0; k < count; ++k) {
      if (weights.m[k] == 0) continue;
      top = std::max(top, weights.e[k]);
      least = std::min(least, weights.e[k]);
    }
    if (top - least > Scaled<T>::kWeights) return;
    usable = true;
    w_ = Aligned<T>(count);
    for (int64_t k = 0; k < count; ++k) {
      if (weights.m[k] != 0)
        w_.begin()[k] = weights.m[k] * extended::power_of_two<T>(weights.e[k] - top);
    }
    first_.resize(rows.num_entries);
    for (int32_t j = 0; j < rows.num_entries; ++j) first_[j] = rows.other[int64_t{j} * kLanes];
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      bool same = rows.kind[k] != kLongRow;
      for (int32_t j = rows.begin[k]; j < rows.begin[k + 1]; ++j) {
        same = same && rows.access[j] == kBroadcast;
      }
      broadcast_.push_back(same);
    }
  }

  const T* begin() const { return w_.begin(); }
  const int32_t* first() const { return first_.data(); }       // [entries] the first other end
  const char* broadcast() const { return broadcast_.data(); }  // [slices] one other end per entry

 private:
  Aligned<T> w_;
  std::vector<int32_t> first_;
  std::vector<char> broadcast_;
};

// As SpmvExtended, with the weights and the positions scaled.
template <class T, bool kReading>
struct SpmvScaled {
  SpmvExtended<T, kReading, false> wide;
  const ScaledWeights<T>& weights;
  const ScaledPositions<T>& from;

  GTNET_INLINE void operator()() const {
    const layout::SlicedRows& rows = wide.rows;
    const Exponent<T> top = weights.top + from.top;
    bool again = false;
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int32_t* const to = rows.to + int64_t{k} * kLanes;
      Lanes<T> sum{};
      if (weights.broadcast()[k]) {
        add_broadcast(rows.begin[k], rows.begin[k + 1], sum);
      } else {
        add(rows.begin[k], rows.begin[k + 1], sum);
      }
      if (rows.kind[k] == kLongRow) {
        T total = 0;
        for (int i = 0; i < kLanes; ++i) total += sum[i];
        sum[0] = total;
      }
      if (from.lost > 0 && misses(to, sum)) {
        wide.run(k);
        again = true;
      } else if (rows.kind[k] == kInOrder) {
        const Numbers<T> out = wide.out + to[0];
        const int32_t* const reads = wide.label + to[0];
        GTNET_SIMD()
        for (int i = 0; i < kLanes; ++i) write(out, i, sum[i], top, reads[i]);
      } else {
        for (int i = 0; i < kLanes; ++i) {
          if (to[i] >= 0) write(wide.out, to[i], sum[i], top, wide.label[to[i]]);
        }
      }
    }
    if (again) count(Driver::kScaledAgain);
  }

 private:
  GTNET_INLINE void write(Numbers<T> out, int32_t at, T m, Exponent<T> e, int32_t reads) const {
    extended::normalize(m, e);
    if constexpr (kReading) {
      m *= wide.emission[reads];  // a small sum of them might underflow
      extended::normalize(m, e);
    }
    out.m[at] = m;
    out.e[at] = e;
  }

  GTNET_INLINE bool misses(const int32_t* to, const Lanes<T>& sum) const {
    bool found = false;
    for (int i = 0; i < kLanes; ++i) found = found || (to[i] >= 0 && sum[i] < Scaled<T>::kSure);
    return found;
  }

  // Four sums side by side: one would wait for itself.
  GTNET_INLINE void add_broadcast(int32_t begin, int32_t end, Lanes<T>& total) const {
    const T *w = weights.begin() + int64_t{begin} * kLanes, *const x = from.begin();
    const int32_t* const first = weights.first();
    Lanes<T> s0{}, s1{}, s2{}, s3{}, w0, w1, w2, w3;
    int32_t j = begin;
    for (; j + 4 <= end; j += 4, w += 4 * kLanes) {
      load<T>(w0, w);
      load<T>(w1, w + kLanes);
      load<T>(w2, w + 2 * kLanes);
      load<T>(w3, w + 3 * kLanes);
      s0 += w0 * x[first[j]];
      s1 += w1 * x[first[j + 1]];
      s2 += w2 * x[first[j + 2]];
      s3 += w3 * x[first[j + 3]];
    }
    for (; j < end; ++j, w += kLanes) {
      load<T>(w0, w);
      s0 += w0 * x[first[j]];
    }
    total = (s0 + s1) + (s2 + s3);
  }

  GTNET_INLINE void add(int32_t begin, int32_t end, Lanes<T>& total) const {
    Lanes<T> other = {}, s0{}, s1{};
    int32_t j = begin;
    for (; j + 2 <= end; j += 2) {
      add_entry(j, s0);
      add_entry(j + 1, s1);
    }
    if (j < end) add_entry(j, other);
    total = s0 + s1 + other;
  }

  GTNET_INLINE void add_entry(int32_t j, Lanes<T>& sum) const {
    const int32_t* const other = wide.rows.other + int64_t{j} * kLanes;
    Lanes<T> w, x;
    load<T>(w, weights.begin() + int64_t{j} * kLanes);
    if (wide.rows.access[j] == kContiguous) {
      load<T>(x, from.begin() + other[0]);
    } else {
      T gathered[kLanes];
      GTNET_SIMD()
      for (int i = 0; i < kLanes; ++i) gathered[i] = from.begin()[other[i]];
      load<T>(x, gathered);
    }
    sum += w * x;
  }
};

// counts[k] += near[its row] * from[other end] * scale, over a few frames at once; the weight of
// the entry is left for the end.
template <class T>
struct CountScaled {
  static constexpr int kFrames = 4;
  const layout::SlicedRows& rows;
  const ScaledWeights<T>& weights;
  const T* near[kFrames];
  const T* from[kFrames];
  T scale[kFrames];
  T* counts;

  GTNET_INLINE void operator()() const {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int32_t* const to = rows.to + int64_t{k} * kLanes;
      Lanes<T> a[kFrames];
      for (int f = 0; f < kFrames; ++f) {
        if (rows.kind[k] == kInOrder) {
          load<T>(a[f], near[f] + to[0]);
        } else {
          const bool along = rows.kind[k] == kLongRow;
          for (int i = 0; i < kLanes; ++i) {
            const int32_t p = to[along ? 0 : i];
            a[f][i] = p < 0 ? T{0} : near[f][p];
          }
        }
      }
      for (int f = 0; f < kFrames; ++f) a[f] *= scale[f];
      const int32_t* const first = weights.first();
      for (int32_t j = rows.begin[k]; j < rows.begin[k + 1]; ++j) {
        T* const count = counts + int64_t{j} * kLanes;
        Lanes<T> sum;
        load<T>(sum, count);
        if (rows.access[j] == kBroadcast) {
          for (int f = 0; f < kFrames; ++f) sum += a[f] * from[f][first[j]];
        } else {
          for (int f = 0; f < kFrames; ++f) {
            T gathered[kLanes];
            const int32_t* const other = rows.other + int64_t{j} * kLanes;
            GTNET_SIMD()
            for (int i = 0; i < kLanes; ++i) gathered[i] = from[f][other[i]];
            Lanes<T> x;
            load<T>(x, gathered);
            sum += a[f] * x;
          }
        }
        std::memcpy(count, &sum, sizeof sum);
      }
    }
  }
};

}  // namespace gtnet::lattice
