// What operators on a device of blocks share.
#pragma once

#include <algorithm>

#include "block/for_each.h"
#include "ops/gpu/executor.h"
#include "ops/tensors.h"

namespace gtnet::ops {
namespace {

// functor(i) for 0 <= i < count.
template <class Functor>
void for_each(int32_t device, int64_t count, const Functor& functor) {
  constexpr int kThreads = block::Each<Functor>::kThreads;
  constexpr int64_t kMostBlocks = 65535;
  const int64_t blocks = std::min((count + kThreads - 1) / kThreads, kMostBlocks);
  launch(device, blocks, kThreads, 0, block::Each<Functor>{count, functor});
}

// A block for each graph of a batch, or item of one.
template <class Kernel>
void by_graph(int32_t device, const Kernel& kernel) {
  constexpr int64_t kMostBlocks = 1 << 16;
  launch(device, std::min(kernel.num_graphs, kMostBlocks), Kernel::kThreads, Kernel::kBytes,
         kernel);
}

// How many blocks work on each graph: as many as are worth while and can run at once, if these are
// at least `fewest`, and else one.
template <class Kernel>
int64_t team_size(int32_t device, int64_t num_graphs, int64_t bytes, int64_t worth,
                  int64_t fewest = 2) {
  if (num_graphs == 0 || worth < fewest) return 1;
  const int64_t size = std::min(blocks_at_once<Kernel>(device, bytes) / num_graphs, worth);
  return size < fewest ? 1 : size;
}

// A team of `size` blocks for each graph. The threads of a block share `bytes`, those of a team
// `shared_bytes`.
template <class Kernel>
void by_teams(const Tensor& like, int64_t num_graphs, int64_t size, int64_t bytes,
              int64_t shared_bytes, const Kernel& kernel) {
  const Tensor arrived = zeros<int32_t>(like, num_graphs),
               shared = empty<int8_t>(like, num_graphs * shared_bytes);
  launch_teams(like.get_device_index(), num_graphs, size, bytes,
               static_cast<int32_t*>(arrived.mutable_data_ptr()),
               static_cast<char*>(shared.mutable_data_ptr()), shared_bytes, kernel);
}

// functor(graph, state) for every state, layer by layer.
template <class Functor>
void for_each_state(int32_t device, const LayeredWalk& walk, const Functor& functor) {
  launch(device, walk.num_graphs, block::EachState<Functor>::kThreads, 0,
         block::EachState<Functor>{walk, functor});
}

// From so many states on another block is worth while for a graph.
#ifdef GTNET_EMULATED
constexpr int64_t kStatesPerBlock = 2;
#else
constexpr int64_t kStatesPerBlock = 4096;
#endif

// The same, with several blocks for each graph where these are few and have many states.
template <class Functor>
void for_each_state(const Tensor& like, const LayeredWalk& walk, const Functor& functor) {
  const int32_t device = like.get_device_index();
  const int64_t worth = walk.num_states / std::max<int64_t>(walk.num_graphs, 1) / kStatesPerBlock;
  using Kernel = block::EachStateByTeams<Functor>;
  const int64_t size = team_size<Kernel>(device, walk.num_graphs, 0, worth);
  if (size == 1) return for_each_state(device, walk, functor);
  by_teams(like, walk.num_graphs, size, 0, 0, Kernel{{walk, functor}});
}

inline LayeredWalk walk_of(const Tensor& state_offsets, const Tensor& order,
                           const std::optional<Tensor>& bounds, bool reverse) {
  STD_TORCH_CHECK(bounds.has_value() && bounds->dim() == 2,
                  "gtnet: a walk on a GPU needs the layers of its order");
  const In<int32_t> layers = input<int32_t>(*bounds);
  return {{graphs(state_offsets), input<int64_t>(state_offsets), input<int32_t>(order), reverse},
          part_of(layers, 0, order.numel()),
          part_of(layers, order.numel(), order.numel()),
          order.numel()};
}

template <class T>
Span<const T> view(const Tensor& tensor) {
  STD_TORCH_CHECK(tensor.scalar_type() == scalar_type<T>() && tensor.is_contiguous(),
                  "gtnet: an operator was called with a tensor of the wrong dtype or layout");
  return {static_cast<const T*>(tensor.const_data_ptr()), tensor.numel()};
}

template <class T>
Span<T> writable(const Tensor& tensor) {
  return {static_cast<T*>(tensor.mutable_data_ptr()), tensor.numel()};
}

// Elements of a kind that no dtype has.
template <class Element>
Span<Element> elements(const Tensor& bytes) {
  return {static_cast<Element*>(bytes.mutable_data_ptr()),
          bytes.numel() / static_cast<int64_t>(sizeof(Element))};
}
template <class Element>
Tensor empty_elements(const Tensor& like, int64_t count) {
  return empty<int8_t>(like, count * static_cast<int64_t>(sizeof(Element)));
}

}  // namespace
}  // namespace gtnet::ops
