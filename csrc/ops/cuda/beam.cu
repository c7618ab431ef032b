#include "ops/cuda/executor.cuh"
#include "ops/gpu/beam.h"

namespace gtnet::ops {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_beams(m);
}

}  // namespace gtnet::ops
