// From torch tensors to the pointers that the algorithms take.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <tuple>

#include "core/topology.h"
#include "paths/log_distance.h"

namespace gtnet {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Paths per graph; then, path after path: lengths, arcs, first states, last states.
using PackedPaths = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

template <class T>
constexpr ScalarType scalar_type() {
  if constexpr (std::is_same_v<T, float>) return ScalarType::Float;
  if constexpr (std::is_same_v<T, double>) return ScalarType::Double;
  if constexpr (std::is_same_v<T, int8_t>) return ScalarType::Char;
  if constexpr (std::is_same_v<T, int32_t>) return ScalarType::Int;
  if constexpr (std::is_same_v<T, int64_t>) return ScalarType::Long;
  if constexpr (std::is_same_v<T, bool>) return ScalarType::Bool;
}

template <class T>
In<T> input(const Tensor& tensor) {
  STD_TORCH_CHECK(tensor.scalar_type() == scalar_type<T>() && tensor.is_contiguous(),
                  "gtnet: an operator was called with a tensor of the wrong dtype or layout");
  const auto* const data = static_cast<const T*>(tensor.const_data_ptr());
#ifdef GTNET_STANDIN
  return {data, tensor.numel()};
#else
  return data;
#endif
}

template <class T>
Out<T> output(const Tensor& tensor) {
  auto* const data = static_cast<T*>(tensor.mutable_data_ptr());
#ifdef GTNET_STANDIN
  return {data, tensor.numel()};
#else
  return data;
#endif
}

template <class T>
Tensor empty(const Tensor& like, int64_t size) {
  Tensor tensor = torch::stable::new_empty(like, {size}, scalar_type<T>());
#ifdef GTNET_STANDIN
  standin().spoil(tensor.mutable_data_ptr(), size * sizeof(T));
#endif
  return tensor;
}

template <class T>
Tensor zeros(const Tensor& like, int64_t size) {
  return torch::stable::new_zeros(like, {size}, scalar_type<T>());
}

// Calls body(float{}) or body(double{}) after the dtype of the scores.
template <class Body>
auto with_scores(const Tensor& scores, const Body& body) {
  STD_TORCH_CHECK(
      scores.scalar_type() == ScalarType::Float || scores.scalar_type() == ScalarType::Double,
      "gtnet: scores must be float32 or float64");
  return scores.scalar_type() == ScalarType::Float ? body(float{}) : body(double{});
}

inline Incidence incidence_of(const Tensor& offsets, const Tensor& arcs, const Tensor& states) {
  return {input<int32_t>(offsets), input<int32_t>(arcs), input<int32_t>(states)};
}

// The three gradients of a log distance, and the functor that fills them.
struct LogGradients {
  Tensor weights, start, accept, flow;

  LogGradients(const Tensor& like_weights, const Tensor& like_start, const Tensor& like_accept)
      : weights(torch::stable::empty_like(like_weights)),
        start(torch::stable::empty_like(like_start)),
        accept(torch::stable::empty_like(like_accept)),
        flow(empty<double>(like_start, like_start.numel())) {}

  template <class T>
  LogDistanceGradient<T> functor(const Incidence& leaving, const Tensor& of_weights,
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

inline int64_t graphs(const Tensor& offsets) {
  return offsets.numel() - 1;
}

inline Walk walk_of(const Tensor& state_offsets, const Tensor& order, bool reverse) {
  return {graphs(state_offsets), input<int64_t>(state_offsets), input<int32_t>(order), reverse};
}

}  // namespace gtnet
