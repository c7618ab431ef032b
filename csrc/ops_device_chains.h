// Operators on emissions composed with a graph, on a device of blocks; an executor is included
// before. `words` and `word_offsets` are here what block_steps makes of a graph: its layout, and
// the sizes that launches need, on the CPU, so that nothing waits for the device.
#pragma once

#include "chain_best_kernels.h"
#include "chain_kernels.h"
#include "ops_device_scores.h"

namespace gtnet {
namespace {

using Tensors = std::vector<Tensor>;

template <class T>
Span<Number<T>> numbers(const Tensor& tensor) {
  return {
      static_cast<Number<T>*>(tensor.mutable_data_ptr()),
      tensor.numel() * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(sizeof(Number<T>))};
}

template <class T>
Tensor empty_numbers(const Tensor& like, int64_t count) {
  return empty<T>(like, count * static_cast<int64_t>(sizeof(Number<T>) / sizeof(T)));
}

template <class T>
ChainGrid<T> chain_grid(const Tensor& scores, const Tensor& lengths, const Tensor& words,
                        const Tensor& sizes, const Tensor& state_offsets, const Tensor& arc_offsets,
                        const Tensor& weights, const Tensor& start, const Tensor& accept) {
  STD_TORCH_CHECK(scores.size(2) <= 1 || scores.stride(2) == 1,
                  "gtnet: the labels of a frame must be contiguous");
  const int64_t phases = 1 + view<int64_t>(sizes)[kMostPhases];
  const int64_t factors = 2 * (scores.size(1) + 1) * phases + 2;
  return {scores.size(0),
          scores.size(1),
          scores.size(2),
          graphs(state_offsets),
          score_array<ScoreArray, const double, const float, const uint16_t>(
              scores, scores.const_data_ptr()),
          scores.stride(0),
          scores.stride(1),
          view<int64_t>(lengths),
          view<int64_t>(state_offsets),
          view<int64_t>(arc_offsets),
          view<int32_t>(words),
          view<T>(weights),
          view<T>(start),
          view<T>(accept),
          nullptr,
          nullptr,
          Number<T>::highest(factors)};
}

// The exponentiated weights of the entries, and which graphs have none.
struct Weighed {
  Tensor weights, flags;
};

template <class T>
Weighed weigh(ChainGrid<T>& grid, const Tensor& weights, int64_t entries) {
  Weighed made{empty_numbers<T>(weights, entries * kRowLanes),
               zeros<int32_t>(weights, grid.num_graphs)};
  launch(weights.get_device_index(), grid.num_graphs * WeighEntries<T>::kBlocks,
         WeighEntries<T>::kThreads, 0,
         WeighEntries<T>{grid, numbers<T>(made.weights), writable<int32_t>(made.flags)});
  grid.entry_weights = numbers<T>(made.weights);
  grid.graph_flags = view<int32_t>(made.flags);
  return made;
}

// Threads of a block: a slice of the first phase is kRowLanes wide, and labels are read besides.
int threads_of(Span<const int64_t> sizes, int most) {
  const int64_t wanted = sizes[kMostSlices] * kRowLanes + sizes[kMostLabels];
  const int64_t warps = std::clamp<int64_t>((wanted + kWarp - 1) / kWarp, 2, most / kWarp);
  return static_cast<int>(warps) * kWarp;
}

// Where blocks keep what they work on: in shared memory if it fits, else in `scratch`.
struct PlacedRoom {
  Room room;
  int64_t shared_bytes;
  Tensor scratch;
};

PlacedRoom place(const Tensor& like, int64_t items, int64_t always, int64_t bytes) {
  const bool fits = always + bytes <= shared_limit(like.get_device_index());
  Tensor scratch = empty<int8_t>(like, fits ? 0 : items * bytes);
  const Span<int8_t> all = writable<int8_t>(scratch);
  return {{{reinterpret_cast<char*>(all.data()), scratch.numel()}, fits ? 0 : bytes},
          fits ? always + bytes : always,
          scratch};
}

// Segmentations other than chains have no kernels.
const Tensor& lengths_of(const Tensors& cuts) {
  STD_TORCH_CHECK(cuts.size() == 1, "gtnet: on a GPU emissions must be chains of frames");
  return cuts[0];
}

Tensors lattice_score(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                      Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                      Tensor accept, bool keep) {
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    using Kernel = ChainForward<T>;
    const Span<const int64_t> sizes = view<int64_t>(word_offsets);
    ChainGrid<T> grid = chain_grid<T>(scores, lengths_of(cuts), words, word_offsets, state_offsets,
                                      arc_offsets, weights, start, accept);
    const int64_t slots = sizes[kMostSlots], frames = grid.frames, items = grid.size;
    Tensor score = empty<double>(weights, items), trouble = zeros<int64_t>(weights, 1);
    Tensor alpha = empty_numbers<T>(weights, keep ? items * (frames + 1) * slots : 0);
    const Weighed weighed = weigh(grid, weights, sizes[kAllWeights]);
    const PlacedRoom placed = place(weights, items, Kernel::shared_bytes(),
                                    Kernel::room_bytes(slots, sizes[kMostLabels]));
    launch(
        weights.get_device_index(), items, threads_of(sizes, Kernel::kThreads), placed.shared_bytes,
        Kernel{
            grid, placed.room, {numbers<T>(alpha), frames, slots}, keep, writable<double>(score)});
    const Tensor none = empty<int32_t>(weights, 0), offset = empty<double>(weights, 0);
    return {score, alpha, none, offset, trouble};
  });
}

Tensors lattice_score_backward(Tensor grad_score, Tensor alpha_m, Tensor /*alpha_e*/,
                               Tensor /*offset*/, Tensor scores, Tensors cuts, Tensor words,
                               Tensor word_offsets, Tensor state_offsets, Tensor arc_offsets,
                               Tensor weights, Tensor start, Tensor accept, bool counting) {
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    using Kernel = ChainBackward<T>;
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(word_offsets);
    ChainGrid<T> grid = chain_grid<T>(scores, lengths_of(cuts), words, word_offsets, state_offsets,
                                      arc_offsets, weights, start, accept);
    const int64_t slots = sizes[kMostSlots], items = grid.size;
    const int64_t copies = grid.num_graphs == 1 ? items : 1;
    const Weighed weighed = weigh(grid, weights, sizes[kAllWeights]);
    const PlacedRoom placed =
        place(weights, items, Kernel::shared_bytes(),
              Kernel::room_bytes(slots, sizes[kMostLabels], sizes[kMostTotals]));
    Tensor grad_scores = torch::stable::empty_like(scores);
    torch::stable::zero_(grad_scores);
    const int64_t lanes = sizes[kAllCounts] * kRowLanes, states = start.numel();
    Tensor counts = zeros<double>(weights, counting ? copies * lanes : 0),
           starts = zeros<double>(weights, counting ? copies * states : 0),
           ends = zeros<double>(weights, counting ? copies * states : 0);
    const auto asked = [&](const Tensor& tensor) {
      return counting ? writable<double>(tensor) : nullptr;
    };
    launch(device, items, threads_of(sizes, Kernel::kThreads), placed.shared_bytes,
           Kernel{grid,
                  placed.room,
                  {numbers<T>(alpha_m), grid.frames, slots},
                  view<double>(grad_score),
                  score_array<ScoreGradient, double, float, uint16_t>(
                      grad_scores, grad_scores.mutable_data_ptr()),
                  grad_scores.stride(0),
                  grad_scores.stride(1),
                  asked(counts),
                  asked(starts),
                  asked(ends)});
    Tensor grad_weights = zeros<T>(weights, counting ? weights.numel() : 0),
           grad_start = empty<T>(weights, counting ? states : 0),
           grad_accept = empty<T>(weights, counting ? states : 0);
    if (counting) {
      launch(device, grid.num_graphs * WeighEntries<T>::kBlocks, ArcGradients<T>::kThreads, 0,
             ArcGradients<T>{grid, view<double>(grad_score), view<double>(counts),
                             writable<T>(grad_weights)});
      const bool one = grid.num_graphs == 1;
      for (const auto& [sums, grad] : {std::pair{starts, grad_start}, {ends, grad_accept}}) {
        for_each(device, states,
                 EndGradients<T>{one, items, grid.num_graphs, states, grid.state_offsets,
                                 view<double>(grad_score), view<double>(sums), writable<T>(grad)});
      }
    }
    return {grad_scores, grad_weights,         grad_start,
            grad_accept, empty<T>(weights, 0), empty<T>(weights, 0)};
  });
}

Tensors lattice_best(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                     Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                     Tensor accept) {
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    using Kernel = ChainBestForward<T>;
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(word_offsets);
    const ChainGrid<T> grid = chain_grid<T>(scores, lengths_of(cuts), words, word_offsets,
                                            state_offsets, arc_offsets, weights, start, accept);
    const int64_t slots = sizes[kMostSlots], items = grid.size;
    Tensor score = empty<double>(weights, items), length = empty<int64_t>(weights, items),
           offsets = empty<int64_t>(weights, items + 1);
    Tensor first = empty<int32_t>(weights, items), first_cut = torch::stable::empty_like(first),
           last = torch::stable::empty_like(first), last_cut = torch::stable::empty_like(first);
    Tensor counts = torch::stable::empty_like(length);
    Tensor entries = empty<int32_t>(weights, items * (grid.frames + 1) * slots);
    const CameBy came_by{writable<int32_t>(entries), grid.frames, slots};
    const PlacedRoom placed = place(weights, items, Kernel::shared_bytes(),
                                    Kernel::room_bytes(slots, sizes[kMostLabels]));
    launch(device, items, threads_of(sizes, Kernel::kThreads), placed.shared_bytes,
           Kernel{grid, placed.room, came_by, writable<double>(score), writable<int32_t>(last)});
    for_each(device, items,
             ChainPathLength<T>{grid, came_by, view<int32_t>(last), writable<int64_t>(length)});
    for_each(device, 1, Offsets{items, view<int64_t>(length), writable<int64_t>(offsets)});
    const int64_t num_arcs = read_back(device, view<int64_t>(offsets).data() + items);
    Tensor arcs = empty<int32_t>(weights, num_arcs), frames = empty<int32_t>(weights, num_arcs);
    for_each(device, items,
             ChainPathArcs<T>{grid, came_by, view<int64_t>(offsets), writable<int32_t>(arcs),
                              writable<int32_t>(frames), writable<int32_t>(first),
                              writable<int32_t>(first_cut), writable<int32_t>(last),
                              writable<int32_t>(last_cut), writable<int64_t>(counts)});
    return {counts, score, offsets, arcs, frames, first, first_cut, last, last_cut};
  });
}

void register_chains(torch::stable::detail::StableLibrary& m) {
  m.impl("lattice_score", TORCH_BOX(&lattice_score));
  m.impl("lattice_score_backward", TORCH_BOX(&lattice_score_backward));
  m.impl("lattice_best", TORCH_BOX(&lattice_best));
}

}  // namespace
}  // namespace gtnet
