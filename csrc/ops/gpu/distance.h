// Path sums and distances on a device of blocks: what ops/cpu/distance.cpp has schemas for. Walks
// come with their layers.
#pragma once

#include "ops/distance.h"
#include "ops/gpu/device.h"
#include "paths/gpu/totals.h"
#include "rewrite/gather_scores.h"

namespace gtnet::ops {
namespace {

struct Blocks {
  template <class Functor>
  static void each_state(const Tensor& like, const Tensor& state_offsets, const Tensor& order,
                         const std::optional<Tensor>& bounds, bool reverse,
                         const Functor& functor) {
    for_each_state(like, walk_of(state_offsets, order, bounds, reverse), functor);
  }

  // The ends of paths by the threads of a block, the rest by a thread.
  template <class T>
  static void each_graph(const Tensor& like, int64_t num_graphs, int64_t /*work*/,
                         const paths::LogTotal<T>& total) {
    by_graph(like.get_device_index(), paths::LogTotals<T>{num_graphs, total});
  }
  template <class T>
  static void each_graph(const Tensor& like, int64_t num_graphs, int64_t /*work*/,
                         const paths::BestEnd<T>& end) {
    by_graph(like.get_device_index(), paths::BestEnds<T>{num_graphs, end});
  }
  static void each_graph(const Tensor& like, int64_t num_graphs, int64_t /*work*/,
                         const paths::Backtrace& trace) {
    for_each(like.get_device_index(), num_graphs, trace);
  }
};

Tensor take(const Tensor& values, const Tensor& index) {
  Tensor result = allocated(
      [&] { return torch::stable::new_empty(values, {index.numel()}, values.scalar_type()); });
  with_scores(values, [&](auto zero) {
    using T = decltype(zero);
    for_each(values.get_device_index(), index.numel(),
             rewrite::Take<T>{input<T>(values), input<int32_t>(index), output<T>(result)});
  });
  return result;
}

Tensor take_backward(const Tensor& grad, const Tensor& index, const std::optional<Tensor>& by_index,
                     int64_t size) {
  STD_TORCH_CHECK(by_index.has_value(), "gtnet: take_backward on a GPU needs the sorted places");
  Tensor result =
      allocated([&] { return torch::stable::new_empty(grad, {size}, grad.scalar_type()); });
  with_scores(grad, [&](auto zero) {
    using T = decltype(zero);
    for_each(grad.get_device_index(), size,
             rewrite::TakeGradient<T>{input<int32_t>(index), input<int64_t>(*by_index),
                                      input<T>(grad), output<T>(result), index.numel()});
  });
  return result;
}

void register_walks(torch::stable::detail::StableLibrary& m) {
  m.impl("log_distance", TORCH_BOX(&log_distance<Blocks>));
  m.impl("log_distance_backward", TORCH_BOX(&log_distance_backward<Blocks>));
  m.impl("recursion", TORCH_BOX(&recursion<Blocks>));
  m.impl("best_distance", TORCH_BOX(&best_distance<Blocks>));
  m.impl("best_end", TORCH_BOX(&best_end<Blocks>));
  m.impl("trace", TORCH_BOX(&trace<Blocks>));
  m.impl("take", TORCH_BOX(&take));
  m.impl("take_backward", TORCH_BOX(&take_backward));
}

}  // namespace
}  // namespace gtnet::ops
