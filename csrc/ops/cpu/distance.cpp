// The operators of path sums and best paths of acyclic graphs: schemas and CPU implementations.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("tune=haswell")  // or else the compiler gathers without gather instructions
#endif

#include "core/drivers.h"
#include "layout/state_slices.h"
#include "ops/cpu/executor.h"
#include "ops/log_gradients.h"
#include "ops/tensors.h"
#include "paths/cpu/log_posteriors.h"
#include "paths/viterbi.h"

namespace gtnet::ops {
namespace {

// How to take the states of each graph together, or nothing where taking them one by one is best.
Tensor slices(const Tensor& state_offsets, const Tensor& order, const Tensor& offsets,
              const Tensor& arcs, const Tensor& states, bool reverse, bool runs_only) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const state = input<int64_t>(state_offsets);
  std::vector<layout::SlicePlanner> planners;
  for (int64_t g = 0; g < num_graphs; ++g) {
    planners.emplace_back(csr_of(offsets, arcs, states), input<int32_t>(order),
                          static_cast<int32_t>(state[g]), static_cast<int32_t>(state[g + 1]),
                          reverse);
  }
  for_each_graph(num_graphs, order.numel(), [&](int64_t g) {
    runs_only ? planners[g].plan_runs() : planners[g].plan_slices();
  });
  if (std::none_of(planners.begin(), planners.end(), std::mem_fn(&layout::SlicePlanner::pays))) {
    return empty<int32_t>(order, 0);
  }
  std::vector<int64_t> begin{layout::whole_lanes(num_graphs + 1)};
  for (const layout::SlicePlanner& planner : planners)
    begin.push_back(begin.back() + planner.size());
  Tensor plan = empty<int32_t>(order, begin.back());
  int32_t* const words = output<int32_t>(plan);
  std::fill_n(words, begin[0], 0);
  for (int64_t g = 0; g <= num_graphs; ++g)
    words[g] = static_cast<int32_t>(begin[g] / layout::kLanes);
  for_each_graph(num_graphs, order.numel(),
                 [&](int64_t g) { planners[g].write(words + begin[g]); });
  return plan;
}

// functor for every state, side by side where there is a plan; layers [2, states] are for GPUs.
template <class Functor>
void each_state(const Tensor& state_offsets, const Tensor& order, const std::optional<Tensor>& plan,
                bool reverse, const Functor& functor) {
  const bool is_planned = plan && plan->dim() == 1;
  count(is_planned ? Driver::kSlices : Driver::kStateByState, graphs(state_offsets));
  if (is_planned) {
    for_each_slice({graphs(state_offsets), input<int32_t>(*plan)}, order.numel(), functor);
  } else {
    for_each_state(walk_of(state_offsets, order, reverse), order.numel(), functor);
  }
}

std::tuple<Tensor, Tensor> log_distance(const Tensor& weights, const Tensor& start,
                                        const Tensor& accept, const Tensor& state_offsets,
                                        const Tensor& order, const std::optional<Tensor>& plan,
                                        const Tensor& offsets, const Tensor& arcs,
                                        const Tensor& states, bool reverse) {
  const int64_t num_states = start.numel(), num_graphs = graphs(state_offsets);
  Tensor alpha = empty<double>(start, num_states), score = empty<double>(start, num_graphs);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    each_state(state_offsets, order, plan, reverse,
               paths::LogDistance<T>{csr_of(offsets, arcs, states), input<T>(weights),
                                     input<T>(start), output<double>(alpha)});
    for_each_graph(num_graphs, num_states,
                   paths::LogTotal<T>{input<int64_t>(state_offsets), input<T>(accept),
                                      output<double>(alpha), output<double>(score)});
  });
  return {alpha, score};
}

std::tuple<Tensor, Tensor, Tensor> log_distance_backward(
    const Tensor& grad_score, const std::optional<Tensor>& grad_alpha, const Tensor& alpha,
    const Tensor& score, const Tensor& weights, const Tensor& start, const Tensor& accept,
    const Tensor& state_offsets, const Tensor& order, const std::optional<Tensor>& plan,
    const Tensor& offsets, const Tensor& arcs, const Tensor& states, bool reverse) {
  LogGradients out(weights, start, accept);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    const Csr leaving = csr_of(offsets, arcs, states);
    if (grad_alpha) {
      count(Driver::kStateByState, graphs(state_offsets));
      for_each_state(
          walk_of(state_offsets, order, reverse), start.numel(),
          out.functor<T>(leaving, weights, start, accept, alpha, score, grad_alpha, grad_score));
      return;
    }
    each_state(state_offsets, order, plan, reverse,
               paths::LogPosteriors<T>{leaving, input<T>(weights), input<T>(start),
                                       input<T>(accept), input<double>(alpha), input<double>(score),
                                       input<double>(grad_score), output<double>(out.flow),
                                       output<T>(out.weights), output<T>(out.start),
                                       output<T>(out.accept)});
  });
  return {out.weights, out.start, out.accept};
}

Tensor recursion(const Tensor& p, const Tensor& b, const Tensor& state_offsets, const Tensor& order,
                 const std::optional<Tensor>& /*plan*/, const Tensor& offsets, const Tensor& arcs,
                 const Tensor& states, bool reverse) {
  Tensor x = empty<double>(b, b.numel());
  count(Driver::kStateByState, graphs(state_offsets));
  for_each_state(walk_of(state_offsets, order, reverse), b.numel(),
                 paths::Recursion{csr_of(offsets, arcs, states), input<double>(p), input<double>(b),
                                  output<double>(x)});
  return x;
}

std::tuple<Tensor, Tensor> best_distance(const Tensor& weights, const Tensor& start,
                                         const Tensor& state_offsets, const Tensor& order,
                                         const std::optional<Tensor>& plan, const Tensor& offsets,
                                         const Tensor& arcs, const Tensor& states, bool reverse) {
  const int64_t num_states = start.numel();
  Tensor alpha = empty<double>(start, num_states), came_by = empty<int32_t>(start, num_states);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    each_state(
        state_offsets, order, plan, reverse,
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
    for_each_graph(
        num_graphs, accept.numel(),
        paths::BestEnd<T>{input<int64_t>(state_offsets), csr_of(offsets, arcs, states),
                          input<T>(accept), input<double>(alpha), input<int32_t>(came_by),
                          output<double>(score), output<int32_t>(last),
                          with_lengths ? output<int64_t>(length) : nullptr});
  });
  return {score, last, length};
}

std::tuple<Tensor, Tensor> trace(const Tensor& came_by, const Tensor& last,
                                 const Tensor& path_offsets, const Tensor& offsets,
                                 const Tensor& arcs, const Tensor& states, int64_t num_arcs) {
  Tensor path_arcs = empty<int32_t>(last, num_arcs), first = empty<int32_t>(last, last.numel());
  for_each_graph(last.numel(), num_arcs,
                 paths::Backtrace{csr_of(offsets, arcs, states), input<int32_t>(came_by),
                                  input<int32_t>(last), input<int64_t>(path_offsets),
                                  output<int32_t>(path_arcs), output<int32_t>(first)});
  return {path_arcs, first};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "slices(Tensor state_offsets, Tensor order, Tensor offsets, Tensor arcs, Tensor states, "
      "bool reverse, bool runs_only) -> Tensor");
  m.def(
      "log_distance(Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor order, Tensor? plan, Tensor offsets, Tensor arcs, Tensor states, bool reverse) "
      "-> (Tensor, Tensor)");
  m.def(
      "log_distance_backward(Tensor grad_score, Tensor? grad_alpha, Tensor alpha, Tensor score, "
      "Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, Tensor order, "
      "Tensor? plan, Tensor offsets, Tensor arcs, Tensor states, bool reverse) "
      "-> (Tensor, Tensor, Tensor)");
  m.def(
      "recursion(Tensor p, Tensor b, Tensor state_offsets, Tensor order, Tensor? plan, "
      "Tensor offsets, Tensor arcs, Tensor states, bool reverse) -> Tensor");
  m.def(
      "best_distance(Tensor weights, Tensor start, Tensor state_offsets, Tensor order, "
      "Tensor? plan, Tensor offsets, Tensor arcs, Tensor states, bool reverse) "
      "-> (Tensor, Tensor)");
  m.def(
      "best_end(Tensor alpha, Tensor came_by, Tensor accept, Tensor state_offsets, "
      "Tensor offsets, Tensor arcs, Tensor states, bool with_lengths) -> (Tensor, Tensor, Tensor)");
  m.def(
      "trace(Tensor came_by, Tensor last, Tensor path_offsets, Tensor offsets, Tensor arcs, "
      "Tensor states, int num_arcs) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("slices", TORCH_BOX(&slices));
  m.impl("log_distance", TORCH_BOX(&log_distance));
  m.impl("log_distance_backward", TORCH_BOX(&log_distance_backward));
  m.impl("recursion", TORCH_BOX(&recursion));
  m.impl("best_distance", TORCH_BOX(&best_distance));
  m.impl("best_end", TORCH_BOX(&best_end));
  m.impl("trace", TORCH_BOX(&trace));
}

}  // namespace gtnet::ops
