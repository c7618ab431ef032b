// Operators that sum over the paths of chains, and the best paths, on a device of blocks.
#pragma once

#include "lattice/gpu/chain_viterbi.h"
#include "ops/gpu/chains.h"
#include "ops/gpu/segmentation_sums.h"

namespace gtnet::ops {
namespace {

Tensors lattice_score(const LatticeTensors& given, bool keep) {
  if (given.cuts.size() > 1) {
    return cut_score(given, keep);
  }
  const Tensor& weights = given.weights;
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    const Span<const int64_t> sizes = view<int64_t>(given.word_offsets);
    lattice::ChainGrid<T> grid = chain_grid<T>(given);
    const Weighed weighed = weigh(grid, weights, sizes[layout::kAllWeights]);
    const ChainScores found = score_chains(grid, weights, sizes, keep, kept_every(grid, sizes));
    return {found.score, found.alpha, empty<int32_t>(weights, 0), empty<double>(weights, 0),
            zeros<int64_t>(weights, 1)};
  });
}

Tensors lattice_score_backward(const Tensor& grad_score, const SavedForBackward& left,
                               const LatticeTensors& given, bool counting) {
  if (given.cuts.size() > 1) {
    return cut_score_backward(grad_score, left.alpha_m, given, counting);
  }
  const Tensor& weights = given.weights;
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(given.word_offsets);
    lattice::ChainGrid<T> grid = chain_grid<T>(given);
    const int64_t items = grid.size, copies = grid.num_graphs == 1 ? items : 1;
    const int64_t lanes = sizes[layout::kAllCounts] * layout::kLanes, states = given.start.numel();
    const Weighed weighed = weigh(grid, weights, sizes[layout::kAllWeights]);
    const ChainUses uses = differentiate_chains(
        grid, left.alpha_m, grad_score, given, sizes, counting ? copies * lanes : 0,
        counting ? copies * states : 0, lattice::CountBy::kEntry, nullptr);
    Tensor grad_weights = zeros<T>(weights, counting ? weights.numel() : 0),
           grad_start = empty<T>(weights, counting ? states : 0),
           grad_accept = empty<T>(weights, counting ? states : 0);
    if (counting) {
      launch(device, grid.num_graphs * lattice::WeighEntries<T>::kBlocks,
             lattice::ArcGradients<T>::kThreads, 0,
             lattice::ArcGradients<T>{grid, view<double>(grad_score), view<double>(uses.counts),
                                      writable<T>(grad_weights)});
      const bool one = grid.num_graphs == 1;
      for (const auto& [sums, grad] :
           {std::pair{uses.starts, grad_start}, {uses.ends, grad_accept}}) {
        for_each(device, states,
                 lattice::EndGradients<T>{one, items, grid.num_graphs, states, grid.state_offsets,
                                          view<double>(grad_score), view<double>(sums),
                                          writable<T>(grad)});
      }
    }
    return {uses.scores, grad_weights,         grad_start,
            grad_accept, empty<T>(weights, 0), empty<T>(weights, 0)};
  });
}

Tensors lattice_best(const LatticeTensors& given) {
  if (given.cuts.size() > 1) {
    return cut_best(given);
  }
  const Tensor& weights = given.weights;
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    using Kernel = lattice::ChainBestForward<T>;
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(given.word_offsets);
    const lattice::ChainGrid<T> grid = chain_grid<T>(given);
    const int64_t slots = sizes[layout::kMostSlots], items = grid.size;
    Tensor score = empty<double>(weights, items), length = empty<int64_t>(weights, items),
           offsets = empty<int64_t>(weights, items + 1);
    Tensor first = empty<int32_t>(weights, items), first_cut = torch::stable::empty_like(first),
           last = torch::stable::empty_like(first), last_cut = torch::stable::empty_like(first);
    Tensor counts = torch::stable::empty_like(length);
    Tensor entries = empty<int32_t>(weights, items * (grid.frames + 1) * slots);
    const lattice::CameBy came_by{writable<int32_t>(entries), grid.frames, slots};
    launch_chains<Kernel>(grid, weights, sizes,
                          Kernel::workspace_bytes(slots, sizes[layout::kMostLabels]),
                          [&](const block::Workspaces& workspaces) {
                            return Kernel{grid, workspaces, came_by, writable<double>(score),
                                          writable<int32_t>(last)};
                          });
    for_each(
        device, items,
        lattice::ChainPathLength<T>{grid, came_by, view<int32_t>(last), writable<int64_t>(length)});
    for_each(device, 1, paths::Offsets{items, view<int64_t>(length), writable<int64_t>(offsets)});
    const int64_t num_arcs = read_back(device, view<int64_t>(offsets).data() + items);
    Tensor arcs = empty<int32_t>(weights, num_arcs), frames = empty<int32_t>(weights, num_arcs);
    for_each(device, items,
             lattice::ChainPathArcs<T>{
                 grid, came_by, view<int64_t>(offsets), writable<int32_t>(arcs),
                 writable<int32_t>(frames), writable<int32_t>(first), writable<int32_t>(first_cut),
                 writable<int32_t>(last), writable<int32_t>(last_cut), writable<int64_t>(counts)});
    return {counts, score, offsets, arcs, frames, first, first_cut, last, last_cut};
  });
}

void register_chains(torch::stable::detail::StableLibrary& m) {
  m.impl("lattice_score", TORCH_BOX(&Unpacked<&lattice_score>::call));
  m.impl("lattice_score_backward", TORCH_BOX(&Unpacked<&lattice_score_backward>::call));
  m.impl("lattice_best", TORCH_BOX(&Unpacked<&lattice_best>::call));
}

}  // namespace
}  // namespace gtnet::ops
