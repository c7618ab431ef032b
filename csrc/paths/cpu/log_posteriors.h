// Arc posteriors as the gradient of the scores of acyclic graphs, on the CPU: lanes are arcs.
#pragma once

#include "core/math.h"
#include "core/topology.h"
#include "layout/state_slices.h"
#include "paths/log_distance.h"

namespace gtnet::paths {

using layout::kLanes;

// The same sum in an order that vectors are quicker at.
GTNET_INLINE double sum_in_pairs(const double* lanes) {
  double eight[8];
  GTNET_SIMD()
  for (int i = 0; i < 8; ++i) eight[i] = lanes[i] + lanes[i + 8];
  return ((eight[0] + eight[4]) + (eight[2] + eight[6])) +
         ((eight[1] + eight[5]) + (eight[3] + eight[7]));
}

// The gradient of paths/log_distance.h where only the scores have one: with rest[s] the log of what
// passes through s over its distance, each arc from s to t has the chance exp(alpha[s] + weight +
// rest[t]), and
//   rest[s] = log(chance of ending in s + chances of its leaving arcs) - alpha[s].
// One exponential per arc, and rest[t] the one random access: taking states one by one, lanes are
// arcs, is as fast as any slices.
template <class T>
struct LogPosteriors {
  Csr leaving;
  const T* weights;
  const T* start;
  const T* accept;
  const double* alpha;
  const double* score;
  const double* grad_score;
  double* rest;
  T* grad_weights;
  T* grad_start;
  T* grad_accept;

  GTNET_INLINE void operator()(int64_t graph, int32_t s) const {
    const int32_t begin = leaving.offsets[s], end = leaving.offsets[s + 1];
    if (end - begin >= layout::kManyArcs && layout::is_run(leaving, begin, end)) {
      run(graph, {s, leaving.states[begin], leaving.arcs[begin], end - begin});
      return;
    }
    const double chance = begin_with(graph, s);
    if (begin == end) {
      close(graph, s, chance);
      return;
    }
    double lanes[kLanes] = {};
    const int32_t first = leaving.arcs[begin];
    const bool consecutive = leaving.arcs[end - 1] - first == end - 1 - begin;
    for (int32_t k = begin; k < end; k += kLanes) {
      chunk(graph, alpha[s], k, consecutive ? first + k - begin : kNone, end - k, lanes);
    }
    close(graph, s, chance + sum_in_pairs(lanes));
  }

  GTNET_INLINE void run(int64_t graph, const layout::Run& run) const {
    const T scale = grad_score[graph];
    const T* const w = weights + run.first_arc;
    T* const grads = grad_weights + run.first_arc;
    const double common = alpha[run.state] + rest[run.other];
    double total = 0;
    GTNET_SIMD(reduction(+ : total))
    for (int32_t k = 0; k < run.count; ++k) {
      const T chance = exp_of<T>(common + static_cast<double>(w[k]));
      total += static_cast<double>(chance);
      grads[k] = chance * scale;
    }
    close(graph, run.state, begin_with(graph, run.state) + total);
  }

 private:
  // Up to kLanes arcs from position k on; they are first, first + 1, ... if not kNone.
  GTNET_INLINE void chunk(int64_t graph, double from, int32_t k, int32_t first, int32_t count,
                          double* lanes) const {
    const int32_t *const to = leaving.states + k, *const arcs = leaving.arcs + k;
    const double* const after = rest;
    double x[kLanes];
    if (first != kNone) {
      const T* const w = weights + first;
      GTNET_SIMD()
      GTNET_ROLLED
      for (int i = 0; i < kLanes; ++i) {
        x[i] = i < count ? from + (after[to[i]] + static_cast<double>(w[i])) : kNegInf;
      }
    } else {
      const T* const w = weights;
      GTNET_SIMD()
      GTNET_ROLLED
      for (int i = 0; i < kLanes; ++i) {
        x[i] = i < count ? from + (after[to[i]] + static_cast<double>(w[arcs[i]])) : kNegInf;
      }
    }
    const T scale = grad_score[graph];
    T grads[kLanes];
    GTNET_SIMD()
    GTNET_ROLLED
    for (int i = 0; i < kLanes; ++i) {
      const T chance = exp_of<T>(x[i]);
      lanes[i] += static_cast<double>(chance);
      grads[i] = chance * scale;
    }
    if (first != kNone) {
      T* const written = grad_weights + first;
      GTNET_SIMD()
      GTNET_ROLLED
      for (int i = 0; i < kLanes; ++i) {
        if (i < count) written[i] = grads[i];
      }
    } else {
      for (int i = 0; i < kLanes && i < count; ++i) grad_weights[arcs[i]] = grads[i];
    }
  }

  GTNET_INLINE double ending(int64_t graph, int32_t s) const {
    if (accept[s] == kNegInf || alpha[s] == kNegInf) return 0;
    return exp_of<double>(alpha[s] + static_cast<double>(accept[s]) - score[graph]);
  }

  GTNET_INLINE double begin_with(int64_t graph, int32_t s) const {
    const double chance = ending(graph, s);
    grad_accept[s] = static_cast<T>(chance * grad_score[graph]);
    return chance;
  }

  GTNET_INLINE void close(int64_t graph, int32_t s, double flow) const {
    finish(graph, s, flow == 0 ? kNegInf : log_of(known(flow, alpha[s])) - alpha[s]);
  }

  GTNET_INLINE void finish(int64_t graph, int32_t s, double left) const {
    rest[s] = left;
    const double first = start[s];
    grad_start[s] =
        first == kNegInf ? 0 : static_cast<T>(exp_of<double>(first + left) * grad_score[graph]);
  }
};

}  // namespace gtnet::paths
