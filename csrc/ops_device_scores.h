// Scores of several dtypes, as operators on a device of blocks take them.
#pragma once

#include "ops_device.h"
#include "score_array.h"

namespace gtnet {
namespace {

// The elements that a strided tensor reaches over.
int64_t extent(const Tensor& tensor) {
  if (tensor.numel() == 0) return 0;
  int64_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  return last + 1;
}

ScoreKind kind_of(const Tensor& scores) {
  switch (scores.scalar_type()) {
    case ScalarType::Float:
      return ScoreKind::kFloat;
    case ScalarType::Double:
      return ScoreKind::kDouble;
    case ScalarType::Half:
      return ScoreKind::kHalf;
    case ScalarType::BFloat16:
      return ScoreKind::kBfloat16;
    default:
      STD_TORCH_CHECK(false, "gtnet: emissions must be float16, bfloat16, float32 or float64");
  }
}

template <class Array, class Wide, class Single, class Short, class Pointer>
Array score_array(const Tensor& scores, Pointer* data) {
  const int64_t size = extent(scores);
  return {kind_of(scores),
          {static_cast<Wide*>(data), size},
          {static_cast<Single*>(data), size},
          {static_cast<Short*>(data), size}};
}

}  // namespace
}  // namespace gtnet
