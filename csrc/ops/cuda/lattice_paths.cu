#include "ops/cuda/executor.cuh"
#include "ops/gpu/lattice_paths.h"

namespace gtnet::ops {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_chain_paths(m);
}

}  // namespace gtnet::ops
