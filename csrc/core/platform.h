// What differs between a CPU compiler and nvcc, in one place.
#pragma once

#include <cstdint>
#include <limits>

#ifdef __CUDACC__
#define GTNET_HD __host__ __device__
#else
#define GTNET_HD
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

// A CPU takes the arcs of a state in vectors; a GPU thread and its stand-in take them one by one.
#if !defined(__CUDA_ARCH__) && !defined(GTNET_STANDIN)
#define GTNET_VECTORS
#endif

namespace gtnet {

constexpr double kNegInf = -std::numeric_limits<double>::infinity();
constexpr int32_t kEpsilon = -1;
constexpr int32_t kNone = -1;  // in arc maps: the arc comes from no arc of this operand

}  // namespace gtnet
