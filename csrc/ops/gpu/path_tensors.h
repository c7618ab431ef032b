// Paths that threads follow, as tensors, on a device of blocks.
#pragma once

#include <limits>

#include "core/budget.h"
#include "ops/gpu/device.h"
#include "paths/path_writer.h"

namespace gtnet::ops {
namespace {

// Paths of all items, and how many there are of each item and arcs of each path.
struct WrittenPaths {
  Tensor counts, lengths, offsets, arcs, rows, score, first, first_cut, last, last_cut;

  PackedPaths packed() const { return {counts, lengths, arcs, first, last}; }
  std::vector<Tensor> of_lattices() const {
    return {counts, score, offsets, arcs, rows, first, first_cut, last, last_cut};
  }
};

// At most `most` paths of each item, written out; knowing their number and lengths waits for the
// device once. Lattices have rows, scores and cuts besides. Throws where there are more than
// `budget` states.
template <class Follow>
WrittenPaths write_paths(const Tensor& like, int64_t items, int64_t most, bool in_lattice,
                         const Follow& follow,
                         int64_t budget = std::numeric_limits<int64_t>::max()) {
  const int32_t device = like.get_device_index();
  const Tensor length = empty<int64_t>(like, items * most), totals = empty<int64_t>(like, items);
  const Tensor ends = empty_elements<paths::PathEnds>(like, items * most);
  const Tensor first_path = empty<int64_t>(like, items + 1),
               first_arc = empty<int64_t>(like, items + 1);
  WrittenPaths out;
  out.counts = empty<int64_t>(like, items);
  for_each(device, items * most,
           paths::MeasurePaths<Follow>{follow, most, writable<int64_t>(length),
                                       elements<paths::PathEnds>(ends)});
  for_each(device, items,
           paths::SumPaths<Follow>{follow, most, view<int64_t>(length),
                                   writable<int64_t>(out.counts), writable<int64_t>(totals)});
  for_each(device, 1,
           paths::Offsets{items, view<int64_t>(out.counts), writable<int64_t>(first_path)});
  for_each(device, 1, paths::Offsets{items, view<int64_t>(totals), writable<int64_t>(first_arc)});
  const int64_t num_paths = read_back(device, view<int64_t>(first_path).data() + items),
                num_arcs = read_back(device, view<int64_t>(first_arc).data() + items),
                num_ends = in_lattice ? num_paths : 0;
  if (num_arcs + num_paths > budget) throw OverBudget{};
  out.lengths = empty<int64_t>(like, num_paths);
  out.offsets = zeros<int64_t>(like, num_paths + 1);  // without items nobody writes the only one
  out.arcs = empty<int32_t>(like, num_arcs);
  out.rows = empty<int32_t>(like, in_lattice ? num_arcs : 0);
  out.score = empty<double>(like, num_ends);
  out.first = empty<int32_t>(like, num_paths);
  out.last = empty<int32_t>(like, num_paths);
  out.first_cut = empty<int32_t>(like, num_ends);
  out.last_cut = empty<int32_t>(like, num_ends);
  for_each(device, items,
           paths::PlacePaths{items, most, view<int64_t>(length), view<int64_t>(first_path),
                             view<int64_t>(first_arc), writable<int64_t>(out.offsets),
                             writable<int64_t>(out.lengths)});
  const auto asked = [&](const Tensor& tensor) -> Span<int32_t> {
    return in_lattice ? writable<int32_t>(tensor) : nullptr;
  };
  for_each(device, items * most,
           paths::WritePaths<Follow>{
               follow, most, view<int64_t>(first_path), view<int64_t>(out.offsets),
               elements<paths::PathEnds>(ends), writable<int32_t>(out.arcs), asked(out.rows),
               in_lattice ? writable<double>(out.score) : nullptr, writable<int32_t>(out.first),
               asked(out.first_cut), writable<int32_t>(out.last), asked(out.last_cut)});
  return out;
}

}  // namespace
}  // namespace gtnet::ops
