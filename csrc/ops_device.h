// What operators on a device of blocks share; an executor is included before.
#pragma once

#include <algorithm>

#include "ops.h"
#include "walk_kernels.h"

namespace gtnet {
namespace {

// functor(i) for 0 <= i < count.
template <class Functor>
void for_each(int32_t device, int64_t count, const Functor& functor) {
  constexpr int kThreads = Each<Functor>::kThreads;
  constexpr int64_t kMostBlocks = 65535;
  const int64_t blocks = std::min((count + kThreads - 1) / kThreads, kMostBlocks);
  launch(device, blocks, kThreads, 0, Each<Functor>{count, functor});
}

// functor(graph, state) for every state, layer by layer.
template <class Functor>
void for_each_state(int32_t device, const LayeredWalk& walk, const Functor& functor) {
  launch(device, walk.num_graphs, EachState<Functor>::kThreads, 0,
         EachState<Functor>{walk, functor});
}

inline LayeredWalk walk_of(const Tensor& state_offsets, const Tensor& order,
                           const std::optional<Tensor>& bounds, bool reverse) {
  STD_TORCH_CHECK(bounds.has_value() && bounds->dim() == 2,
                  "gtnet: a walk on a GPU needs the layers of its order");
  const In<int32_t> layers = input<int32_t>(*bounds);
  return {{graphs(state_offsets), input<int64_t>(state_offsets), input<int32_t>(order), reverse},
          part_of(layers, 0, order.numel()),
          part_of(layers, order.numel(), order.numel())};
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
}  // namespace gtnet
