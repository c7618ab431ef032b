// Posteriors and paths of chains of emissions composed with a graph, on a device of blocks.
// Arguments as in ops/gpu/chains.h.
#pragma once

#include "lattice/gpu/chain_k_best.h"
#include "lattice/gpu/chain_prune.h"
#include "lattice/gpu/chain_sample.h"
#include "ops/gpu/path_tensors.h"
#include "ops/gpu/segmentation_posteriors.h"

namespace gtnet::ops {
namespace {

Tensors lattice_posteriors(const LatticeTensors& given, bool by_cut) {
  if (given.cuts.size() > 1) {
    return cut_posteriors(given, by_cut);
  }
  const Tensor& weights = given.weights;
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(given.word_offsets);
    lattice::ChainGrid<T> grid = chain_grid<T>(given);
    const int64_t items = grid.size;
    const lattice::CountBy by = by_cut ? lattice::CountBy::kFrameAndArc : lattice::CountBy::kArc;
    const Tensor arcs = empty<int64_t>(weights, items), states = empty<int64_t>(weights, items);
    const Tensor arcs_at = empty<int64_t>(weights, items + 1),
                 states_at = empty<int64_t>(weights, items + 1);
    for_each(device, items,
             lattice::CountSizes<T>{grid, by, writable<int64_t>(arcs), writable<int64_t>(states)});
    const int64_t num_arcs = sums_of(device, arcs, arcs_at),
                  num_states = sums_of(device, states, states_at);
    const Weighed weighed = weigh(grid, weights, sizes[layout::kAllWeights]);
    const ChainScores found = score_chains(grid, weights, sizes, true, kept_every(grid, sizes));
    const Tensor ones = empty<double>(weights, items);
    for_each(device, items, block::Fill<double>{1, writable<double>(ones)});
    const ChainUses uses = differentiate_chains(grid, found.alpha, ones, given, sizes, num_arcs,
                                                num_states, by, view<int64_t>(arcs_at));
    const auto rounded = [&](const Tensor& all, const Tensor& at) {
      return rounded_by_item<T>(found.score, all, at);
    };
    return {uses.scores,
            rounded(uses.counts, arcs_at),
            rounded(uses.starts, states_at),
            rounded(uses.ends, states_at),
            empty<T>(weights, 0),
            empty<T>(weights, 0),
            zeros<int64_t>(weights, 1)};
  });
}

// The lists are of a known size.
Tensors lattice_k_best(const LatticeTensors& given, int64_t k, int64_t /*max_prefixes*/) {
  const Tensor& weights = given.weights;
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    using Kernel = lattice::ChainKBest<T>;
    const Span<const int64_t> sizes = view<int64_t>(given.word_offsets);
    const lattice::ChainGrid<T> grid = chain_grid<T>(given);
    const int64_t slots = sizes[layout::kMostSlots], items = grid.size;
    const Tensor came = empty_elements<lattice::CameAlong>(weights,
                                                           items * (grid.frames + 1) * slots * k),
                 ends = empty_elements<paths::Ranked>(weights, items * k),
                 counts = zeros<int32_t>(weights, items);
    const PlacedWorkspaces placed =
        place(weights, items, Kernel::shared_bytes(),
              Kernel::workspace_bytes(slots, sizes[layout::kMostLabels], k));
    const Kernel kernel{grid,
                        placed.each,
                        slots,
                        k,
                        elements<lattice::CameAlong>(came),
                        elements<paths::Ranked>(ends),
                        writable<int32_t>(counts)};
    if (k > 0) {
      launch(weights.get_device_index(), items, Kernel::kThreads, placed.shared_bytes, kernel);
    }
    return write_paths(weights, items, k, true, lattice::ChainKBestPaths<T>{kernel}).of_lattices();
  });
}

// `seeds` [items * n], in float64.
Tensors lattice_sample(const LatticeTensors& given, Tensor seeds, int64_t n, int64_t max_arcs) {
  const Tensor& weights = given.weights;
  const int32_t device = weights.get_device_index();
  const Span<const int64_t> sizes = view<int64_t>(given.word_offsets);
  lattice::ChainGrid<double> grid = chain_grid<double>(given);
  const int64_t slots = sizes[layout::kMostSlots], items = grid.size;
  const Weighed weighed = weigh(grid, weights, sizes[layout::kAllWeights]);
  const ChainScores found = score_chains(grid, weights, sizes, true, 1);
  const Tensor rows = empty<int32_t>(weights, grid.num_graphs * 2 * slots),
               ends =
                   empty<double>(weights, given.start.numel() * (grid.num_graphs == 1 ? items : 1));
  const lattice::RowPlaces places{writable<int32_t>(rows), slots};
  for_each(device, rows.numel(), block::Fill<int32_t>{-1, places.all});
  launch(device, grid.num_graphs, lattice::FindRows::kThreads, 0,
         lattice::FindRows{grid.words, places});
  const lattice::EndChances chances{
      grid, {numbers<double>(found.alpha), grid.frames, slots}, writable<double>(ends)};
  for_each(device, items, chances);
  return write_paths(weights, items, n, true,
                     lattice::ChainSampledPaths{chances, places, view<int64_t>(seeds), n}, max_arcs)
      .of_lattices();
}

// offsets[i] of rows of these sizes, by one block.
inline Tensor offsets_of(const Tensor& sizes) {
  const Tensor offsets = empty<int64_t>(sizes, sizes.numel() + 1);
  launch(sizes.get_device_index(), 1, lattice::ManyOffsets::kThreads,
         lattice::ManyOffsets::shared_bytes(),
         lattice::ManyOffsets{sizes.numel(), view<int64_t>(sizes), writable<int64_t>(offsets)});
  return offsets;
}

// Appends, item by item, where what is kept begins, and its columns: near(columns) has a member for
// each. Waits to learn how many there are.
template <class MakeNear>
void add_kept(Tensors& result, const Tensor& like, int64_t items, int64_t rows_of_item, int columns,
              const MakeNear& near) {
  constexpr int64_t kMostBlocks = 65535;
  const int32_t device = like.get_device_index();
  const int64_t rows = items * rows_of_item, blocks = std::min(rows, kMostBlocks);
  Tensors kept(columns, empty<int32_t>(like, 0));
  using Near = decltype(near(kept));
  const Tensor counts = empty<int64_t>(like, rows), of_items = empty<int64_t>(like, items + 1);
  launch(device, blocks, lattice::CountNear<Near>::kThreads,
         lattice::CountNear<Near>::shared_bytes(),
         lattice::CountNear<Near>{near(kept), writable<int64_t>(counts), rows});
  const Tensor offsets = offsets_of(counts);
  for_each(device, items + 1,
           lattice::ItemOffsets{rows_of_item, view<int64_t>(offsets), writable<int64_t>(of_items)});
  const int64_t total = read_back(device, view<int64_t>(offsets).data() + rows);
  for (Tensor& column : kept) column = empty<int32_t>(like, total);
  launch(device, blocks, lattice::WriteNear<Near>::kThreads,
         lattice::WriteNear<Near>::shared_bytes(),
         lattice::WriteNear<Near>{near(kept), view<int64_t>(offsets), rows});
  result.push_back(of_items);
  result.insert(result.end(), kept.begin(), kept.end());
}

Tensors lattice_prune(const LatticeTensors& given, double beam) {
  const Tensor& weights = given.weights;
  return with_scores(weights, [&](auto zero) -> Tensors {
    using T = decltype(zero);
    using Kernel = lattice::ChainDistances<T>;
    const int32_t device = weights.get_device_index();
    const Span<const int64_t> sizes = view<int64_t>(given.word_offsets);
    const lattice::ChainGrid<T> grid = chain_grid<T>(given);
    const int64_t slots = sizes[layout::kMostSlots], items = grid.size, rows = grid.frames + 1;
    const Tensor before = empty<double>(weights, items * rows * slots),
                 after = empty<double>(weights, items * rows * slots),
                 best = empty<double>(weights, items);
    const lattice::NearBest<T> near{grid,
                                    {writable<double>(before), grid.frames, slots},
                                    {writable<double>(after), grid.frames, slots},
                                    view<double>(best),
                                    beam};
    launch_chains<Kernel>(
        grid, weights, sizes, Kernel::workspace_bytes(slots, sizes[layout::kMostLabels]),
        [&](const block::Workspaces& workspaces) {
          return Kernel{grid, workspaces, near.before, near.after, writable<double>(best)};
        });
    const Tensor from = empty<int32_t>(weights, weights.numel()),
                 to = empty<int32_t>(weights, weights.numel());
    launch(device, grid.num_graphs, lattice::ArcPlaces::kThreads, 0,
           lattice::ArcPlaces{grid.words, grid.arc_offsets, writable<int32_t>(from),
                              writable<int32_t>(to)});
    Tensors result;
    const auto column = [](const Tensors& columns, int i) { return writable<int32_t>(columns[i]); };
    add_kept(result, weights, items, rows, 4, [&](const Tensors& columns) {
      return lattice::NearArcs<T>{near,
                                  view<int32_t>(from),
                                  view<int32_t>(to),
                                  column(columns, 0),
                                  column(columns, 1),
                                  column(columns, 2),
                                  column(columns, 3)};
    });
    for (const bool at_end : {false, true}) {
      add_kept(result, weights, items, 1, 2, [&](const Tensors& columns) {
        return lattice::NearEnds<T>{near, at_end, column(columns, 0), column(columns, 1)};
      });
    }
    return result;
  });
}

void register_chain_paths(torch::stable::detail::StableLibrary& m) {
  m.impl("lattice_posteriors", TORCH_BOX(&Unpacked<&lattice_posteriors>::call));
  m.impl("lattice_k_best", TORCH_BOX(&Unpacked<&lattice_k_best>::call));
  m.impl("lattice_sample", TORCH_BOX(&Unpacked<&lattice_sample>::call));
  m.impl("lattice_prune", TORCH_BOX(&Unpacked<&lattice_prune>::call));
}

}  // namespace
}  // namespace gtnet::ops
