// The operators of path sums and best paths of acyclic graphs: schemas and CPU implementations.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("tune=haswell")  // or else the compiler gathers without gather instructions
#endif

#include "ops/distance.h"
#include "core/drivers.h"
#include "layout/state_slices.h"
#include "ops/cpu/executor.h"
#include "paths/cpu/log_posteriors.h"

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

// Whether a finite number lies farther from 0 than a limit.
bool beyond(const std::vector<Tensor>& numbers, double limit) {
  return std::any_of(numbers.begin(), numbers.end(), [&](const Tensor& each) {
    return with_scores(each, [&](auto zero) {
      using T = decltype(zero);
      const T* const x = input<T>(each);
      const int64_t size = each.numel();
      int64_t found = 0;
      const auto body = [&]() __attribute__((always_inline)) {
        for (int64_t i = 0; i < size; ++i) {
          const double from = std::abs(static_cast<double>(x[i]));
          found += from > limit && from < -kNegInf;
        }
      };
      Vectorized<decltype(body)>::run(body);
      return found > 0;
    });
  });
}

struct Cpu {
  // Side by side where there is a plan and the functor can; layers [2, states] are for GPUs.
  template <class Functor>
  static void each_state(const Tensor& /*like*/, const Tensor& state_offsets, const Tensor& order,
                         const std::optional<Tensor>& plan, bool reverse, const Functor& functor) {
    if constexpr (requires { &Functor::run; }) {
      if (plan && plan->dim() == 1) {
        count(Driver::kSlices, graphs(state_offsets));
        for_each_slice({graphs(state_offsets), input<int32_t>(*plan)}, order.numel(), functor);
        return;
      }
    }
    count(Driver::kStateByState, graphs(state_offsets));
    for_each_state(walk_of(state_offsets, order, reverse), order.numel(), functor);
  }

  template <class Functor>
  static void each_graph(const Tensor& /*like*/, int64_t num_graphs, int64_t work,
                         const Functor& functor) {
    for_each_graph(num_graphs, work, functor);
  }
};

// Without a gradient of the distances the flow of every arc is a posterior.
std::tuple<Tensor, Tensor, Tensor> log_distance_gradient(
    const Tensor& grad_score, const std::optional<Tensor>& grad_alpha, const Tensor& alpha,
    const Tensor& score, const Tensor& weights, const Tensor& start, const Tensor& accept,
    const Tensor& state_offsets, const Tensor& order, const std::optional<Tensor>& plan,
    const Tensor& offsets, const Tensor& arcs, const Tensor& states, bool reverse) {
  if (grad_alpha) {
    return log_distance_backward<Cpu>(grad_score, grad_alpha, alpha, score, weights, start, accept,
                                      state_offsets, order, plan, offsets, arcs, states, reverse);
  }
  LogGradients out(weights, start, accept);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    Cpu::each_state(weights, state_offsets, order, plan, reverse,
                    paths::LogPosteriors<T>{csr_of(offsets, arcs, states), input<T>(weights),
                                            input<T>(start), input<T>(accept), input<double>(alpha),
                                            input<double>(score), input<double>(grad_score),
                                            output<double>(out.flow), output<T>(out.weights),
                                            output<T>(out.start), output<T>(out.accept)});
  });
  return {out.weights, out.start, out.accept};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "slices(Tensor state_offsets, Tensor order, Tensor offsets, Tensor arcs, Tensor states, "
      "bool reverse, bool runs_only) -> Tensor");
  m.def("beyond(Tensor[] numbers, float limit) -> bool");
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
  m.impl("slices", GTNET_BOX("slices", &slices));
  m.impl("beyond", GTNET_BOX("beyond", &beyond));
  m.impl("log_distance", GTNET_BOX("log_distance", &log_distance<Cpu>));
  m.impl("log_distance_backward", GTNET_BOX("log_distance_backward", &log_distance_gradient));
  m.impl("recursion", GTNET_BOX("recursion", &recursion<Cpu>));
  m.impl("best_distance", GTNET_BOX("best_distance", &best_distance<Cpu>));
  m.impl("best_end", GTNET_BOX("best_end", &best_end<Cpu>));
  m.impl("trace", GTNET_BOX("trace", &trace<Cpu>));
}

}  // namespace gtnet::ops
