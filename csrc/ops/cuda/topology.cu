#include "ops/cuda/executor.cuh"
#include "ops/gpu/topology.h"

namespace gtnet::ops {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_graphs(m);
}

}  // namespace gtnet::ops
