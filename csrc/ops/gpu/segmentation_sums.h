// Operators that sum over the paths of segmentations, and the best paths, on a device of blocks; an
// executor is included before.
#pragma once

#include "lattice/gpu/segmentation_viterbi.h"
#include "ops/gpu/segmentations.h"

namespace gtnet::ops {
namespace {

Tensors cut_score(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                  Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                  Tensor accept, bool keep) {
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    const Span<const int64_t> sizes = view<int64_t>(word_offsets);
    lattice::CutGrid<T> grid = cut_grid<T>(scores, cuts, words, word_offsets, state_offsets,
                                           arc_offsets, weights, start, accept);
    const Weighed weighed = weigh(grid.chain, weights, sizes[layout::kAllWeights]);
    const CutScores found = score_cuts(grid, weights, sizes, cuts[kCutOrder].numel());
    return {found.score, keep ? found.alpha : empty_numbers<T>(weights, 0),
            empty<int32_t>(weights, 0), empty<double>(weights, 0), zeros<int64_t>(weights, 1)};
  });
}

Tensors cut_score_backward(Tensor grad_score, Tensor alpha, Tensor scores, Tensors cuts,
                           Tensor words, Tensor word_offsets, Tensor state_offsets,
                           Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept,
                           bool counting) {
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(word_offsets);
    lattice::CutGrid<T> grid = cut_grid<T>(scores, cuts, words, word_offsets, state_offsets,
                                           arc_offsets, weights, start, accept);
    const Weighed weighed = weigh(grid.chain, weights, sizes[layout::kAllWeights]);
    const bool one = grid.chain.num_graphs == 1;
    const int64_t items = grid.chain.size, copies = one ? items : 1, states = start.numel();
    const int64_t lanes = sizes[layout::kAllCounts] * layout::kLanes;
    const CutUses uses =
        differentiate_cuts(grid, alpha, grad_score, scores, cuts, weights, sizes, counting,
                           counting ? copies * lanes : 0, counting ? copies * states : 0,
                           lattice::CountBy::kEntry, nullptr);
    Tensor grad_weights = zeros<T>(weights, counting ? weights.numel() : 0),
           grad_start = zeros<T>(weights, counting ? states : 0),
           grad_accept = torch::stable::empty_like(grad_start);
    if (counting) {
      launch(device, grid.chain.num_graphs * lattice::WeighEntries<T>::kBlocks,
             lattice::ArcGradients<T>::kThreads, 0,
             lattice::ArcGradients<T>{grid.chain, view<double>(grad_score),
                                      view<double>(uses.counts), writable<T>(grad_weights)});
      for (const auto& [by_item, grad] :
           {std::pair{uses.starts, grad_start}, {uses.ends, grad_accept}}) {
        for_each(device, states,
                 lattice::EndGradients<T>{one, items, grid.chain.num_graphs, states,
                                          grid.chain.state_offsets, view<double>(grad_score),
                                          view<double>(by_item), writable<T>(grad)});
      }
    }
    return {uses.scores, grad_weights, grad_start, grad_accept, uses.first, uses.last};
  });
}

Tensors cut_best(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                 Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                 Tensor accept) {
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(word_offsets);
    const lattice::CutGrid<T> grid = cut_grid<T>(scores, cuts, words, word_offsets, state_offsets,
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
    const lattice::RowsOf<double> read{writable<double>(emissions), grid.labels};
    const lattice::CutCameBy came_by{{writable<int32_t>(here), grid.slots},
                                     {writable<int32_t>(led_by), grid.slots}};
    read_segments(device, grid,
                  lattice::ReadSegmentScores<T>{grid, read, writable<int32_t>(flags)});
    launch(device, items, threads_of(sizes, lattice::CutBestForward<T>::kThreads),
           lattice::CutBestForward<T>::shared_bytes(),
           lattice::CutBestForward<T>{grid,
                                      {writable<double>(alpha), grid.slots},
                                      {writable<double>(led), grid.slots},
                                      read,
                                      came_by,
                                      view<int32_t>(flags),
                                      writable<double>(score),
                                      writable<int32_t>(last),
                                      writable<int32_t>(last_cut)});
    const lattice::CutTrace<T> trace{grid, came_by, view<int32_t>(cuts[kCutSource])};
    for_each(device, items,
             lattice::CutPathLength<T>{trace, view<int32_t>(last), view<int32_t>(last_cut),
                                       writable<int64_t>(length)});
    for_each(device, 1, paths::Offsets{items, view<int64_t>(length), writable<int64_t>(offsets)});
    const int64_t num_arcs = read_back(device, view<int64_t>(offsets).data() + items);
    Tensor arcs = empty<int32_t>(weights, num_arcs), rows = empty<int32_t>(weights, num_arcs);
    for_each(device, items,
             lattice::CutPathArcs<T>{trace, view<int64_t>(offsets), writable<int32_t>(arcs),
                                     writable<int32_t>(rows), writable<int32_t>(first),
                                     writable<int32_t>(first_cut), writable<int32_t>(last),
                                     writable<int32_t>(last_cut), writable<int64_t>(counts)});
    return {counts, score, offsets, arcs, rows, first, first_cut, last, last_cut};
  });
}

}  // namespace
}  // namespace gtnet::ops
