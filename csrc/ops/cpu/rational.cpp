// Union, concatenation and closure of batches: how large the sections of the result are, and the
// result.
#include "ops/rational.h"

#include <algorithm>
#include <limits>

#include "ops/cpu/executor.h"

namespace gtnet::ops {
namespace {

std::tuple<Tensor, Tensor> rational_sections(const Tensor& graph_of, const Tensor& state_offsets,
                                             const Tensor& arc_offsets, const Tensor& exits,
                                             const Tensor& entries, int64_t num_parts,
                                             int64_t kind) {
  const rewrite::Arrangement all =
      arrangement_of(graph_of, state_offsets, arc_offsets, exits, entries, num_parts, kind);
  const int64_t sections = num_sections(all, graph_of);
  Tensor state_begin = empty<int64_t>(graph_of, sections + 1),
         arc_begin = empty<int64_t>(graph_of, sections + 1);
  const Out<int64_t> states = output<int64_t>(state_begin), arcs = output<int64_t>(arc_begin);
  states[0] = arcs[0] = 0;
  for (int64_t s = 0; s < sections; ++s) {
    states[s + 1] = states[s] + all.num_states(s);
    arcs[s + 1] = arcs[s] + all.num_arcs(s);
  }
  return {state_begin, arc_begin};
}

std::vector<Tensor> rational(const Tensor& graph_of, const Tensor& state_offsets,
                             const Tensor& arc_offsets, const Tensor& exits, const Tensor& entries,
                             int64_t num_parts, int64_t kind, const Tensor& state_begin,
                             const Tensor& arc_begin, const Tensor& source, const Tensor& target,
                             const Tensor& ilabels, const std::optional<Tensor>& olabels,
                             int64_t operand_states, int64_t num_states, int64_t num_arcs) {
  const rewrite::Arrangement all =
      arrangement_of(graph_of, state_offsets, arc_offsets, exits, entries, num_parts, kind);
  const Arranged made(all, state_begin, arc_begin, source, target, ilabels, olabels, operand_states,
                      num_states, num_arcs);
  const In<int64_t> states = input<int64_t>(state_begin), arcs = input<int64_t>(arc_begin);
  for_each_graph(num_sections(all, graph_of), num_states + num_arcs, [&](int64_t number) {
    const rewrite::ArrangedArc arc = made.arcs;  // copies, which no store can reach
    const rewrite::ArrangedState state = made.states;
    const rewrite::Arrangement::Section section = all.section(number);
    const int64_t last_arc = arcs[number + 1] - arcs[number];
    const int64_t last_state = states[number + 1] - states[number];
    for (int64_t i = 0; i < last_arc; ++i) arc(section, i);
    for (int64_t i = 0; i < last_state; ++i) state(section, i);
  });
  return made.results;
}

// Integers of all operands, one after another; those of one operand stay where they are.
template <class T>
class EndToEnd {
 public:
  explicit EndToEnd(const std::vector<Tensor>& parts) {
    if (parts.size() == 1) {
      data_ = input<T>(parts[0]);
      size_ = parts[0].numel();
      return;
    }
    for (const Tensor& part : parts) size_ += part.numel();
    joined_.reserve(size_);
    for (const Tensor& part : parts) {
      joined_.insert(joined_.end(), input<T>(part), input<T>(part) + part.numel());
    }
    data_ = joined_.data();
  }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  std::vector<T> joined_;
  const T* data_ = nullptr;
  int64_t size_ = 0;
};

// Offsets of operands as those of one batch.
std::vector<int64_t> joined_offsets(const std::vector<Tensor>& parts) {
  std::vector<int64_t> joined{0};
  for (const Tensor& part : parts) {
    const int64_t* const offsets = input<int64_t>(part);
    const int64_t before = joined.back();
    for (int64_t g = 0; g < graphs(part); ++g) joined.push_back(before + offsets[g + 1]);
  }
  return joined;
}

// How many scores up to and with each are not -inf.
template <class T>
std::vector<int64_t> possible_up_to(const EndToEnd<T>& scores) {
  std::vector<int64_t> up_to(scores.size());
  int64_t count = 0;
  for (int64_t s = 0; s < scores.size(); ++s) up_to[s] = count += scores.data()[s] > kNegInf;
  return up_to;
}

// result[i] = values[index[i]]; behind the values stand -inf and 0, and kNone is 0.
template <class T>
struct ScoreOf {
  const EndToEnd<T>& values;
  T operator()(int32_t index) const {
    if (index == kNone || index == values.size() + 1) return 0;
    return index == values.size() ? static_cast<T>(kNegInf) : values.data()[index];
  }
};

// Both operators above for operands that are batches of `size` graphs or of one: offsets of states
// and arcs, then as `rational`, then weights, start and accept scores. Only the offsets where there
// are more states or arcs than can be numbered.
std::vector<Tensor> arrange(const std::vector<Tensor>& state_offsets,
                            const std::vector<Tensor>& arc_offsets,
                            const std::vector<Tensor>& sources, const std::vector<Tensor>& targets,
                            const std::vector<Tensor>& ilabels, const std::vector<Tensor>& olabels,
                            const std::vector<Tensor>& weights, const std::vector<Tensor>& starts,
                            const std::vector<Tensor>& accepts, int64_t size, int64_t kind) {
  const auto num_parts = static_cast<int64_t>(weights.size());
  const std::vector<int64_t> states_of = joined_offsets(state_offsets),
                             arcs_of = joined_offsets(arc_offsets);
  std::vector<int64_t> graph_of(size * num_parts);
  for (int64_t part = 0, first = 0; part < num_parts; ++part) {
    const int64_t own = graphs(state_offsets[part]);
    for (int64_t g = 0; g < size; ++g) graph_of[g * num_parts + part] = first + (own > 1 ? g : 0);
    first += own;
  }
  std::vector<Tensor> made;
  with_scores(weights[0], [&](auto zero) {
    using T = decltype(zero);
    const EndToEnd<T> start(starts), accept(accepts), weight(weights);
    std::vector<int64_t> exits, entries;
    rewrite::Arrangement all{static_cast<rewrite::Rational>(kind),
                             num_parts,
                             graph_of.data(),
                             states_of.data(),
                             arcs_of.data(),
                             nullptr,
                             nullptr};
    if (all.joins()) {
      exits = possible_up_to(accept);
      entries = possible_up_to(start);
      all.exits = exits.data();
      all.entries = entries.data();
    }
    const int64_t width = all.width(), sections = size * width;
    std::vector<int64_t> state_begin(sections + 1, 0), arc_begin(sections + 1, 0);
    for (int64_t s = 0; s < sections; ++s) {
      state_begin[s + 1] = state_begin[s] + all.num_states(s);
      arc_begin[s + 1] = arc_begin[s] + all.num_arcs(s);
    }
    for (const std::vector<int64_t>* const begin : {&state_begin, &arc_begin}) {
      made.push_back(empty<int64_t>(weights[0], size + 1));
      for (int64_t g = 0; g <= size; ++g) output<int64_t>(made.back())[g] = (*begin)[g * width];
    }
    const int64_t num_states = state_begin.back(), num_arcs = arc_begin.back();
    if (std::max(num_states, num_arcs) > std::numeric_limits<int32_t>::max()) return;
    const auto add = [&](int64_t count) {
      made.push_back(empty<int32_t>(weights[0], count));
      return output<int32_t>(made.back());
    };
    const EndToEnd<int32_t> source(sources), target(targets), reads(ilabels);
    const std::optional<EndToEnd<int32_t>> writes =
        olabels.empty() ? std::nullopt : std::make_optional<EndToEnd<int32_t>>(olabels);
    rewrite::ArrangedArc arcs{all,
                              state_begin.data(),
                              arc_begin.data(),
                              source.data(),
                              target.data(),
                              reads.data(),
                              writes ? writes->data() : nullptr,
                              add(num_arcs),
                              add(num_arcs),
                              add(num_arcs),
                              add(writes ? num_arcs : 0),
                              add(num_arcs),
                              add(num_arcs),
                              add(num_arcs)};
    if (!writes) arcs.olabels = nullptr;
    const rewrite::ArrangedState states{
        all, state_begin.data(), start.size(), add(num_states), add(num_states), add(num_states)};
    T* scores[3];
    for (T*& one : scores) {
      made.push_back(empty<T>(weights[0], &one == scores ? num_arcs : num_states));
      one = output<T>(made.back());
    }
    for_each_graph(sections, num_states + num_arcs, [&](int64_t number) {
      const rewrite::ArrangedArc arc = arcs;  // copies, which no store can reach
      const rewrite::ArrangedState state = states;
      const rewrite::Arrangement::Section section = all.section(number);
      for (int64_t i = 0; i < arc_begin[number + 1] - arc_begin[number]; ++i) arc(section, i);
      for (int64_t i = 0; i < state_begin[number + 1] - state_begin[number]; ++i) {
        state(section, i);
      }
      for (int64_t k = arc_begin[number]; k < arc_begin[number + 1]; ++k) {
        scores[0][k] = ScoreOf<T>{weight}(arc.arc[k]);
        if (!all.joins()) continue;
        scores[0][k] += ScoreOf<T>{accept}(arc.left[k]);
        scores[0][k] += ScoreOf<T>{start}(arc.entered[k]);
      }
      for (int64_t s = state_begin[number]; s < state_begin[number + 1]; ++s) {
        scores[1][s] = ScoreOf<T>{start}(state.start[s]);
        scores[2][s] = ScoreOf<T>{accept}(state.accept[s]);
      }
    });
  });
  return made;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "rational_sections(Tensor graph_of, Tensor state_offsets, Tensor arc_offsets, Tensor exits, "
      "Tensor entries, int num_parts, int kind) -> (Tensor, Tensor)");
  m.def(
      "rational(Tensor graph_of, Tensor state_offsets, Tensor arc_offsets, Tensor exits, "
      "Tensor entries, int num_parts, int kind, Tensor state_begin, Tensor arc_begin, "
      "Tensor source, Tensor target, Tensor ilabels, Tensor? olabels, int operand_states, "
      "int num_states, int num_arcs) -> Tensor[]");
  m.def(
      "arrange(Tensor[] state_offsets, Tensor[] arc_offsets, Tensor[] source, Tensor[] target, "
      "Tensor[] ilabels, Tensor[] olabels, Tensor[] weights, Tensor[] start, Tensor[] accept, "
      "int size, int kind) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("rational_sections", GTNET_BOX("rational_sections", &rational_sections));
  m.impl("arrange", GTNET_BOX("arrange", &arrange));
  m.impl("rational", GTNET_BOX("rational", &rational));
}

}  // namespace gtnet::ops
