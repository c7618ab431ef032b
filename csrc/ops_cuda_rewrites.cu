#include "executor_cuda.cuh"
#include "ops_device_rewrites.h"

namespace gtnet {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_rewrites(m);
}

}  // namespace gtnet
