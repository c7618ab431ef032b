// What runs the kernels: CUDA, or the emulation of a GPU.
#pragma once

#ifdef __CUDACC__
#include "ops/cuda/executor.cuh"
#else
#include "ops/emulated/executor.h"
#endif
