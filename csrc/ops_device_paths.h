// Operators that take paths out of graphs, on a device of blocks; an executor is included before.
#pragma once

#include "k_best_kernels.h"
#include "ops_device_walks.h"
#include "sample.h"

namespace gtnet {
namespace {

// Paths of all items, and how many there are of each item and arcs of each path.
struct WrittenPaths {
  Tensor counts, lengths, offsets, arcs, rows, score, first, first_cut, last, last_cut;

  PackedPaths packed() const { return {counts, lengths, arcs, first, last}; }
};

Span<PathEnds> path_ends(const Tensor& bytes) {
  return {static_cast<PathEnds*>(bytes.mutable_data_ptr()),
          bytes.numel() / static_cast<int64_t>(sizeof(PathEnds))};
}

// At most `most` paths of each item, written out; knowing their number and lengths waits for the
// device once. Lattices have rows, scores and cuts besides.
template <class Follow>
WrittenPaths write_paths(const Tensor& like, int64_t items, int64_t most, bool in_lattice,
                         const Follow& follow) {
  const int32_t device = like.get_device_index();
  const Tensor length = empty<int64_t>(like, items * most), totals = empty<int64_t>(like, items);
  const Tensor ends = empty<int8_t>(like, items * most * static_cast<int64_t>(sizeof(PathEnds)));
  const Tensor first_path = empty<int64_t>(like, items + 1),
               first_arc = empty<int64_t>(like, items + 1);
  WrittenPaths out;
  out.counts = empty<int64_t>(like, items);
  for_each(device, items * most,
           MeasurePaths<Follow>{follow, most, writable<int64_t>(length), path_ends(ends)});
  for_each(device, items,
           SumPaths<Follow>{follow, most, view<int64_t>(length), writable<int64_t>(out.counts),
                            writable<int64_t>(totals)});
  for_each(device, 1, Offsets{items, view<int64_t>(out.counts), writable<int64_t>(first_path)});
  for_each(device, 1, Offsets{items, view<int64_t>(totals), writable<int64_t>(first_arc)});
  const int64_t num_paths = read_back(device, view<int64_t>(first_path).data() + items),
                num_arcs = read_back(device, view<int64_t>(first_arc).data() + items),
                num_ends = in_lattice ? num_paths : 0;
  out.lengths = empty<int64_t>(like, num_paths);
  out.offsets = zeros<int64_t>(like, num_paths + 1);  // without items nobody writes the only one
  out.arcs = empty<int32_t>(like, num_arcs);
  out.rows = empty<int32_t>(like, in_lattice ? num_arcs : 0);
  out.score = empty<double>(like, num_ends);
  out.first = empty<int32_t>(like, num_paths);
  out.last = empty<int32_t>(like, num_paths);
  out.first_cut = empty<int32_t>(like, num_ends);
  out.last_cut = empty<int32_t>(like, num_ends);
  for_each(
      device, items,
      PlacePaths{most, view<int64_t>(length), view<int64_t>(first_path), view<int64_t>(first_arc),
                 writable<int64_t>(out.offsets), writable<int64_t>(out.lengths)});
  const auto asked = [&](const Tensor& tensor) -> Span<int32_t> {
    return in_lattice ? writable<int32_t>(tensor) : nullptr;
  };
  for_each(device, items * most,
           WritePaths<Follow>{follow, most, view<int64_t>(first_path), view<int64_t>(out.offsets),
                              path_ends(ends), writable<int32_t>(out.arcs), asked(out.rows),
                              in_lattice ? writable<double>(out.score) : nullptr,
                              writable<int32_t>(out.first), asked(out.first_cut),
                              writable<int32_t>(out.last), asked(out.last_cut)});
  return out;
}

Span<Ranked> ranked(const Tensor& bytes) {
  return {static_cast<Ranked*>(bytes.mutable_data_ptr()),
          bytes.numel() / static_cast<int64_t>(sizeof(Ranked))};
}

Tensor empty_ranked(const Tensor& like, int64_t count) {
  return empty<int8_t>(like, count * static_cast<int64_t>(sizeof(Ranked)));
}

PackedPaths acyclic_k_best(const Tensor& weights, const Tensor& start, const Tensor& accept,
                           const Tensor& goal_offsets, const Tensor& goals,
                           const Tensor& state_offsets, const Tensor& order,
                           const std::optional<Tensor>& bounds, const Tensor& offsets,
                           const Tensor& arcs, const Tensor& states, bool reverse, int64_t k) {
  return with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    using Kernel = KBestLists<T>;
    const int64_t num_graphs = graphs(state_offsets), num_nodes = start.numel() + num_graphs;
    const int64_t num_merged = Kernel::num_merged(arcs.numel() + goals.numel());
    const Tensor lists = empty_ranked(weights, num_nodes * k),
                 merged = empty_ranked(weights, num_merged * k);
    const Tensor sizes = zeros<int32_t>(weights, num_nodes),
                 merged_sizes = empty<int32_t>(weights, num_merged);
    const KBestNodes<T> nodes{incidence_of(offsets, arcs, states),
                              view<int64_t>(goal_offsets),
                              view<int64_t>(goals),
                              view<T>(weights),
                              view<T>(start),
                              view<T>(accept),
                              start.numel(),
                              arcs.numel(),
                              k,
                              ranked(lists),
                              writable<int32_t>(sizes)};
    if (k > 0) {
      launch(weights.get_device_index(), num_graphs, Kernel::kThreads, Kernel::shared_bytes(),
             Kernel{nodes, walk_of(state_offsets, order, bounds, reverse), ranked(merged),
                    writable<int32_t>(merged_sizes)});
    }
    return write_paths(weights, num_graphs, k, false, KBestPaths<T>{nodes}).packed();
  });
}

PackedPaths sample(const Tensor& to_end, const Tensor& weights, const Tensor& start,
                   const Tensor& accept, const Tensor& state_offsets, const Tensor& offsets,
                   const Tensor& arcs, const Tensor& states, const Tensor& seeds, int64_t count,
                   int64_t max_length) {
  const int64_t num_graphs = graphs(state_offsets), num_states = start.numel();
  const int32_t device = weights.get_device_index();
  const Incidence leaving = incidence_of(offsets, arcs, states);
  const Tensor starts = empty<double>(start, num_states), stops = empty<double>(start, num_states),
               sums = empty<double>(start, arcs.numel());
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    for_each(device, num_graphs,
             StartChances<T>{input<int64_t>(state_offsets), input<T>(start), input<double>(to_end),
                             output<double>(starts)});
    for_each(device, num_states,
             StepChances<T>{leaving, input<T>(weights), input<T>(accept), input<double>(to_end),
                            output<double>(stops), output<double>(sums)});
  });
  const SampledPaths paths{leaving,
                           input<int64_t>(state_offsets),
                           input<int64_t>(seeds),
                           input<double>(starts),
                           input<double>(stops),
                           input<double>(sums),
                           count,
                           max_length};
  return write_paths(start, num_graphs, count, false, paths).packed();
}

void register_paths(torch::stable::detail::StableLibrary& m) {
  m.impl("acyclic_k_best", TORCH_BOX(&acyclic_k_best));
  m.impl("sample", TORCH_BOX(&sample));
}

}  // namespace
}  // namespace gtnet
