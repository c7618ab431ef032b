// Operators that find out about graphs on a device of blocks.
#pragma once

#include "ops/gpu/device.h"
#include "rewrite/gpu/reachable.h"

namespace gtnet::ops {
namespace {

Tensor reach(const Tensor& state_offsets, const Tensor& offsets, const Tensor& arcs,
             const Tensor& states, const Tensor& seeds, const std::optional<Tensor>& open) {
  const int64_t num_graphs = graphs(state_offsets), num_states = seeds.numel();
  Tensor marked = zeros<int32_t>(offsets, num_states), list = empty<int32_t>(offsets, num_states);
  Tensor found = zeros<int32_t>(offsets, num_graphs), reached = empty<bool>(seeds, num_states);
  by_graph(seeds.get_device_index(),
           rewrite::ReachKernel{num_graphs,
                                input<int64_t>(state_offsets),
                                csr_of(offsets, arcs, states),
                                input<bool>(seeds),
                                open ? input<bool>(*open) : In<bool>{nullptr},
                                output<int32_t>(marked),
                                {output<int32_t>(list), output<int32_t>(found)},
                                output<bool>(reached)});
  return reached;
}

Tensor depths(const Tensor& state_offsets, const Tensor& entering, const Tensor& leaving,
              const Tensor& targets) {
  const int64_t num_graphs = graphs(state_offsets), num_states = entering.numel() - 1;
  Tensor pending = empty<int32_t>(targets, num_states), list = empty<int32_t>(targets, num_states);
  Tensor found = zeros<int32_t>(targets, num_graphs), depth = empty<int32_t>(targets, num_states);
  by_graph(targets.get_device_index(),
           rewrite::DepthKernel{num_graphs,
                                input<int64_t>(state_offsets),
                                input<int32_t>(entering),
                                input<int32_t>(leaving),
                                input<int32_t>(targets),
                                output<int32_t>(pending),
                                {output<int32_t>(list), output<int32_t>(found)},
                                output<int32_t>(depth)});
  return depth;
}

void register_graphs(torch::stable::detail::StableLibrary& m) {
  m.impl("reach", TORCH_BOX(&reach));
  m.impl("depths", TORCH_BOX(&depths));
}

}  // namespace
}  // namespace gtnet::ops
