// The gradients of a log distance as tensors.
#pragma once

#include "ops/tensors.h"
#include "paths/log_distance.h"

namespace gtnet::ops {

// The three gradients of a log distance, and the functor that fills them.
struct LogGradients {
  Tensor weights, start, accept, flow;

  LogGradients(const Tensor& like_weights, const Tensor& like_start, const Tensor& like_accept)
      : weights(empty_as(like_weights)),
        start(empty_as(like_start)),
        accept(empty_as(like_accept)),
        flow(empty<double>(like_start, like_start.numel())) {}

  template <class T>
  paths::LogDistanceGradient<T> functor(const Csr& leaving, const Tensor& of_weights,
                                        const Tensor& of_start, const Tensor& of_accept,
                                        const Tensor& alpha, const Tensor& score,
                                        const std::optional<Tensor>& grad_alpha,
                                        const Tensor& grad_score) const {
    return {leaving,
            input<T>(of_weights),
            input<T>(of_start),
            input<T>(of_accept),
            input<double>(alpha),
            input<double>(score),
            grad_alpha ? input<double>(*grad_alpha) : nullptr,
            input<double>(grad_score),
            output<double>(flow),
            output<T>(weights),
            output<T>(start),
            output<T>(accept)};
  }
};

}  // namespace gtnet::ops
