// Which arcs two states of a composition take together: the rule of epsilons and the search for
// labels, for the CPU's driver (rewrite/cpu/compose.h) and that of a GPU (rewrite/gpu/compose.h).
//
// Both list the arcs of a pair of states in this order: two epsilons matched, a alone, b alone,
// labels matched, with the shorter list of labelled arcs (a's if equal) in the outer loop.
#pragma once

#include "core/topology.h"

namespace gtnet::rewrite {

// One operand: arcs of a state sorted by the label that is matched (output side of a, input of b).
struct Operand {
  Csr leaving;
  In<int32_t> labels;  // at the positions of `leaving`
  In<bool> is_start;
  In<bool> is_accept;
  int32_t begin, end;  // the states of the graph at hand
};

// A pair of states and the filter state: 0 after a match, 1 after a moved alone on an epsilon it
// writes, 2 after b moved alone on an epsilon it reads.
struct Pair {
  int32_t a, b;
  int8_t filter;
};

// After 1 only a, after 2 only b may go on alone, and two epsilons may match in 0 only: so every
// pair of matching paths appears once. Where not both have epsilons one filter state is enough.
struct EpsilonFilter {
  int states;  // 3 or 1

  GTNET_HD static bool match(int filter) { return filter == 0; }
  GTNET_HD static bool a_alone(int filter) { return filter != 2; }
  GTNET_HD static bool b_alone(int filter) { return filter != 1; }
  GTNET_HD int after_a() const { return states > 1 ? 1 : 0; }
  GTNET_HD int after_b() const { return states > 1 ? 2 : 0; }
};

// The first of the sorted labels at [begin, end) that is not below `label`, by bisection.
GTNET_HD GTNET_INLINE int32_t first_not_below(In<int32_t> labels, int32_t begin, int32_t end,
                                              int32_t label) {
  while (begin < end) {
    const int32_t middle = begin + (end - begin) / 2;
    if (labels[middle] < label) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

// The same for labels with begin < end. They are often complete (0, 1, 2, ...: a network's
// output), so the place where the label then stands is tried first.
GTNET_HD GTNET_INLINE int32_t place_of(In<int32_t> labels, int32_t begin, int32_t end,
                                       int32_t label) {
  const int64_t guess = begin + (static_cast<int64_t>(label) - labels[begin]);
  if (begin <= guess && guess < end && labels[guess] == label &&
      (guess == begin || labels[guess - 1] < label)) {
    return static_cast<int32_t>(guess);
  }
  return first_not_below(labels, begin, end, label);
}

// The positions of a state's arcs: epsilons [epsilon, label), since they are the smallest label,
// and labels [label, end).
struct ArcsOfState {
  int32_t epsilon, label, end;

  GTNET_HD GTNET_INLINE static ArcsOfState of(const Operand& operand, int32_t state) {
    const int32_t begin = operand.leaving.offsets[state], end = operand.leaving.offsets[state + 1];
    const bool any = begin < end && operand.labels[begin] == kEpsilon;
    return {begin, any ? first_not_below(operand.labels, begin, end, kEpsilon + 1) : begin, end};
  }
  GTNET_HD int32_t epsilons() const { return label - epsilon; }
  GTNET_HD int32_t labelled() const { return end - label; }
};

// A step of the product: where it leads, and the arcs of the operands, kNone for who stays.
struct Move {
  int32_t a, b;
  int filter;
  int32_t arc_a, arc_b;
};

// What pairs of states of two graphs can do, by the positions of the arcs taken.
struct Moves {
  Operand a, b;
  EpsilonFilter filter;

  GTNET_HD GTNET_INLINE Move both(int32_t k, int32_t l) const {
    return {a.leaving.states[k], b.leaving.states[l], 0, a.leaving.arcs[k], b.leaving.arcs[l]};
  }
  GTNET_HD GTNET_INLINE Move a_alone(int32_t k, int32_t state_b) const {
    return {a.leaving.states[k], state_b, filter.after_a(), a.leaving.arcs[k], kNone};
  }
  GTNET_HD GTNET_INLINE Move b_alone(int32_t l, int32_t state_a) const {
    return {state_a, b.leaving.states[l], filter.after_b(), kNone, b.leaving.arcs[l]};
  }
};

}  // namespace gtnet::rewrite
