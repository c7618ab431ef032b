#include "ops/cuda/executor.cuh"
#include "ops/gpu/compose.h"

namespace gtnet::ops {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_compose(m);
}

}  // namespace gtnet::ops
