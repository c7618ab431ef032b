// Scores gathered along an arc map, and the adjoint.
#pragma once

#include "core/topology.h"

namespace gtnet::rewrite {

// result[i] = values[index[i]], and 0 (the one of the semiring) where index[i] is kNone.
template <class T>
struct Take {
  In<T> values;
  In<int32_t> index;
  Out<T> result;

  GTNET_HD GTNET_INLINE void operator()(int64_t i) const { result[i] = of(i); }
  // The same on top of what is there.
  GTNET_HD GTNET_INLINE void add(int64_t i) const { result[i] += of(i); }

 private:
  GTNET_HD GTNET_INLINE T of(int64_t i) const {
    return index[i] == kNone ? T{0} : values[index[i]];
  }
};

// Adds values[i] to sums[index[i]], in order of i: one sweep, on one thread.
template <class T>
void add_by(const int32_t* index, const T* values, int64_t count, double* sums) {
  for (int64_t i = 0; i < count; ++i) {
    if (index[i] != kNone) sums[index[i]] += static_cast<double>(values[i]);
  }
}

// grad_values[j] = sum of grad[i] over the i with index[i] = j, in order of i. `by_index` lists the
// places i in order of index[i], so that j finds its own by bisection and needs no atomics.
template <class T>
struct TakeGradient {
  In<int32_t> index;
  In<int64_t> by_index;
  In<T> grad;
  Out<T> grad_values;
  int64_t size;

  GTNET_HD GTNET_INLINE void operator()(int64_t j) const {
    int64_t low = 0, high = size;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (index[by_index[middle]] < j) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    double sum = 0;
    for (; low < size && index[by_index[low]] == j; ++low) {
      sum += static_cast<double>(grad[by_index[low]]);
    }
    grad_values[j] = static_cast<T>(sum);
  }
};

}  // namespace gtnet::rewrite
