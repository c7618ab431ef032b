#include "executor_cuda.cuh"
#include "ops_device_compose.h"

namespace gtnet {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_compose(m);
}

}  // namespace gtnet
