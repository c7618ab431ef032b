// The gradient of determinization, along the record that it left (rewrite/cpu/determinize.h).
#pragma once

#include <cmath>

#include "core/topology.h"

namespace gtnet::rewrite {

// The adjoint, walking the record of one graph from its last state to its first: `flow[i]` is the
// gradient of the residual of entry i, complete before the arc that made the entry is reached.
struct DeterminizeGradient {
  const int64_t* state_offsets;  // states of the result by graph
  const int64_t* arc_begin;      // arcs of the result by state
  const int64_t* entry_begin;    // by state
  const int32_t* target;         // by arc, numbered through the batch
  const int32_t* entry_state;
  const double* entry_score;
  const int64_t* term_begin;  // by arc
  const int32_t* term_entry;
  const int32_t* term_arc;
  const int32_t* term_into;
  const double *score, *new_accept;                         // of the result
  const double *weights, *accept;                           // of the operand
  const double *grad_score, *grad_start, *grad_new_accept;  // grad_start by graph
  bool tropical;
  double* flow;  // by entry, and the results by arc and state of the operand: 0 on entry
  double *grad_weights, *grad_in, *grad_accept;

  void operator()(int64_t graph) const {
    const int64_t first = state_offsets[graph];
    for (int64_t s = state_offsets[graph + 1]; s-- > first;) {
      ending(s);
      for (int64_t e = arc_begin[s + 1]; e-- > arc_begin[s];) arc(e);
    }
    if (first < state_offsets[graph + 1]) beginning(first, grad_start[graph]);
  }

 private:
  double owed(double grad, int64_t state) const {
    for (int64_t i = entry_begin[state]; i < entry_begin[state + 1]; ++i) grad -= flow[i];
    return grad;
  }

  // The part that `value` has in a sum; in the tropical semiring all of it goes to the first best.
  double share(double value, double sum, bool& given) const {
    if (!tropical) return std::exp(value - sum);
    if (given || value < sum) return 0;
    given = true;
    return 1;
  }

  void ending(int64_t s) const {
    if (new_accept[s] == kNegInf) return;
    bool given = false;
    for (int64_t i = entry_begin[s]; i < entry_begin[s + 1]; ++i) {
      const int32_t q = entry_state[i];
      if (accept[q] == kNegInf) continue;
      const double part =
          share(entry_score[i] + accept[q], new_accept[s], given) * grad_new_accept[s];
      flow[i] += part;
      grad_accept[q] += part;
    }
  }

  void arc(int64_t e) const {
    const bool made_target = term_into[term_begin[e]] != kNone;
    const double grad = made_target ? owed(grad_score[e], target[e]) : grad_score[e];
    bool given = false, given_into = false;
    int32_t last = kNone;
    for (int64_t t = term_begin[e]; t < term_begin[e + 1]; ++t) {
      const int32_t into = term_into[t];
      const double value = entry_score[term_entry[t]] + weights[term_arc[t]];
      double part = share(value, score[e], given) * grad;
      if (into != kNone) {
        if (into != last) given_into = false;
        last = into;
        part += share(value - score[e], entry_score[into], given_into) * flow[into];
      }
      flow[term_entry[t]] += part;
      grad_weights[term_arc[t]] += part;
    }
  }

  void beginning(int64_t s, double grad) const {
    grad = owed(grad, s);
    bool given = false;
    for (int64_t i = entry_begin[s]; i < entry_begin[s + 1]; ++i) {
      grad_in[entry_state[i]] += flow[i] + share(entry_score[i], 0, given) * grad;
    }
  }
};

}  // namespace gtnet::rewrite
