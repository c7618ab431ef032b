#include "executor_cuda.cuh"
#include "ops_device_graphs.h"

namespace gtnet {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_graphs(m);
}

}  // namespace gtnet
