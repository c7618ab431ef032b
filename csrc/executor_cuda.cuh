// The CUDA executor: the functors of the CPU, a block per graph, a thread per state of a layer.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/shim_utils.h>

#include "topology.h"

namespace gtnet {

constexpr int kThreads = 256;

// The stream that torch works on at present.
inline cudaStream_t current_stream(int32_t device) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return static_cast<cudaStream_t>(stream);
}

template <class Functor>
__global__ void each(int64_t count, Functor functor) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    functor(i);
  }
}

// Block g walks graph g layer by layer: threads share the states of a layer, which do not depend
// on one another, and wait for all of them before the next.
template <class Functor>
__global__ void each_state(LayeredWalk walk, Functor functor) {
  for (int64_t graph = blockIdx.x; graph < walk.num_graphs; graph += gridDim.x) {
    const int64_t begin = walk.state_offsets[graph], end = walk.state_offsets[graph + 1];
    if (walk.reverse) {
      for (int64_t last = end; last > begin;) {
        const int64_t first = walk.layer_begin[last - 1];
        for (int64_t i = first + threadIdx.x; i < last; i += blockDim.x) {
          functor(graph, walk.order[i]);
        }
        last = first;
        __syncthreads();
      }
    } else {
      for (int64_t first = begin; first < end;) {
        const int64_t last = walk.layer_end[first];
        for (int64_t i = first + threadIdx.x; i < last; i += blockDim.x) {
          functor(graph, walk.order[i]);
        }
        first = last;
        __syncthreads();
      }
    }
  }
}

inline unsigned blocks_for(int64_t count) {
  constexpr int64_t kMostBlocks = 65535;
  return static_cast<unsigned>(count < kMostBlocks ? (count > 0 ? count : 1) : kMostBlocks);
}

// functor(i) for 0 <= i < count.
template <class Functor>
void for_each(int32_t device, int64_t count, const Functor& functor) {
  if (count == 0) return;
  const torch::stable::accelerator::DeviceGuard guard(device);
  each<<<blocks_for((count + kThreads - 1) / kThreads), kThreads, 0, current_stream(device)>>>(
      count, functor);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// functor(graph, state) for every state, layer by layer.
template <class Functor>
void for_each_state(int32_t device, const LayeredWalk& walk, const Functor& functor) {
  if (walk.num_graphs == 0) return;
  const torch::stable::accelerator::DeviceGuard guard(device);
  each_state<<<blocks_for(walk.num_graphs), kThreads, 0, current_stream(device)>>>(walk, functor);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace gtnet
