#include "executor_cuda.cuh"
#include "ops_device_chain_paths.h"

namespace gtnet {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_chain_paths(m);
}

}  // namespace gtnet
