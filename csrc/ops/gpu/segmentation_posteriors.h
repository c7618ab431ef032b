// How often paths of segmentations take what they are made of, on a device of blocks; an executor
// is included before.
#pragma once

#include "ops/gpu/segmentations.h"

namespace gtnet::ops {
namespace {

Tensors cut_posteriors(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                       Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                       Tensor accept, bool by_cut) {
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(word_offsets);
    lattice::CutGrid<T> grid = cut_grid<T>(scores, cuts, words, word_offsets, state_offsets,
                                           arc_offsets, weights, start, accept);
    const int64_t items = grid.chain.size;
    const lattice::CountBy by = by_cut ? lattice::CountBy::kFrameAndArc : lattice::CountBy::kArc;
    const Tensor arcs = empty<int64_t>(weights, items), states = empty<int64_t>(weights, items);
    const Tensor arcs_at = empty<int64_t>(weights, items + 1),
                 states_at = empty<int64_t>(weights, items + 1);
    for_each(
        device, items,
        lattice::CutCountSizes<T>{grid, by, writable<int64_t>(arcs), writable<int64_t>(states)});
    const int64_t num_arcs = sums_of(device, arcs, arcs_at),
                  num_states = sums_of(device, states, states_at);
    const Weighed weighed = weigh(grid.chain, weights, sizes[layout::kAllWeights]);
    const CutScores found = score_cuts(grid, weights, sizes, cuts[kCutOrder].numel());
    const Tensor ones = empty<double>(weights, items);
    for_each(device, items, block::Fill<double>{1, writable<double>(ones)});
    const CutUses uses = differentiate_cuts(grid, found.alpha, ones, scores, cuts, weights, sizes,
                                            true, num_arcs, num_states, by, view<int64_t>(arcs_at));
    const auto rounded = [&](const Tensor& all, const Tensor& at) {
      return rounded_by_item<T>(found.score, all, at);
    };
    return {uses.scores,
            rounded(uses.counts, arcs_at),
            rounded(uses.starts, states_at),
            rounded(uses.ends, states_at),
            uses.first,
            uses.last,
            zeros<int64_t>(weights, 1)};
  });
}

}  // namespace
}  // namespace gtnet::ops
