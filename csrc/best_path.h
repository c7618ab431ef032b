// The Viterbi algorithm: shortest distance in the tropical semiring with the arcs it came by.
#pragma once

#include "topology.h"

namespace gtnet {

// alpha[s] = max(start[s], max over entering arcs a of alpha[source(a)] + weight[a]);
// came_by[s] is the position of the winning arc, kNone where the path starts. Ties: start, then
// the first arc.
template <class T>
struct BestDistance {
  Incidence entering;
  const T* weights;
  const T* start;
  double* alpha;
  int32_t* came_by;

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
};

// The best accepting state of a graph, and how many arcs its best path has.
template <class T>
struct BestEnd {
  const int64_t* state_offsets;
  Incidence entering;
  const T* accept;
  const double* alpha;
  const int32_t* came_by;
  double* score;
  int32_t* last;
  int64_t* length;

  GTNET_HD GTNET_INLINE void operator()(int64_t graph) const {
    double best = kNegInf;
    int32_t state = kNone;
    for (int64_t s = state_offsets[graph]; s < state_offsets[graph + 1]; ++s) {
      const double x = alpha[s] + static_cast<double>(accept[s]);
      if (x > best) {
        best = x;
        state = static_cast<int32_t>(s);
      }
    }
    score[graph] = best;
    last[graph] = state;
    int64_t arcs = 0;
    for (int32_t s = state; s != kNone && came_by[s] != kNone; ++arcs) {
      s = entering.states[came_by[s]];
    }
    length[graph] = arcs;
  }
};

// Writes the arcs of the best path of a graph, first to last, and the state it starts in.
struct Trace {
  Incidence entering;
  const int32_t* came_by;
  const int32_t* last;
  const int64_t* path_offsets;
  int32_t* path_arcs;
  int32_t* first;

  GTNET_HD GTNET_INLINE void operator()(int64_t graph) const {
    int32_t s = last[graph];
    for (int64_t i = path_offsets[graph + 1]; i > path_offsets[graph];) {
      path_arcs[--i] = entering.arcs[came_by[s]];
      s = entering.states[came_by[s]];
    }
    first[graph] = s;
  }
};

}  // namespace gtnet
