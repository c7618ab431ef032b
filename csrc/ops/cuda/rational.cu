#include "ops/cuda/executor.cuh"
#include "ops/gpu/rational.h"

namespace gtnet::ops {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_rewrites(m);
}

}  // namespace gtnet::ops
