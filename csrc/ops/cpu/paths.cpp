// torch.ops.gtnet.*: the best path and the k best of acyclic graphs, paths drawn at random and all.
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
                           const Tensor& arcs, const Tensor& states, bool reverse, int64_t k) {
  const int64_t num_graphs = graphs(state_offsets), num_states = start.numel();
  const int64_t* const state = input<int64_t>(state_offsets);
  const Csr entering = csr_of(offsets, arcs, states);
  std::vector<paths::Paths> found(num_graphs);
  const Tensor alpha = empty<double>(start, num_states), by = empty<int32_t>(start, num_states);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each_state(walk_of(state_offsets, order, reverse), num_states,
                   paths::BestDistance<T>{entering, input<T>(weights), input<T>(start),
                                          output<double>(alpha), output<int32_t>(by)});
    for_each_graph(num_graphs, num_states, [&](int64_t g) {
      paths::graph_k_best(
          paths::GraphWays<T>(entering, input<T>(weights), input<T>(start), input<T>(accept),
                              input<double>(alpha), state[g], state[g + 1]),
          k, found[g]);
    });
  });
  return packed(found, start);
}

// The i-th path of a graph; without arcs if it was given up.
void draw(const paths::SampledPaths& paths, int64_t graph, int64_t i, paths::Paths& found) {
  const size_t begin = found.arcs.size();
  const paths::PathEnds ends = paths.follow(graph, i, [&](int32_t arc, int32_t) {
    poll(16);
    found.arcs.push_back(arc);
  });
  if (ends.first == kNone) found.arcs.resize(begin);
  found.lengths.push_back(static_cast<int64_t>(found.arcs.size() - begin));
  found.first.push_back(ends.first);
  found.last.push_back(ends.last);
}

PackedPaths sample(const Tensor& to_end, const Tensor& weights, const Tensor& start,
                   const Tensor& accept, const Tensor& state_offsets, const Tensor& offsets,
                   const Tensor& arcs, const Tensor& states, const Tensor& seeds, int64_t count,
                   int64_t max_length) {
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
  for_each_graph(num_graphs, start.numel() + seeds.numel(), [&](int64_t g) {
    for (int64_t i = 0; i < paths.count(g); ++i) draw(paths, g, i, found[g]);
  });
  return packed(found, start);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> enumerate_paths(
    const Tensor& weights, const Tensor& start, const Tensor& accept, const Tensor& state_offsets,
    const Tensor& offsets, const Tensor& arcs, const Tensor& states, const Tensor& in_offsets,
    const Tensor& in_arcs, const Tensor& in_states, int64_t limit, int64_t max_length) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const state = input<int64_t>(state_offsets);
  const Csr leaving = csr_of(offsets, arcs, states);
  const Csr entering = csr_of(in_offsets, in_arcs, in_states);
  std::vector<paths::Paths> found(num_graphs);
  Tensor outcome = empty<int8_t>(start, num_graphs);
  int8_t* const status = output<int8_t>(outcome);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each_graph(num_graphs, start.numel(), [&](int64_t g) {
      status[g] = static_cast<int8_t>(paths::Enumerate<T>(leaving, entering, input<T>(weights),
                                                          input<T>(start), input<T>(accept),
                                                          static_cast<int32_t>(state[g]),
                                                          static_cast<int32_t>(state[g + 1]))
                                          .run(limit, max_length, found[g]));
    });
  });
  return std::tuple_cat(std::make_tuple(outcome), packed(found, start));
}

// The best path of each graph as a batch of linear graphs: offsets of states and arcs, the columns
// of the arcs (olabels empty for acceptors), the arc and the weight of each arc; for each state the
// state whose start and accept score it has (as many as there are for none), and these scores.
std::vector<Tensor> best_paths(const Tensor& alpha, const Tensor& came_by, const Tensor& weights,
                               const Tensor& start, const Tensor& accept,
                               const Tensor& state_offsets, const Tensor& offsets,
                               const Tensor& arcs, const Tensor& states, const Tensor& ilabels,
                               const std::optional<Tensor>& olabels) {
  const int64_t num_graphs = graphs(state_offsets);
  const Csr entering = csr_of(offsets, arcs, states);
  std::vector<double> score(num_graphs);
  std::vector<int32_t> last(num_graphs), first(num_graphs);
  std::vector<int64_t> length(num_graphs);
  Tensor path_states = empty<int64_t>(weights, num_graphs + 1),
         path_arcs = empty<int64_t>(weights, num_graphs + 1);
  int64_t *const state = output<int64_t>(path_states), *const arc = output<int64_t>(path_arcs);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each_graph(num_graphs, accept.numel(),
                   paths::BestEnd<T>{input<int64_t>(state_offsets), entering, input<T>(accept),
                                     input<double>(alpha), input<int32_t>(came_by), score.data(),
                                     last.data(), length.data()});
  });
  state[0] = arc[0] = 0;
  for (int64_t g = 0; g < num_graphs; ++g) {
    state[g + 1] = state[g] + length[g] + (last[g] == kNone ? 0 : 1);
    arc[g + 1] = arc[g] + length[g];
  }
  const int64_t num_states = state[num_graphs], num_arcs = arc[num_graphs];
  std::vector<Tensor> made{path_states, path_arcs};
  const auto add = [&](int64_t size) {
    made.push_back(empty<int32_t>(weights, size));
    return output<int32_t>(made.back());
  };
  int32_t *const source = add(num_arcs), *const target = add(num_arcs),
                 *const reads = add(num_arcs), *const writes = add(olabels ? num_arcs : 0),
                 *const taken = add(num_arcs);
  int32_t *const starts = add(num_states), *const accepts = add(num_states);
  for (const int64_t size : {num_arcs, num_states, num_states}) {
    with_scores(weights, [&](auto zero) { made.push_back(empty<decltype(zero)>(weights, size)); });
  }
  for_each_graph(
      num_graphs, num_arcs,
      paths::Backtrace{entering, input<int32_t>(came_by), last.data(), arc, taken, first.data()});
  const int32_t *const label = input<int32_t>(ilabels), *const written =
                                                            olabels ? input<int32_t>(*olabels)
                                                                    : nullptr;
  const auto none = static_cast<int32_t>(start.numel());
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    const T *const weight = input<T>(weights), *const begins = input<T>(start),
                   *const ends = input<T>(accept);
    T *const path_weight = output<T>(made[9]), *const path_start = output<T>(made[10]),
             *const path_accept = output<T>(made[11]);
    for_each_graph(num_graphs, num_arcs, [&](int64_t g) {
      for (int64_t k = arc[g]; k < arc[g + 1]; ++k) {
        source[k] = static_cast<int32_t>(k - arc[g]);
        target[k] = source[k] + 1;
        reads[k] = label[taken[k]];
        if (written) writes[k] = written[taken[k]];
        path_weight[k] = weight[taken[k]];
      }
      for (int64_t s = state[g]; s < state[g + 1]; ++s) {
        starts[s] = s == state[g] ? first[g] : none;
        accepts[s] = s + 1 == state[g + 1] ? last[g] : none;
        path_start[s] = starts[s] == none ? static_cast<T>(kNegInf) : begins[starts[s]];
        path_accept[s] = accepts[s] == none ? static_cast<T>(kNegInf) : ends[accepts[s]];
      }
    });
  });
  return made;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "acyclic_k_best(Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor order, Tensor? plan, Tensor offsets, Tensor arcs, Tensor states, bool reverse, "
      "int k) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "sample(Tensor to_end, Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor offsets, Tensor arcs, Tensor states, Tensor seeds, int count, int max_length) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "best_paths(Tensor alpha, Tensor came_by, Tensor weights, Tensor start, Tensor accept, "
      "Tensor state_offsets, Tensor offsets, Tensor arcs, Tensor states, Tensor ilabels, "
      "Tensor? olabels) -> Tensor[]");
  m.def(
      "enumerate_paths(Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor offsets, Tensor arcs, Tensor states, Tensor in_offsets, Tensor in_arcs, "
      "Tensor in_states, int limit, int max_length) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("acyclic_k_best", GTNET_BOX("acyclic_k_best", &acyclic_k_best));
  m.impl("sample", GTNET_BOX("sample", &sample));
  m.impl("best_paths", GTNET_BOX("best_paths", &best_paths));
  m.impl("enumerate_paths", GTNET_BOX("enumerate_paths", &enumerate_paths));
}

}  // namespace gtnet::ops
