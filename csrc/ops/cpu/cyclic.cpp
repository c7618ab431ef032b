// The operators of cyclic graphs: their schemas and CPU implementations. A walk goes through the
// strongly connected components in topological order and closes each that has a cycle.
#include "core/drivers.h"
#include "layout/components.h"
#include "ops/cpu/executor.h"
#include "ops/tensors.h"
#include "paths/cpu/cycle_closure.h"
#include "paths/cpu/proven_sums.h"
#include "paths/log_distance.h"
#include "paths/viterbi.h"

namespace gtnet::ops {
namespace {

CyclicWalk cyclic_walk_of(const Tensor& state_offsets, const Tensor& order, bool reverse,
                          const Tensor& component_offsets, const Tensor& bounds) {
  return {walk_of(state_offsets, order, reverse), input<int64_t>(component_offsets),
          reinterpret_cast<const CyclicComponent*>(input<int32_t>(bounds))};
}

std::tuple<Tensor, Tensor, Tensor> components(const Tensor& state_offsets, const Tensor& offsets,
                                              const Tensor& targets) {
  const int64_t num_states = offsets.numel() - 1, num_graphs = graphs(state_offsets);
  Tensor order = empty<int32_t>(offsets, num_states);
  std::vector<std::vector<CyclicComponent>> cyclic(num_graphs);
  for_each_graph(
      num_graphs, num_states,
      layout::StrongComponents{input<int64_t>(state_offsets), input<int32_t>(offsets),
                               input<int32_t>(targets), output<int32_t>(order), cyclic.data()});
  Tensor component_offsets = empty<int64_t>(state_offsets, num_graphs + 1);
  int64_t* const counts = output<int64_t>(component_offsets);
  counts[0] = 0;
  for (int64_t g = 0; g < num_graphs; ++g) {
    counts[g + 1] = counts[g] + static_cast<int64_t>(cyclic[g].size());
  }
  Tensor bounds = allocated(
      [&] { return torch::stable::new_empty(offsets, {counts[num_graphs], 2}, ScalarType::Int); });
  auto* next = reinterpret_cast<CyclicComponent*>(output<int32_t>(bounds));
  for (const auto& of_graph : cyclic) next = std::copy(of_graph.begin(), of_graph.end(), next);
  return {order, component_offsets, bounds};
}

// What eliminating one component takes: its states in order and the columns of each.
// Empty where that would take too long, and sums are found by iteration.
struct Fill {
  std::vector<int32_t> states;
  std::vector<std::vector<int32_t>> columns;
};

Fill fill_of(const int32_t* order, CyclicComponent component, const int32_t* offsets,
             const int32_t* targets, int32_t base, std::vector<int32_t>& local) {
  const int32_t size = component.end - component.begin;
  const int32_t* const states = order + component.begin;
  for (int32_t i = 0; i < size; ++i) local[states[i] - base] = i;
  paths::Elimination elimination(states, size, offsets, targets, local, base);
  for (int32_t i = 0; i < size; ++i) local[states[i] - base] = kNone;
  Fill fill;
  if (!elimination.run()) return fill;
  for (int32_t place = 0; place < size; ++place) {
    fill.states.push_back(states[elimination.order()[place]]);
    fill.columns.push_back(elimination.columns_of(place));
  }
  return fill;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> elimination(
    const Tensor& state_offsets, const Tensor& order, const Tensor& component_offsets,
    const Tensor& bounds, const Tensor& offsets, const Tensor& arcs, const Tensor& targets) {
  const int64_t num_states = order.numel(), num_graphs = graphs(state_offsets);
  const CyclicWalk walk = cyclic_walk_of(state_offsets, order, false, component_offsets, bounds);
  const Csr leaving = csr_of(offsets, arcs, targets);
  std::vector<Fill> fills(walk.component_offsets[num_graphs]);
  for_each_graph(num_graphs, num_states, [&](int64_t g) {
    const auto base = static_cast<int32_t>(walk.state_offsets[g]);
    std::vector<int32_t> local(walk.state_offsets[g + 1] - base, kNone);
    for (int64_t c = walk.component_offsets[g]; c < walk.component_offsets[g + 1]; ++c) {
      fills[c] =
          fill_of(walk.order, walk.components[c], leaving.offsets, leaving.states, base, local);
    }
  });

  Tensor pivots = empty<int32_t>(order, num_states);
  Tensor rows = empty<int64_t>(order, num_states + 1), diagonal = empty<int64_t>(order, num_states);
  Tensor entries = empty<int64_t>(order, arcs.numel());
  int32_t* const pivot = output<int32_t>(pivots);
  int64_t *const row = output<int64_t>(rows), *const entry = output<int64_t>(entries);
  std::copy(walk.order, walk.order + num_states, pivot);
  std::fill(entry, entry + arcs.numel(), kNone);
  std::fill(row, row + num_states + 1, 0);
  for (size_t c = 0; c < fills.size(); ++c) {
    const int32_t begin = walk.components[c].begin;
    std::copy(fills[c].states.begin(), fills[c].states.end(), pivot + begin);
    for (size_t i = 0; i < fills[c].columns.size(); ++i) {
      row[begin + i + 1] = static_cast<int64_t>(fills[c].columns[i].size());
    }
  }
  for (int64_t p = 0; p < num_states; ++p) row[p + 1] += row[p];
  Tensor columns = empty<int32_t>(order, row[num_states]);
  int32_t* const column = output<int32_t>(columns);
  int64_t* const on_diagonal = output<int64_t>(diagonal);
  std::fill(on_diagonal, on_diagonal + num_states, 0);
  std::vector<int32_t> position(num_states, kNone);
  for (int32_t p = 0; p < num_states; ++p) position[pivot[p]] = p;
  for (size_t c = 0; c < fills.size(); ++c) {
    const auto [begin, end] = walk.components[c];
    if (fills[c].columns.empty()) continue;
    for (int32_t p = begin; p < end; ++p) {
      const std::vector<int32_t>& of_row = fills[c].columns[p - begin];
      int32_t* const first = column + row[p];
      std::transform(of_row.begin(), of_row.end(), first,
                     [first_state = begin](int32_t at) { return first_state + at; });
      int32_t* const last = first + of_row.size();
      on_diagonal[p] = std::lower_bound(first, last, p) - column;
      for (int32_t k = leaving.offsets[pivot[p]]; k < leaving.offsets[pivot[p] + 1]; ++k) {
        const int32_t to = position[leaving.states[k]];
        if (begin <= to && to < end) {
          entry[leaving.arcs[k]] = std::lower_bound(first, last, to) - column;
        }
      }
    }
  }
  return {pivots, rows, columns, diagonal, entries};
}

paths::Pattern pattern_of(const Tensor& pivots, const Tensor& rows, const Tensor& columns,
                          const Tensor& diagonal, const Tensor& entries) {
  return {input<int32_t>(pivots), input<int64_t>(rows), input<int32_t>(columns),
          input<int64_t>(diagonal), input<int64_t>(entries)};
}

// How the sums over a component failed, if they did: a state on cycles that sum to infinity, or, as
// unproven(state), one of a component whose sums are not known well enough.
constexpr int32_t unproven(int32_t state) {
  return -2 - state;
}

template <class Weight>
double log_weight(paths::Log /*semiring*/, Weight weight) {
  return weight;
}
template <class Weight>
double log_weight(paths::Real /*semiring*/, Weight weight) {
  return std::log(weight);
}

// A component whose elimination would take too long.
template <class Semiring>
class IteratedComponent {
 public:
  template <class Weight>
  IteratedComponent(const int32_t* states, int32_t size, bool reverse, const Csr& incidence,
                    const Weight* weights)
      : states_(states), size_(size), reverse_(reverse), sums_(matrix(incidence, weights)) {}

  // x becomes b + A x, given b; kNone where that succeeds.
  int32_t solve(paths::Log /*semiring*/, std::vector<double>& x) {
    std::vector<double> sums(size_);
    for (int32_t i = 0; i < size_; ++i) sums[i] = x[place(i)];
    const paths::Sums found = sums_(sums.data());
    for (int32_t i = 0; i < size_; ++i) x[place(i)] = sums[i];
    if (found == paths::Sums::kProven) return kNone;
    const int32_t state = states_[place(sums_.witness())];
    return found == paths::Sums::kDivergent ? state : unproven(state);
  }

  // What is positive in b and what is negative, each by itself.
  int32_t solve(paths::Real /*semiring*/, std::vector<double>& x) {
    std::vector<double> total(size_, 0);
    for (const double sign : {1.0, -1.0}) {
      std::vector<double> part(size_);
      for (int32_t i = 0; i < size_; ++i) part[i] = std::log(std::max(sign * x[i], 0.0));
      if (std::all_of(part.begin(), part.end(), [](double value) { return value == kNegInf; })) {
        continue;
      }
      const int32_t failed = solve(paths::Log{}, part);
      if (failed != kNone) return failed < 0 ? failed : unproven(failed);
      for (int32_t i = 0; i < size_; ++i) total[i] += sign * std::exp(part[i]);
    }
    x = std::move(total);
    return kNone;
  }

 private:
  // Rows in the order of the walk, in which most arcs lead forward.
  int32_t place(int32_t i) const { return reverse_ ? size_ - 1 - i : i; }

  template <class Weight>
  paths::SparseRows matrix(const Csr& incidence, const Weight* weights) const {
    const auto [least, most] = std::minmax_element(states_, states_ + size_);
    std::vector<int32_t> row(*most - *least + 1, kNone);
    for (int32_t i = 0; i < size_; ++i) row[states_[place(i)] - *least] = i;
    paths::SparseRows rows;
    rows.offsets.push_back(0);
    for (int32_t i = 0; i < size_; ++i) {
      const int32_t s = states_[place(i)];
      for (int32_t k = incidence.offsets[s]; k < incidence.offsets[s + 1]; ++k) {
        const int32_t other = incidence.states[k];
        if (other < *least || other > *most || row[other - *least] == kNone) continue;
        const double weight = log_weight(Semiring{}, weights[incidence.arcs[k]]);
        if (weight == kNegInf) continue;
        rows.columns.push_back(row[other - *least]);
        rows.values.push_back(weight);
      }
      rows.offsets.push_back(static_cast<int64_t>(rows.columns.size()));
    }
    return rows;
  }

  const int32_t* const states_;
  const int32_t size_;
  const bool reverse_;
  paths::ProvenSums sums_;
};

// Solves x = b + A x over the states of a component, or x = b + x A in a walk along the arcs. The
// functor, given x = 0 within the component, makes b of what leads into it.
template <class Semiring, class Functor, class Weight>
GTNET_INLINE int32_t close_component(const paths::Pattern& pattern, CyclicComponent component,
                                     bool reverse, const Functor& functor, int64_t graph,
                                     const Csr& incidence, const Weight* weights, double* x) {
  const int32_t size = component.end - component.begin;
  const int32_t* const states = pattern.pivots + component.begin;
  for (int32_t i = 0; i < size; ++i) x[states[i]] = Semiring::kZero;
  std::vector<double> inflow(size);
  for (int32_t i = 0; i < size; ++i) {
    functor(graph, states[i]);
    inflow[i] = std::exchange(x[states[i]], Semiring::kZero);
  }
  if (pattern.eliminates(component)) {
    paths::Closure<Semiring> closure(pattern, component);
    for (int32_t i = 0; i < size; ++i) {
      for (int32_t k = incidence.offsets[states[i]]; k < incidence.offsets[states[i] + 1]; ++k) {
        const int32_t arc = incidence.arcs[k];
        if (pattern.entries[arc] != kNone) closure.add(pattern.entries[arc], weights[arc]);
      }
    }
    const int32_t failed = closure.factorize();
    if (failed != kNone) return pattern.pivots[failed];
    if (reverse) {
      closure.against(inflow.data());
    } else {
      closure.along(inflow.data());
    }
  } else {
    IteratedComponent<Semiring> iterated(states, size, reverse, incidence, weights);
    const int32_t failed = iterated.solve(Semiring{}, inflow);
    if (failed != kNone) return failed;
  }
  for (int32_t i = 0; i < size; ++i) x[states[i]] = inflow[i];
  return kNone;
}

std::tuple<Tensor, Tensor, Tensor> closed_log_distance(
    const Tensor& weights, const Tensor& start, const Tensor& accept, const Tensor& state_offsets,
    const Tensor& order, const Tensor& offsets, const Tensor& arcs, const Tensor& states,
    bool reverse, const Tensor& component_offsets, const Tensor& bounds, const Tensor& pivots,
    const Tensor& rows, const Tensor& columns, const Tensor& diagonal, const Tensor& entries) {
  const int64_t num_states = start.numel(), num_graphs = graphs(state_offsets);
  Tensor alpha = empty<double>(start, num_states), score = empty<double>(start, num_graphs);
  Tensor divergent = empty<int32_t>(start, num_graphs);
  int32_t* const failed = output<int32_t>(divergent);
  std::fill(failed, failed + num_graphs, kNone);
  count(Driver::kComponents, num_graphs);
  const paths::Pattern pattern = pattern_of(pivots, rows, columns, diagonal, entries);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    const CyclicWalk walk =
        cyclic_walk_of(state_offsets, order, reverse, component_offsets, bounds);
    const Csr incidence = csr_of(offsets, arcs, states);
    const paths::LogDistance<T> functor{incidence, input<T>(weights), input<T>(start),
                                        output<double>(alpha)};
    for_each_component(
        walk, num_states, functor,
        [&](int64_t graph, CyclicComponent component) __attribute__((always_inline)) {
          const int32_t state =
              close_component<paths::Log>(pattern, component, reverse, functor, graph, incidence,
                                          input<T>(weights), output<double>(alpha));
          if (failed[graph] == kNone) failed[graph] = state;
        });
    for_each_graph(num_graphs, num_states,
                   paths::LogTotal<T>{walk.state_offsets, input<T>(accept), output<double>(alpha),
                                      output<double>(score)});
  });
  return {alpha, score, divergent};
}

std::tuple<Tensor, Tensor> closed_recursion(
    const Tensor& p, const Tensor& b, const Tensor& state_offsets, const Tensor& order,
    const Tensor& offsets, const Tensor& arcs, const Tensor& states, bool reverse,
    const Tensor& component_offsets, const Tensor& bounds, const Tensor& pivots, const Tensor& rows,
    const Tensor& columns, const Tensor& diagonal, const Tensor& entries) {
  const int64_t num_graphs = graphs(state_offsets);
  Tensor x = empty<double>(b, b.numel()), divergent = empty<int32_t>(order, num_graphs);
  int32_t* const failed = output<int32_t>(divergent);
  std::fill(failed, failed + num_graphs, kNone);
  count(Driver::kComponents, num_graphs);
  const paths::Pattern pattern = pattern_of(pivots, rows, columns, diagonal, entries);
  const Csr incidence = csr_of(offsets, arcs, states);
  const paths::Recursion functor{incidence, input<double>(p), input<double>(b), output<double>(x)};
  for_each_component(
      cyclic_walk_of(state_offsets, order, reverse, component_offsets, bounds), b.numel(), functor,
      [&](int64_t graph, CyclicComponent component) __attribute__((always_inline)) {
        const int32_t state =
            close_component<paths::Real>(pattern, component, reverse, functor, graph, incidence,
                                         input<double>(p), output<double>(x));
        if (failed[graph] == kNone) failed[graph] = state;
      });
  return {x, divergent};
}

std::tuple<Tensor, Tensor, Tensor> closed_best_distance(
    const Tensor& weights, const Tensor& start, const Tensor& state_offsets, const Tensor& order,
    const Tensor& offsets, const Tensor& arcs, const Tensor& states, bool reverse,
    const Tensor& component_offsets, const Tensor& bounds) {
  const int64_t num_states = start.numel(), num_graphs = graphs(state_offsets);
  Tensor alpha = empty<double>(start, num_states), came_by = empty<int32_t>(start, num_states);
  Tensor divergent = empty<int32_t>(start, num_graphs);
  int32_t* const failed = output<int32_t>(divergent);
  std::fill(failed, failed + num_graphs, kNone);
  count(Driver::kComponents, num_graphs);
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    const CyclicWalk walk =
        cyclic_walk_of(state_offsets, order, reverse, component_offsets, bounds);
    const paths::BestDistance<T> functor{csr_of(offsets, arcs, states), input<T>(weights),
                                         input<T>(start), output<double>(alpha),
                                         output<int32_t>(came_by)};
    std::vector<int32_t> marks(num_states, 0);
    for_each_component(walk, num_states, functor,
                       [&](int64_t graph, CyclicComponent component)
                           __attribute__((always_inline)) {
                             paths::BestCycles<T> cycles(functor, walk.order, marks.data());
                             if (!cycles(component, reverse) && failed[graph] == kNone) {
                               failed[graph] = walk.order[component.begin];
                             }
                           });
  });
  return {alpha, came_by, divergent};
}

}  // namespace

#define GTNET_CYCLIC_WALK                                                            \
  "Tensor state_offsets, Tensor order, Tensor offsets, Tensor arcs, Tensor states, " \
  "bool reverse, Tensor component_offsets, Tensor bounds"
#define GTNET_PATTERN "Tensor pivots, Tensor rows, Tensor columns, Tensor diagonal, Tensor entries"

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "components(Tensor state_offsets, Tensor offsets, Tensor targets) "
      "-> (Tensor, Tensor, Tensor)");
  m.def(
      "elimination(Tensor state_offsets, Tensor order, Tensor component_offsets, Tensor bounds, "
      "Tensor offsets, Tensor arcs, Tensor targets) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("closed_log_distance(Tensor weights, Tensor start, Tensor accept, " GTNET_CYCLIC_WALK
        ", " GTNET_PATTERN ") -> (Tensor, Tensor, Tensor)");
  m.def("closed_recursion(Tensor p, Tensor b, " GTNET_CYCLIC_WALK ", " GTNET_PATTERN
        ") -> (Tensor, Tensor)");
  m.def("closed_best_distance(Tensor weights, Tensor start, " GTNET_CYCLIC_WALK
        ") -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("components", GTNET_BOX("components", &components));
  m.impl("elimination", GTNET_BOX("elimination", &elimination));
  m.impl("closed_log_distance", GTNET_BOX("closed_log_distance", &closed_log_distance));
  m.impl("closed_recursion", GTNET_BOX("closed_recursion", &closed_recursion));
  m.impl("closed_best_distance", GTNET_BOX("closed_best_distance", &closed_best_distance));
}

}  // namespace gtnet::ops
