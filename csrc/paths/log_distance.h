// Shortest distance in the log semiring over acyclic graphs (Mohri 2009, section 3), and its
// gradient. Both are written per state in gather form: a state reduces its own arcs, so threads
// need no atomics and results repeat bit for bit. Exponentials are of the weights' type; distances
// and sums are doubles, so that errors do not grow with the number of steps.
//
// The CPU may take several states side by side (layout/state_slices.h). The sum of a state does not
// depend on that: fewer than kManyArcs arcs are added one after another, more in kLanes partial
// sums.
#pragma once

#include <stdexcept>

#include "core/extremes.h"
#include "core/math.h"
#include "core/topology.h"
#include "layout/state_slices.h"

namespace gtnet::paths {

using layout::kLanes;

// The sum of kLanes partial sums, in their order.
GTNET_HD GTNET_INLINE double sum_of_lanes(const double* lanes) {
  double total = 0;
  for (int i = 0; i < kLanes; ++i) total += lanes[i];
  return total;
}

// alpha[s] = log(exp(start[s]) + sum over entering arcs a of exp(alpha[source(a)] + weight[a])).
template <class T>
struct LogDistance {
  Csr entering;
  In<T> weights;
  In<T> start;
  Out<double> alpha;

  GTNET_HD GTNET_INLINE void operator()([[maybe_unused]] int64_t graph, int32_t s) const {
    const int32_t begin = entering.offsets[s], end = entering.offsets[s + 1];
    const double first = start[s];
#ifdef GTNET_VECTORS
    if (end - begin >= layout::kManyArcs) {
      if (layout::is_run(entering, begin, end)) {
        run(graph, {s, entering.states[begin], entering.arcs[begin], end - begin});
      } else {
        alpha[s] = many(begin, end, first);
      }
      return;
    }
#endif
    if (end - begin == 1 && first == kNegInf) {  // most states of a trie: nothing to sum
      alpha[s] = through(begin);
    } else {
      alpha[s] = few(begin, end, first);
    }
  }

#ifdef GTNET_VECTORS
  GTNET_INLINE void slice(int64_t /*graph*/, const layout::StateSlice& slice) const {
    const double* const before = alpha + slice.first_other;
    const T* const w = weights + slice.first_arc;
    double x[layout::kManyArcs][kLanes], best[kLanes], total[kLanes];
    slice.fetch(weights);
    for (int i = 0; i < kLanes; ++i) x[slice.width][i] = best[i] = start[slice.states[i]];
    for (int32_t j = 0; j < slice.width; ++j) {
      int32_t other[kLanes], arc[kLanes];
      slice.entry(j, other, arc);
      GTNET_SIMD()
      for (int i = 0; i < kLanes; ++i) {
        const double through = before[other[i]] + static_cast<double>(w[arc[i]]);
        x[j][i] = j < slice.lengths[i] ? through : kNegInf;
        best[i] = x[j][i] > best[i] ? x[j][i] : best[i];
      }
    }
    GTNET_SIMD()
    for (int i = 0; i < kLanes; ++i) best[i] = best[i] == kNegInf ? 0 : best[i];
    GTNET_SIMD()
    for (int i = 0; i < kLanes; ++i) {
      total[i] = static_cast<double>(exp_of<T>(x[slice.width][i] - best[i]));
    }
    for (int32_t j = 0; j < slice.width; ++j) {
      GTNET_SIMD()
      for (int i = 0; i < kLanes; ++i) {
        total[i] += static_cast<double>(exp_of<T>(x[j][i] - best[i]));
      }
    }
    GTNET_SIMD()
    for (int i = 0; i < kLanes; ++i) {
      total[i] = total[i] == 0 ? kNegInf : best[i] + log_of(total[i]);
    }
    for (int i = 0; i < kLanes; ++i) alpha[slice.states[i]] = total[i];
  }

  // All terms have alpha[other] in common, so only the weights need a largest one.
  GTNET_INLINE void run(int64_t /*graph*/, const layout::Run& run) const {
    const T* const w = weights + run.first_arc;
    const T most = layout::largest_of(w, run.count);
    const double through = alpha[run.other] + static_cast<double>(most);
    const double first = start[run.state], best = first > through ? first : through;
    if (through == kNegInf) {
      alpha[run.state] = first;
      return;
    }
    double total = 0;
    // Vectors of floats, even where their sum in doubles makes a compiler think of half as many.
    GTNET_SIMD(reduction(+ : total) simdlen(8))
    for (int32_t k = 0; k < run.count; ++k) {
      total += static_cast<double>(exp_of<T>(static_cast<double>(w[k] - most)));
    }
    total = total * exp_of<double>(through - best) + exp_of<double>(first - best);
    alpha[run.state] = best + log_of(total);
  }
#endif

 private:
  GTNET_HD GTNET_INLINE double through(int32_t k) const {
    return alpha[entering.states[k]] + static_cast<double>(weights[entering.arcs[k]]);
  }

  GTNET_HD GTNET_INLINE double few(int32_t begin, int32_t end, double first) const {
    double best = first;
    for (int32_t k = begin; k < end; ++k) best = through(k) > best ? through(k) : best;
    if (best == kNegInf) return kNegInf;
    double total = exp_of<T>(first - best);
    for (int32_t k = begin; k < end; ++k) total += exp_of<T>(through(k) - best);
    return best + log_of(total);
  }

  // One pass: the sum is kept relative to the largest term so far. The last chunk is padded.
  GTNET_HD GTNET_INLINE double many(int32_t begin, int32_t end, double first) const {
    double best = first, lanes[kLanes] = {};
    lanes[0] = first == kNegInf ? 0 : 1;
    for (int32_t k = begin; k < end; k += kLanes) {
      double x[kLanes], most[kLanes];
      for (int i = 0; i < kLanes; ++i) x[i] = kNegInf;
      for (int i = 0; i < kLanes && k + i < end; ++i) x[i] = through(k + i);
      for (int i = 0; i < kLanes; ++i) most[i] = x[i];
      const double largest = one_of<kLanes>(most, Larger{});
      if (largest > best) {
        const double smaller = exp_of<double>(best - largest);
        for (int i = 0; i < kLanes; ++i) lanes[i] *= smaller;
        best = largest;
      }
      if (best == kNegInf) continue;
      GTNET_SIMD()
      for (int i = 0; i < kLanes; ++i) lanes[i] += static_cast<double>(exp_of<T>(x[i] - best));
    }
    return best == kNegInf ? kNegInf : best + log_of(sum_of_lanes(lanes));
  }
};

// score[g] = log of the sum over the states s of graph g of exp(alpha[s] + accept[s]).
template <class T>
struct LogTotal {
  In<int64_t> state_offsets;
  In<T> accept;
  In<double> alpha;
  Out<double> score;

  GTNET_HD GTNET_INLINE void operator()(int64_t graph) const {
    double best = kNegInf;
    for (int64_t s = state_offsets[graph]; s < state_offsets[graph + 1]; ++s) {
      const double x = term(s);
      best = x > best ? x : best;
    }
    double total = 0;
    if (best != kNegInf) {
      for (int64_t s = state_offsets[graph]; s < state_offsets[graph + 1]; ++s) {
        if (accept[s] != kNegInf) total += exp_of<double>(term(s) - best);
      }
    }
    finish(graph, best, total);
  }

  // Ending in a state: impossible in most.
  GTNET_HD GTNET_INLINE double term(int64_t s) const {
    return accept[s] == kNegInf ? kNegInf : alpha[s] + static_cast<double>(accept[s]);
  }

  GTNET_HD GTNET_INLINE void finish(int64_t graph, double best, double total) const {
    score[graph] = best == kNegInf ? kNegInf : best + log(total);
  }
};

// Beyond this, doubles have no digits for the parts that paths have in a sum (gtnet/_ops/far.py).
constexpr double kFar = 0x1p30;

// What passes through a state, if its parts are known. A CPU throws where they are not, and Python
// makes all scores relative to the best path; a GPU, which is not waited for, gives NaN.
GTNET_HD GTNET_INLINE double known(double flow, double alpha) {
  if (flow == 0 || (alpha <= kFar && alpha >= -kFar)) return flow;
#if defined(__CUDA_ARCH__) || defined(GTNET_EMULATED)
  return kNegInf - kNegInf;
#else
  throw std::runtime_error(
      "gtnet: compiled code has no gradient of path scores beyond 1e9: scale the scores down, or "
      "call gtnet outside of torch.compile");
#endif
}

// The adjoint: flow[s] = d loss / d alpha[s], gathered over the arcs a that leave s,
//   flow[s] = grad_alpha[s] + grad_score * exp(alpha[s] + accept[s] - score)
//           + sum of flow[target(a)] * exp(alpha[s] + weight[a] - alpha[target(a)]).
// Each term of the sum is the gradient of that arc's weight. What no path reaches gets 0.
template <class T>
struct LogDistanceGradient {
  Csr leaving;
  In<T> weights;
  In<T> start;
  In<T> accept;
  In<double> alpha;
  In<double> score;
  In<double> grad_alpha;  // may be null
  In<double> grad_score;
  Out<double> flow;
  Out<T> grad_weights;
  Out<T> grad_start;
  Out<T> grad_accept;

  GTNET_HD GTNET_INLINE void operator()(int64_t graph, int32_t s) const {
    const int32_t begin = leaving.offsets[s], end = leaving.offsets[s + 1];
    const double from = alpha[s];
    if (from == kNegInf) {
      for (int32_t k = begin; k < end; ++k) grad_weights[leaving.arcs[k]] = 0;
      flow[s] = 0;
      grad_start[s] = 0;
      grad_accept[s] = 0;
      return;
    }
    const double last = static_cast<double>(accept[s]);
    const double ending =
        last == kNegInf ? 0 : grad_score[graph] * exp_of<double>(from + last - score[graph]);
    double total = ending + (grad_alpha ? grad_alpha[s] : 0);
    for (int32_t k = begin; k < end; ++k) total += pass_on(k, exp_of<T>(share(from, k)));
    total = known(total, from);
    flow[s] = total;
    grad_start[s] = static_cast<T>(total * exp_of<double>(static_cast<double>(start[s]) - from));
    grad_accept[s] = static_cast<T>(ending);
  }

 private:
  // The log of the part of the arc's target that came through the arc.
  GTNET_HD GTNET_INLINE double share(double from, int32_t k) const {
    const double weight = weights[leaving.arcs[k]], to = alpha[leaving.states[k]];
    return weight == kNegInf ? kNegInf : from + weight - to;  // -inf to -inf would be NaN
  }

  GTNET_HD GTNET_INLINE double pass_on(int32_t k, T share) const {
    const double term = flow[leaving.states[k]] * static_cast<double>(share);
    grad_weights[leaving.arcs[k]] = static_cast<T>(term);
    return term;
  }
};

// x[s] = b[s] + sum over entering arcs a of p[a] * x[source(a)]: the derivatives of distances, of
// any order, are such sums with p[a] the part of the distance of a's target that came through a.
struct Recursion {
  Csr entering;
  In<double> p;
  In<double> b;
  Out<double> x;

  GTNET_HD GTNET_INLINE void operator()(int64_t /*graph*/, int32_t s) const {
    double total = b[s];
    for (int32_t k = entering.offsets[s]; k < entering.offsets[s + 1]; ++k) {
      total += p[entering.arcs[k]] * x[entering.states[k]];
    }
    x[s] = total;
  }
};

}  // namespace gtnet::paths
