// Scores of what was made of several operands.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <optional>
#include <vector>

#include "ops/tensors.h"
#include "rewrite/gather_scores.h"

namespace gtnet::ops {

// Empty scores of the dtype of others.
inline Tensor empty_scores(const Tensor& like, int64_t size) {
  return with_scores(like, [&](auto zero) { return empty<decltype(zero)>(like, size); });
}

// The weights, start and accept scores of what was made of `maps.size() / 2` operands: the sums of
// the scores that arcs and states came from. `scores` are three of each operand, `maps` two; no
// path starts in a state of another filter than 0.
inline std::vector<Tensor> gathered(const std::vector<Tensor>& scores,
                                    const std::vector<Tensor>& maps,
                                    const std::optional<Tensor>& filters) {
  std::vector<Tensor> results;
  const size_t operands = maps.size() / 2;
  const auto total = [&](size_t kind, size_t map) {
    const int64_t size = maps[map].numel();
    results.push_back(empty_scores(scores[kind], size));
    with_scores(scores[kind], [&](auto zero) {
      using T = decltype(zero);
      for (size_t k = 0; k < operands; ++k) {
        const rewrite::Take<T> one{input<T>(scores[3 * k + kind]),
                                   input<int32_t>(maps[2 * k + map]), output<T>(results.back())};
        torch::stable::parallel_for(0, size, 1 << 15, [&](int64_t begin, int64_t end) {
          if (k == 0) {
            for (int64_t i = begin; i < end; ++i) one(i);
          } else {
            for (int64_t i = begin; i < end; ++i) one.add(i);
          }
        });
      }
      if (kind != 1 || !filters) return;
      const int8_t* const filter = input<int8_t>(*filters);
      T* const start = output<T>(results.back());
      for (int64_t i = 0; i < size; ++i) {
        if (filter[i] != 0) start[i] = static_cast<T>(kNegInf);
      }
    });
  };
  total(0, 0);
  total(1, 1);
  total(2, 1);
  return results;
}

}  // namespace gtnet::ops
