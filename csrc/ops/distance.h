// Path sums and best paths of acyclic graphs as tensors, for every device. A Device says how
// functors run:
//   each_state(like, state_offsets, order, plan, reverse, functor)   functor(graph, state)
//   each_graph(like, num_graphs, work, functor)                      functor(graph)
// `plan` is how a CPU takes states side by side, or none; on a GPU the layers of the order.
#pragma once

#include <optional>

#include "ops/log_gradients.h"
#include "ops/tensors.h"
#include "paths/log_distance.h"
#include "paths/viterbi.h"

namespace gtnet::ops {

template <class Device>
std::tuple<Tensor, Tensor> log_distance(const Tensor& weights, const Tensor& start,
                                        const Tensor& accept, const Tensor& state_offsets,
                                        const Tensor& order, const std::optional<Tensor>& plan,
                                        const Tensor& offsets, const Tensor& arcs,
                                        const Tensor& states, bool reverse) {
  const int64_t num_states = start.numel(), num_graphs = graphs(state_offsets);
  Tensor alpha = empty<double>(start, num_states), score = empty<double>(start, num_graphs);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    Device::each_state(weights, state_offsets, order, plan, reverse,
                       paths::LogDistance<T>{csr_of(offsets, arcs, states), input<T>(weights),
                                             input<T>(start), output<double>(alpha)});
    Device::each_graph(weights, num_graphs, num_states,
                       paths::LogTotal<T>{input<int64_t>(state_offsets), input<T>(accept),
                                          output<double>(alpha), output<double>(score)});
  });
  return {alpha, score};
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor> log_distance_backward(
    const Tensor& grad_score, const std::optional<Tensor>& grad_alpha, const Tensor& alpha,
    const Tensor& score, const Tensor& weights, const Tensor& start, const Tensor& accept,
    const Tensor& state_offsets, const Tensor& order, const std::optional<Tensor>& plan,
    const Tensor& offsets, const Tensor& arcs, const Tensor& states, bool reverse) {
  const LogGradients out(weights, start, accept);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    Device::each_state(weights, state_offsets, order, plan, reverse,
                       out.functor<T>(csr_of(offsets, arcs, states), weights, start, accept, alpha,
                                      score, grad_alpha, grad_score));
  });
  return {out.weights, out.start, out.accept};
}

template <class Device>
Tensor recursion(const Tensor& p, const Tensor& b, const Tensor& state_offsets, const Tensor& order,
                 const std::optional<Tensor>& plan, const Tensor& offsets, const Tensor& arcs,
                 const Tensor& states, bool reverse) {
  Tensor x = empty<double>(b, b.numel());
  Device::each_state(b, state_offsets, order, plan, reverse,
                     paths::Recursion{csr_of(offsets, arcs, states), input<double>(p),
                                      input<double>(b), output<double>(x)});
  return x;
}

template <class Device>
std::tuple<Tensor, Tensor> best_distance(const Tensor& weights, const Tensor& start,
                                         const Tensor& state_offsets, const Tensor& order,
                                         const std::optional<Tensor>& plan, const Tensor& offsets,
                                         const Tensor& arcs, const Tensor& states, bool reverse) {
  const int64_t num_states = start.numel();
  Tensor alpha = empty<double>(start, num_states), came_by = empty<int32_t>(start, num_states);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    Device::each_state(
        weights, state_offsets, order, plan, reverse,
        paths::BestDistance<T>{csr_of(offsets, arcs, states), input<T>(weights), input<T>(start),
                               output<double>(alpha), output<int32_t>(came_by)});
  });
  return {alpha, came_by};
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor> best_end(const Tensor& alpha, const Tensor& came_by,
                                            const Tensor& accept, const Tensor& state_offsets,
                                            const Tensor& offsets, const Tensor& arcs,
                                            const Tensor& states, bool with_lengths) {
  const int64_t num_graphs = graphs(state_offsets);
  Tensor score = empty<double>(accept, num_graphs), last = empty<int32_t>(accept, num_graphs);
  Tensor length = empty<int64_t>(accept, with_lengths ? num_graphs : 0);
  with_scores(accept, [&](auto zero) {
    using T = decltype(zero);
    Device::each_graph(
        accept, num_graphs, accept.numel(),
        paths::BestEnd<T>{input<int64_t>(state_offsets), csr_of(offsets, arcs, states),
                          input<T>(accept), input<double>(alpha), input<int32_t>(came_by),
                          output<double>(score), output<int32_t>(last),
                          with_lengths ? output<int64_t>(length) : Out<int64_t>{}});
  });
  return {score, last, length};
}

template <class Device>
std::tuple<Tensor, Tensor> trace(const Tensor& came_by, const Tensor& last,
                                 const Tensor& path_offsets, const Tensor& offsets,
                                 const Tensor& arcs, const Tensor& states, int64_t num_arcs) {
  Tensor path_arcs = empty<int32_t>(last, num_arcs), first = empty<int32_t>(last, last.numel());
  Device::each_graph(last, last.numel(), num_arcs,
                     paths::Backtrace{csr_of(offsets, arcs, states), input<int32_t>(came_by),
                                      input<int32_t>(last), input<int64_t>(path_offsets),
                                      output<int32_t>(path_arcs), output<int32_t>(first)});
  return {path_arcs, first};
}

}  // namespace gtnet::ops
