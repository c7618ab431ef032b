#include "ops/cuda/executor.cuh"
#include "ops/gpu/transducer.h"

namespace gtnet::ops {

STABLE_TORCH_LIBRARY_IMPL(gtnet, CUDA, m) {
  register_transducers(m);
}

}  // namespace gtnet::ops
