// Operators that prepare graphs for emissions: their layout, and CTC topologies.
#include "ctc.h"
#include "executor_cpu.h"
#include "ops.h"
#include "steps.h"

namespace gtnet {
namespace {

std::tuple<Tensor, Tensor, Tensor> steps(const Tensor& state_offsets, const Tensor& arc_offsets,
                                         const Tensor& source, const Tensor& target,
                                         const Tensor& labels) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t *const states = input<int64_t>(state_offsets), *const arcs =
                                                                   input<int64_t>(arc_offsets);
  Tensor on_cycle = empty<int64_t>(state_offsets, num_graphs);
  Tensor offsets = empty<int64_t>(state_offsets, num_graphs + 1);
  std::vector<std::vector<int32_t>> laid_out(num_graphs);
  for_each_graph(num_graphs, source.numel(), [&](int64_t g) {
    const int64_t a = arcs[g];
    StepsBuilder builder(static_cast<int32_t>(states[g + 1] - states[g]),
                         static_cast<int32_t>(arcs[g + 1] - a), input<int32_t>(source) + a,
                         input<int32_t>(target) + a, input<int32_t>(labels) + a);
    output<int64_t>(on_cycle)[g] = builder.build(laid_out[g]);
  });
  int64_t* const begin = output<int64_t>(offsets);
  begin[0] = 0;
  for (int64_t g = 0; g < num_graphs; ++g) {
    begin[g + 1] = begin[g] + static_cast<int64_t>(laid_out[g].size());
  }
  Tensor words = empty<int32_t>(source, begin[num_graphs]);
  for_each_graph(num_graphs, words.numel(), [&](int64_t g) {
    std::copy(laid_out[g].begin(), laid_out[g].end(), output<int32_t>(words) + begin[g]);
  });
  return {words, offsets, on_cycle};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> ctc_arcs(const Tensor& targets,
                                                                    const Tensor& lengths,
                                                                    int64_t blank) {
  const int64_t num_graphs = lengths.numel();
  const int64_t* const length = input<int64_t>(lengths);
  const int32_t* target = input<int32_t>(targets);
  Tensor state_offsets = empty<int64_t>(lengths, num_graphs + 1),
         arc_offsets = empty<int64_t>(lengths, num_graphs + 1);
  int64_t *const states = output<int64_t>(state_offsets), *const arcs =
                                                              output<int64_t>(arc_offsets);
  std::vector<CtcArcs> graphs;
  states[0] = arcs[0] = 0;
  for (int64_t g = 0; g < num_graphs; target += length[g++]) {
    graphs.push_back({target, static_cast<int32_t>(length[g]), static_cast<int32_t>(blank)});
    states[g + 1] = states[g] + 2 * length[g] + 1;
    arcs[g + 1] = arcs[g] + graphs[g].count();
  }
  Tensor source = empty<int32_t>(targets, arcs[num_graphs]), to = torch::stable::empty_like(source),
         reads = torch::stable::empty_like(source), writes = torch::stable::empty_like(source);
  for_each_graph(num_graphs, arcs[num_graphs], [&](int64_t g) {
    const int64_t a = arcs[g];
    graphs[g].write(output<int32_t>(source) + a, output<int32_t>(to) + a,
                    output<int32_t>(reads) + a, output<int32_t>(writes) + a);
  });
  return {state_offsets, arc_offsets, source, to, reads, writes};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "steps(Tensor state_offsets, Tensor arc_offsets, Tensor source, Tensor target, "
      "Tensor labels) -> (Tensor, Tensor, Tensor)");
  m.def(
      "ctc_arcs(Tensor targets, Tensor lengths, int blank) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("steps", TORCH_BOX(&steps));
  m.impl("ctc_arcs", TORCH_BOX(&ctc_arcs));
}

}  // namespace gtnet
