// The operators torch.ops.gtnet.*: their schemas and CPU implementations.
#include "layout/csr.h"
#include "ops/cpu/executor.h"
#include "ops/cpu/gathered.h"
#include "ops/cpu/path_tensors.h"
#include "ops/tensors.h"
#include "paths/cpu/k_best_astar.h"
#include "rewrite/cpu/reachable.h"
#include "rewrite/gather_scores.h"

namespace gtnet::ops {
namespace {

std::tuple<Tensor, Tensor, Tensor> incidence(const Tensor& state_offsets, const Tensor& arc_offsets,
                                             const Tensor& by, const Tensor& other,
                                             int64_t num_states) {
  const int64_t num_arcs = by.numel();
  Tensor offsets = empty<int32_t>(by, num_states + 1);
  Tensor arcs = empty<int32_t>(by, num_arcs), states = empty<int32_t>(by, num_arcs);
  output<int32_t>(offsets)[num_states] = static_cast<int32_t>(num_arcs);
  for_each_graph(
      graphs(state_offsets), num_states,
      layout::GroupArcs{input<int64_t>(state_offsets), input<int64_t>(arc_offsets),
                        input<int32_t>(by), input<int32_t>(other), output<int32_t>(offsets),
                        output<int32_t>(arcs), output<int32_t>(states)});
  return {offsets, arcs, states};
}

std::tuple<Tensor, Tensor, Tensor> sort_by_label(const Tensor& state_offsets, const Tensor& offsets,
                                                 const Tensor& arcs, const Tensor& states,
                                                 const Tensor& labels) {
  const int64_t num_arcs = arcs.numel();
  Tensor sorted_arcs = empty<int32_t>(arcs, num_arcs),
         sorted_states = empty<int32_t>(arcs, num_arcs);
  Tensor sorted_labels = empty<int32_t>(arcs, num_arcs);
  for_each_graph(
      graphs(state_offsets), offsets.numel() - 1,
      layout::SortByLabel{input<int64_t>(state_offsets), csr_of(offsets, arcs, states),
                          input<int32_t>(labels), output<int32_t>(sorted_arcs),
                          output<int32_t>(sorted_states), output<int32_t>(sorted_labels)});
  return {sorted_arcs, sorted_states, sorted_labels};
}

std::tuple<Tensor, Tensor> topological_order(const Tensor& state_offsets, const Tensor& offsets,
                                             const Tensor& sources) {
  const int64_t num_states = offsets.numel() - 1, num_graphs = graphs(state_offsets);
  Tensor order = empty<int32_t>(offsets, num_states), cyclic = empty<int64_t>(offsets, num_graphs);
  for_each_graph(num_graphs, num_states,
                 layout::TopologicalOrder{input<int64_t>(state_offsets), input<int32_t>(offsets),
                                          input<int32_t>(sources), output<int32_t>(order),
                                          output<int64_t>(cyclic)});
  return {order, cyclic};
}

Tensor depths(const Tensor& state_offsets, const Tensor& entering, const Tensor& leaving,
              const Tensor& targets) {
  Tensor depth = empty<int32_t>(targets, entering.numel() - 1);
  for_each_graph(
      graphs(state_offsets), depth.numel(),
      layout::Depths{input<int64_t>(state_offsets), input<int32_t>(entering),
                     input<int32_t>(leaving), input<int32_t>(targets), output<int32_t>(depth)});
  return depth;
}

// The best ways on are `to_end` and `next`, as best_distance finds them from the end. A graph that
// takes too many prefixes has a count of -1.
PackedPaths k_best(const Tensor& to_end, const Tensor& next, const Tensor& weights,
                   const Tensor& start, const Tensor& accept, const std::optional<Tensor>& labels,
                   const Tensor& state_offsets, const Tensor& offsets, const Tensor& arcs,
                   const Tensor& states, int64_t k, int64_t max_prefixes) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const begin = input<int64_t>(state_offsets);
  const Csr leaving = csr_of(offsets, arcs, states);
  std::vector<paths::Paths> found(num_graphs);
  std::vector<char> too_many(num_graphs, 0);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each_graph(num_graphs, start.numel(), [&](int64_t g) {
      const paths::BestWays best{input<double>(to_end), input<int32_t>(next)};
      paths::KBest<T> search(leaving, input<T>(weights), input<T>(start), input<T>(accept), best,
                             labels.has_value(), labels ? input<int32_t>(*labels) : nullptr, k,
                             max_prefixes);
      too_many[g] =
          !search.run(static_cast<int32_t>(begin[g]), static_cast<int32_t>(begin[g + 1]), found[g]);
    });
  });
  return packed(found, too_many, start);
}

Tensor reach(const Tensor& state_offsets, const Tensor& offsets, const Tensor& arcs,
             const Tensor& states, const Tensor& seeds, const std::optional<Tensor>& open) {
  Tensor reached = zeros<bool>(seeds, seeds.numel());
  for_each_graph(graphs(state_offsets), seeds.numel(),
                 rewrite::Reachable{input<int64_t>(state_offsets), csr_of(offsets, arcs, states),
                                    input<bool>(seeds), open ? input<bool>(*open) : nullptr,
                                    output<bool>(reached)});
  return reached;
}

Tensor take(const Tensor& values, const Tensor& index) {
  Tensor result = empty_scores(values, index.numel());
  with_scores(values, [&](auto zero) {
    using T = decltype(zero);
    const rewrite::Take<T> one{input<T>(values), input<int32_t>(index), output<T>(result)};
    // Too short for a signal to be looked at.
    torch::stable::parallel_for(0, index.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) one(i);
    });
  });
  return result;
}

// Without `by_index`, one sweep over the map in its order: the same sums, and on one thread faster
// than grouping the places first.
Tensor take_backward(const Tensor& grad, const Tensor& index, const std::optional<Tensor>& by_index,
                     int64_t size) {
  Tensor result = empty_scores(grad, size);
  with_scores(grad, [&](auto zero) {
    using T = decltype(zero);
    const int32_t* const place = input<int32_t>(index);
    const T* const value = input<T>(grad);
    T* const total = output<T>(result);
    if (by_index) {
      const rewrite::TakeGradient<T> one{place, input<int64_t>(*by_index), value, total,
                                         index.numel()};
      for (int64_t j = 0; j < size; ++j) one(j);
      return;
    }
    std::vector<double> sums(size, 0);
    rewrite::add_by(place, value, index.numel(), sums.data());
    std::transform(sums.begin(), sums.end(), total, [](double x) { return static_cast<T>(x); });
  });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY(gtnet, m) {
  m.def(
      "incidence(Tensor state_offsets, Tensor arc_offsets, Tensor by, Tensor other, "
      "int num_states) -> (Tensor, Tensor, Tensor)");
  m.def(
      "sort_by_label(Tensor state_offsets, Tensor offsets, Tensor arcs, Tensor states, "
      "Tensor labels) -> (Tensor, Tensor, Tensor)");
  m.def(
      "topological_order(Tensor state_offsets, Tensor offsets, Tensor sources) "
      "-> (Tensor, Tensor)");
  m.def("depths(Tensor state_offsets, Tensor entering, Tensor leaving, Tensor targets) -> Tensor");
  m.def(
      "k_best(Tensor to_end, Tensor next, Tensor weights, Tensor start, Tensor accept, "
      "Tensor? labels, Tensor state_offsets, Tensor offsets, Tensor arcs, Tensor states, int k, "
      "int max_prefixes) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "reach(Tensor state_offsets, Tensor offsets, Tensor arcs, Tensor states, Tensor seeds, "
      "Tensor? open=None) -> Tensor");
  m.def("take(Tensor values, Tensor index) -> Tensor");
  m.def("gathered(Tensor[] scores, Tensor[] maps, Tensor? filters) -> Tensor[]");
  m.def("take_backward(Tensor grad, Tensor index, Tensor? by_index, int size) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("incidence", GTNET_BOX("incidence", &incidence));
  m.impl("sort_by_label", GTNET_BOX("sort_by_label", &sort_by_label));
  m.impl("topological_order", GTNET_BOX("topological_order", &topological_order));
  m.impl("depths", GTNET_BOX("depths", &depths));
  m.impl("k_best", GTNET_BOX("k_best", &k_best));
  m.impl("reach", GTNET_BOX("reach", &reach));
  m.impl("take", GTNET_BOX("take", &take));
  m.impl("gathered", GTNET_BOX("gathered", &gathered));
  m.impl("take_backward", GTNET_BOX("take_backward", &take_backward));
}

}  // namespace gtnet::ops
