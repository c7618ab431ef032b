// From torch tensors to the pointers that the algorithms take.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/shim_utils.h>

#include <new>
#include <stdexcept>
#include <tuple>

#include "core/topology.h"
#include "ops/box.h"

#ifdef GTNET_EMULATED
#include "block/emulation.h"
#endif

namespace gtnet::ops {

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
#ifdef GTNET_EMULATED
  return {data, tensor.numel()};
#else
  return data;
#endif
}

template <class T>
Out<T> output(const Tensor& tensor) {
  auto* const data = static_cast<T*>(tensor.mutable_data_ptr());
#ifdef GTNET_EMULATED
  return {data, tensor.numel()};
#else
  return data;
#endif
}

// A tensor that torch makes; where it has no memory, its message names a C function and no size.
template <class Make>
Tensor allocated(const Make& make) {
  try {
    return make();
  } catch (const std::runtime_error&) {
    throw std::bad_alloc();
  }
}

// An empty tensor on the device of another. torch::stable::new_empty looks its operator up by name,
// which takes as long as much of what is computed on graphs of a few arcs.
inline Tensor empty_of(const Tensor& like, int64_t size, int32_t dtype) {
  return allocated([&] {
    int32_t type = 0, index = 0;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &type));
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &index));
    const int64_t stride = 1;
    AtenTensorHandle made = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(1, &size, &stride, dtype, type, index, &made));
    return Tensor(made);
  });
}

// An empty vector of the size and dtype of another.
inline Tensor empty_as(const Tensor& like) {
  int32_t dtype = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  return empty_of(like, like.numel(), dtype);
}

template <class T>
Tensor empty(const Tensor& like, int64_t size) {
  using torch::stable::detail::from, torch::stable::detail::to;
  Tensor tensor = empty_of(like, size, to<int32_t>(from(scalar_type<T>())));
#ifdef GTNET_EMULATED
  block::emulation().spoil(tensor.mutable_data_ptr(), size * sizeof(T));
#endif
  return tensor;
}

template <class T>
Tensor zeros(const Tensor& like, int64_t size) {
  return allocated([&] { return torch::stable::new_zeros(like, {size}, scalar_type<T>()); });
}

// Calls body(float{}) or body(double{}) after the dtype of the scores.
template <class Body>
auto with_scores(const Tensor& scores, const Body& body) {
  STD_TORCH_CHECK(
      scores.scalar_type() == ScalarType::Float || scores.scalar_type() == ScalarType::Double,
      "gtnet: scores must be float32 or float64");
  return scores.scalar_type() == ScalarType::Float ? body(float{}) : body(double{});
}

inline Csr csr_of(const Tensor& offsets, const Tensor& arcs, const Tensor& states) {
  return {input<int32_t>(offsets), input<int32_t>(arcs), input<int32_t>(states)};
}

inline int64_t graphs(const Tensor& offsets) {
  return offsets.numel() - 1;
}

inline Walk walk_of(const Tensor& state_offsets, const Tensor& order, bool reverse) {
  return {graphs(state_offsets), input<int64_t>(state_offsets), input<int32_t>(order), reverse};
}

}  // namespace gtnet::ops
