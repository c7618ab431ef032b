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

// A block for each graph of a batch, or item of one.
template <class Kernel>
void by_graph(int32_t device, const Kernel& kernel) {
  constexpr int64_t kMostBlocks = 1 << 16;
  launch(device, std::min(kernel.num_graphs, kMostBlocks), Kernel::kThreads, Kernel::kBytes,
         kernel);
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

}  // namespace
}  // namespace gtnet
