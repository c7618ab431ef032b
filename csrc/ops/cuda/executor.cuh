// The CUDA executor: kernels on the stream that torch works on.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/shim_utils.h>

#include <vector>

#include "block/cuda.cuh"

namespace gtnet::ops {

inline cudaStream_t current_stream(int32_t device) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return static_cast<cudaStream_t>(stream);
}

// How much memory the threads of a block can share.
inline int64_t shared_limit(int32_t device) {
  int bytes = 0;
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes;
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads) run_blocks(const Kernel kernel) {
  extern __shared__ __align__(16) char shared[];
  block::Block block(shared);
  kernel(block);
}

// So many blocks of `threads` threads (a multiple of kWarp) that share so many bytes.
template <class Kernel>
void launch(int32_t device, int64_t blocks, int threads, int64_t shared_bytes,
            const Kernel& kernel) {
  constexpr int64_t kAlwaysShared = 48 << 10;
  if (blocks == 0) return;
  const torch::stable::accelerator::DeviceGuard guard(device);
  if (shared_bytes > kAlwaysShared) {
    STD_CUDA_CHECK(cudaFuncSetAttribute(run_blocks<Kernel>,
                                        cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(shared_bytes)));
  }
  run_blocks<<<static_cast<unsigned>(blocks), threads, static_cast<size_t>(shared_bytes),
               current_stream(device)>>>(kernel);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads)
    run_teams(const Kernel kernel, const int64_t size, int32_t* const arrived, char* const of_teams,
              const int64_t shared_bytes) {
  extern __shared__ __align__(16) char shared[];
  block::Block block(shared);
  block::Team team(block, size, arrived, of_teams, shared_bytes);
  kernel(team);
}

// How many blocks of a kernel for teams can run at once, which share `bytes` each: no more than is
// always there.
template <class Kernel>
int64_t blocks_at_once(int32_t device, int64_t bytes) {
  const torch::stable::accelerator::DeviceGuard guard(device);
  int per_multiprocessor = 0, multiprocessors = 0;
  STD_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &per_multiprocessor, run_teams<Kernel>, Kernel::kThreads, block::Team::kBytes + bytes));
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  return static_cast<int64_t>(per_multiprocessor) * multiprocessors;
}

// So many teams of `size` blocks, together no more than blocks_at_once(). The threads of a block
// share `bytes`, those of a team `shared_bytes` of `of_teams`. `arrived` [teams], 0 on entry.
template <class Kernel>
void launch_teams(int32_t device, int64_t teams, int64_t size, int64_t bytes, int32_t* arrived,
                  char* of_teams, int64_t shared_bytes, Kernel kernel) {
  const torch::stable::accelerator::DeviceGuard guard(device);
  void* arguments[] = {&kernel, &size, &arrived, &of_teams, &shared_bytes};
  STD_CUDA_CHECK(cudaLaunchCooperativeKernel(
      reinterpret_cast<const void*>(run_teams<Kernel>), static_cast<unsigned>(teams * size),
      Kernel::kThreads, arguments, block::Team::kBytes + bytes, current_stream(device)));
}

// The values from a device's address on, once all work queued so far is done.
template <class T>
std::vector<T> read_back(int32_t device, const T* address, int64_t count) {
  const torch::stable::accelerator::DeviceGuard guard(device);
  std::vector<T> values(count);
  STD_CUDA_CHECK(cudaMemcpyAsync(values.data(), address, count * sizeof(T), cudaMemcpyDeviceToHost,
                                 current_stream(device)));
  STD_CUDA_CHECK(cudaStreamSynchronize(current_stream(device)));
  return values;
}

template <class T>
T read_back(int32_t device, const T* address) {
  return read_back(device, address, 1)[0];
}

}  // namespace gtnet::ops
