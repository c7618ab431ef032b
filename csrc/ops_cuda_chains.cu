#include "executor_cuda.cuh"
#include "ops_device_chains.h"

namespace gtnet {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_chains(m);
}

}  // namespace gtnet
