// The CUDA executor: kernels on the stream that torch works on.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/shim_utils.h>

#include <vector>

#include "block.cuh"

namespace gtnet {

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
  Block block(shared);
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

}  // namespace gtnet
