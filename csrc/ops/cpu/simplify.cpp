// The operators behind remove_epsilon, determinize, minimize and push. Scores are doubles here.
#include "ops/cpu/executor.h"
#include "ops/tensors.h"
#include "rewrite/cpu/determinize.h"
#include "rewrite/cpu/determinize_gradient.h"
#include "rewrite/cpu/epsilon_closure.h"
#include "rewrite/cpu/minimize.h"
#include "rewrite/cpu/push_labels.h"

namespace gtnet::ops {
namespace {

// The parts of all graphs one after another, each entry but kNone raised by `shift(graph)`.
template <class Results, class Get, class Shift>
Tensor joined(const Tensor& like, const Results& results, const Get& get, const Shift& shift) {
  using T = typename std::decay_t<decltype(get(results[0]))>::value_type;
  int64_t size = 0;
  for (const auto& result : results) size += static_cast<int64_t>(get(result).size());
  Tensor all = empty<T>(like, size);
  T* out = output<T>(all);
  for (size_t g = 0; g < results.size(); ++g) {
    const T by = static_cast<T>(shift(g));
    for (const T x : get(results[g])) *out++ = x == T{kNone} ? x : x + by;
  }
  return all;
}

template <class Results, class Get>
Tensor joined(const Tensor& like, const Results& results, const Get& get) {
  using T = typename std::decay_t<decltype(get(results[0]))>::value_type;
  int64_t size = 0;
  for (const auto& result : results) size += static_cast<int64_t>(get(result).size());
  Tensor all = empty<T>(like, size);
  T* out = output<T>(all);
  for (const auto& result : results) out = std::copy(get(result).begin(), get(result).end(), out);
  return all;
}

// Offsets that begin with 0 in every graph as offsets of the batch.
template <class Results, class Get>
Tensor joined_offsets(const Tensor& like, const Results& results, const Get& get) {
  int64_t size = 1;
  for (const auto& result : results) size += static_cast<int64_t>(get(result).size()) - 1;
  Tensor all = empty<int64_t>(like, size);
  int64_t* out = output<int64_t>(all);
  int64_t last = *out++ = 0;
  for (const auto& result : results) {
    const auto& offsets = get(result);
    for (size_t i = 1; i < offsets.size(); ++i) *out++ = last + offsets[i];
    if (!offsets.empty()) last += offsets.back();
  }
  return all;
}

// How many there are before each graph, and in all.
template <class Results, class Count>
std::vector<int64_t> counted(const Results& results, const Count& count) {
  std::vector<int64_t> before{0};
  for (const auto& result : results) before.push_back(before.back() + count(result));
  return before;
}

Tensor tensor_of(const Tensor& like, const std::vector<int64_t>& values) {
  Tensor all = empty<int64_t>(like, static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), output<int64_t>(all));
  return all;
}

std::vector<Tensor> epsilon_pairs_of(const Tensor& state_offsets, const Tensor& offsets,
                                     const Tensor& arcs, const Tensor& states, const Tensor& wanted,
                                     int64_t most) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const first = input<int64_t>(state_offsets);
  const Csr leaving = csr_of(offsets, arcs, states);
  std::vector<rewrite::EpsilonPairs> found(num_graphs);
  Budget budget{most};
  for_each_graph(num_graphs, wanted.numel(), [&](int64_t g) {
    found[g] = rewrite::epsilon_pairs(leaving, input<bool>(wanted), static_cast<int32_t>(first[g]),
                                      static_cast<int32_t>(first[g + 1]), budget);
  });
  Tensor too_large = empty<bool>(arcs, 1);
  *output<bool>(too_large) =
      std::any_of(found.begin(), found.end(), [](const auto& f) { return f.too_large; });
  return {too_large,
          joined(arcs, found, [](const auto& f) -> auto& { return f.sources; }),
          joined_offsets(arcs, found, [](const auto& f) -> auto& { return f.state_begin; }),
          joined_offsets(arcs, found, [](const auto& f) -> auto& { return f.arc_begin; }),
          joined(arcs, found, [](const auto& f) -> auto& { return f.states; }),
          joined(arcs, found, [](const auto& f) -> auto& { return f.arc_source; }),
          joined(arcs, found, [](const auto& f) -> auto& { return f.arc_target; }),
          joined(arcs, found, [](const auto& f) -> auto& { return f.arcs; })};
}

std::vector<Tensor> determinize(const Tensor& weights, const Tensor& start, const Tensor& accept,
                                const Tensor& state_offsets, const Tensor& offsets,
                                const Tensor& arcs, const Tensor& states, const Tensor& labels,
                                const std::optional<Tensor>& output_begin, const Tensor& outputs,
                                const Tensor& ending_begin, const Tensor& endings, bool tropical,
                                bool identical, double delta, int64_t max_states) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const first = input<int64_t>(state_offsets);
  const rewrite::DeterminizeOptions options{tropical, identical, delta, max_states};
  std::vector<rewrite::DeterminizeResult> made(num_graphs);
  for_each_graph(num_graphs, start.numel(), [&](int64_t g) {
    const rewrite::Nondeterministic graph{csr_of(offsets, arcs, states),
                                          input<int32_t>(labels),
                                          output_begin ? input<int64_t>(*output_begin) : nullptr,
                                          input<int32_t>(outputs),
                                          input<int64_t>(ending_begin),
                                          input<int32_t>(endings),
                                          input<double>(weights),
                                          input<double>(start),
                                          input<double>(accept),
                                          static_cast<int32_t>(first[g]),
                                          static_cast<int32_t>(first[g + 1])};
    rewrite::Determinize(graph, options, made[g]).run();
  });
  const auto states_before = counted(made, [](const auto& m) { return m.accept.size(); });
  const auto arcs_before = counted(made, [](const auto& m) { return m.target.size(); });
  const auto entries_before = counted(made, [](const auto& m) { return m.entry_state.size(); });
  const auto terms_before = counted(made, [](const auto& m) { return m.term_arc.size(); });
  STD_TORCH_CHECK(
      std::max(entries_before.back(), terms_before.back()) <= INT32_MAX,
      "determinize: the subsets of a batch must be numbered in 32 bits: split the batch");
  Tensor ends =
      allocated([&] { return torch::stable::new_empty(arcs, {2, num_graphs}, ScalarType::Int); });
  Tensor start_score = empty<double>(start, num_graphs);
  for (int64_t g = 0; g < num_graphs; ++g) {
    output<int32_t>(ends)[g] = static_cast<int32_t>(made[g].end);
    output<int32_t>(ends)[num_graphs + g] = made[g].witness;
    output<double>(start_score)[g] = made[g].start;
  }
  const auto after_states = [&](size_t g) { return states_before[g]; };
  const auto after_entries = [&](size_t g) { return entries_before[g]; };
  return {ends,
          start_score,
          joined(start, made, [](const auto& m) -> auto& { return m.score; }),
          joined(start, made, [](const auto& m) -> auto& { return m.accept; }),
          tensor_of(arcs, states_before),
          tensor_of(arcs, arcs_before),
          joined_offsets(arcs, made, [](const auto& m) -> auto& { return m.arc_begin; }),
          joined(
              arcs, made, [](const auto& m) -> auto& { return m.target; }, after_states),
          joined(arcs, made, [](const auto& m) -> auto& { return m.label; }),
          joined_offsets(arcs, made, [](const auto& m) -> auto& { return m.entry_begin; }),
          joined(arcs, made, [](const auto& m) -> auto& { return m.entry_state; }),
          joined(start, made, [](const auto& m) -> auto& { return m.entry_score; }),
          joined_offsets(arcs, made, [](const auto& m) -> auto& { return m.term_begin; }),
          joined(
              arcs, made, [](const auto& m) -> auto& { return m.term_entry; }, after_entries),
          joined(arcs, made, [](const auto& m) -> auto& { return m.term_arc; }),
          joined(
              arcs, made, [](const auto& m) -> auto& { return m.term_into; }, after_entries),
          joined_offsets(arcs, made, [](const auto& m) -> auto& { return m.output_begin; }),
          joined(arcs, made, [](const auto& m) -> auto& { return m.outputs; }),
          joined_offsets(arcs, made, [](const auto& m) -> auto& { return m.ending_begin; }),
          joined(arcs, made, [](const auto& m) -> auto& { return m.endings; })};
}

std::tuple<Tensor, Tensor, Tensor> determinize_backward(
    const Tensor& grad_start, const Tensor& grad_score, const Tensor& grad_new_accept,
    const Tensor& weights, const Tensor& accept, const Tensor& score, const Tensor& new_accept,
    const Tensor& state_offsets, const Tensor& arc_begin, const Tensor& target,
    const Tensor& entry_begin, const Tensor& entry_state, const Tensor& entry_score,
    const Tensor& term_begin, const Tensor& term_entry, const Tensor& term_arc,
    const Tensor& term_into, bool tropical) {
  Tensor grad_weights = zeros<double>(weights, weights.numel());
  Tensor grad_in = zeros<double>(accept, accept.numel());
  Tensor grad_accept = zeros<double>(accept, accept.numel());
  Tensor flow = zeros<double>(entry_score, entry_score.numel());
  const rewrite::DeterminizeGradient gradient{
      input<int64_t>(state_offsets), input<int64_t>(arc_begin),      input<int64_t>(entry_begin),
      input<int32_t>(target),        input<int32_t>(entry_state),    input<double>(entry_score),
      input<int64_t>(term_begin),    input<int32_t>(term_entry),     input<int32_t>(term_arc),
      input<int32_t>(term_into),     input<double>(score),           input<double>(new_accept),
      input<double>(weights),        input<double>(accept),          input<double>(grad_score),
      input<double>(grad_start),     input<double>(grad_new_accept), tropical,
      output<double>(flow),          output<double>(grad_weights),   output<double>(grad_in),
      output<double>(grad_accept)};
  for_each_graph(graphs(state_offsets), new_accept.numel(), gradient);
  return {grad_weights, grad_in, grad_accept};
}

Tensor minimize(const Tensor& state_offsets, const Tensor& arc_offsets, const Tensor& source,
                const Tensor& labels, const Tensor& offsets, const Tensor& arcs,
                const Tensor& states, const Tensor& arc_scores, const Tensor& accept_scores,
                double delta) {
  const int64_t num_states = offsets.numel() - 1;
  Tensor block = empty<int32_t>(source, num_states);
  for_each_graph(graphs(state_offsets), num_states,
                 rewrite::Minimize{input<int64_t>(state_offsets), input<int64_t>(arc_offsets),
                                   input<int32_t>(source), input<int32_t>(labels),
                                   csr_of(offsets, arcs, states), accept_scores.size(0), num_states,
                                   source.numel(), input<double>(arc_scores),
                                   input<double>(accept_scores), delta, output<int32_t>(block)});
  return block;
}

// The lengths of strings as offsets; how long they are together.
int64_t add_up(const Tensor& offsets) {
  int64_t* const offset = output<int64_t>(offsets);
  offset[0] = 0;
  for (int64_t i = 0; i + 1 < offsets.numel(); ++i) offset[i + 1] += offset[i];
  return offset[offsets.numel() - 1];
}

// What the arcs write, and the states in which paths start: offsets and labels of both. More than
// `most` labels are not written.
std::tuple<Tensor, Tensor, Tensor, Tensor> push_labels(
    const Tensor& state_offsets, const Tensor& leaving_offsets, const Tensor& leaving_arcs,
    const Tensor& leaving_states, const Tensor& entering_offsets, const Tensor& entering_arcs,
    const Tensor& entering_states, const Tensor& outputs, const Tensor& is_start,
    const Tensor& is_accept, int64_t most) {
  const int64_t* const first = input<int64_t>(state_offsets);
  const int64_t num_graphs = graphs(state_offsets), num_states = is_accept.numel();
  const Csr leaving = csr_of(leaving_offsets, leaving_arcs, leaving_states);
  const Csr entering = csr_of(entering_offsets, entering_arcs, entering_states);
  const bool* const starts = input<bool>(is_start);
  std::vector<std::optional<rewrite::CommonPrefixes>> prefixes(num_graphs);
  Tensor arc_begin = zeros<int64_t>(state_offsets, outputs.numel() + 1);
  Tensor state_begin = zeros<int64_t>(state_offsets, num_states + 1);
  // visit(state) and visit_arc(position) for what graph g has.
  const auto each = [&](int64_t g, const auto& visit, const auto& visit_arc) {
    for (auto s = static_cast<int32_t>(first[g]); s < first[g + 1]; ++s) {
      if (starts[s]) visit(s);
      for (int32_t k = leaving.offsets[s]; k < leaving.offsets[s + 1]; ++k) visit_arc(s, k);
    }
  };
  for_each_graph(num_graphs, num_states, [&](int64_t g) {
    const auto& found =
        prefixes[g].emplace(leaving, entering, input<int32_t>(outputs), input<bool>(is_accept),
                            static_cast<int32_t>(first[g]), static_cast<int32_t>(first[g + 1]));
    each(
        g, [&](int32_t s) { output<int64_t>(state_begin)[s + 1] = found.length(s); },
        [&](int32_t s, int32_t k) {
          output<int64_t>(arc_begin)[leaving.arcs[k] + 1] =
              found.rest_length(s, leaving.arcs[k], leaving.states[k]);
        });
  });
  const int64_t by_arcs = add_up(arc_begin), by_states = add_up(state_begin);
  const bool fits = by_arcs <= most && by_states <= most;
  Tensor arc_labels = empty<int32_t>(outputs, fits ? by_arcs : 0);
  Tensor state_labels = empty<int32_t>(outputs, fits ? by_states : 0);
  if (!fits) return {arc_begin, arc_labels, state_begin, state_labels};
  for_each_graph(num_graphs, num_states, [&](int64_t g) {
    each(
        g,
        [&](int32_t s) {
          prefixes[g]->write(s, output<int32_t>(state_labels) + input<int64_t>(state_begin)[s]);
        },
        [&](int32_t s, int32_t k) {
          prefixes[g]->write_rest(
              s, leaving.arcs[k], leaving.states[k],
              output<int32_t>(arc_labels) + input<int64_t>(arc_begin)[leaving.arcs[k]]);
        });
  });
  return {arc_begin, arc_labels, state_begin, state_labels};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "epsilon_pairs(Tensor state_offsets, Tensor offsets, Tensor arcs, Tensor states, "
      "Tensor wanted, int most) -> Tensor[]");
  m.def(
      "determinize(Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor offsets, Tensor arcs, Tensor states, Tensor labels, Tensor? output_begin, "
      "Tensor outputs, Tensor ending_begin, Tensor endings, bool tropical, bool identical, "
      "float delta, int max_states) -> Tensor[]");
  m.def(
      "determinize_backward(Tensor grad_start, Tensor grad_score, Tensor grad_new_accept, "
      "Tensor weights, Tensor accept, Tensor score, Tensor new_accept, Tensor state_offsets, "
      "Tensor arc_begin, Tensor target, Tensor entry_begin, Tensor entry_state, "
      "Tensor entry_score, Tensor term_begin, Tensor term_entry, Tensor term_arc, "
      "Tensor term_into, bool tropical) -> (Tensor, Tensor, Tensor)");
  m.def(
      "minimize(Tensor state_offsets, Tensor arc_offsets, Tensor source, Tensor labels, "
      "Tensor offsets, Tensor arcs, Tensor states, Tensor arc_scores, Tensor accept_scores, "
      "float delta) -> Tensor");
  m.def(
      "push_labels(Tensor state_offsets, Tensor leaving_offsets, Tensor leaving_arcs, "
      "Tensor leaving_states, Tensor entering_offsets, Tensor entering_arcs, "
      "Tensor entering_states, Tensor outputs, Tensor is_start, Tensor is_accept, int most) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("epsilon_pairs", GTNET_BOX("remove_epsilon", &epsilon_pairs_of));
  m.impl("determinize", GTNET_BOX("determinize", &determinize));
  m.impl("determinize_backward", GTNET_BOX("determinize", &determinize_backward));
  m.impl("minimize", GTNET_BOX("minimize", &minimize));
  m.impl("push_labels", GTNET_BOX("push", &push_labels));
}

}  // namespace gtnet::ops
