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
                                     const Tensor& arcs, const Tensor& states,
                                     const Tensor& wanted) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const first = input<int64_t>(state_offsets);
  const Csr leaving = csr_of(offsets, arcs, states);
  std::vector<rewrite::EpsilonPairs> found(num_graphs);
  for_each_graph(num_graphs, wanted.numel(), [&](int64_t g) {
    found[g] = rewrite::epsilon_pairs(leaving, input<bool>(wanted), static_cast<int32_t>(first[g]),
                                      static_cast<int32_t>(first[g + 1]));
  });
  return {joined(arcs, found, [](const auto& f) -> auto& { return f.sources; }),
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
                                const std::optional<Tensor>& outputs, bool tropical, bool identical,
                                double delta, int64_t max_states) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const first = input<int64_t>(state_offsets);
  const rewrite::DeterminizeOptions options{tropical, identical, delta, max_states};
  std::vector<rewrite::DeterminizeResult> made(num_graphs);
  for_each_graph(num_graphs, start.numel(), [&](int64_t g) {
    const rewrite::Nondeterministic graph{csr_of(offsets, arcs, states),
                                          input<int32_t>(labels),
                                          outputs ? input<int32_t>(*outputs) : nullptr,
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
  Tensor ends = torch::stable::new_empty(arcs, {2, num_graphs}, ScalarType::Int);
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

// Strings one after another: where each begins, and their labels.
std::tuple<Tensor, Tensor> ragged(const Tensor& like,
                                  const std::vector<rewrite::LabelString>& strings) {
  int64_t size = 0;
  for (const rewrite::LabelString& string : strings) size += static_cast<int64_t>(string.size());
  Tensor offsets = empty<int64_t>(like, static_cast<int64_t>(strings.size()) + 1);
  Tensor labels = empty<int32_t>(like, size);
  int64_t* offset = output<int64_t>(offsets);
  int32_t* label = output<int32_t>(labels);
  *offset = 0;
  for (const rewrite::LabelString& string : strings) {
    offset[1] = offset[0] + static_cast<int64_t>(string.size());
    ++offset;
    label = std::copy(string.begin(), string.end(), label);
  }
  return {offsets, labels};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> push_labels(
    const Tensor& state_offsets, const Tensor& leaving_offsets, const Tensor& leaving_arcs,
    const Tensor& leaving_states, const Tensor& entering_offsets, const Tensor& entering_arcs,
    const Tensor& entering_states, const Tensor& outputs, const Tensor& is_accept) {
  const int64_t* const first = input<int64_t>(state_offsets);
  const Csr leaving = csr_of(leaving_offsets, leaving_arcs, leaving_states);
  const Csr entering = csr_of(entering_offsets, entering_arcs, entering_states);
  std::vector<rewrite::LabelString> of_state(is_accept.numel()), of_arc(outputs.numel());
  for_each_graph(graphs(state_offsets), is_accept.numel(), [&](int64_t g) {
    const auto begin = static_cast<int32_t>(first[g]), end = static_cast<int32_t>(first[g + 1]);
    const rewrite::CommonPrefixes prefixes(leaving, entering, input<int32_t>(outputs),
                                           input<bool>(is_accept), begin, end);
    for (int32_t s = begin; s < end; ++s) {
      of_state[s] = prefixes.of(s);
      for (int32_t k = leaving.offsets[s]; k < leaving.offsets[s + 1]; ++k) {
        of_arc[leaving.arcs[k]] = prefixes.rest(s, leaving.arcs[k], leaving.states[k]);
      }
    }
  });
  const auto [arc_begin, arc_labels] = ragged(outputs, of_arc);
  const auto [state_begin, state_labels] = ragged(outputs, of_state);
  return {arc_begin, arc_labels, state_begin, state_labels};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "epsilon_pairs(Tensor state_offsets, Tensor offsets, Tensor arcs, Tensor states, "
      "Tensor wanted) -> Tensor[]");
  m.def(
      "determinize(Tensor weights, Tensor start, Tensor accept, Tensor state_offsets, "
      "Tensor offsets, Tensor arcs, Tensor states, Tensor labels, Tensor? outputs, bool tropical, "
      "bool identical, float delta, int max_states) -> Tensor[]");
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
      "Tensor entering_states, Tensor outputs, Tensor is_accept) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("epsilon_pairs", TORCH_BOX(&epsilon_pairs_of));
  m.impl("determinize", TORCH_BOX(&determinize));
  m.impl("determinize_backward", TORCH_BOX(&determinize_backward));
  m.impl("minimize", TORCH_BOX(&minimize));
  m.impl("push_labels", TORCH_BOX(&push_labels));
}

}  // namespace gtnet::ops
