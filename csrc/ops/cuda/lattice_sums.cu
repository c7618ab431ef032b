#include "ops/cuda/executor.cuh"
#include "ops/gpu/lattice_sums.h"

namespace gtnet::ops {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_chains(m);
}

}  // namespace gtnet::ops
