#include "ops/cuda/executor.cuh"
#include "ops/gpu/distance.h"

namespace gtnet::ops {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_walks(m);
}

}  // namespace gtnet::ops
