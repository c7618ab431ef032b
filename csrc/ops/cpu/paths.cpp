// torch.ops.gtnet.*: the k best paths of acyclic graphs, paths drawn at random and all.
#include "ops/cpu/path_tensors.h"
#include "ops/sample.h"

#include "ops/cpu/executor.h"
#include "paths/cpu/enumerate.h"
#include "paths/cpu/k_best.h"
#include "paths/viterbi.h"

namespace gtnet::ops {
namespace {

PackedPaths acyclic_k_best(const Tensor& weights, const Tensor& start, const Tensor& accept,
                           const Tensor& state_offsets, const Tensor& order,
                           const std::optional<Tensor>& /*plan*/, const Tensor& offsets,
                           const Tensor& arcs, const Tensor& states, bool reverse, int64_t k,
                           int64_t max_prefixes) {
  const int64_t num_graphs = graphs(state_offsets), num_states = start.numel();
  const int64_t* const state = input<int64_t>(state_offsets);
  const Csr entering = csr_of(offsets, arcs, states);
  std::vector<paths::Paths> found(num_graphs);
  std::vector<char> too_many(num_graphs, 0);
  const Tensor alpha = empty<double>(start, num_states), by = empty<int32_t>(start, num_states);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each_state(walk_of(state_offsets, order, reverse), num_states,
                   paths::BestDistance<T>{entering, input<T>(weights), input<T>(start),
                                          output<double>(alpha), output<int32_t>(by)});
    for_each_graph(num_graphs, num_states, [&](int64_t g) {
      Budget budget{max_prefixes};
      try {
        paths::graph_k_best(
            paths::GraphWays<T>(entering, input<T>(weights), input<T>(start), input<T>(accept),
                                input<double>(alpha), state[g], state[g + 1]),
            k, budget, found[g]);
      } catch (const OverBudget&) {
        too_many[g] = 1;
        found[g] = {};
      }
    });
  });
  return packed(found, too_many, start);
}

// The i-th path of a graph; without arcs if it was given up.
void draw(const paths::SampledPaths& paths, int64_t graph, int64_t i, Budget& budget,
          paths::Paths& found) {
  const size_t begin = found.arcs.size();
  const paths::PathEnds ends = paths.follow(graph, i, [&](int32_t arc, int32_t) {
    poll(16);
    found.arcs.push_back(arc);
    if (static_cast<int64_t>(found.arcs.size() - begin) > budget.most) throw OverBudget{};
  });
  if (ends.first == kNone) found.arcs.resize(begin);
  found.lengths.push_back(static_cast<int64_t>(found.arcs.size() - begin));
  found.first.push_back(ends.first);
  found.last.push_back(ends.last);
  budget.spend(found.lengths.back() + 1);
}

PackedPaths sample(const Tensor& to_end, const Tensor& weights, const Tensor& start,
                   const Tensor& accept, const Tensor& state_offsets, const Tensor& offsets,
                   const Tensor& arcs, const Tensor& states, const Tensor& seeds, int64_t count,
                   int64_t max_length, int64_t max_arcs) {
  const int64_t num_graphs = graphs(state_offsets);
  const Sampling drawn(to_end, state_offsets, offsets, arcs, states, seeds, count);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    const paths::StartChances<T> starting = drawn.starting<T>(start);
    const paths::StepChances<T> going_on = drawn.going_on<T>(weights, accept);
    for_each_graph(num_graphs, start.numel(), [&](int64_t g) {
      starting(g);
      for (int64_t s = starting.state_offsets[g]; s < starting.state_offsets[g + 1]; ++s) {
        going_on(s);
      }
    });
  });
  const paths::SampledPaths paths = drawn.paths(count, max_length);
  std::vector<paths::Paths> found(num_graphs);
  Budget budget{max_arcs};
  for_each_graph(num_graphs, start.numel() + seeds.numel(), [&](int64_t g) {
    for (int64_t i = 0; i < paths.count(g); ++i) draw(paths, g, i, budget, found[g]);
  });
  return packed(found, start);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> enumerate_paths(
    const Tensor& weights, const Tensor& start, const Tensor& accept, const Tensor& state_offsets,
    const Tensor& offsets, const Tensor& arcs, const Tensor& states, const Tensor& in_offsets,
    const Tensor& in_arcs, const Tensor& in_states, int64_t limit, int64_t max_length,
    int64_t max_arcs) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const state = input<int64_t>(state_offsets);
  const Csr leaving = csr_of(offsets, arcs, states);
  const Csr entering = csr_of(in_offsets, in_arcs, in_states);
  std::vector<paths::Paths> found(num_graphs);
  Budget budget{max_arcs};
  Tensor outcome = empty<int8_t>(start, num_graphs);
  int8_t* const status = output<int8_t>(outcome);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each_graph(num_graphs, start.numel(), [&](int64_t g) {
      status[g] = static_cast<int8_t>(paths::Enumerate<T>(leaving, entering, input<T>(weights),
                                                          input<T>(start), input<T>(accept),
                                                          static_cast<int32_t>(state[g]),
                                                          static_cast<int32_t>(state[g + 1]))
                                          .run(limit, max_length, budget, found[g]));
    });
  });
  return std::tuple_cat(std::make_tuple(outcome), packed(found, start));
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "acyclic_k_best(Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor order, Tensor? plan, Tensor offsets, Tensor arcs, Tensor states, bool reverse, "
      "int k, int max_prefixes) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "sample(Tensor to_end, Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor offsets, Tensor arcs, Tensor states, Tensor seeds, int count, int max_length, "
      "int max_arcs) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "enumerate_paths(Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor offsets, Tensor arcs, Tensor states, Tensor in_offsets, Tensor in_arcs, "
      "Tensor in_states, int limit, int max_length, int max_arcs) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("acyclic_k_best", GTNET_BOX("acyclic_k_best", &acyclic_k_best));
  m.impl("sample", GTNET_BOX("sample", &sample));
  m.impl("enumerate_paths", GTNET_BOX("enumerate_paths", &enumerate_paths));
}

}  // namespace gtnet::ops
