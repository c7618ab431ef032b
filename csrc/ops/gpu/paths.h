// Operators that take paths out of graphs, on a device of blocks.
#pragma once

#include "ops/gpu/device.h"
#include "ops/gpu/path_tensors.h"
#include "ops/sample.h"
#include "paths/gpu/k_best.h"

namespace gtnet::ops {
namespace {

PackedPaths acyclic_k_best(const Tensor& weights, const Tensor& start, const Tensor& accept,
                           const Tensor& state_offsets, const Tensor& order,
                           const std::optional<Tensor>& bounds, const Tensor& offsets,
                           const Tensor& arcs, const Tensor& states, bool reverse, int64_t k,
                           int64_t /*max_prefixes*/) {  // the lists are of a known size
  return with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    using Kernel = paths::KBestLists<T>;
    const int32_t device = weights.get_device_index();
    const int64_t num_graphs = graphs(state_offsets), num_nodes = start.numel() + num_graphs;
    const int64_t num_merged = Kernel::num_merged(arcs.numel() + start.numel());
    const Tensor goals = empty<int32_t>(weights, start.numel()),
                 num_goals = empty<int32_t>(weights, num_graphs);
    const Tensor lists = empty_elements<paths::Ranked>(weights, num_nodes * k),
                 merged = empty_elements<paths::Ranked>(weights, num_merged * k);
    const Tensor sizes = zeros<int32_t>(weights, num_nodes),
                 merged_sizes = empty<int32_t>(weights, num_merged);
    const paths::KBestNodes<T> nodes{csr_of(offsets, arcs, states),
                                     input<int64_t>(state_offsets),
                                     writable<int32_t>(goals),
                                     writable<int32_t>(num_goals),
                                     view<T>(weights),
                                     view<T>(start),
                                     view<T>(accept),
                                     start.numel(),
                                     arcs.numel(),
                                     k,
                                     elements<paths::Ranked>(lists),
                                     writable<int32_t>(sizes)};
    if (k > 0) {
      launch(device, num_graphs, paths::Goals<T>::kThreads, paths::Goals<T>::shared_bytes(),
             paths::Goals<T>{nodes});
      launch(device, num_graphs, Kernel::kThreads, Kernel::shared_bytes(),
             Kernel{nodes, walk_of(state_offsets, order, bounds, reverse),
                    elements<paths::Ranked>(merged), writable<int32_t>(merged_sizes)});
    }
    return write_paths(weights, num_graphs, k, false, paths::KBestPaths<T>{nodes}).packed();
  });
}

PackedPaths sample(const Tensor& to_end, const Tensor& weights, const Tensor& start,
                   const Tensor& accept, const Tensor& state_offsets, const Tensor& offsets,
                   const Tensor& arcs, const Tensor& states, const Tensor& seeds, int64_t count,
                   int64_t max_length, int64_t max_arcs) {
  const int64_t num_graphs = graphs(state_offsets), num_states = start.numel();
  const int32_t device = weights.get_device_index();
  const Sampling drawn(to_end, state_offsets, offsets, arcs, states, seeds, count);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each(device, num_graphs, drawn.starting<T>(start));
    for_each(device, num_states, drawn.going_on<T>(weights, accept));
  });
  return write_paths(start, num_graphs, count, false, drawn.paths(count, max_length), max_arcs)
      .packed();
}

void register_paths(torch::stable::detail::StableLibrary& m) {
  m.impl("acyclic_k_best", TORCH_BOX(&acyclic_k_best));
  m.impl("sample", TORCH_BOX(&sample));
}

}  // namespace
}  // namespace gtnet::ops
