// Numbers of interleaved items: vectors of eight or sixteen.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/simd_dispatch.h"

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define GTNET_SHUFFLES
#endif
#endif

namespace gtnet::lattice::interleaved {

// One number for each of L items, in a register or two.
template <class T, int L>
struct VectorOf {
  typedef T type __attribute__((vector_size(L * sizeof(T))));
};
template <class T, int L>
using Vector = typename VectorOf<T, L>::type;

// Numbers next to each other in memory, and back.
template <class Vector, class T>
GTNET_INLINE void fetch(Vector& numbers, const T* from) {
  std::memcpy(&numbers, from, sizeof numbers);
}
template <class Vector, class T>
GTNET_INLINE void put(const Vector& numbers, T* to) {
  std::memcpy(to, &numbers, sizeof numbers);
}

// Whether registers hold 64 bytes.
inline bool registers_are_long() {
  return instruction_set() == InstructionSet::kAvx512;
}

// run(a constant W): how many of L numbers a register holds. Longer vectors would be compared
// number by number.
template <class T, int L, class Run>
void in_registers(const Run& run) {
  constexpr int kLong = std::min<int>(L, 64 / sizeof(T)), kShort = std::min<int>(L, 32 / sizeof(T));
  registers_are_long() ? run(std::integral_constant<int, kLong>())
                       : run(std::integral_constant<int, kShort>());
}

// v[i][j] and v[j][i] change places.
template <class T>
GTNET_INLINE void transpose(Vector<T, 8> (&v)[8]) {
#ifdef GTNET_SHUFFLES
  Vector<T, 8> a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    a[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int k = 0; k < 4; ++k) {
    const int i = k / 2 * 4 + k % 2;
    b[i] = __builtin_shufflevector(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 2] = __builtin_shufflevector(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    v[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
#else
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < i; ++j) {
      const T kept = v[i][j];
      v[i][j] = v[j][i];
      v[j][i] = kept;
    }
  }
#endif
}

// Eight sums over items.
template <class T>
GTNET_INLINE void add_up(Vector<T, 8> (&v)[8], Vector<T, 8>& sums) {
  transpose<T>(v);
  sums = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}
template <class T>
GTNET_INLINE void add_up(Vector<T, 16> (&v)[8], Vector<T, 8>& sums) {
  Vector<T, 8> halves[8], half;
  for (int i = 0; i < 8; ++i) {
    fetch(halves[i], reinterpret_cast<const T*>(&v[i]));
    fetch(half, reinterpret_cast<const T*>(&v[i]) + 8);
    halves[i] += half;
  }
  add_up<T>(halves, sums);
}

// x[2 i] = x[2 i + 1] = from[i]
GTNET_INLINE void doubled(const float* from, Vector<float, 16>& x) {
  Vector<float, 8> once;
  fetch(once, from);
#ifdef GTNET_SHUFFLES
  x = __builtin_shufflevector(once, once, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
#else
  for (int i = 0; i < 16; ++i) x[i] = once[i / 2];
#endif
}

// What stands at even places goes to to[0, 8), the rest behind it.
GTNET_INLINE void parted(const Vector<float, 16>& x, float* to, bool adding) {
  Vector<float, 16> parts;
#ifdef GTNET_SHUFFLES
  parts = __builtin_shufflevector(x, x, 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  for (int i = 0; i < 16; ++i) parts[i] = x[i % 8 * 2 + i / 8];
#endif
  if (adding) {
    Vector<float, 16> there;
    fetch(there, to);
    parts += there;
  }
  put(parts, to);
}

}  // namespace gtnet::lattice::interleaved
