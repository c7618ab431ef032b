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

// The score of each graph in the dtype of its weights; with `keep` also the distances and the
// scores in float64, which a gradient needs.
std::vector<Tensor> forward_score(const Tensor& weights, const Tensor& start, const Tensor& accept,
                                  const Tensor& state_offsets, const Tensor& order,
                                  const std::optional<Tensor>& plan, const Tensor& offsets,
                                  const Tensor& arcs, const Tensor& states, bool reverse,
                                  bool keep) {
  auto [alpha, total] = log_distance<Cpu>(weights, start, accept, state_offsets, order, plan,
                                          offsets, arcs, states, reverse);
  if (weights.scalar_type() == ScalarType::Double && !keep) return {total};
  const int64_t num_graphs = total.numel();
  Tensor score = with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    Tensor rounded = empty<T>(weights, num_graphs);
    std::copy_n(input<double>(total), num_graphs, output<T>(rounded));
    return rounded;
  });
  return keep ? std::vector<Tensor>{score, alpha, total} : std::vector<Tensor>{score};
}

// The best path of each graph as a batch of linear graphs, given the distances of cyclic graphs:
// offsets of states and arcs, sources, targets, input labels, the arc of each arc, weights, start
// and accept scores; then output labels, unless it is an acceptor; then, for a gradient, the state
// whose start score, and whose accept score, each state has (as many as there are for none).
std::vector<Tensor> best_paths(const Tensor& weights, const Tensor& start, const Tensor& accept,
                               const Tensor& ilabels, const std::optional<Tensor>& olabels,
                               const std::optional<Tensor>& distance,
                               const std::optional<Tensor>& reached_by, const Tensor& state_offsets,
                               const Tensor& order, const std::optional<Tensor>& plan,
                               const Tensor& offsets, const Tensor& arcs, const Tensor& states,
                               bool reverse, bool learning) {
  const auto [alpha, came_by] = distance && reached_by
                                    ? std::tuple{*distance, *reached_by}
                                    : best_distance<Cpu>(weights, start, state_offsets, order, plan,
                                                         offsets, arcs, states, reverse);
  const int64_t num_graphs = graphs(state_offsets);
  const Csr entering = csr_of(offsets, arcs, states);
  std::vector<double> score(num_graphs);
  std::vector<int32_t> last(num_graphs), first(num_graphs);
  std::vector<int64_t> length(num_graphs);
  std::vector<Tensor> made;
  const auto add = [&](auto type, int64_t size) {
    made.push_back(empty<decltype(type)>(weights, size));
    return output<decltype(type)>(made.back());
  };
  int64_t *const state = add(int64_t{}, num_graphs + 1), *const arc =
                                                             add(int64_t{}, num_graphs + 1);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    const T *const weight = input<T>(weights), *const begins = input<T>(start),
                   *const ends = input<T>(accept);
    for_each_graph(
        num_graphs, accept.numel(),
        paths::BestEnd<T>{input<int64_t>(state_offsets), entering, ends, input<double>(alpha),
                          input<int32_t>(came_by), score.data(), last.data(), length.data()});
    state[0] = arc[0] = 0;
    for (int64_t g = 0; g < num_graphs; ++g) {
      state[g + 1] = state[g] + length[g] + (last[g] == kNone ? 0 : 1);
      arc[g + 1] = arc[g] + length[g];
    }
    const int64_t num_states = state[num_graphs], num_arcs = arc[num_graphs];
    int32_t *const source = add(int32_t{}, num_arcs), *const target = add(int32_t{}, num_arcs),
                   *const reads = add(int32_t{}, num_arcs), *const taken = add(int32_t{}, num_arcs);
    T *const path_weight = add(T{}, num_arcs), *const path_start = add(T{}, num_states),
             *const path_accept = add(T{}, num_states);
    int32_t *const writes = olabels ? add(int32_t{}, num_arcs) : nullptr,
                   *const starts = learning ? add(int32_t{}, num_states) : nullptr,
                   *const accepts = learning ? add(int32_t{}, num_states) : nullptr;
    for_each_graph(
        num_graphs, num_arcs,
        paths::Backtrace{entering, input<int32_t>(came_by), last.data(), arc, taken, first.data()});
    const int32_t *const label = input<int32_t>(ilabels), *const written =
                                                              olabels ? input<int32_t>(*olabels)
                                                                      : nullptr;
    const auto none = static_cast<int32_t>(start.numel());
    for_each_graph(num_graphs, num_arcs, [&](int64_t g) {
      for (int64_t k = arc[g]; k < arc[g + 1]; ++k) {
        source[k] = static_cast<int32_t>(k - arc[g]);
        target[k] = source[k] + 1;
        reads[k] = label[taken[k]];
        if (written) writes[k] = written[taken[k]];
        path_weight[k] = weight[taken[k]];
      }
      for (int64_t s = state[g]; s < state[g + 1]; ++s) {
        const int32_t begin = s == state[g] ? first[g] : none;
        const int32_t end = s + 1 == state[g + 1] ? last[g] : none;
        path_start[s] = begin == none ? static_cast<T>(kNegInf) : begins[begin];
        path_accept[s] = end == none ? static_cast<T>(kNegInf) : ends[end];
        if (learning) starts[s] = begin, accepts[s] = end;
      }
    });
  });
  return made;
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
      "forward_score(Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor order, Tensor? plan, Tensor offsets, Tensor arcs, Tensor states, bool reverse, "
      "bool keep) -> Tensor[]");
  m.def(
      "best_paths(Tensor weights, Tensor start, Tensor accept, Tensor ilabels, Tensor? olabels, "
      "Tensor? distance, Tensor? reached_by, Tensor state_offsets, Tensor order, Tensor? plan, "
      "Tensor offsets, Tensor arcs, Tensor states, bool reverse, bool learning) -> Tensor[]");
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
  m.impl("forward_score", GTNET_BOX("forward_score", &forward_score));
  m.impl("best_paths", GTNET_BOX("viterbi_path", &best_paths));
  m.impl("best_end", GTNET_BOX("best_end", &best_end<Cpu>));
  m.impl("trace", GTNET_BOX("trace", &trace<Cpu>));
}

}  // namespace gtnet::ops
