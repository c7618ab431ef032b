// What differs between a CPU compiler and nvcc, in one place.
#pragma once

#include <cstdint>
#include <limits>

#include "core/glibc.h"

#ifdef __CUDACC__
#define GTNET_HD __host__ __device__
#define GTNET_KERNEL __device__
#else
#define GTNET_HD
#define GTNET_KERNEL
#endif

#if defined(__GNUC__) || defined(__clang__)
#define GTNET_INLINE inline __attribute__((always_inline))
#else
#define GTNET_INLINE inline
#endif

// Vectorize the next loop and its reductions even though floating point is not associative.
#if defined(__CUDA_ARCH__)
#define GTNET_SIMD(clauses)
#else
#define GTNET_PRAGMA(text) _Pragma(#text)
#define GTNET_SIMD(clauses) GTNET_PRAGMA(omp simd clauses)
#endif

// After GTNET_SIMD, for a loop over lanes that gathers or chooses: Clang would first write out its
// rounds, and then finds few vectors in them.
#ifdef __clang__
#define GTNET_ROLLED GTNET_PRAGMA(clang loop unroll(disable))
#else
#define GTNET_ROLLED
#endif

// A CPU takes the arcs of a state in vectors; a GPU thread, real or emulated, one by one.
#if !defined(__CUDA_ARCH__) && !defined(GTNET_EMULATED)
#define GTNET_VECTORS
#endif

namespace gtnet {

constexpr int kWarp = 32;  // threads of a GPU that go in step
constexpr double kNegInf = -std::numeric_limits<double>::infinity();
constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();
constexpr int32_t kEpsilon = -1;
constexpr int32_t kNone = -1;  // in arc maps: the arc comes from no arc of this operand

}  // namespace gtnet
