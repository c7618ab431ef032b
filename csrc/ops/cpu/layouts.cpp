// The operator that lays out a graph for blocks of threads: the CPU prepares what a GPU walks
// along.
#include "layout/transition_program_builder.h"
#include "ops/tensors.h"

namespace gtnet {
namespace {

std::tuple<Tensor, Tensor> block_steps(const Tensor& words, const Tensor& word_offsets) {
  const int64_t num_graphs = graphs(word_offsets);
  const int64_t* const begin = input<int64_t>(word_offsets);
  std::array<int64_t, kStepSizes> sizes{};
  std::vector<int32_t> laid_out = BlockStepsBuilder::begin(num_graphs);
  BlockStepsBuilder builder(laid_out, sizes);
  for (int64_t g = 0; g < num_graphs; ++g) {
    builder.add(g, StepsReader(input<int32_t>(words) + begin[g]).read());
  }
  Tensor result = empty<int32_t>(words, static_cast<int64_t>(laid_out.size()));
  Tensor found = empty<int64_t>(words, kStepSizes);
  std::copy(laid_out.begin(), laid_out.end(), output<int32_t>(result));
  std::copy(sizes.begin(), sizes.end(), output<int64_t>(found));
  return {result, found};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def("block_steps(Tensor words, Tensor word_offsets) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("block_steps", TORCH_BOX(&block_steps));
}

}  // namespace gtnet
