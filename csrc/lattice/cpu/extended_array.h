// Arrays of numbers m * 2^e, one per position, and vectors of as many as a slice has lanes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

#include "core/extended_float.h"
#include "layout/lanes.h"

namespace gtnet::lattice {

using layout::kLanes;

// An array of numbers, one per position.
template <class T>
struct Numbers {
  T* m;
  Exponent<T>* e;

  Numbers operator+(int64_t positions) const { return {m + positions, e + positions}; }
};

// Arrays of positions have this much room on both sides for vectors that reach over.
constexpr int64_t kMargin = kLanes;

// As many numbers as a slice has lanes, in a register or two.
template <class T>
struct LanesOf {
  typedef T type __attribute__((vector_size(kLanes * sizeof(T))));
};
template <class T>
using Lanes = typename LanesOf<T>::type;

template <class T>
GTNET_INLINE void load(Lanes<T>& lanes, const T* from) {
  std::memcpy(&lanes, from, sizeof lanes);
}

// One of all lanes: take(a, b) takes b into a, numbers or vectors of them.
template <class T, int N = kLanes, class Lanes, class Take>
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
  std::fill_n(numbers.m, kLanes, T{0});
  std::fill_n(numbers.e, kLanes, extended::Limits<T>::kZero);
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
    std::fill_n(numbers.e, count, extended::Limits<T>::kZero);
  }

  Numbers<T> begin() const { return {m_.begin(), e_.begin()}; }

 private:
  Aligned<T> m_;
  Aligned<Exponent<T>> e_;

  Array(int64_t positions, std::nullptr_t) : m_(positions, false), e_(positions, false) {}
};

}  // namespace gtnet::lattice
