// Path sums of acyclic graphs as sums of products, on the CPU: each state has a number m * 2^e
// (core/extended_float.h), and an arc multiplies it by exp(weight). Those factors are made for all
// arcs at once, in vectors, so that walks take neither exponentials nor logarithms. The logs of all
// distances come in vectors at the end. What they are is said in paths/log_distance.h; no number
// becomes 0 that is not, however long a path.
#pragma once

#include <algorithm>

#include "core/extended_float.h"
#include "core/topology.h"
#include "layout/state_slices.h"
#include "paths/log_distance.h"

namespace gtnet::paths {

using Number = ExtendedFloat<double>;

// Scores of this size at most, or -inf, have factors with room to spare.
constexpr double kModerate = 300;

// Sums start at the exponent of their first term; a term so far above it moves them there. Below,
// a term underflows to 0 only where it is nothing beside them.
constexpr int64_t kFarAbove = 300;

// Weights are read in the order of their states: they are fetched so many arcs before.
constexpr int32_t kFetchedAhead = 64;

// Whether all scores are moderate or -inf.
template <class T>
GTNET_INLINE bool are_moderate(const T* scores, int64_t count) {
  int32_t wide = 0;
  GTNET_SIMD(reduction(| : wide))
  for (int64_t i = 0; i < count; ++i) {
    const bool low = scores[i] < -kModerate && scores[i] != static_cast<T>(kNegInf);
    const bool high = !(scores[i] <= kModerate);  // or NaN, which the general way passes on
    wide |= static_cast<int32_t>(high) | static_cast<int32_t>(low);
  }
  return wide == 0;
}

// factors[i] = exp(scores[i]), if all scores are moderate. Doubles whatever T is, or their errors
// would add up along a path.
template <class T>
GTNET_INLINE bool exponentials(const T* scores, int64_t count, double* factors) {
  constexpr int64_t kPart = 2048;  // stays in the cache between the look and the work
  for (int64_t begin = 0; begin < count; begin += kPart) {
    const int64_t size = std::min(kPart, count - begin);
    const T* const x = scores + begin;
    double* const y = factors + begin;
    if (!are_moderate(x, size)) return false;
    GTNET_SIMD()
    for (int64_t i = 0; i < size; ++i) y[i] = exp_of<double>(static_cast<double>(x[i]));
  }
  return true;
}

// Leaves out of [begin, end) what lies at its ends and is impossible, in large pieces.
template <class T>
GTNET_INLINE void trim(const T* scores, int64_t& begin, int64_t& end) {
  static constexpr int64_t kPart = 256;
  const auto impossible = [](const T* part) __attribute__((always_inline)) {
    int32_t possible = 0;
    GTNET_SIMD(reduction(| : possible))
    for (int64_t i = 0; i < kPart; ++i) {
      possible |= static_cast<int32_t>(part[i] != static_cast<T>(kNegInf));
    }
    return possible == 0;
  };
  while (end - begin >= kPart && impossible(scores + begin)) begin += kPart;
  while (end - begin >= kPart && impossible(scores + end - kPart)) end -= kPart;
}

// Numbers from their logs and back, in vectors: exponents are read and written as bits.
GTNET_INLINE void numbers_of(const double* logs, int64_t count, Number* numbers) {
  using namespace detail;
  GTNET_SIMD()
  for (int64_t i = 0; i < count; ++i) {
    const bool zero = logs[i] == kNegInf;
    const double x = zero ? 0 : logs[i];
    const double shifted = x * kLog2e + kRound, k = shifted - kRound;
    const double m = exp_of<double>((x - k * kLn2High) - k * kLn2Low);
    const int64_t e = std::bit_cast<int64_t>(shifted) - std::bit_cast<int64_t>(kRound);
    numbers[i].m = zero ? 0 : m;
    numbers[i].e = zero ? Number::zero().e : e;
  }
}

GTNET_INLINE void logs_of(const Number* numbers, int64_t count, double* logs) {
  using namespace detail;
  GTNET_SIMD()
  for (int64_t i = 0; i < count; ++i) {
    const bool upper = numbers[i].m > 1.4142135623730951;
    const double m = upper ? numbers[i].m * 0.5 : numbers[i].m;
    const int64_t bits = numbers[i].e + std::bit_cast<int64_t>(kRound);
    const double whole = std::bit_cast<double>(bits) - kRound, e = upper ? whole + 1 : whole;
    const double log = e * kLn2High + (e * kLn2Low + log_near_one(m));
    logs[i] = m == 0 ? kNegInf : log;
  }
}

// distance[s] = exp(start[s]) + sum over entering arcs a of distance[source(a)] * factors[a].
template <class T>
struct ScaledDistance {
  Csr entering;
  const double* factors;
  const T* start;
  Number* distance;
  int32_t end_of_arcs;  // of the graph

  GTNET_INLINE void operator()(int64_t /*graph*/, int32_t s) const {
    const int32_t begin = entering.offsets[s], end = entering.offsets[s + 1];
    Number total = Number::zero();
    if (start[s] != static_cast<T>(kNegInf)) {
      extended::exp<double>(start[s], total.m, total.e);
    } else if (begin < end && factors[entering.arcs[begin]] != 0) {
      total.e = distance[entering.states[begin]].e;
    }
    if (end - begin >= layout::kManyArcs && layout::is_run(entering, begin, end)) {
      add(distance[entering.states[begin]], sum(factors + entering.arcs[begin], end - begin),
          total);
    } else {
      for (int32_t k = begin; k < end; ++k) {
        const int32_t ahead = k + kFetchedAhead;
        __builtin_prefetch(factors + entering.arcs[ahead < end_of_arcs ? ahead : k]);
        add(distance[entering.states[k]], factors[entering.arcs[k]], total);
      }
    }
    extended::normalize<double>(total.m, total.e);
    distance[s] = total;
  }

 private:
  // total += from * factor
  GTNET_INLINE static void add(const Number& from, double factor, Number& total) {
    const double product = from.m * factor;
    int64_t above = from.e - total.e;
    if (__builtin_expect(above > kFarAbove, 0)) {
      if (product == 0) return;
      total.m *= extended::power_of_two<double>(-above);
      total.e = from.e;
      above = 0;
    }
    total.m += product * extended::power_of_two<double>(above);
  }

  GTNET_INLINE static double sum(const double* factors, int32_t count) {
    double total = 0;
    GTNET_SIMD(reduction(+ : total))
    for (int32_t k = 0; k < count; ++k) total += factors[k];
    return total;
  }
};

// The gradient where only the scores have one: with rest[s] what passes through s over its
// distance, each arc from s to t has the chance distance[s] * factor * rest[t], and
//   rest[s] = (chance of ending in s + chances of its leaving arcs) / distance[s].
template <class T>
struct ScaledPosteriors {
  Csr leaving;
  const double* factors;
  const T* start;
  const T* accept;
  const double* alpha;
  const double* score;
  const double* grad_score;
  const Number* distance;  // exp(alpha)
  Number* rest;
  T* grad_weights;
  T* grad_start;
  T* grad_accept;

  GTNET_INLINE void operator()(int64_t graph, int32_t s) const {
    const int32_t begin = leaving.offsets[s], end = leaving.offsets[s + 1];
    const Number from = distance[s];
    const double scale = grad_score[graph], last = static_cast<double>(accept[s]);
    double flow = 0;
    if (last != kNegInf && from.m != 0) flow = exp_of<double>(alpha[s] + last - score[graph]);
    grad_accept[s] = static_cast<T>(flow * scale);
    if (end - begin >= layout::kManyArcs && layout::is_run(leaving, begin, end)) {
      flow += run(from, rest[leaving.states[begin]], scale, leaving.arcs[begin], end - begin);
    } else {
      for (int32_t k = begin; k < end; ++k) {
        const double chance = through(from, rest[leaving.states[k]]) * factors[leaving.arcs[k]];
        grad_weights[leaving.arcs[k]] = static_cast<T>(chance * scale);
        flow += chance;
      }
    }
    finish(s, flow == 0 ? Number::zero() : over(known(flow, alpha[s]), from), scale);
  }

 private:
  GTNET_INLINE static double through(const Number& from, const Number& to) {
    constexpr int64_t kMost = 1000;  // beyond it lies only what an impossible arc would pass on
    const int64_t e = from.e + to.e;
    return from.m * to.m * extended::power_of_two<double>(e < kMost ? e : kMost);
  }

  GTNET_INLINE static Number over(double flow, const Number& from) {
    Number left{flow / from.m, -from.e};
    extended::normalize<double>(left.m, left.e);
    return left;
  }

  GTNET_INLINE double run(const Number& from, const Number& to, double scale, int32_t first,
                          int32_t count) const {
    const double common = through(from, to);
    const double* const factor = factors + first;
    T* const grads = grad_weights + first;
    double total = 0;
    GTNET_SIMD(reduction(+ : total))
    for (int32_t k = 0; k < count; ++k) {
      const double chance = common * factor[k];
      grads[k] = static_cast<T>(chance * scale);
      total += chance;
    }
    return total;
  }

  GTNET_INLINE void finish(int32_t s, const Number& left, double scale) const {
    rest[s] = left;
    grad_start[s] = 0;
    if (start[s] == static_cast<T>(kNegInf)) return;
    Number first;
    extended::exp<double>(start[s], first.m, first.e);
    grad_start[s] = static_cast<T>(through(first, left) * scale);
  }
};

}  // namespace gtnet::paths
