// Operators on segmentations composed with a graph, on a device of blocks; an executor is included
// before. `cuts` are there state_offsets, arc_offsets, order, source and target; the entering and
// the leaving segments of each cut as offsets, segments and cuts at the other end; the number of
// cuts of the longest item, on the CPU; start and accept.
#pragma once

#include "cut_best_kernels.h"
#include "cut_kernels.h"
#include "ops_chains.h"

namespace gtnet {
namespace {

enum CutArgument : size_t {
  kCutOffsets,
  kSegmentOffsets,
  kCutOrder,
  kCutSource,
  kCutTarget,
  kEntering,
  kLeaving = kEntering + 3,
  kMostCuts = kLeaving + 3,
  kCutStart,
  kCutAccept,
  kCutArguments,
};

template <class T>
CutGrid<T> cut_grid(const Tensor& scores, const Tensors& cuts, const Tensor& words,
                    const Tensor& word_offsets, const Tensor& state_offsets,
                    const Tensor& arc_offsets, const Tensor& weights, const Tensor& start,
                    const Tensor& accept) {
  STD_TORCH_CHECK(cuts.size() == kCutArguments && scores.dim() == 2,
                  "gtnet: on a GPU segmentations need the segments of every cut");
  STD_TORCH_CHECK(scores.size(1) <= 1 || scores.stride(1) == 1,
                  "gtnet: the labels of a segment must be contiguous");
  const Span<const int64_t> sizes = view<int64_t>(word_offsets);
  // A path takes as many steps as there are cuts, each with an emission, and two ends of each kind.
  const int64_t steps = (view<int64_t>(cuts[kMostCuts])[0] + 2) * (1 + sizes[kMostPhases]);
  const auto segments = [&](size_t at) {
    return Segments{view<int32_t>(cuts[at]), view<int32_t>(cuts[at + 1]),
                    view<int32_t>(cuts[at + 2])};
  };
  return {{graphs(cuts[kCutOffsets]), 0, scores.size(1), graphs(state_offsets),
           score_array<ScoreArray, const double, const float, const uint16_t>(
               scores, scores.const_data_ptr()),
           0, scores.stride(0), nullptr, view<int64_t>(state_offsets), view<int64_t>(arc_offsets),
           view<int32_t>(words), view<T>(weights), view<T>(start), view<T>(accept), nullptr,
           nullptr, Number<T>::highest(2 * steps + 2)},
          scores.size(0),
          view<int64_t>(cuts[kCutOffsets]),
          view<int64_t>(cuts[kSegmentOffsets]),
          view<int32_t>(cuts[kCutOrder]),
          segments(kEntering),
          segments(kLeaving),
          view<T>(cuts[kCutStart]),
          view<T>(cuts[kCutAccept]),
          sizes[kMostSlots],
          sizes[kMostLabels]};
}

// Blocks enough for all scores of all segments.
template <class Kernel, class T>
void read_segments(int32_t device, const CutGrid<T>& grid, const Kernel& kernel) {
  constexpr int64_t kMostBlocks = 65535;
  const int64_t count = grid.num_segments * grid.labels;
  const int64_t blocks = std::min((count + kernel.kThreads - 1) / kernel.kThreads, kMostBlocks);
  launch(device, blocks, kernel.kThreads, 0, kernel);
}

template <class T>
CutNumbers<T> cut_numbers(const CutGrid<T>& grid, const Tensor& alpha, const Tensor& factors) {
  const Span<Number<T>> all = numbers<T>(alpha);
  const int64_t half =
      alpha.numel() * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(2 * sizeof(Number<T>));
  return {{all.part(0, half), grid.slots},
          {all.part(half, half), grid.slots},
          {numbers<T>(factors), grid.labels}};
}

Tensors cut_score(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                  Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                  Tensor accept, bool keep) {
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(word_offsets);
    CutGrid<T> grid = cut_grid<T>(scores, cuts, words, word_offsets, state_offsets, arc_offsets,
                                  weights, start, accept);
    const Weighed weighed = weigh(grid.chain, weights, sizes[kAllWeights]);
    const int64_t items = grid.chain.size, num_cuts = cuts[kCutOrder].numel();
    Tensor score = empty<double>(weights, items), flags = zeros<int32_t>(weights, items);
    Tensor alpha = empty_numbers<T>(weights, 2 * num_cuts * grid.slots),
           factors = empty_numbers<T>(weights, grid.num_segments * grid.labels);
    const CutNumbers<T> made = cut_numbers(grid, alpha, factors);
    read_segments(device, grid, ReadSegments<T>{grid, made.factors, writable<int32_t>(flags)});
    launch(device, items, threads_of(sizes, CutForward<T>::kThreads), CutForward<T>::shared_bytes(),
           CutForward<T>{grid, made, writable<int32_t>(flags), writable<double>(score)});
    return {score, keep ? alpha : empty_numbers<T>(weights, 0), empty<int32_t>(weights, 0),
            empty<double>(weights, 0), zeros<int64_t>(weights, 1)};
  });
}

Tensors cut_score_backward(Tensor grad_score, Tensor alpha, Tensor scores, Tensors cuts,
                           Tensor words, Tensor word_offsets, Tensor state_offsets,
                           Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept,
                           bool counting) {
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    constexpr int64_t kMostBlocks = 2048;
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(word_offsets);
    CutGrid<T> grid = cut_grid<T>(scores, cuts, words, word_offsets, state_offsets, arc_offsets,
                                  weights, start, accept);
    const Weighed weighed = weigh(grid.chain, weights, sizes[kAllWeights]);
    const int64_t items = grid.chain.size, num_cuts = cuts[kCutOrder].numel();
    const int64_t states = start.numel(), blocks = std::min(grid.num_segments, kMostBlocks);
    const bool one = grid.chain.num_graphs == 1;
    const int64_t copies = one ? items : 1, lanes = sizes[kAllCounts] * kRowLanes;
    Tensor factors = empty_numbers<T>(weights, grid.num_segments * grid.labels),
           betas = empty_numbers<T>(weights, num_cuts * grid.slots),
           reads = empty_numbers<T>(weights, items * grid.slots),
           totals = empty_numbers<T>(weights, items);
    Tensor flags = zeros<int32_t>(weights, items),
           counts = zeros<double>(weights, counting ? copies * lanes : 0);
    const CutNumbers<T> made = cut_numbers(grid, alpha, factors);
    const RowsOf<Number<T>> beta{numbers<T>(betas), grid.slots};
    read_segments(device, grid, ReadSegments<T>{grid, made.factors, writable<int32_t>(flags)});
    launch(device, items, threads_of(sizes, CutBackward<T>::kThreads),
           CutBackward<T>::shared_bytes(),
           CutBackward<T>{grid,
                          made,
                          beta,
                          {numbers<T>(reads), grid.slots},
                          numbers<T>(totals),
                          writable<int32_t>(flags),
                          counting ? writable<double>(counts) : nullptr});
    Tensor grad_scores = torch::stable::empty_like(scores);
    torch::stable::zero_(grad_scores);
    Tensor gamma = empty<T>(weights, blocks * grid.slots),
           sums = empty<T>(weights, blocks * sizes[kMostTotals]);
    launch(device, blocks, SegmentGradients<T>::kThreads, 0,
           SegmentGradients<T>{grid,
                               made,
                               beta,
                               numbers<T>(totals),
                               view<int32_t>(cuts[kCutSource]),
                               view<int32_t>(cuts[kCutTarget]),
                               view<double>(grad_score),
                               score_array<ScoreGradient, double, float, uint16_t>(
                                   grad_scores, grad_scores.mutable_data_ptr()),
                               grad_scores.stride(0),
                               {writable<T>(gamma), grid.slots},
                               {writable<T>(sums), sizes[kMostTotals]}});
    if (!counting) {
      const auto nothing = [&] { return empty<T>(weights, 0); };
      return {grad_scores, nothing(), nothing(), nothing(), nothing(), nothing()};
    }
    Tensor starts = zeros<double>(weights, copies * states),
           ends = torch::stable::empty_like(starts);
    torch::stable::zero_(ends);
    Tensor grad_first = zeros<T>(weights, num_cuts), grad_last = zeros<T>(weights, num_cuts);
    launch(device, items, CutEnds<T>::kThreads, 0,
           CutEnds<T>{grid, made.alpha, beta, numbers<T>(totals), view<double>(grad_score),
                      writable<double>(starts), writable<double>(ends), writable<T>(grad_first),
                      writable<T>(grad_last)});
    Tensor grad_weights = zeros<T>(weights, weights.numel()),
           grad_start = empty<T>(weights, states), grad_accept = empty<T>(weights, states);
    launch(device, grid.chain.num_graphs * WeighEntries<T>::kBlocks, ArcGradients<T>::kThreads, 0,
           ArcGradients<T>{grid.chain, view<double>(grad_score), view<double>(counts),
                           writable<T>(grad_weights)});
    for (const auto& [by_item, grad] : {std::pair{starts, grad_start}, {ends, grad_accept}}) {
      for_each(device, states,
               EndGradients<T>{one, items, grid.chain.num_graphs, states, grid.chain.state_offsets,
                               view<double>(grad_score), view<double>(by_item), writable<T>(grad)});
    }
    return {grad_scores, grad_weights, grad_start, grad_accept, grad_first, grad_last};
  });
}

Tensors cut_best(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                 Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                 Tensor accept) {
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(word_offsets);
    const CutGrid<T> grid = cut_grid<T>(scores, cuts, words, word_offsets, state_offsets,
                                        arc_offsets, weights, start, accept);
    const int64_t items = grid.chain.size, places = cuts[kCutOrder].numel() * grid.slots;
    Tensor flags = zeros<int32_t>(weights, items);
    Tensor emissions = empty<double>(weights, grid.num_segments * grid.labels),
           alpha = empty<double>(weights, places), led = empty<double>(weights, places),
           here = empty<int32_t>(weights, places), led_by = empty<int32_t>(weights, places);
    Tensor score = empty<double>(weights, items), length = empty<int64_t>(weights, items),
           offsets = empty<int64_t>(weights, items + 1), counts = empty<int64_t>(weights, items);
    Tensor first = empty<int32_t>(weights, items), first_cut = torch::stable::empty_like(first),
           last = torch::stable::empty_like(first), last_cut = torch::stable::empty_like(first);
    const RowsOf<double> read{writable<double>(emissions), grid.labels};
    const CutCameBy came_by{{writable<int32_t>(here), grid.slots},
                            {writable<int32_t>(led_by), grid.slots}};
    read_segments(device, grid, ReadSegmentScores<T>{grid, read, writable<int32_t>(flags)});
    launch(device, items, threads_of(sizes, CutBestForward<T>::kThreads),
           CutBestForward<T>::shared_bytes(),
           CutBestForward<T>{grid,
                             {writable<double>(alpha), grid.slots},
                             {writable<double>(led), grid.slots},
                             read,
                             came_by,
                             view<int32_t>(flags),
                             writable<double>(score),
                             writable<int32_t>(last),
                             writable<int32_t>(last_cut)});
    const CutTrace<T> trace{grid, came_by, view<int32_t>(cuts[kCutSource])};
    for_each(device, items,
             CutPathLength<T>{trace, view<int32_t>(last), view<int32_t>(last_cut),
                              writable<int64_t>(length)});
    for_each(device, 1, Offsets{items, view<int64_t>(length), writable<int64_t>(offsets)});
    const int64_t num_arcs = read_back(device, view<int64_t>(offsets).data() + items);
    Tensor arcs = empty<int32_t>(weights, num_arcs), rows = empty<int32_t>(weights, num_arcs);
    for_each(device, items,
             CutPathArcs<T>{trace, view<int64_t>(offsets), writable<int32_t>(arcs),
                            writable<int32_t>(rows), writable<int32_t>(first),
                            writable<int32_t>(first_cut), writable<int32_t>(last),
                            writable<int32_t>(last_cut), writable<int64_t>(counts)});
    return {counts, score, offsets, arcs, rows, first, first_cut, last, last_cut};
  });
}

}  // namespace
}  // namespace gtnet
