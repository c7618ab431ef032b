// Union, concatenation and closure of batches: how large the sections of the result are, and the
// result.
#include "ops/rational.h"

#include <algorithm>
#include <limits>
#include <memory>

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

// What a graph consists of, in the order in which operators take it.
enum Column {
  kStateOffsets,
  kArcOffsets,
  kSource,
  kTarget,
  kIlabels,
  kOlabels,
  kWeights,
  kStart,
  kAccept,
  kColumns
};

// Graphs in a row, each as its columns.
struct Operands {
  const std::vector<Tensor>& columns;

  int64_t size() const { return static_cast<int64_t>(columns.size()) / kColumns; }
  const Tensor& of(int64_t part, Column column) const { return columns[part * kColumns + column]; }
};

// A column of all operands, one after another; that of one operand stays where it is.
template <class T>
class EndToEnd {
 public:
  EndToEnd(const Operands& parts, Column column) {
    if (parts.size() == 1) {
      data_ = input<T>(parts.of(0, column));
      size_ = parts.of(0, column).numel();
      return;
    }
    for (int64_t k = 0; k < parts.size(); ++k) size_ += parts.of(k, column).numel();
    joined_.reserve(size_);
    for (int64_t k = 0; k < parts.size(); ++k) {
      const T* const part = input<T>(parts.of(k, column));
      joined_.insert(joined_.end(), part, part + parts.of(k, column).numel());
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
std::vector<int64_t> joined_offsets(const Operands& parts, Column column) {
  std::vector<int64_t> joined{0};
  for (int64_t k = 0; k < parts.size(); ++k) {
    const Tensor& part = parts.of(k, column);
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
// and arcs, sources, targets, input labels, which arc and which state each came from, weights,
// start and accept scores; then output labels, unless all are acceptors; then, for a gradient, the
// states whose accept and start scores each arc carries, and whose start and accept score each
// state. Only the offsets where there are more states or arcs than can be numbered.
std::vector<Tensor> arrange(const std::vector<Tensor>& operands, int64_t size, int64_t kind,
                            bool acceptors, bool learning) {
  const Operands parts{operands};
  const int64_t num_parts = parts.size();
  const Tensor& like = parts.of(0, kWeights);
  const std::vector<int64_t> states_of = joined_offsets(parts, kStateOffsets),
                             arcs_of = joined_offsets(parts, kArcOffsets);
  std::vector<int64_t> graph_of(size * num_parts);
  for (int64_t part = 0, first = 0; part < num_parts; ++part) {
    const int64_t own = graphs(parts.of(part, kStateOffsets));
    for (int64_t g = 0; g < size; ++g) graph_of[g * num_parts + part] = first + (own > 1 ? g : 0);
    first += own;
  }
  std::vector<Tensor> made;
  with_scores(like, [&](auto zero) {
    using T = decltype(zero);
    const EndToEnd<T> start(parts, kStart), accept(parts, kAccept), weight(parts, kWeights);
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
      made.push_back(empty<int64_t>(like, size + 1));
      for (int64_t g = 0; g <= size; ++g) output<int64_t>(made.back())[g] = (*begin)[g * width];
    }
    const int64_t num_states = state_begin.back(), num_arcs = arc_begin.back();
    if (std::max(num_states, num_arcs) > std::numeric_limits<int32_t>::max()) return;
    const auto add = [&](auto type, int64_t count) {
      made.push_back(empty<decltype(type)>(like, count));
      return output<decltype(type)>(made.back());
    };
    const EndToEnd<int32_t> source(parts, kSource), target(parts, kTarget), reads(parts, kIlabels),
        writes(parts, acceptors ? kIlabels : kOlabels);
    int32_t *const sources = add(int32_t{}, num_arcs), *const targets = add(int32_t{}, num_arcs),
                   *const ilabels = add(int32_t{}, num_arcs), *const arc = add(int32_t{}, num_arcs),
                   *const origin = add(int32_t{}, num_states);
    T* const scores[] = {add(T{}, num_arcs), add(T{}, num_states), add(T{}, num_states)};
    int32_t* const olabels = acceptors ? nullptr : add(int32_t{}, num_arcs);
    const int64_t carried[] = {num_arcs, num_arcs, num_states, num_states};
    int32_t* carries[4];
    std::unique_ptr<int32_t[]> forgotten;
    if (!learning) forgotten.reset(new int32_t[2 * (num_arcs + num_states)]);
    for (int64_t k = 0, begin = 0; k < 4; begin += carried[k++]) {
      carries[k] = learning ? add(int32_t{}, carried[k]) : forgotten.get() + begin;
    }
    const auto [left, entered, begins, ends] = carries;
    const rewrite::ArrangedArc arcs{all,
                                    state_begin.data(),
                                    arc_begin.data(),
                                    source.data(),
                                    target.data(),
                                    reads.data(),
                                    writes.data(),
                                    sources,
                                    targets,
                                    ilabels,
                                    olabels,
                                    arc,
                                    left,
                                    entered};
    const rewrite::ArrangedState states{all, state_begin.data(), start.size(), origin, begins,
                                        ends};
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
      "arrange(Tensor[] operands, int size, int kind, bool acceptors, bool learning) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("rational_sections", GTNET_BOX("rational_sections", &rational_sections));
  m.impl("arrange", GTNET_BOX("arrange", &arrange));
  m.impl("rational", GTNET_BOX("rational", &rational));
}

}  // namespace gtnet::ops
