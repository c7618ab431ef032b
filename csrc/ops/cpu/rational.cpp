// Union, concatenation and closure of batches: how large the sections of the result are, and the
// result.
#include "ops/rational.h"

#include "ops/cpu/executor.h"

namespace gtnet::ops {
namespace {

std::tuple<Tensor, Tensor> rational_sections(const Tensor& graph_of, const Tensor& state_offsets,
                                             const Tensor& arc_offsets, const Tensor& exits,
                                             const Tensor& entries, int64_t num_parts,
                                             int64_t kind) {
  const rewrite::Arrangement all =
      arrangement_of(graph_of, state_offsets, arc_offsets, exits, entries, num_parts, kind);
  const int64_t sections = num_sections(all, graph_of);
  Tensor state_begin = empty<int64_t>(graph_of, sections + 1),
         arc_begin = empty<int64_t>(graph_of, sections + 1);
  const Out<int64_t> states = output<int64_t>(state_begin), arcs = output<int64_t>(arc_begin);
  states[0] = arcs[0] = 0;
  for (int64_t s = 0; s < sections; ++s) {
    states[s + 1] = states[s] + all.num_states(s);
    arcs[s + 1] = arcs[s] + all.num_arcs(s);
  }
  return {state_begin, arc_begin};
}

std::vector<Tensor> rational(const Tensor& graph_of, const Tensor& state_offsets,
                             const Tensor& arc_offsets, const Tensor& exits, const Tensor& entries,
                             int64_t num_parts, int64_t kind, const Tensor& state_begin,
                             const Tensor& arc_begin, const Tensor& source, const Tensor& target,
                             const Tensor& ilabels, const std::optional<Tensor>& olabels,
                             int64_t operand_states, int64_t num_states, int64_t num_arcs) {
  const rewrite::Arrangement all =
      arrangement_of(graph_of, state_offsets, arc_offsets, exits, entries, num_parts, kind);
  const Arranged made(all, state_begin, arc_begin, source, target, ilabels, olabels, operand_states,
                      num_states, num_arcs);
  const In<int64_t> states = input<int64_t>(state_begin), arcs = input<int64_t>(arc_begin);
  for_each_graph(num_sections(all, graph_of), num_states + num_arcs, [&](int64_t number) {
    const rewrite::ArrangedArc arc = made.arcs;  // copies, which no store can reach
    const rewrite::ArrangedState state = made.states;
    const rewrite::Arrangement::Section section = all.section(number);
    const int64_t last_arc = arcs[number + 1] - arcs[number];
    const int64_t last_state = states[number + 1] - states[number];
    for (int64_t i = 0; i < last_arc; ++i) arc(section, i);
    for (int64_t i = 0; i < last_state; ++i) state(section, i);
  });
  return made.results;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "rational_sections(Tensor graph_of, Tensor state_offsets, Tensor arc_offsets, Tensor exits, "
      "Tensor entries, int num_parts, int kind) -> (Tensor, Tensor)");
  m.def(
      "rational(Tensor graph_of, Tensor state_offsets, Tensor arc_offsets, Tensor exits, "
      "Tensor entries, int num_parts, int kind, Tensor state_begin, Tensor arc_begin, "
      "Tensor source, Tensor target, Tensor ilabels, Tensor? olabels, int operand_states, "
      "int num_states, int num_arcs) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("rational_sections", GTNET_BOX("rational_sections", &rational_sections));
  m.impl("rational", GTNET_BOX("rational", &rational));
}

}  // namespace gtnet::ops
