// torch.ops.gtnet.beam_*: beam search chunk by chunk, and the lattice of what it kept.
#include <optional>

#include "beam/cpu/lattice.h"
#include "beam/cpu/search.h"
#include "ops/cpu/executor.h"
#include "ops/tensors.h"

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

// One chunk of frames for every item. Without `tokens` the search begins, else it goes on from
// those (states and scores; item i owns [token_offsets[i], token_offsets[i + 1])).
// Results: cuts, arc_cuts [batch * (frames + 2)], states; scores of the last cuts' tokens,
// start_slack of the first cuts'; sources, targets, arcs, slacks.
Nine beam_search(const Tensor& scores, const Tensor& lengths, const Tensor& state_offsets,
                 const Tensor& offsets, const Tensor& arcs, const Tensor& targets,
                 const Tensor& labels, const Tensor& weights, const Tensor& start,
                 const std::optional<Tensor>& epsilon_order, const std::optional<Tensor>& tokens,
                 const std::optional<Tensor>& token_scores,
                 const std::optional<Tensor>& token_offsets, double beam, int64_t max_active,
                 double lattice_beam, bool foresee) {
  const int64_t batch = scores.size(0), frames = scores.size(1), num_labels = scores.size(2);
  STD_TORCH_CHECK(num_labels <= 1 || scores.stride(2) == 1,
                  "gtnet: the labels of a frame must be contiguous");
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const state = input<int64_t>(state_offsets);
  std::vector<beam::BeamTrace> traces(batch);
  with_scores(scores, [&](auto zero) {
    using Score = decltype(zero);
    const auto* const all = static_cast<const Score*>(scores.const_data_ptr());
    for_each_graph(batch, kWorthAThread, [&](int64_t b) {
      const int64_t g = num_graphs == 1 ? 0 : b;
      const beam::BeamGraph<Score> graph{static_cast<int32_t>(state[g]),
                                         static_cast<int32_t>(state[g + 1]),
                                         input<int32_t>(offsets),
                                         input<int32_t>(arcs),
                                         input<int32_t>(targets),
                                         input<int32_t>(labels),
                                         input<Score>(weights),
                                         input<Score>(start),
                                         epsilon_order ? input<int32_t>(*epsilon_order) : nullptr};
      beam::BeamSearch<Score> search(graph, {beam, lattice_beam, max_active, foresee});
      if (tokens) {
        const int64_t* const begin = input<int64_t>(*token_offsets) + b;
        search.resume(input<int32_t>(*tokens) + begin[0], input<double>(*token_scores) + begin[0],
                      begin[1] - begin[0]);
      } else {
        search.begin();
      }
      const Score* const item = all + b * scores.stride(0);
      for (int64_t t = 0; t < input<int64_t>(lengths)[b]; ++t) {
        search.read(item + t * scores.stride(1), num_labels);
      }
      traces[b] = search.finish();
    });
  });
  const auto token_begin =
      offsets_of(traces, [](const beam::BeamTrace& t) { return t.states.size(); });
  const auto arc_begin = offsets_of(traces, [](const beam::BeamTrace& t) { return t.arcs.size(); });
  const auto cuts_of = [&](std::vector<int64_t> beam::BeamTrace::* part, const auto& begin) {
    Tensor cuts = empty<int64_t>(lengths, batch * (frames + 2));
    for (int64_t b = 0; b < batch; ++b) {
      int64_t* const row = output<int64_t>(cuts) + b * (frames + 2);
      const std::vector<int64_t>& own = traces[b].*part;
      std::fill_n(row, frames + 2, begin[b + 1]);
      std::transform(own.begin(), own.end(), row, [&](int64_t c) { return c + begin[b]; });
    }
    return cuts;
  };
  const auto doubles = [&](std::vector<double> beam::BeamTrace::* part) {
    const auto begin =
        offsets_of(traces, [part](const beam::BeamTrace& t) { return (t.*part).size(); });
    return joined<double>(arcs, traces, begin, [part](const beam::BeamTrace& t, double* out) {
      std::ranges::copy(t.*part, out);
    });
  };
  const auto column = [&](auto zero, auto beam::TraceArc::* part) {
    using Value = decltype(zero);
    return joined<Value>(arcs, traces, arc_begin, [part](const beam::BeamTrace& trace, Value* out) {
      for (const beam::TraceArc& arc : trace.arcs) *out++ = arc.*part;
    });
  };
  return {cuts_of(&beam::BeamTrace::cuts, token_begin),
          cuts_of(&beam::BeamTrace::arc_cuts, arc_begin),
          joined<int32_t>(
              arcs, traces, token_begin,
              [](const beam::BeamTrace& t, int32_t* out) { std::ranges::copy(t.states, out); }),
          doubles(&beam::BeamTrace::scores),
          doubles(&beam::BeamTrace::start_slack),
          column(int32_t{}, &beam::TraceArc::source),
          column(int32_t{}, &beam::TraceArc::target),
          column(int32_t{}, &beam::TraceArc::arc),
          column(float{}, &beam::TraceArc::slack)};
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
      "beam_lattice(Tensor[] lengths, Tensor[] cuts, Tensor[] arc_cuts, Tensor[] states, "
      "Tensor[] sources, Tensor[] targets, Tensor[] arcs, Tensor[] slacks, Tensor start_slack, "
      "Tensor ends, float lattice_beam) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("beam_search", GTNET_BOX("beam_search", &beam_search));
  m.impl("beam_lattice", GTNET_BOX("beam_lattice", &beam_lattice));
}

}  // namespace gtnet::ops
