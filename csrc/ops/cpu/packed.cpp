// Operators on packed graphs (core/packed_graph.h): a function on one graph, with what its gradient
// needs, in one call. For graphs of a few arcs the rest of the library takes longer to set up its
// tensors than all that is computed. What is rare (cycles, scores beyond all sums) is left to it.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("tune=haswell")  // or else the compiler gathers without gather instructions
#endif

#include "ops/cpu/packed.h"

#include <cmath>
#include <memory>
#include <optional>

#include "layout/own_csr.h"
#include "ops/cpu/executor.h"
#include "paths/cpu/log_posteriors.h"
#include "paths/viterbi.h"
#include "rewrite/cpu/compose.h"
#include "rewrite/cpu/join_graphs.h"
#include "rewrite/cpu/remove_arcs.h"
#include "rewrite/gather_scores.h"

namespace gtnet::ops {
namespace {

// The general way has to be taken; gtnet/_ops/library.py looks for these words.
struct Uncommon : std::exception {
  const char* what() const noexcept override { return "gtnet: not for packed graphs"; }
};

// The weights, where every sum of them is a number.
const float* sums(const PackedInput& graph, const Tensor& tensor) {
  constexpr float kMost = 1e25f;
  const float* const given = graph.weights(tensor);
  int64_t common = 0;
  for (int64_t a = 0; a < graph.num_arcs; ++a) {
    common += given[a] == -std::numeric_limits<float>::infinity() || std::abs(given[a]) < kMost;
  }
  if (common != graph.num_arcs) throw Uncommon{};
  return given;
}

// body() as one piece of work, which a signal may end.
template <class Body>
void alone(const Body& body) {
  in_parallel(1, 2, [&](int64_t, int64_t) { body(); });
}

// An operand of a composition.
struct Side {
  layout::OwnCsr leaving;
  std::vector<int32_t> labels;
  std::unique_ptr<bool[]> starts, accepts;
  rewrite::Operand operand;
  bool with_epsilon;

  Side(const PackedInput& graph, const PackedInput::Parts& parts, const int32_t* matched)
      : leaving(parts.source, parts.target, graph.num_states, graph.num_arcs),
        labels(leaving.sort(matched)),
        starts(possible(parts.start, graph.num_states)),
        accepts(possible(parts.accept, graph.num_states)),
        operand{leaving.view(),
                labels.data(),
                starts.get(),
                accepts.get(),
                0,
                static_cast<int32_t>(graph.num_states)},
        with_epsilon(std::find(labels.begin(), labels.end(), kEpsilon) != labels.end()) {}

 private:
  static std::unique_ptr<bool[]> possible(const float* scores, int64_t count) {
    std::unique_ptr<bool[]> marks(new bool[count]);
    for (int64_t s = 0; s < count; ++s) marks[s] = scores[s] > kNegInf;
    return marks;
  }
};

std::tuple<Tensor, Tensor> compose(const Tensor& a, const Tensor& a_weights, const Tensor& b,
                                   const Tensor& b_weights, bool only_acceptors, int64_t max_arcs) {
  const PackedInput one(a), other(b);
  if (only_acceptors && !(one.acceptor && other.acceptor)) throw Uncommon{};
  const PackedInput::Parts left = one.parts(), right = other.parts();
  rewrite::Product product;
  alone([&] {
    const Side sides[] = {{one, left, left.olabels}, {other, right, right.ilabels}};
    const rewrite::Operand &first = sides[0].operand, &second = sides[1].operand;
    const int filters = sides[0].with_epsilon && sides[1].with_epsilon ? 3 : 1;
    Budget budget{max_arcs};
    rewrite::PairTable table;
    rewrite::Explore({first, second, {filters}}, budget, table, product).run();
    if (product.too_large) throw Uncommon{};
    rewrite::trim(first, second, product);
  });
  const PackedGraph graph{static_cast<int64_t>(product.states.size()),
                          static_cast<int64_t>(product.arcs.size()), one.acceptor && other.acceptor,
                          2};
  const Tensor words = empty_words(a, graph), weights = empty<float>(a_weights, graph.num_arcs);
  const PackedOutput out(words, graph);
  std::vector<int32_t> states(2 * graph.num_states);
  std::vector<int8_t> filter(graph.num_states);
  int32_t *const map_a = out.maps, *const map_b = out.maps + graph.num_arcs;
  int32_t *const state_a = states.data(), *const state_b = state_a + graph.num_states;
  rewrite::write(product, {out.source, out.target, map_a, map_b, state_a, state_b, filter.data()});
  rewrite::write_labels(product, &rewrite::ProductArc::a, left.ilabels, out.ilabels);
  if (!graph.acceptor) {
    rewrite::write_labels(product, &rewrite::ProductArc::b, right.olabels, out.olabels);
  }
  const auto sum = [](const float* x, const int32_t* at, const float* y, const int32_t* and_at,
                      float* total, int64_t size) {
    const rewrite::Take<float> first{x, at, total}, second{y, and_at, total};
    for (int64_t i = 0; i < size; ++i) first(i);
    for (int64_t i = 0; i < size; ++i) second.add(i);
  };
  sum(one.weights(a_weights), map_a, other.weights(b_weights), map_b, output<float>(weights),
      graph.num_arcs);
  sum(left.start, state_a, right.start, state_b, out.start, graph.num_states);
  sum(left.accept, state_a, right.accept, state_b, out.accept, graph.num_states);
  for (int64_t s = 0; s < graph.num_states; ++s) {
    if (filter[s] != 0) out.start[s] = static_cast<float>(kNegInf);
  }
  return {words, weights};
}

// How to walk through an acyclic graph.
struct Acyclic {
  layout::OwnCsr entering;
  std::vector<int32_t> order;
  int64_t bounds[2];

  Acyclic(const PackedInput& graph, const PackedInput::Parts& parts)
      : entering(parts.target, parts.source, graph.num_states, graph.num_arcs),
        bounds{0, graph.num_states} {
    if (!entering.order(order)) throw Uncommon{};
  }
  Walk walk(bool reverse) const { return {1, bounds, order.data(), reverse}; }
};

// The score of the paths, and unless that is not wanted the posteriors of the arcs.
std::tuple<Tensor, Tensor> forward(const Tensor& words, const Tensor& weights, bool learning) {
  const PackedInput graph(words);
  const PackedInput::Parts parts = graph.parts();
  const float* const w = sums(graph, weights);
  const Acyclic acyclic(graph, parts);
  std::vector<double> alpha(graph.num_states);
  for_each_state(acyclic.walk(false), graph.num_states,
                 paths::LogDistance<float>{acyclic.entering.view(), w, parts.start, alpha.data()});
  double total = kNegInf;
  paths::LogTotal<float>{acyclic.bounds, parts.accept, alpha.data(), &total}(0);
  const Tensor score = empty<float>(weights, 1);
  *output<float>(score) = static_cast<float>(total);
  const Tensor posteriors = empty<float>(weights, learning ? graph.num_arcs : 0);
  if (!learning) return {score, posteriors};
  if (std::any_of(alpha.begin(), alpha.end(),
                  [](double x) { return std::abs(x) > paths::kFar && x > kNegInf; })) {
    throw Uncommon{};
  }
  const layout::OwnCsr leaving(parts.source, parts.target, graph.num_states, graph.num_arcs);
  const double one = 1;
  std::vector<double> rest(graph.num_states);
  std::vector<float> start(graph.num_states), accept(graph.num_states);
  for_each_state(acyclic.walk(true), graph.num_states,
                 paths::LogPosteriors<float>{
                     leaving.view(), w, parts.start, parts.accept, alpha.data(), &total, &one,
                     rest.data(), output<float>(posteriors), start.data(), accept.data()});
  return {score, posteriors};
}

// The best path: its score, and its arcs from the first to the last.
struct Best {
  std::vector<int32_t> arcs;
  double score = kNegInf;
  int32_t first = kNone, last = kNone;

  Best(const PackedInput& graph, const PackedInput::Parts& parts, const float* weights) {
    const Acyclic acyclic(graph, parts);
    const Csr entering = acyclic.entering.view();
    std::vector<double> alpha(graph.num_states);
    std::vector<int32_t> came_by(graph.num_states);
    for_each_state(
        acyclic.walk(false), graph.num_states,
        paths::BestDistance<float>{entering, weights, parts.start, alpha.data(), came_by.data()});
    int64_t ends[] = {0, 0};
    paths::BestEnd<float>{acyclic.bounds, entering, parts.accept, alpha.data(),
                          came_by.data(), &score,   &last,        &ends[1]}(0);
    if (last == kNone) return;
    arcs.resize(ends[1]);
    paths::Backtrace{entering, came_by.data(), &last, ends, arcs.data(), &first}(0);
  }
};

// Its score, and unless that is not wanted 1 for each of its arcs and 0 for others.
std::tuple<Tensor, Tensor> best(const Tensor& words, const Tensor& weights, bool learning) {
  const PackedInput graph(words);
  const Best found(graph, graph.parts(), sums(graph, weights));
  const Tensor score = empty<float>(weights, 1);
  *output<float>(score) = static_cast<float>(found.score);
  const Tensor taken = empty<float>(weights, learning ? graph.num_arcs : 0);
  if (learning) {
    float* const marks = output<float>(taken);
    std::fill_n(marks, graph.num_arcs, 0.0f);
    for (const int32_t a : found.arcs) marks[a] = 1;
  }
  return {score, taken};
}

// The best path as a chain, empty where there is none.
std::tuple<Tensor, Tensor> best_path(const Tensor& words, const Tensor& weights) {
  const PackedInput graph(words);
  const PackedInput::Parts parts = graph.parts();
  const float* const w = sums(graph, weights);
  const Best found(graph, parts, w);
  const auto length = static_cast<int64_t>(found.arcs.size());
  const PackedGraph chain{found.last == kNone ? 0 : length + 1, length, graph.acceptor, 1};
  const Tensor made_words = empty_words(words, chain), made_weights = empty<float>(weights, length);
  const PackedOutput out(made_words, chain);
  std::fill_n(out.start, 2 * chain.num_states, static_cast<float>(kNegInf));
  if (found.last != kNone) {
    out.start[0] = parts.start[found.first];
    out.accept[length] = parts.accept[found.last];
  }
  for (int32_t i = 0; i < length; ++i) {
    const int32_t a = found.arcs[i];
    out.source[i] = i;
    out.target[i] = i + 1;
    out.ilabels[i] = parts.ilabels[a];
    out.olabels[i] = parts.olabels[a];
    out.maps[i] = a;
    output<float>(made_weights)[i] = w[a];
  }
  return {made_words, made_weights};
}

// All weights are 0.
std::tuple<Tensor, Tensor> remove(const Tensor& words, const Tensor& weights, int64_t ilabel,
                                  int64_t olabel) {
  const PackedInput graph(words);
  const PackedInput::Parts parts = graph.parts();
  std::optional<rewrite::RemoveArcs> result;
  alone([&] { result.emplace(graph, parts, ilabel, olabel); });
  const rewrite::RemoveArcs& left = *result;
  const PackedGraph kept{static_cast<int64_t>(left.start.size()),
                         static_cast<int64_t>(left.arc.size()), graph.acceptor, 0};
  const Tensor made_words = empty_words(words, kept);
  const PackedOutput out(made_words, kept);
  const auto score = [](char possible) { return possible ? 0.0f : static_cast<float>(kNegInf); };
  std::transform(left.start.begin(), left.start.end(), out.start, score);
  std::transform(left.accept.begin(), left.accept.end(), out.accept, score);
  std::copy(left.source.begin(), left.source.end(), out.source);
  std::copy(left.target.begin(), left.target.end(), out.target);
  for (int64_t k = 0; k < kept.num_arcs; ++k) {
    out.ilabels[k] = parts.ilabels[left.arc[k]];
    out.olabels[k] = parts.olabels[left.arc[k]];
  }
  const Tensor made_weights = empty<float>(weights, kept.num_arcs);
  std::fill_n(output<float>(made_weights), kept.num_arcs, 0.0f);
  return {made_words, made_weights};
}

// The acceptor of what is read, or of what is written.
Tensor project(const Tensor& words, bool output_side) {
  const PackedInput graph(words);
  const PackedInput::Parts parts = graph.parts();
  const PackedGraph acceptor{graph.num_states, graph.num_arcs, true, 0};
  const Tensor made_words = empty_words(words, acceptor);
  const PackedOutput out(made_words, acceptor);
  std::copy_n(parts.start, 2 * graph.num_states, out.start);
  std::copy_n(parts.source, 2 * graph.num_arcs, out.source);
  std::copy_n(output_side ? parts.olabels : parts.ilabels, graph.num_arcs, out.ilabels);
  return made_words;
}

// A chain of `length` steps, each with an arc for the labels 0 to `labels` - 1.
Tensor linear(const Tensor& like, int64_t length, int64_t labels) {
  const PackedGraph graph{length + 1, length * labels, true, 0};
  const Tensor words = empty_words(like, graph);
  const PackedOutput out(words, graph);
  std::fill_n(out.start, 2 * graph.num_states, static_cast<float>(kNegInf));
  out.start[0] = 0;
  if (length > 0) out.accept[length] = 0;
  for (int64_t i = 0, k = 0; i < length; ++i) {
    for (int32_t label = 0; label < labels; ++label, ++k) {
      out.source[k] = static_cast<int32_t>(i);
      out.target[k] = static_cast<int32_t>(i + 1);
      out.ilabels[k] = label;
    }
  }
  return words;
}

enum class Join : int64_t { kUnion, kConcat, kClosure };

// One map: the arcs of all operands, end to end.
std::tuple<Tensor, Tensor> join(const std::vector<Tensor>& graphs,
                                const std::vector<Tensor>& weights, int64_t kind) {
  std::vector<rewrite::JoinGraphs::Operand> operands;
  bool acceptor = true;
  for (size_t i = 0; i < graphs.size(); ++i) {
    const PackedInput graph(graphs[i]);
    operands.push_back({graph, graph.parts(), graph.weights(weights[i])});
    acceptor = acceptor && graph.acceptor;
  }
  rewrite::JoinGraphs joined;
  switch (static_cast<Join>(kind)) {
    case Join::kUnion:
      joined.unite(operands);
      break;
    case Join::kConcat:
      joined.concatenate(operands);
      break;
    case Join::kClosure:
      joined.close(operands[0]);
      break;
  }
  const PackedGraph graph{static_cast<int64_t>(joined.start.size()),
                          static_cast<int64_t>(joined.source.size()), acceptor, 1};
  const Tensor words = empty_words(graphs[0], graph);
  const Tensor made_weights = empty<float>(weights[0], graph.num_arcs);
  const PackedOutput out(words, graph);
  const auto write = [](const auto& from, auto* to) { std::copy(from.begin(), from.end(), to); };
  write(joined.start, out.start);
  write(joined.accept, out.accept);
  write(joined.source, out.source);
  write(joined.target, out.target);
  write(joined.ilabels, out.ilabels);
  if (!acceptor) write(joined.olabels, out.olabels);
  write(joined.origin, out.maps);
  write(joined.weights, output<float>(made_weights));
  return {words, made_weights};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "packed_compose(Tensor a, Tensor a_weights, Tensor b, Tensor b_weights, "
      "bool only_acceptors, int max_arcs) -> (Tensor, Tensor)");
  m.def("packed_forward(Tensor graph, Tensor weights, bool learning) -> (Tensor, Tensor)");
  m.def("packed_best(Tensor graph, Tensor weights, bool learning) -> (Tensor, Tensor)");
  m.def("packed_best_path(Tensor graph, Tensor weights) -> (Tensor, Tensor)");
  m.def("packed_remove(Tensor graph, Tensor weights, int ilabel, int olabel) -> (Tensor, Tensor)");
  m.def("packed_project(Tensor graph, bool output) -> Tensor");
  m.def("packed_linear(Tensor like, int length, int labels) -> Tensor");
  m.def("packed_join(Tensor[] graphs, Tensor[] weights, int kind) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("packed_compose", GTNET_BOX("compose", &compose));
  m.impl("packed_forward", GTNET_BOX("forward_score", &forward));
  m.impl("packed_best", GTNET_BOX("viterbi_score", &best));
  m.impl("packed_best_path", GTNET_BOX("viterbi_path", &best_path));
  m.impl("packed_remove", GTNET_BOX("remove", &remove));
  m.impl("packed_project", GTNET_BOX("project", &project));
  m.impl("packed_linear", GTNET_BOX("linear_graph", &linear));
  m.impl("packed_join", GTNET_BOX("union", &join));
}

}  // namespace gtnet::ops
