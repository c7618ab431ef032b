// One function in several instruction sets, the best of which is chosen at run time.
#pragma once

#include "core/platform.h"

// Under a sanitizer one instruction set is enough: all make the same accesses.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define GTNET_INSTRUCTION_SETS
#endif

namespace gtnet {

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

// The best one that code is compiled for and this processor has.
inline InstructionSet instruction_set() {
#ifdef GTNET_INSTRUCTION_SETS
  static const InstructionSet best =
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
          ? InstructionSet::kAvx512
      : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? InstructionSet::kAvx2
                                                                        : InstructionSet::kBaseline;
  return best;
#else
  return InstructionSet::kBaseline;
#endif
}

// Compiles `body` (a callable whose operator() is always_inline) once per instruction set and runs
// the best version that this processor has.
template <class Body>
struct Vectorized {
#ifdef GTNET_INSTRUCTION_SETS
  __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"))) static void avx512(
      const Body& body) {
    body();
  }
  __attribute__((target("avx2,fma"))) static void avx2(const Body& body) { body(); }
#endif
  static void baseline(const Body& body) { body(); }

  static void run(const Body& body) {
#ifdef GTNET_INSTRUCTION_SETS
    const InstructionSet best = instruction_set();
    if (best == InstructionSet::kAvx512) return avx512(body);
    if (best == InstructionSet::kAvx2) return avx2(body);
#endif
    baseline(body);
  }
};

// body() in the best instruction set.
template <class Body>
void vectorized(const Body& body) {
  Vectorized<Body>::run(body);
}

}  // namespace gtnet
