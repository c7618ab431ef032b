// The largest and the smallest of many numbers, found side by side in the lanes of an array.
// Reductions of OpenMP by max and min do not do: Clang begins them with the largest finite number
// and not with infinity, so that nothing but -inf becomes a finite score, and takes one number
// after the other.
#pragma once

#include "core/platform.h"

namespace gtnet {

// NaN is not taken.
struct Larger {
  template <class T>
  GTNET_HD GTNET_INLINE T operator()(T known, T other) const {
    return other > known ? other : known;
  }
};
struct Smaller {
  template <class T>
  GTNET_HD GTNET_INLINE T operator()(T known, T other) const {
    return other < known ? other : known;
  }
};

// The one of N lanes, a power of two, that `take` takes of any two.
template <int N, class T, class Take>
GTNET_HD GTNET_INLINE T one_of(T* lanes, const Take& take) {
  if constexpr (N == 1) {
    return lanes[0];
  } else {
    GTNET_SIMD()
    for (int i = 0; i < N / 2; ++i) lanes[i] = take(lanes[i], lanes[i + N / 2]);
    return one_of<N / 2>(lanes, take);
  }
}

// Sixteen numbers that begin as one and the same.
template <class T>
struct SideBySide {
  static constexpr int kCount = 16;
  T lane[kCount];

  GTNET_INLINE explicit SideBySide(T all) {
    for (T& each : lane) each = all;
  }

  GTNET_INLINE void raise(int i, T x) { lane[i] = Larger{}(lane[i], x); }
  GTNET_INLINE void lower(int i, T x) { lane[i] = Smaller{}(lane[i], x); }
  GTNET_INLINE T largest() { return one_of<kCount>(lane, Larger{}); }
  GTNET_INLINE T smallest() { return one_of<kCount>(lane, Smaller{}); }
};

// see(k, lane) for all k in [0, count), a multiple of the lanes.
template <class See>
GTNET_INLINE void in_whole_lanes(int64_t count, const See& see) {
  constexpr int kCount = SideBySide<int>::kCount;
  for (int64_t first = 0; first < count; first += kCount) {
    GTNET_SIMD()
    for (int i = 0; i < kCount; ++i) see(first + i, i);
  }
}

// The same for any count. The rest goes to a lane that is known: lanes stay in registers.
template <class See>
GTNET_INLINE void in_lanes(int64_t count, const See& see) {
  constexpr int kCount = SideBySide<int>::kCount;
  const int64_t whole = count / kCount * kCount;
  in_whole_lanes(whole, see);
  for (int64_t k = whole; k < count; ++k) see(k, 0);
}

}  // namespace gtnet
