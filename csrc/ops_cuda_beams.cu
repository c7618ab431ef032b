#include "executor_cuda.cuh"
#include "ops_device_beams.h"

namespace gtnet {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_beams(m);
}

}  // namespace gtnet
