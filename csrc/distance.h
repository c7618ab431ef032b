// Shortest distance in the log semiring over acyclic graphs (Mohri 2009, section 3), and its
// gradient. Both are written per state in gather form: a state reduces its own arcs, so threads
// need no atomics and results repeat bit for bit. Exponentials are of the weights' type; distances
// and sums are doubles, so that errors do not grow with the number of steps.
#pragma once

#include "math.h"
#include "topology.h"

namespace gtnet {

// States with at least so many arcs take them in chunks as wide as a vector. A GPU thread and a
// state with fewer arcs take them one by one: padding a vector would cost more than it saves.
#if defined(__CUDA_ARCH__) || defined(GTNET_STANDIN)
constexpr int kLanes = 1;
#else
constexpr int kLanes = 16;
#endif

// alpha[s] = log(exp(start[s]) + sum over entering arcs a of exp(alpha[source(a)] + weight[a])).
template <class T>
struct LogDistance {
  Incidence entering;
  In<T> weights;
  In<T> start;
  Out<double> alpha;

  GTNET_HD GTNET_INLINE void operator()(int64_t /*graph*/, int32_t s) const {
    const int32_t begin = entering.offsets[s], end = entering.offsets[s + 1];
    const double first = start[s];
    if (end - begin == 1 && first == kNegInf) {  // most states of a trie: nothing to sum
      alpha[s] = through(begin);
    } else if (end - begin < kLanes || kLanes == 1) {
      alpha[s] = few(begin, end, first);
    } else {
      alpha[s] = many(begin, end, first);
    }
  }

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
    return best + log(total);
  }

  // One pass: the sum is kept relative to the largest term so far. The last chunk is padded.
  GTNET_HD GTNET_INLINE double many(int32_t begin, int32_t end, double first) const {
    double best = first, total = first == kNegInf ? 0 : 1;
    for (int32_t k = begin; k < end; k += kLanes) {
      double x[kLanes];
      for (int i = 0; i < kLanes; ++i) x[i] = kNegInf;
      for (int i = 0; i < kLanes && k + i < end; ++i) x[i] = through(k + i);
      double largest = kNegInf;
      GTNET_SIMD(reduction(max : largest))
      for (int i = 0; i < kLanes; ++i) largest = x[i] > largest ? x[i] : largest;
      if (largest > best) {
        total *= exp_of<double>(best - largest);
        best = largest;
      }
      if (best == kNegInf) continue;
      double sum = 0;
      GTNET_SIMD(reduction(+ : sum))
      for (int i = 0; i < kLanes; ++i) sum += exp_of<T>(x[i] - best);
      total += sum;
    }
    return best == kNegInf ? kNegInf : best + log(total);
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
      const double x = alpha[s] + static_cast<double>(accept[s]);
      best = x > best ? x : best;
    }
    double total = 0;
    if (best != kNegInf) {
      for (int64_t s = state_offsets[graph]; s < state_offsets[graph + 1]; ++s) {
        total += exp_of<double>(alpha[s] + static_cast<double>(accept[s]) - best);
      }
    }
    score[graph] = best == kNegInf ? kNegInf : best + log(total);
  }
};

// The adjoint: flow[s] = d loss / d alpha[s], gathered over the arcs a that leave s,
//   flow[s] = grad_alpha[s] + grad_score * exp(alpha[s] + accept[s] - score)
//           + sum of flow[target(a)] * exp(alpha[s] + weight[a] - alpha[target(a)]).
// Each term of the sum is the gradient of that arc's weight. What no path reaches gets 0.
template <class T>
struct LogDistanceGradient {
  Incidence leaving;
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
    int32_t k = begin;
    for (; k + kLanes <= end; k += kLanes) {
      double x[kLanes];
      for (int i = 0; i < kLanes; ++i) x[i] = share(from, k + i);
      T shares[kLanes];
      GTNET_SIMD()
      for (int i = 0; i < kLanes; ++i) shares[i] = exp_of<T>(x[i]);
      for (int i = 0; i < kLanes; ++i) total += pass_on(k + i, shares[i]);
    }
    for (; k < end; ++k) total += pass_on(k, exp_of<T>(share(from, k)));
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
  Incidence entering;
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

}  // namespace gtnet
