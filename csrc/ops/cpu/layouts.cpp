// The operators that lay out a graph: for the CPU's vectors, and from that for blocks of a GPU.
#include "layout/transition_program_builder.h"
#include "layout/transition_rows_builder.h"
#include "ops/cpu/executor.h"
#include "ops/tensors.h"

namespace gtnet::ops {
namespace {

// The layout of every graph, and for each a state on an epsilon cycle, -1 for none.
std::tuple<Tensor, Tensor, Tensor> steps(const Tensor& state_offsets, const Tensor& arc_offsets,
                                         const Tensor& source, const Tensor& target,
                                         const Tensor& labels) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t *const states = input<int64_t>(state_offsets), *const arcs =
                                                                   input<int64_t>(arc_offsets);
  Tensor offsets = empty<int64_t>(source, num_graphs + 1),
         on_cycle = empty<int64_t>(state_offsets, num_graphs);
  std::vector<std::vector<int32_t>> laid_out(num_graphs);
  for (int64_t g = 0; g < num_graphs; ++g) {  // on threads it waits for the allocator
    const int64_t a = arcs[g];
    layout::TransitionRowsBuilder builder(
        static_cast<int32_t>(states[g + 1] - states[g]), static_cast<int32_t>(arcs[g + 1] - a),
        input<int32_t>(source) + a, input<int32_t>(target) + a, input<int32_t>(labels) + a);
    output<int64_t>(on_cycle)[g] = builder.build(laid_out[g]);
  }
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

std::tuple<Tensor, Tensor> block_steps(const Tensor& words, const Tensor& word_offsets) {
  const int64_t num_graphs = graphs(word_offsets);
  const int64_t* const begin = input<int64_t>(word_offsets);
  std::array<int64_t, layout::kStepSizes> sizes{};
  std::vector<int32_t> laid_out = layout::TransitionProgramsBuilder::begin(num_graphs);
  layout::TransitionProgramsBuilder builder(laid_out, sizes);
  for (int64_t g = 0; g < num_graphs; ++g) {
    builder.add(g, layout::TransitionRowsReader(input<int32_t>(words) + begin[g]).read());
  }
  Tensor result = empty<int32_t>(words, static_cast<int64_t>(laid_out.size()));
  Tensor found = empty<int64_t>(words, layout::kStepSizes);
  std::copy(laid_out.begin(), laid_out.end(), output<int32_t>(result));
  std::copy(sizes.begin(), sizes.end(), output<int64_t>(found));
  return {result, found};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "steps(Tensor state_offsets, Tensor arc_offsets, Tensor source, Tensor target, "
      "Tensor labels) -> (Tensor, Tensor, Tensor)");
  m.def("block_steps(Tensor words, Tensor word_offsets) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("steps", GTNET_BOX("steps", &steps));
  m.impl("block_steps", GTNET_BOX("block_steps", &block_steps));
}

}  // namespace gtnet::ops
