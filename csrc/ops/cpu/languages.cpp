// torch.ops.gtnet.*: difference and equivalence of languages.
#include "ops/cpu/executor.h"
#include "ops/tensors.h"
#include "rewrite/cpu/difference.h"
#include "rewrite/cpu/equivalence.h"

namespace gtnet::ops {
namespace {

// The first state of the graph that takes part in item g of the batch: its own, or the only one.
const int64_t* states_of(const Tensor& state_offsets, int64_t g) {
  return input<int64_t>(state_offsets) + (graphs(state_offsets) == 1 ? 0 : g);
}

std::vector<Tensor> difference(const Tensor& a_state_offsets, const Tensor& a_offsets,
                               const Tensor& a_arcs, const Tensor& a_states, const Tensor& a_labels,
                               const Tensor& a_start, const Tensor& b_state_offsets,
                               const Tensor& b_offsets, const Tensor& b_arcs,
                               const Tensor& b_states, const Tensor& b_labels,
                               const Tensor& b_start, const Tensor& b_accept,
                               const Tensor& b_possible, int64_t num_graphs, int64_t max_arcs,
                               int64_t max_states) {
  const Csr leaving_a = csr_of(a_offsets, a_arcs, a_states);
  const Csr leaving_b = csr_of(b_offsets, b_arcs, b_states);
  std::vector<rewrite::Remainder> found(num_graphs);
  Budget explored{max_arcs}, kept{max_states};
  for_each_graph(num_graphs, a_arcs.numel(), [&](int64_t g) {
    const int64_t *const a = states_of(a_state_offsets, g), *const b =
                                                                states_of(b_state_offsets, g);
    const rewrite::Operand left{leaving_a, input<int32_t>(a_labels),   input<bool>(a_start),
                                nullptr,   static_cast<int32_t>(a[0]), static_cast<int32_t>(a[1])};
    const rewrite::Operand right{leaving_b,
                                 input<int32_t>(b_labels),
                                 input<bool>(b_start),
                                 input<bool>(b_accept),
                                 static_cast<int32_t>(b[0]),
                                 static_cast<int32_t>(b[1])};
    rewrite::Subsets subsets(right, input<bool>(b_possible));
    rewrite::subtract(left, subsets, explored, kept, found[g]);
  });
  Tensor too_large = empty<bool>(a_arcs, 2);  // too many arcs, too many states
  Tensor state_offsets = empty<int64_t>(a_arcs, num_graphs + 1);
  Tensor arc_offsets = empty<int64_t>(a_arcs, num_graphs + 1);
  int64_t *const state = output<int64_t>(state_offsets), *const arc = output<int64_t>(arc_offsets);
  bool* const exceeds = output<bool>(too_large);
  exceeds[0] = exceeds[1] = false;
  state[0] = arc[0] = 0;
  for (int64_t g = 0; g < num_graphs; ++g) {
    exceeds[0] |= found[g].too_many_arcs;
    exceeds[1] |= found[g].too_many_states;
    if (exceeds[0] || exceeds[1]) found[g] = rewrite::Remainder{};
    state[g + 1] = state[g] + static_cast<int64_t>(found[g].states.size());
    arc[g + 1] = arc[g] + static_cast<int64_t>(found[g].arcs.size());
  }
  const int64_t num_states = state[num_graphs], num_arcs = arc[num_graphs];
  Tensor source = empty<int32_t>(a_arcs, num_arcs), target = empty<int32_t>(a_arcs, num_arcs);
  Tensor arc_map = empty<int32_t>(a_arcs, num_arcs), state_map = empty<int32_t>(a_arcs, num_states);
  Tensor first = empty<bool>(a_arcs, num_states), accepted = empty<bool>(a_arcs, num_states);
  for (int64_t g = 0; g < num_graphs; ++g) {
    const auto write = [&](const auto& values, auto* to) {
      std::copy(values.begin(), values.end(), to);
    };
    write(found[g].source, output<int32_t>(source) + arc[g]);
    write(found[g].target, output<int32_t>(target) + arc[g]);
    write(found[g].arcs, output<int32_t>(arc_map) + arc[g]);
    write(found[g].states, output<int32_t>(state_map) + state[g]);
    write(found[g].first, output<bool>(first) + state[g]);
    write(found[g].accepted, output<bool>(accepted) + state[g]);
  }
  return {too_large, state_offsets, arc_offsets, source,  target,
          arc_map,   state_map,     first,       accepted};
}

rewrite::DeterministicView deterministic(const Tensor& state_offsets, const Tensor& offsets,
                                         const Tensor& arcs, const Tensor& states,
                                         const Tensor& labels, const Tensor& weights,
                                         const Tensor& start, const Tensor& accept, int64_t g) {
  const int64_t* const state = states_of(state_offsets, g);
  return {csr_of(offsets, arcs, states), input<int32_t>(labels), input<double>(weights),
          input<double>(start),          input<double>(accept),  static_cast<int32_t>(state[0]),
          static_cast<int32_t>(state[1])};
}

Tensor equivalent(const Tensor& a_state_offsets, const Tensor& a_offsets, const Tensor& a_arcs,
                  const Tensor& a_states, const Tensor& a_labels, const Tensor& a_weights,
                  const Tensor& a_start, const Tensor& a_accept, const Tensor& b_state_offsets,
                  const Tensor& b_offsets, const Tensor& b_arcs, const Tensor& b_states,
                  const Tensor& b_labels, const Tensor& b_weights, const Tensor& b_start,
                  const Tensor& b_accept, int64_t num_graphs, double tolerance) {
  Tensor same = empty<bool>(a_arcs, num_graphs);
  bool* const answer = output<bool>(same);
  for_each_graph(num_graphs, a_start.numel() + b_start.numel(), [&](int64_t g) {
    answer[g] = rewrite::Equivalence(deterministic(a_state_offsets, a_offsets, a_arcs, a_states,
                                                   a_labels, a_weights, a_start, a_accept, g),
                                     deterministic(b_state_offsets, b_offsets, b_arcs, b_states,
                                                   b_labels, b_weights, b_start, b_accept, g),
                                     tolerance)
                    .run();
  });
  return same;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "difference(Tensor a_state_offsets, Tensor a_offsets, Tensor a_arcs, Tensor a_states, "
      "Tensor a_labels, Tensor a_start, Tensor b_state_offsets, Tensor b_offsets, Tensor b_arcs, "
      "Tensor b_states, Tensor b_labels, Tensor b_start, Tensor b_accept, Tensor b_possible, "
      "int num_graphs, int max_arcs, int max_states) -> Tensor[]");
  m.def(
      "equivalent(Tensor a_state_offsets, Tensor a_offsets, Tensor a_arcs, Tensor a_states, "
      "Tensor a_labels, Tensor a_weights, Tensor a_start, Tensor a_accept, "
      "Tensor b_state_offsets, Tensor b_offsets, Tensor b_arcs, Tensor b_states, "
      "Tensor b_labels, Tensor b_weights, Tensor b_start, Tensor b_accept, int num_graphs, "
      "float tolerance) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("difference", GTNET_BOX("difference", &difference));
  m.impl("equivalent", GTNET_BOX("equivalent", &equivalent));
}

}  // namespace gtnet::ops
