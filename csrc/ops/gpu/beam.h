// Beam search on a device of blocks. The host waits for sizes
// only: once for what a search kept of a chunk, once for what of it stays, once for a lattice.
#pragma once

#include <optional>

#include "beam/gpu/compact.h"
#include "beam/gpu/lattice.h"
#include "beam/gpu/search.h"
#include "ops/gpu/chains.h"

namespace gtnet::ops {
namespace {

using Nine = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

constexpr int64_t kBeamBlocks = 1024;             // that look at cuts side by side
constexpr int64_t kBeamBytes = int64_t{1} << 28;  // that they may take
constexpr int64_t kMoreTokens = 64;               // of a cut than may survive: sources of epsilons
constexpr int64_t kMostGuessed = 4096;            // survivors that room is made for at once
constexpr int64_t kGuessedTokens = 576;           // of a cut where nothing limits them

// What a kernel leaves in memory for the host, as one value.
template <class Value>
Value known(const Tensor& words) {
  static_assert(sizeof(Value) % sizeof(int64_t) == 0);
  return read_back(words.get_device_index(), static_cast<const Value*>(words.const_data_ptr()));
}

Span<char> bytes_of(const Tensor& tensor) {
  return {static_cast<char*>(tensor.mutable_data_ptr()), tensor.numel()};
}

template <class T>
beam::BeamGrid<T> beam_grid(const Tensor& scores, const Tensor& lengths,
                            const Tensor& state_offsets, const Tensor& offsets, const Tensor& arcs,
                            const Tensor& targets, const Tensor& labels, const Tensor& weights,
                            const Tensor& start, const std::optional<Tensor>& epsilon_order,
                            const beam::BeamLimits& limits) {
  return {scores.size(0),
          scores.size(1),
          scores.size(2),
          graphs(state_offsets),
          scores_of(scores),
          scores.stride(0),
          scores.stride(1),
          view<int64_t>(lengths),
          view<int64_t>(state_offsets),
          view<int32_t>(offsets),
          view<int32_t>(arcs),
          view<int32_t>(targets),
          view<int32_t>(labels),
          view<T>(weights),
          view<T>(start),
          epsilon_order ? view<int32_t>(*epsilon_order) : nullptr,
          limits};
}

// What a search kept of a chunk, in tensors of its own.
template <class T>
struct SearchedTokens {
  Tensor states, scores, cuts;
  beam::BeamTokens tokens;
  typename beam::BeamNeed<T>::Sizes sizes;
};

// Searches; where what is kept does not fit, once more, when its size is known.
template <class T>
SearchedTokens<T> search_beams(const beam::BeamGrid<T>& grid, const beam::BeamBegin& begin,
                               const Tensor& start) {
  const Tensor& like = start;
  const int64_t states_of_graphs = start.numel();
  const int32_t device = like.get_device_index();
  const int64_t most = grid.limits.max_active;
  const int64_t guessed = most <= kMostGuessed ? most + kMoreTokens : kGuessedTokens;
  int64_t capacity = (grid.frames + 1) * std::min(states_of_graphs, guessed);
  const int64_t copies = grid.num_graphs == 1 ? grid.size : 1;
  Tensor scratch = empty<int8_t>(like, beam::BeamRoom::bytes(grid.size, copies * states_of_graphs));
  using Sizes = typename beam::BeamNeed<T>::Sizes;
  for (;;) {
    Tensor states = empty<int32_t>(like, grid.size * capacity),
           scores = empty<double>(like, grid.size * capacity),
           cuts = empty<int64_t>(like, grid.size * (grid.frames + 2)),
           need = empty<int64_t>(like, 3);
    const beam::BeamTokens tokens{capacity, grid.frames, writable<int32_t>(states),
                                  writable<double>(scores), writable<int64_t>(cuts)};
    launch(device, grid.size, beam::BeamForward<T>::kThreads, beam::BeamShared::bytes(),
           beam::BeamForward<T>{grid, bytes_of(scratch), begin, tokens});
    launch(device, 1, beam::BeamNeed<T>::kThreads, beam::Workplace::sized<Sizes>(kWarp),
           beam::BeamNeed<T>{grid, tokens, writable<int64_t>(need)});
    const auto sizes = known<Sizes>(need);
    if (sizes.tokens <= capacity) return {states, scores, cuts, tokens, sizes};
    capacity = sizes.tokens;
  }
}

template <class T>
Nine kept_of_beams(const beam::BeamGrid<T>& grid, const SearchedTokens<T>& found, bool resumed,
                   const Tensor& like) {
  const int32_t device = like.get_device_index();
  const int64_t size = grid.size, most = found.sizes.in_cut, most_states = found.sizes.states;
  const int64_t bytes = beam::BeamCutRoom::bytes(most_states, most),
                cuts = size * (grid.frames + 1);
  const int64_t side_by_side = std::max<int64_t>(1, kBeamBytes / std::max<int64_t>(1, bytes));
  const int64_t blocks = std::min({cuts, kBeamBlocks, side_by_side});
  Tensor scratch = zeros<int8_t>(like, std::max(blocks, size) * bytes);
  Tensor behind = empty<int64_t>(like, size * found.tokens.capacity);
  launch(device, size, beam::BeamBackward<T>::kThreads, beam::BeamTraceShared::bytes(),
         beam::BeamBackward<T>{grid, found.tokens, resumed, most_states, most, bytes_of(scratch),
                               writable<int64_t>(behind)});
  Tensor token_counts = empty<int64_t>(like, cuts), arc_counts = empty<int64_t>(like, cuts);
  beam::BeamKept kept{};
  kept.token_counts = writable<int64_t>(token_counts);
  kept.arc_counts = writable<int64_t>(arc_counts);
  beam::BeamKeep<T> keep{
      grid, found.tokens, resumed, most_states, most, bytes_of(scratch), view<int64_t>(behind),
      kept};
  launch(device, blocks, keep.kThreads, beam::BeamTraceShared::bytes(), keep);
  Tensor token_cuts = empty<int64_t>(like, size * (grid.frames + 2)),
         arc_cuts = torch::stable::empty_like(token_cuts);
  Tensor last = empty<int64_t>(like, size + 1), first = torch::stable::empty_like(last);
  Tensor totals = empty<int64_t>(like, 4);
  launch(device, 1, beam::BeamOffsets::kThreads, beam::Workplace::sized<int64_t>(kWarp),
         beam::BeamOffsets{size, grid.frames, grid.lengths, view<int64_t>(token_counts),
                           view<int64_t>(arc_counts), writable<int64_t>(token_cuts),
                           writable<int64_t>(arc_cuts), writable<int64_t>(last),
                           writable<int64_t>(first), writable<int64_t>(totals)});
  const auto sizes = known<beam::BeamTotals>(totals);
  Tensor states = empty<int32_t>(like, sizes.tokens),
         last_scores = empty<double>(like, sizes.last_tokens),
         start_slack = empty<double>(like, resumed ? 0 : sizes.first_tokens);
  Tensor sources = empty<int32_t>(like, sizes.arcs), targets = empty<int32_t>(like, sizes.arcs),
         arcs = empty<int32_t>(like, sizes.arcs), slacks = empty<float>(like, sizes.arcs);
  keep.kept = {kept.token_counts,
               kept.arc_counts,
               view<int64_t>(token_cuts),
               view<int64_t>(arc_cuts),
               view<int64_t>(last),
               view<int64_t>(first),
               writable<int32_t>(states),
               writable<double>(last_scores),
               writable<double>(start_slack),
               writable<int32_t>(sources),
               writable<int32_t>(targets),
               writable<int32_t>(arcs),
               writable<float>(slacks)};
  launch(device, blocks, keep.kThreads, beam::BeamTraceShared::bytes(), keep);
  return {token_cuts, arc_cuts, states, last_scores, start_slack, sources, targets, arcs, slacks};
}

Nine beam_search(const Tensor& scores, const Tensor& lengths, const Tensor& state_offsets,
                 const Tensor& offsets, const Tensor& arcs, const Tensor& targets,
                 const Tensor& labels, const Tensor& weights, const Tensor& start,
                 const std::optional<Tensor>& epsilon_order, const std::optional<Tensor>& tokens,
                 const std::optional<Tensor>& token_scores,
                 const std::optional<Tensor>& token_offsets, double beam, int64_t max_active,
                 double lattice_beam, bool foresee) {
  return with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    const beam::BeamGrid<T> grid =
        beam_grid<T>(scores, lengths, state_offsets, offsets, arcs, targets, labels, weights, start,
                     epsilon_order, {beam, lattice_beam, max_active, foresee});
    const beam::BeamBegin begin =
        tokens ? beam::BeamBegin{true, view<int32_t>(*tokens), view<double>(*token_scores),
                                 view<int64_t>(*token_offsets)}
               : beam::BeamBegin{};
    return kept_of_beams<T>(grid, search_beams<T>(grid, begin, start), begin.resumed, weights);
  });
}

Tensors beam_lattice(Tensors lengths, Tensors cuts, Tensors arc_cuts, Tensors states,
                     Tensors sources, Tensors targets, Tensors arcs, Tensors slacks,
                     Tensor start_slack, Tensor ends, double lattice_beam) {
  const int64_t size = lengths[0].numel();
  const auto chunks = static_cast<int64_t>(lengths.size());
  const Tensor& like = ends;
  const int32_t device = like.get_device_index();
  const int64_t shared = beam::BeamTraceShared::bytes();
  std::vector<beam::BeamChunk> chunk;
  for (int64_t c = 0; c < chunks; ++c) {
    chunk.push_back({size > 0 ? cuts[c].numel() / size - 2 : 0, view<int64_t>(lengths[c]),
                     view<int64_t>(cuts[c]), view<int64_t>(arc_cuts[c]), view<int32_t>(states[c]),
                     view<int32_t>(sources[c]), view<int32_t>(targets[c]), view<int32_t>(arcs[c]),
                     view<float>(slacks[c])});
  }
  Tensor starts_begin = empty<int64_t>(like, size), ends_begin = empty<int64_t>(like, size),
         ends_behind = torch::stable::empty_like(ends);
  launch(device, 1, beam::BeamEnds::kThreads, shared,
         beam::BeamEnds{size, chunk.front(), chunk.back(), writable<int64_t>(starts_begin),
                        writable<int64_t>(ends_begin)});
  Tensors behind, number;
  for (const Tensor& tokens : states) {
    behind.push_back(empty<int64_t>(like, tokens.numel()));
    number.push_back(empty<int32_t>(like, tokens.numel()));
  }
  Tensor num_states = empty<int64_t>(like, size * chunks),
         num_arcs = torch::stable::empty_like(num_states);
  const auto kept = [&](int64_t c) {
    return beam::BeamLatticeKept{chunk[c], c > 0, lattice_beam, view<int64_t>(behind[c])};
  };
  for (int64_t c = chunks; c-- > 0;) {
    const bool is_last = c == chunks - 1;
    launch(device, size, beam::BeamLatticeBackward::kThreads, shared,
           beam::BeamLatticeBackward{chunk[c], is_last ? beam::BeamChunk{} : chunk[c + 1],
                                     lattice_beam,
                                     is_last ? Span<const int64_t>{} : view<int64_t>(behind[c + 1]),
                                     view<double>(ends), view<int64_t>(ends_begin),
                                     writable<double>(ends_behind), writable<int64_t>(behind[c])});
    launch(device, size, beam::BeamLatticeCount::kThreads, shared,
           beam::BeamLatticeCount{kept(c), chunks, c, writable<int64_t>(num_states),
                                  writable<int64_t>(num_arcs)});
  }
  Tensor state_begin = torch::stable::empty_like(num_states),
         arc_begin = torch::stable::empty_like(num_states);
  Tensor state_offsets = empty<int64_t>(like, size + 1),
         arc_offsets = torch::stable::empty_like(state_offsets), totals = empty<int64_t>(like, 2);
  launch(device, 1, beam::BeamLatticeOffsets::kThreads, shared,
         beam::BeamLatticeOffsets{size, chunks, view<int64_t>(num_states), view<int64_t>(num_arcs),
                                  writable<int64_t>(state_begin), writable<int64_t>(arc_begin),
                                  writable<int64_t>(state_offsets), writable<int64_t>(arc_offsets),
                                  writable<int64_t>(totals)});
  const auto [all_states, all_arcs] = known<beam::BeamLatticeTotals>(totals);
  Tensors by_arc, by_state;
  for (int i = 0; i < 4; ++i) by_arc.push_back(empty<int32_t>(like, all_arcs));
  for (int i = 0; i < 2; ++i) by_state.push_back(empty<int32_t>(like, all_states));
  for (int i = 0; i < 2; ++i) by_state.push_back(empty<bool>(like, all_states));
  Tensor first_cut = zeros<int64_t>(like, size);
  for (int64_t c = 0; c < chunks; ++c) {
    launch(device, size, beam::BeamLatticeForward::kThreads, shared,
           beam::BeamLatticeForward{kept(c),
                                    c > 0 ? chunk[c - 1] : beam::BeamChunk{},
                                    c > 0 ? view<int32_t>(number[c - 1]) : Span<const int32_t>{},
                                    writable<int32_t>(number[c]),
                                    chunks,
                                    c,
                                    view<int64_t>(state_begin),
                                    view<int64_t>(arc_begin),
                                    view<int64_t>(state_offsets),
                                    writable<int64_t>(first_cut),
                                    view<double>(start_slack),
                                    view<double>(ends_behind),
                                    view<int64_t>(starts_begin),
                                    view<int64_t>(ends_begin),
                                    writable<int32_t>(by_arc[0]),
                                    writable<int32_t>(by_arc[1]),
                                    writable<int32_t>(by_arc[2]),
                                    writable<int32_t>(by_arc[3]),
                                    writable<int32_t>(by_state[0]),
                                    writable<int32_t>(by_state[1]),
                                    writable<bool>(by_state[2]),
                                    writable<bool>(by_state[3])});
  }
  Tensors results{state_offsets, arc_offsets};
  results.insert(results.end(), by_arc.begin(), by_arc.end());
  results.insert(results.end(), by_state.begin(), by_state.end());
  return results;
}

void register_beams(torch::stable::detail::StableLibrary& m) {
  m.impl("beam_search", TORCH_BOX(&beam_search));
  m.impl("beam_lattice", TORCH_BOX(&beam_lattice));
}

}  // namespace
}  // namespace gtnet::ops
