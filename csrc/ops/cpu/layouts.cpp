// The operators that lay out a graph: for the CPU's vectors, and from that for blocks of a GPU.
#include "ops/cpu/layouts.h"

#include "layout/transition_program_builder.h"

namespace gtnet::ops {
namespace {

std::tuple<Tensor, Tensor, Tensor> steps(const Tensor& state_offsets, const Tensor& arc_offsets,
                                         const Tensor& source, const Tensor& target,
                                         const Tensor& labels) {
  const LaidOut found = lay_out(source, input<int64_t>(state_offsets), input<int64_t>(arc_offsets),
                                graphs(state_offsets), input<int32_t>(source),
                                input<int32_t>(target), input<int32_t>(labels), [](int64_t) {});
  Tensor on_cycle = empty<int64_t>(state_offsets, graphs(state_offsets));
  std::copy(found.on_cycle.begin(), found.on_cycle.end(), output<int64_t>(on_cycle));
  return {found.words, found.offsets, on_cycle};
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
