// What runs the kernels: CUDA, or one of two emulations of a GPU.
#pragma once

#ifdef __CUDACC__
#include "ops/cuda/executor.cuh"
#elif defined(GTNET_FIBERS)
#include "ops/emulated/fibers.h"
#else
#include "ops/emulated/executor.h"
#endif
