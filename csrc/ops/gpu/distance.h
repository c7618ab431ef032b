// Path sums and distances on a device of blocks: what ops/cpu/distance.cpp has schemas for. Walks
// come with their layers.
#pragma once

#include "ops/gpu/device.h"
#include "ops/log_gradients.h"
#include "paths/gpu/totals.h"
#include "rewrite/gather_scores.h"

namespace gtnet::ops {
namespace {

std::tuple<Tensor, Tensor> log_distance(const Tensor& weights, const Tensor& start,
                                        const Tensor& accept, const Tensor& state_offsets,
                                        const Tensor& order, const std::optional<Tensor>& bounds,
                                        const Tensor& offsets, const Tensor& arcs,
                                        const Tensor& states, bool reverse) {
  const int64_t num_states = start.numel(), num_graphs = graphs(state_offsets);
  const int32_t device = weights.get_device_index();
  Tensor alpha = empty<double>(start, num_states), score = empty<double>(start, num_graphs);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    const LayeredWalk walk = walk_of(state_offsets, order, bounds, reverse);
    for_each_state(weights, walk,
                   paths::LogDistance<T>{csr_of(offsets, arcs, states), input<T>(weights),
                                         input<T>(start), output<double>(alpha)});
    by_graph(device, paths::LogTotals<T>{num_graphs,
                                         {walk.state_offsets, input<T>(accept),
                                          output<double>(alpha), output<double>(score)}});
  });
  return {alpha, score};
}

std::tuple<Tensor, Tensor, Tensor> log_distance_backward(
    const Tensor& grad_score, const std::optional<Tensor>& grad_alpha, const Tensor& alpha,
    const Tensor& score, const Tensor& weights, const Tensor& start, const Tensor& accept,
    const Tensor& state_offsets, const Tensor& order, const std::optional<Tensor>& bounds,
    const Tensor& offsets, const Tensor& arcs, const Tensor& states, bool reverse) {
  LogGradients out(weights, start, accept);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each_state(weights, walk_of(state_offsets, order, bounds, reverse),
                   out.functor<T>(csr_of(offsets, arcs, states), weights, start, accept, alpha,
                                  score, grad_alpha, grad_score));
  });
  return {out.weights, out.start, out.accept};
}

Tensor recursion(const Tensor& p, const Tensor& b, const Tensor& state_offsets, const Tensor& order,
                 const std::optional<Tensor>& bounds, const Tensor& offsets, const Tensor& arcs,
                 const Tensor& states, bool reverse) {
  Tensor x = empty<double>(b, b.numel());
  for_each_state(b, walk_of(state_offsets, order, bounds, reverse),
                 paths::Recursion{csr_of(offsets, arcs, states), input<double>(p), input<double>(b),
                                  output<double>(x)});
  return x;
}

std::tuple<Tensor, Tensor> best_distance(const Tensor& weights, const Tensor& start,
                                         const Tensor& state_offsets, const Tensor& order,
                                         const std::optional<Tensor>& bounds, const Tensor& offsets,
                                         const Tensor& arcs, const Tensor& states, bool reverse) {
  const int64_t num_states = start.numel();
  Tensor alpha = empty<double>(start, num_states), came_by = empty<int32_t>(start, num_states);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each_state(
        weights, walk_of(state_offsets, order, bounds, reverse),
        paths::BestDistance<T>{csr_of(offsets, arcs, states), input<T>(weights), input<T>(start),
                               output<double>(alpha), output<int32_t>(came_by)});
  });
  return {alpha, came_by};
}

std::tuple<Tensor, Tensor, Tensor> best_end(const Tensor& alpha, const Tensor& came_by,
                                            const Tensor& accept, const Tensor& state_offsets,
                                            const Tensor& offsets, const Tensor& arcs,
                                            const Tensor& states, bool with_lengths) {
  const int64_t num_graphs = graphs(state_offsets);
  Tensor score = empty<double>(accept, num_graphs), last = empty<int32_t>(accept, num_graphs);
  Tensor length = empty<int64_t>(accept, with_lengths ? num_graphs : 0);
  with_scores(accept, [&](auto zero) {
    using T = decltype(zero);
    by_graph(accept.get_device_index(),
             paths::BestEnds<T>{
                 num_graphs,
                 {input<int64_t>(state_offsets), csr_of(offsets, arcs, states), input<T>(accept),
                  input<double>(alpha), input<int32_t>(came_by), output<double>(score),
                  output<int32_t>(last), with_lengths ? output<int64_t>(length) : Out<int64_t>{}}});
  });
  return {score, last, length};
}

std::tuple<Tensor, Tensor> trace(const Tensor& came_by, const Tensor& last,
                                 const Tensor& path_offsets, const Tensor& offsets,
                                 const Tensor& arcs, const Tensor& states, int64_t num_arcs) {
  Tensor path_arcs = empty<int32_t>(last, num_arcs), first = empty<int32_t>(last, last.numel());
  for_each(last.get_device_index(), last.numel(),
           paths::Backtrace{csr_of(offsets, arcs, states), input<int32_t>(came_by),
                            input<int32_t>(last), input<int64_t>(path_offsets),
                            output<int32_t>(path_arcs), output<int32_t>(first)});
  return {path_arcs, first};
}

Tensor take(const Tensor& values, const Tensor& index) {
  Tensor result = torch::stable::new_empty(values, {index.numel()}, values.scalar_type());
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
  Tensor result = torch::stable::new_empty(grad, {size}, grad.scalar_type());
  with_scores(grad, [&](auto zero) {
    using T = decltype(zero);
    for_each(grad.get_device_index(), size,
             rewrite::TakeGradient<T>{input<int32_t>(index), input<int64_t>(*by_index),
                                      input<T>(grad), output<T>(result), index.numel()});
  });
  return result;
}

void register_walks(torch::stable::detail::StableLibrary& m) {
  m.impl("log_distance", TORCH_BOX(&log_distance));
  m.impl("log_distance_backward", TORCH_BOX(&log_distance_backward));
  m.impl("recursion", TORCH_BOX(&recursion));
  m.impl("best_distance", TORCH_BOX(&best_distance));
  m.impl("best_end", TORCH_BOX(&best_end));
  m.impl("trace", TORCH_BOX(&trace));
  m.impl("take", TORCH_BOX(&take));
  m.impl("take_backward", TORCH_BOX(&take_backward));
}

}  // namespace
}  // namespace gtnet::ops
