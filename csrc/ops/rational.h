// What the operators of rational operations share between devices: arguments and results.
#pragma once

#include "ops/tensors.h"
#include "rewrite/rational.h"

namespace gtnet::ops {

inline rewrite::Arrangement arrangement_of(const Tensor& graph_of, const Tensor& state_offsets,
                                           const Tensor& arc_offsets, const Tensor& exits,
                                           const Tensor& entries, int64_t num_parts, int64_t kind) {
  return {static_cast<rewrite::Rational>(kind),
          num_parts,
          input<int64_t>(graph_of),
          input<int64_t>(state_offsets),
          input<int64_t>(arc_offsets),
          input<int64_t>(exits),
          input<int64_t>(entries)};
}

inline int64_t num_sections(const rewrite::Arrangement& all, const Tensor& graph_of) {
  return graph_of.numel() / all.num_parts * all.width();
}

// The functors that fill the results: source, target, ilabels, olabels (empty for acceptors), arc,
// left, entered; origin, start, accept.
struct Arranged {
  std::vector<Tensor> results;
  rewrite::ArrangedArc arcs;
  rewrite::ArrangedState states;

  Arranged(const rewrite::Arrangement& all, const Tensor& state_begin, const Tensor& arc_begin,
           const Tensor& source, const Tensor& target, const Tensor& ilabels,
           const std::optional<Tensor>& olabels, int64_t operand_states, int64_t num_states,
           int64_t num_arcs) {
    const auto add = [&](int64_t size) {
      results.push_back(empty<int32_t>(source, size));
      return output<int32_t>(results.back());
    };
    const In<int64_t> states_before = input<int64_t>(state_begin);
    arcs = {all,
            states_before,
            input<int64_t>(arc_begin),
            input<int32_t>(source),
            input<int32_t>(target),
            input<int32_t>(ilabels),
            olabels ? input<int32_t>(*olabels) : In<int32_t>{},
            {},
            {},
            {},
            {},
            {},
            {},
            {}};
    arcs.source = add(num_arcs);
    arcs.target = add(num_arcs);
    arcs.ilabels = add(num_arcs);
    const Out<int32_t> written = add(olabels ? num_arcs : 0);
    if (olabels) arcs.olabels = written;
    arcs.arc = add(num_arcs);
    arcs.left = add(num_arcs);
    arcs.entered = add(num_arcs);
    states = {all, states_before, operand_states, {}, {}, {}};
    states.origin = add(num_states);
    states.start = add(num_states);
    states.accept = add(num_states);
  }
};

}  // namespace gtnet::ops
