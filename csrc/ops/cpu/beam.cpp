// torch.ops.gtnet.beam_*: beam search chunk by chunk, and the lattice of what it kept; label_reach.
#include <optional>

#include "beam/cpu/built_graph.h"
#include "beam/cpu/lattice.h"
#include "beam/cpu/product.h"
#include "beam/cpu/search.h"
#include "ops/cpu/executor.h"
#include "ops/tensors.h"
#include "rewrite/cpu/label_reach.h"

namespace gtnet::ops {
namespace {

using Tensors = std::vector<Tensor>;
using Nine = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

constexpr int64_t kWorthAThread = int64_t{1} << 30;  // an item is, whatever its graph

// The parts of all items one after another; begin[i] says where those of item i begin.
template <class Value, class Items, class Part>
Tensor joined(const Tensor& like, const Items& items, const std::vector<int64_t>& begin,
              const Part& part) {
  Tensor all = empty<Value>(like, begin.back());
  for (size_t i = 0; i < items.size(); ++i) part(items[i], output<Value>(all) + begin[i]);
  return all;
}

template <class Items, class Size>
std::vector<int64_t> offsets_of(const Items& items, const Size& size) {
  std::vector<int64_t> begin(items.size() + 1, 0);
  for (size_t i = 0; i < items.size(); ++i) {
    begin[i + 1] = begin[i] + static_cast<int64_t>(size(items[i]));
  }
  return begin;
}

// Where the search of an item goes on: states (numbers, or tuples of some width) and scores; item i
// owns [offsets[i], offsets[i + 1]).
struct Tokens {
  const std::optional<Tensor>&states, &scores, &offsets;

  bool any() const { return states.has_value(); }
  int64_t begin(int64_t item) const { return input<int64_t>(*offsets)[item]; }
  int64_t count(int64_t item) const { return begin(item + 1) - begin(item); }
  const int32_t* state(int64_t item, int64_t width) const {
    return input<int32_t>(*states) + begin(item) * width;
  }
  const double* score(int64_t item) const { return input<double>(*scores) + begin(item); }
};

// What the search of an item has kept: its trace, and its states and arcs where a trace has only
// their places (else empty).
struct Kept {
  beam::BeamTrace trace{};
  std::vector<int32_t> states{}, arcs{};
};

template <class Model, class Score>
beam::BeamTrace read_frames(beam::BeamSearch<Model>& search, const Tensor& scores,
                            const Tensor& lengths, int64_t item, Score /*zero*/) {
  const auto* const all = static_cast<const Score*>(scores.const_data_ptr());
  const Score* const rows = all + item * scores.stride(0);
  for (int64_t t = 0; t < input<int64_t>(lengths)[item]; ++t) {
    search.read(rows + t * scores.stride(1), scores.size(2));
  }
  return search.finish();
}

void check_labels(const Tensor& scores) {
  STD_TORCH_CHECK(scores.size(2) <= 1 || scores.stride(2) == 1,
                  "gtnet: the labels of a frame must be contiguous");
}

// The items one after another: cuts, arc_cuts [batch * (frames + 2)], states; scores of the last
// cuts' tokens, start_slack of the first cuts'; sources, targets, arcs, slacks.
Nine packed(const std::vector<Kept>& kept, const Tensor& lengths, int64_t frames) {
  const auto batch = static_cast<int64_t>(kept.size());
  const Tensor& like = lengths;
  const auto token_begin =
      offsets_of(kept, [](const Kept& item) { return item.trace.states.size(); });
  const auto arc_begin = offsets_of(kept, [](const Kept& item) { return item.trace.arcs.size(); });
  const auto cuts_of = [&](std::vector<int64_t> beam::BeamTrace::* part, const auto& begin) {
    Tensor cuts = empty<int64_t>(lengths, batch * (frames + 2));
    for (int64_t b = 0; b < batch; ++b) {
      int64_t* const row = output<int64_t>(cuts) + b * (frames + 2);
      const std::vector<int64_t>& own = kept[b].trace.*part;
      std::fill_n(row, frames + 2, begin[b + 1]);
      std::transform(own.begin(), own.end(), row, [&](int64_t c) { return c + begin[b]; });
    }
    return cuts;
  };
  const auto doubles = [&](std::vector<double> beam::BeamTrace::* part) {
    const auto begin = offsets_of(kept, [part](const Kept& k) { return (k.trace.*part).size(); });
    return joined<double>(like, kept, begin, [part](const Kept& k, double* out) {
      std::ranges::copy(k.trace.*part, out);
    });
  };
  const auto column = [&](auto zero, auto beam::TraceArc::* part) {
    using Value = decltype(zero);
    return joined<Value>(like, kept, arc_begin, [part](const Kept& k, Value* out) {
      for (const beam::TraceArc& arc : k.trace.arcs) *out++ = arc.*part;
    });
  };
  const auto whole = [&](std::vector<int32_t> Kept::* part) {
    const auto begin = offsets_of(kept, [part](const Kept& k) { return (k.*part).size(); });
    return joined<int32_t>(like, kept, begin, [part](const Kept& k, int32_t* out) {
      std::ranges::copy(k.*part, out);
    });
  };
  const bool tuples =
      std::any_of(kept.begin(), kept.end(), [](const Kept& item) { return !item.states.empty(); });
  return {cuts_of(&beam::BeamTrace::cuts, token_begin),
          cuts_of(&beam::BeamTrace::arc_cuts, arc_begin),
          tuples ? whole(&Kept::states)
                 : joined<int32_t>(
                       like, kept, token_begin,
                       [](const Kept& k, int32_t* out) { std::ranges::copy(k.trace.states, out); }),
          doubles(&beam::BeamTrace::scores),
          doubles(&beam::BeamTrace::start_slack),
          column(int32_t{}, &beam::TraceArc::source),
          column(int32_t{}, &beam::TraceArc::target),
          tuples ? whole(&Kept::arcs) : column(int32_t{}, &beam::TraceArc::arc),
          column(float{}, &beam::TraceArc::slack)};
}

// One chunk of frames for every item. Without `tokens` the search begins, else it goes on there.
Nine beam_search(const Tensor& scores, const Tensor& lengths, const Tensor& state_offsets,
                 const Tensor& offsets, const Tensor& arcs, const Tensor& targets,
                 const Tensor& labels, const Tensor& weights, const Tensor& start,
                 const std::optional<Tensor>& epsilon_order, const std::optional<Tensor>& tokens,
                 const std::optional<Tensor>& token_scores,
                 const std::optional<Tensor>& token_offsets, double beam, int64_t max_active,
                 double lattice_beam, bool foresee) {
  check_labels(scores);
  const int64_t batch = scores.size(0), num_graphs = graphs(state_offsets);
  const int64_t* const state = input<int64_t>(state_offsets);
  const Tokens begun{tokens, token_scores, token_offsets};
  std::vector<Kept> kept(batch);
  with_scores(scores, [&](auto zero) {
    using Score = decltype(zero);
    for_each_graph(batch, kWorthAThread, [&](int64_t b) {
      const int64_t g = num_graphs == 1 ? 0 : b;
      beam::BuiltGraph<Score> model(
          {static_cast<int32_t>(state[g]), static_cast<int32_t>(state[g + 1]),
           input<int32_t>(offsets), input<int32_t>(arcs), input<int32_t>(targets),
           input<int32_t>(labels), input<Score>(weights), input<Score>(start),
           epsilon_order ? input<int32_t>(*epsilon_order) : nullptr});
      beam::BeamSearch search(model, {beam, lattice_beam, max_active, foresee});
      if (begun.any()) {
        search.resume(begun.state(b, 1), begun.score(b), begun.count(b));
      } else {
        search.begin();
      }
      kept[b].trace = read_frames(search, scores, lengths, b, zero);
    });
  });
  return packed(kept, lengths, scores.size(1));
}

// Of graph i of a product the columns at i. `labels` are those matched with the graph before (of
// the first one, with the second), `others` those of the other side; low, high [states] are empty
// without look-ahead; `traits` bool [graphs * 2]: its epsilons are failures; it writes epsilons.
// The last graph may be rows of scores: `offsets` are empty then, and so are arcs, labels and
// others; weights and targets are [states * width].
struct ProductTensors {
  Tensors state_offsets, offsets, arcs, targets, labels, others, weights, start, orders, low, high;
  Tensors maxima;
  Tensor silent, traits;

  template <class Score>
  beam::Product<Score> product(int64_t item) const {
    std::vector<beam::ProductGraph<Score>> parts;
    std::vector<beam::Interval> intervals;
    for (size_t i = 0; i < offsets.size(); ++i) {
      const int64_t g = graphs(state_offsets[i]) == 1 ? 0 : item;
      const int64_t* const state = input<int64_t>(state_offsets[i]);
      const bool* const trait = input<bool>(traits) + 2 * i;
      const int64_t num_arcs = targets[i].numel();
      const bool rows = offsets[i].numel() == 0;
      const auto width = static_cast<int32_t>(rows ? num_arcs / state[g + 1] : 0);
      parts.push_back(
          {{{csr_of(offsets[i], arcs[i], targets[i]), input<int32_t>(labels[i]), nullptr, nullptr,
             static_cast<int32_t>(state[g]), static_cast<int32_t>(state[g + 1])},
            width},
           rows ? nullptr : input<int32_t>(others[i]),
           input<Score>(weights[i]),
           input<Score>(maxima[i]),
           input<Score>(start[i]),
           orders[i].numel() ? input<int32_t>(orders[i]) : nullptr,
           num_arcs,
           trait[1],
           trait[0]});
      const bool looks = low[i].numel() > 0;
      intervals.push_back(
          {looks ? input<int32_t>(low[i]) : nullptr, looks ? input<int32_t>(high[i]) : nullptr});
    }
    return {std::move(parts), input<bool>(silent), intervals};
  }
};

// The same through graphs composed on demand: states [tokens * (graphs + 1)] are tuples, and arcs
// [arcs * graphs] those of each graph, -1 for who stays.
Nine beam_search_product(const Tensor& scores, const Tensor& lengths, Tensors state_offsets,
                         Tensors offsets, Tensors arcs, Tensors targets, Tensors labels,
                         Tensors others, Tensors weights, Tensors start, Tensors orders,
                         Tensors low, Tensors high, Tensors maxima, const Tensor& silent,
                         const Tensor& traits, const std::optional<Tensor>& tokens,
                         const std::optional<Tensor>& token_scores,
                         const std::optional<Tensor>& token_offsets, double beam,
                         int64_t max_active, double lattice_beam, bool foresee) {
  check_labels(scores);
  const auto size = static_cast<int64_t>(offsets.size());
  STD_TORCH_CHECK(2 <= size && size <= beam::kMostGraphs, "gtnet: 2 to 8 graphs are composed");
  const ProductTensors tensors{state_offsets, offsets, arcs, targets, labels, others, weights,
                               start,         orders,  low,  high,    maxima, silent, traits};
  const Tokens begun{tokens, token_scores, token_offsets};
  std::vector<Kept> kept(scores.size(0));
  with_scores(scores, [&](auto zero) {
    using Score = decltype(zero);
    for_each_graph(scores.size(0), kWorthAThread, [&](int64_t b) {
      auto model = tensors.product<Score>(b);
      beam::BeamSearch search(model, {beam, lattice_beam, max_active, foresee});
      if (begun.any()) {
        std::vector<int32_t> states(begun.count(b));
        std::vector<double> reached(begun.score(b), begun.score(b) + begun.count(b));
        for (int64_t k = 0; k < begun.count(b); ++k) {
          const int32_t* const tuple = begun.state(b, size + 1) + k * (size + 1);
          states[k] = model.number(tuple);
          reached[k] += model.potential(tuple);
        }
        search.resume(states.data(), reached.data(), begun.count(b));
      } else {
        search.begin();
      }
      Kept& own = kept[b];
      own.trace = read_frames(search, scores, lengths, b, zero);
      const size_t last = own.trace.states.size() - own.trace.scores.size();
      for (size_t k = 0; k < own.trace.states.size(); ++k) {
        const int32_t* const tuple = model.tuple(own.trace.states[k]);
        own.states.insert(own.states.end(), tuple, tuple + size + 1);
        if (k >= last) own.trace.scores[k - last] -= model.potential(tuple);
      }
      for (const beam::TraceArc& arc : own.trace.arcs) {
        const int32_t* const parts = model.recorded(arc.arc);
        own.arcs.insert(own.arcs.end(), parts, parts + size);
      }
    });
  });
  return packed(kept, lengths, scores.size(1));
}

// Numbers for the labels that the graphs write, so that those that a state can write next lie
// between low and high: ranks [labels], low, high [states], as rewrite/cpu/label_reach.h says.
std::tuple<Tensor, Tensor, Tensor> label_reach(const Tensor& offsets, const Tensor& arcs,
                                               const Tensor& targets, const Tensor& olabels,
                                               const Tensor& starts, const Tensor& accepts,
                                               int64_t num_labels) {
  const int64_t num_states = starts.numel();
  std::optional<rewrite::LabelReach> reach;
  in_parallel(1, 1, [&](int64_t /*begin*/, int64_t /*end*/) {
    reach.emplace(csr_of(offsets, arcs, targets), input<int32_t>(olabels), input<bool>(starts),
                  input<bool>(accepts), num_states, num_labels);
  });
  const auto column = [&](const std::vector<int32_t>& values) {
    Tensor tensor = empty<int32_t>(offsets, static_cast<int64_t>(values.size()));
    std::ranges::copy(values, output<int32_t>(tensor));
    return tensor;
  };
  return {column(reach->ranks()), column(reach->low()), column(reach->high())};
}

// The lattices of the chunks that beam_search returned one after another; `ends` are the scores of
// the paths that end in each token of the last cuts.
// Results: offsets of states and arcs [batch + 1]; source, target, arc, frame by arc; state,
// cut, starts, accepts by state.
Tensors beam_lattice(Tensors lengths, Tensors cuts, Tensors arc_cuts, Tensors states,
                     Tensors sources, Tensors targets, Tensors arcs, Tensors slacks,
                     Tensor start_slack, Tensor ends, double lattice_beam) {
  const int64_t batch = lengths[0].numel();
  const auto chunks_of = [&](int64_t b) {
    std::vector<beam::TraceView> chunks;
    for (size_t c = 0; c < lengths.size(); ++c) {
      const int64_t row = b * (cuts[c].numel() / batch);
      chunks.push_back({input<int64_t>(lengths[c])[b], input<int64_t>(cuts[c]) + row,
                        input<int64_t>(arc_cuts[c]) + row, input<int32_t>(states[c]),
                        input<int32_t>(sources[c]), input<int32_t>(targets[c]),
                        input<int32_t>(arcs[c]), input<float>(slacks[c])});
    }
    return chunks;
  };
  std::vector<int64_t> first(batch + 1, 0), last(batch + 1, 0);
  for (int64_t b = 0; b < batch; ++b) {
    const std::vector<beam::TraceView> chunks = chunks_of(b);
    first[b + 1] = first[b] + chunks.front().num_tokens(0);
    last[b + 1] = last[b] + chunks.back().num_tokens(chunks.back().num_frames);
  }
  std::vector<beam::BeamLattice> lattices(batch);
  for_each_graph(batch, kWorthAThread, [&](int64_t b) {
    const double* const end = input<double>(ends);
    lattices[b] = beam::LatticeBuilder(chunks_of(b), lattice_beam)
                      .run(input<double>(start_slack) + first[b],
                           std::vector<double>(end + last[b], end + last[b + 1]));
  });
  const auto state_begin =
      offsets_of(lattices, [](const beam::BeamLattice& l) { return l.state.size(); });
  const auto arc_begin =
      offsets_of(lattices, [](const beam::BeamLattice& l) { return l.arc.size(); });
  const Tensor& like = lengths[0];
  Tensors results;
  for (const auto* begin : {&state_begin, &arc_begin}) {
    results.push_back(empty<int64_t>(like, batch + 1));
    std::ranges::copy(*begin, output<int64_t>(results.back()));
  }
  for (auto part : {&beam::BeamLattice::source, &beam::BeamLattice::target, &beam::BeamLattice::arc,
                    &beam::BeamLattice::frame}) {
    results.push_back(joined<int32_t>(
        like, lattices, arc_begin,
        [part](const beam::BeamLattice& l, int32_t* out) { std::ranges::copy(l.*part, out); }));
  }
  for (auto part : {&beam::BeamLattice::state, &beam::BeamLattice::cut}) {
    results.push_back(joined<int32_t>(
        like, lattices, state_begin,
        [part](const beam::BeamLattice& l, int32_t* out) { std::ranges::copy(l.*part, out); }));
  }
  for (auto part : {&beam::BeamLattice::starts, &beam::BeamLattice::accepts}) {
    results.push_back(
        joined<bool>(like, lattices, state_begin, [part](const beam::BeamLattice& l, bool* out) {
          std::fill_n(out, l.state.size(), false);
          for (const int32_t s : l.*part) out[s] = true;
        }));
  }
  return results;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "beam_search(Tensor scores, Tensor lengths, Tensor state_offsets, Tensor offsets, "
      "Tensor arcs, Tensor targets, Tensor labels, Tensor weights, Tensor start, "
      "Tensor? epsilon_order, Tensor? tokens, Tensor? token_scores, Tensor? token_offsets, "
      "float beam, int max_active, float lattice_beam, bool foresee) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "beam_search_product(Tensor scores, Tensor lengths, Tensor[] state_offsets, "
      "Tensor[] offsets, Tensor[] arcs, Tensor[] targets, Tensor[] labels, Tensor[] others, "
      "Tensor[] weights, Tensor[] start, Tensor[] orders, Tensor[] low, Tensor[] high, "
      "Tensor[] maxima, Tensor silent, Tensor traits, Tensor? tokens, Tensor? token_scores, "
      "Tensor? token_offsets, float beam, int max_active, float lattice_beam, bool foresee) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "label_reach(Tensor offsets, Tensor arcs, Tensor targets, Tensor olabels, Tensor starts, "
      "Tensor accepts, int num_labels) -> (Tensor, Tensor, Tensor)");
  m.def(
      "beam_lattice(Tensor[] lengths, Tensor[] cuts, Tensor[] arc_cuts, Tensor[] states, "
      "Tensor[] sources, Tensor[] targets, Tensor[] arcs, Tensor[] slacks, Tensor start_slack, "
      "Tensor ends, float lattice_beam) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("beam_search", GTNET_BOX("beam_search", &beam_search));
  m.impl("beam_search_product", GTNET_BOX("beam_search", &beam_search_product));
  m.impl("label_reach", GTNET_BOX("beam_search", &label_reach));
  m.impl("beam_lattice", GTNET_BOX("beam_lattice", &beam_lattice));
}

}  // namespace gtnet::ops
