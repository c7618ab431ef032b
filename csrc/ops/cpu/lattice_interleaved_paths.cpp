// The best paths of chains of frames that share a graph, side by side in the lanes of vectors.
#include "ops/cpu/lattice_interleaved_paths.h"

#include "core/drivers.h"
#include "lattice/cpu/band.h"
#include "lattice/cpu/interleaved/viterbi.h"
#include "ops/cpu/lattice_interleaved_items.h"

namespace gtnet::ops {
namespace {

constexpr int64_t kNear = 1 << 20;  // doubles

// Whether items are better done together: where the arcs of a graph lie in no order that vectors
// over positions could follow.
template <class Score>
bool best_together(const LatticeBatch<Score>& batch) {
  if (!share_a_graph(batch)) return false;
  const lattice::LatticeItem<Score> item = batch.item(0);
  const layout::SlicedRows& rows = item.steps.entering;
  const int64_t gathered =
      std::count(rows.access, rows.access + rows.num_entries, int32_t{layout::kGathered});
  return 2 * gathered > rows.num_entries && !lattice::ActiveBand(item).is_limited();
}

// The paths of up to L items.
template <int L, class Score>
void find_together(const lattice::interleaved::BestGraph<Score>& graph,
                   const LatticeBatch<Score>& batch,
                   const std::vector<lattice::interleaved::Item<Score>>& items, const Tensor& like,
                   std::vector<lattice::LatticePath>& found) {
  const lattice::interleaved::Items<Score, L> frames(items.data(), static_cast<int>(items.size()),
                                                     batch.row_stride, batch.num_labels);
  using Paths = lattice::interleaved::BestPaths<Score, L>;
  Tensor room = empty<double>(like, Paths::room(graph, frames));
  expect_writes(room, room.numel() * static_cast<int64_t>(sizeof(double)));
  lattice::LatticePath paths[L];
  Paths(graph, frames, output<double>(room)).find(paths);
  for (size_t i = 0; i < items.size(); ++i) found[items[i].number] = std::move(paths[i]);
}

}  // namespace

template <class Score>
std::vector<lattice::LatticePath> paths_together(const LatticeBatch<Score>& batch,
                                                 const Tensor& like) {
  if (!best_together(batch)) return {};
  using Item = lattice::interleaved::Item<Score>;
  const std::vector<Item> items = longest_first(batch);
  const lattice::interleaved::BestGraph<Score> graph(batch.item(0));
  std::vector<lattice::LatticePath> found(batch.size);
  count(Driver::kInterleaved, batch.size);
  // Eight at once where the distances at two cuts stay in a cache.
  const int64_t together = 16 * int64_t{graph.steps.num_positions} <= kNear ? 8 : 4;
  for_each_graph((batch.size + together - 1) / together, batch.work(), [&](int64_t group) {
    const auto begin = items.begin() + together * group;
    const std::vector<Item> own(begin, begin + std::min<int64_t>(together, items.end() - begin));
    own.size() > 4 ? find_together<8>(graph, batch, own, like, found)
                   : find_together<4>(graph, batch, own, like, found);
  });
  return found;
}

template std::vector<lattice::LatticePath> paths_together(const LatticeBatch<float>&,
                                                          const Tensor&);
template std::vector<lattice::LatticePath> paths_together(const LatticeBatch<double>&,
                                                          const Tensor&);

}  // namespace gtnet::ops
