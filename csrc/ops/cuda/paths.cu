#include "ops/cuda/executor.cuh"
#include "ops/gpu/paths.h"

namespace gtnet::ops {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_paths(m);
}

}  // namespace gtnet::ops
