// torch.ops.gtnet.*: paths drawn at random and all paths.
#include "ops_paths.h"

#include "enumerate.h"
#include "executor_cpu.h"
#include "sample.h"

namespace gtnet {
namespace {

PackedPaths sample(const Tensor& to_end, const Tensor& weights, const Tensor& start,
                   const Tensor& accept, const Tensor& state_offsets, const Tensor& offsets,
                   const Tensor& arcs, const Tensor& states, const Tensor& seeds, int64_t count,
                   int64_t max_length) {
  const int64_t num_graphs = graphs(state_offsets);
  STD_TORCH_CHECK(seeds.numel() == num_graphs * count, "gtnet: sample needs a seed per path");
  const int64_t* const state = input<int64_t>(state_offsets);
  const int64_t* const seed = input<int64_t>(seeds);
  const Incidence leaving = incidence_of(offsets, arcs, states);
  std::vector<Paths> found(num_graphs);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each_graph(num_graphs, start.numel() + seeds.numel(), [&](int64_t g) {
      Sampler<T>(leaving, input<T>(weights), input<T>(start), input<T>(accept),
                 input<double>(to_end), static_cast<int32_t>(state[g]),
                 static_cast<int32_t>(state[g + 1]))
          .run(seed + g * count, count, max_length, found[g]);
    });
  });
  return packed(found, start);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> enumerate_paths(
    const Tensor& weights, const Tensor& start, const Tensor& accept, const Tensor& state_offsets,
    const Tensor& offsets, const Tensor& arcs, const Tensor& states, const Tensor& in_offsets,
    const Tensor& in_arcs, const Tensor& in_states, int64_t limit, int64_t max_length) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const state = input<int64_t>(state_offsets);
  const Incidence leaving = incidence_of(offsets, arcs, states);
  const Incidence entering = incidence_of(in_offsets, in_arcs, in_states);
  std::vector<Paths> found(num_graphs);
  Tensor outcome = empty<int8_t>(start, num_graphs);
  int8_t* const status = output<int8_t>(outcome);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each_graph(num_graphs, start.numel(), [&](int64_t g) {
      status[g] = static_cast<int8_t>(
          Enumerate<T>(leaving, entering, input<T>(weights), input<T>(start), input<T>(accept),
                       static_cast<int32_t>(state[g]), static_cast<int32_t>(state[g + 1]))
              .run(limit, max_length, found[g]));
    });
  });
  return std::tuple_cat(std::make_tuple(outcome), packed(found, start));
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "sample(Tensor to_end, Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor offsets, Tensor arcs, Tensor states, Tensor seeds, int count, int max_length) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "enumerate_paths(Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor offsets, Tensor arcs, Tensor states, Tensor in_offsets, Tensor in_arcs, "
      "Tensor in_states, int limit, int max_length) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("sample", TORCH_BOX(&sample));
  m.impl("enumerate_paths", TORCH_BOX(&enumerate_paths));
}

}  // namespace gtnet
