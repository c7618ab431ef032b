#include "executor_cuda.cuh"
#include "ops_device_walks.h"

namespace gtnet {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_walks(m);
}

}  // namespace gtnet
