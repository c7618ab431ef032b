// The Viterbi algorithm: shortest distance in the tropical semiring with the arcs it came by.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/interrupt.h"
#include "core/topology.h"
#include "layout/state_slices.h"

namespace gtnet::paths {

using layout::kLanes;

// alpha[s] = max(start[s], max over entering arcs a of alpha[source(a)] + weight[a]);
// came_by[s] is the position of the winning arc, kNone where the path starts. Ties: start, then
// the first arc.
template <class T>
struct BestDistance {
  Csr entering;
  In<T> weights;
  In<T> start;
  Out<double> alpha;
  Out<int32_t> came_by;

  GTNET_HD GTNET_INLINE void operator()(int64_t /*graph*/, int32_t s) const {
    double best = start[s];
    int32_t position = kNone;
    for (int32_t k = entering.offsets[s]; k < entering.offsets[s + 1]; ++k) {
      const double x = alpha[entering.states[k]] + static_cast<double>(weights[entering.arcs[k]]);
      if (x > best) {
        best = x;
        position = k;
      }
    }
    alpha[s] = best;
    came_by[s] = position;
  }

#ifdef GTNET_VECTORS
  GTNET_INLINE void slice(int64_t /*graph*/, const layout::StateSlice& slice) const {
    const double* const before = alpha + slice.first_other;
    const T* const w = weights + slice.first_arc;
    double best[kLanes];
    int32_t winner[kLanes];
    slice.fetch(weights);
    for (int i = 0; i < kLanes; ++i) best[i] = start[slice.states[i]];
    for (int i = 0; i < kLanes; ++i) winner[i] = kNone;
    for (int32_t j = 0; j < slice.width; ++j) {
      int32_t other[kLanes], arc[kLanes];
      slice.entry(j, other, arc);
      GTNET_SIMD()
      for (int i = 0; i < kLanes; ++i) {  // repeated entries are never better than their first
        const double x = before[other[i]] + static_cast<double>(w[arc[i]]);
        winner[i] = x > best[i] ? j : winner[i];
        best[i] = x > best[i] ? x : best[i];
      }
    }
    for (int i = 0; i < kLanes; ++i) {
      const int32_t s = slice.states[i];
      alpha[s] = best[i];
      came_by[s] = winner[i] == kNone ? kNone : entering.offsets[s] + winner[i];
    }
  }

  // The largest weight gives the best score; the first arc with that score wins.
  GTNET_INLINE void run(int64_t /*graph*/, const layout::Run& run) const {
    const T* const w = weights + run.first_arc;
    const double from = alpha[run.other], first = start[run.state];
    const T most = layout::largest_of(w, run.count);
    const double best = from + static_cast<double>(most);
    alpha[run.state] = best > first ? best : first;
    came_by[run.state] = kNone;
    if (!(best > first)) return;
    const T next = std::nextafter(most, static_cast<T>(kNegInf));
    const bool rounded = from + static_cast<double>(next) == best;  // a smaller weight may do
    const int32_t k = rounded ? position(run.count,
                                         [&](int32_t i) __attribute__((always_inline)) {
                                           return from + static_cast<double>(w[i]) == best;
                                         })
                              : position(run.count, [&](int32_t i) __attribute__((always_inline)) {
                                  return w[i] == most;
                                });
    came_by[run.state] = entering.offsets[run.state] + k;
  }

 private:
  // The first i < count of which `wins` is true; there is one.
  template <class Wins>
  GTNET_INLINE int32_t position(int32_t count, const Wins& wins) const {
    int32_t k = 0;
    for (; k + 4 * kLanes <= count; k += 4 * kLanes) {
      int32_t found = 0;
      GTNET_SIMD(reduction(| : found))
      for (int i = 0; i < 4 * kLanes; ++i) found |= wins(k + i);
      if (found) break;
    }
    while (!wins(k)) ++k;
    return k;
  }
#endif
};

// The same for the states of a component with cycles, until nothing improves (Bellman & Ford): the
// walk reaches it after all states that lead into it.
template <class T>
class BestCycles {
 public:
  // `marks` [states] is zero on entry, and again in the end.
  BestCycles(const BestDistance<T>& best, const int32_t* order, int32_t* marks)
      : best_(best), order_(order), marks_(marks) {}

  // False where a cycle of positive score is reached: then paths through it have no best one.
  GTNET_INLINE bool operator()(CyclicComponent component, bool reverse) {
    const int32_t size = component.end - component.begin;
    slack_ = size * std::numeric_limits<double>::epsilon();
    scale_ = 0;
    for (int32_t i = component.begin; i < component.end; ++i) {
      best_.alpha[order_[i]] = best_.start[order_[i]];
      best_.came_by[order_[i]] = kNone;
    }
    for (bool improved = true; improved;) {
      poll(16 * static_cast<int64_t>(size));
      improved = false;
      for (int32_t i = 0; i < size; ++i) {
        const int32_t at = reverse ? component.end - 1 - i : component.begin + i;
        improved = improve(order_[at]) || improved;
      }
      if (improved && goes_round(component)) return false;
    }
    return true;
  }

 private:
  static constexpr int32_t kElsewhere = 0, kUnseen = 1;

  // A gain within the rounding errors of a cycle is none, lest a cycle of score 0 never ends.
  GTNET_INLINE bool improve(int32_t s) {
    const Csr& entering = best_.entering;
    const double before = best_.alpha[s];
    for (int32_t k = entering.offsets[s]; k < entering.offsets[s + 1]; ++k) {
      const double x =
          best_.alpha[entering.states[k]] + static_cast<double>(best_.weights[entering.arcs[k]]);
      if (x == kNegInf) continue;
      scale_ = std::max(scale_, std::abs(x));
      if (x > best_.alpha[s] + slack_ * scale_) {
        best_.alpha[s] = x;
        best_.came_by[s] = k;
      }
    }
    return best_.alpha[s] > before;
  }

  // Whether the arcs that states came by lead round in a circle. O(states of the component).
  bool goes_round(CyclicComponent component) {
    for (int32_t i = component.begin; i < component.end; ++i) marks_[order_[i]] = kUnseen;
    bool found = false;
    for (int32_t i = component.begin; i < component.end && !found; ++i) {
      const int32_t id = kUnseen + 1 + i - component.begin;
      int32_t s = order_[i];
      while (marks_[s] == kUnseen) {
        marks_[s] = id;
        if (best_.came_by[s] == kNone) break;
        s = best_.entering.states[best_.came_by[s]];
        found = marks_[s] == id;
      }
    }
    for (int32_t i = component.begin; i < component.end; ++i) marks_[order_[i]] = kElsewhere;
    return found;
  }

  const BestDistance<T> best_;
  const int32_t* const order_;
  int32_t* const marks_;
  double slack_ = 0, scale_ = 0;
};

// The best accepting state of a graph, and how many arcs its best path has.
template <class T>
struct BestEnd {
  In<int64_t> state_offsets;
  Csr entering;
  In<T> accept;
  In<double> alpha;
  In<int32_t> came_by;
  Out<double> score;
  Out<int32_t> last;
  Out<int64_t> length;  // null where nobody asks: following a path means waiting for memory

  struct End {
    double score;
    int64_t state;  // kNone where no path ends
  };

  GTNET_HD GTNET_INLINE void operator()(int64_t graph) const {
    End best{kNegInf, kNone};
    for (int64_t s = state_offsets[graph]; s < state_offsets[graph + 1]; ++s) {
      const End end = term(s);
      if (end.score > best.score) best = end;
    }
    finish(graph, best);
  }

  // Ending in a state.
  GTNET_HD GTNET_INLINE End term(int64_t s) const {
    if (accept[s] == kNegInf) return {kNegInf, kNone};  // most states
    const double x = alpha[s] + static_cast<double>(accept[s]);
    return x > kNegInf ? End{x, s} : End{kNegInf, kNone};
  }

  // Of equals the first; the place of none is behind all others.
  GTNET_HD GTNET_INLINE static End better(const End& a, const End& b) {
    if (a.score != b.score) return a.score > b.score ? a : b;
    return static_cast<uint64_t>(a.state) < static_cast<uint64_t>(b.state) ? a : b;
  }

  GTNET_HD GTNET_INLINE void finish(int64_t graph, const End& best) const {
    score[graph] = best.score;
    last[graph] = static_cast<int32_t>(best.state);
    if (!length) return;
    int64_t arcs = 0;
    for (auto s = static_cast<int32_t>(best.state); s != kNone && came_by[s] != kNone; ++arcs) {
      s = entering.states[came_by[s]];
    }
    length[graph] = arcs;
  }
};

// Writes the arcs of the best path of a graph, first to last, and the state it starts in.
struct Backtrace {
  Csr entering;
  In<int32_t> came_by;
  In<int32_t> last;
  In<int64_t> path_offsets;
  Out<int32_t> path_arcs;
  Out<int32_t> first;

  GTNET_HD GTNET_INLINE void operator()(int64_t graph) const {
    int32_t s = last[graph];
    for (int64_t i = path_offsets[graph + 1]; i > path_offsets[graph];) {
      path_arcs[--i] = entering.arcs[came_by[s]];
      s = entering.states[came_by[s]];
    }
    first[graph] = s;
  }
};

}  // namespace gtnet::paths
