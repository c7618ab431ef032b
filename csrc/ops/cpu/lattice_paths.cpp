// Operators that find paths of lattices without building them.
#include "core/drivers.h"
#include "lattice/cpu/chain_viterbi.h"
#include "lattice/cpu/k_best.h"
#include "lattice/cpu/prune.h"
#include "lattice/cpu/sample.h"
#include "ops/cpu/lattice_dense.h"
#include "ops/cpu/lattice_interleaved_paths.h"

namespace gtnet::ops {
namespace {

// The paths of all items, one after another: how many each item has, then of the paths score,
// offsets, arcs, rows, the state and the cut in which each begins, and those in which it ends; all
// numbered through the batch, rows within the item.
template <class Score>
Tensors path_tensors(const LatticeBatch<Score>& batch, const Tensor& like,
                     const std::vector<std::vector<lattice::LatticePath>>& found) {
  int64_t count = 0, length = 0;
  for (const auto& paths : found) {
    count += static_cast<int64_t>(paths.size());
    for (const lattice::LatticePath& path : paths) length += static_cast<int64_t>(path.arcs.size());
  }
  Tensor score = empty<double>(like, count), offsets = empty<int64_t>(like, count + 1);
  Tensor arcs = empty<int32_t>(like, length), rows = empty<int32_t>(like, length);
  Tensor ends[4], counts = empty<int64_t>(like, batch.size);
  for (Tensor& end : ends) end = empty<int32_t>(like, count);
  output<int64_t>(offsets)[0] = 0;
  int64_t i = 0, at = 0;
  for (int64_t b = 0; b < batch.size; ++b) {
    const auto state = static_cast<int32_t>(batch.state_offsets[batch.graph(b)]),
               arc = static_cast<int32_t>(batch.arc_offsets[batch.graph(b)]),
               cut = static_cast<int32_t>(batch.is_chain ? 0 : batch.cut_offsets[b]);
    output<int64_t>(counts)[b] = static_cast<int64_t>(found[b].size());
    for (const lattice::LatticePath& path : found[b]) {
      output<double>(score)[i] = path.score;
      const int32_t where[4] = {path.first, path.first_cut, path.last, path.last_cut};
      for (int end = 0; end < 4; ++end) {
        output<int32_t>(ends[end])[i] =
            path.first == kNone ? kNone : where[end] + (end % 2 ? cut : state);
      }
      std::copy(path.rows.begin(), path.rows.end(), output<int32_t>(rows) + at);
      std::transform(path.arcs.begin(), path.arcs.end(), output<int32_t>(arcs) + at,
                     [arc](int32_t a) { return a + arc; });
      at += static_cast<int64_t>(path.arcs.size());
      output<int64_t>(offsets)[++i] = at;
    }
  }
  return {counts, score, offsets, arcs, rows, ends[0], ends[1], ends[2], ends[3]};
}

// An algorithm on the best distances of an item, with room for them.
template <class Algorithm>
class InRoom {
 public:
  template <class... Item>
  explicit InRoom(const Tensor& like, const Item&... item)
      : room_(empty<double>(like, Algorithm::room(item...))), algorithm_(item..., numbers()) {}

  Algorithm* operator->() { return &algorithm_; }
  const Algorithm& operator*() const { return algorithm_; }

 private:
  Tensor room_;
  Algorithm algorithm_;

  double* numbers() {
    expect_writes(room_, room_.numel() * static_cast<int64_t>(sizeof(double)));
    return output<double>(room_);
  }
};

template <class Score>
using Best = InRoom<lattice::LatticeBest<Score>>;

// The paths of every item, of which finder(batch) gives what finds them by its number.
template <class Finder>
Tensors paths_of_items(const LatticeTensors& given, const Finder& finder) {
  const Tensor& scores = given.scores;
  return with_scores(scores, [&](auto zero) -> Tensors {
    const LatticeBatch<decltype(zero)> batch(given);
    const auto find = finder(batch);
    std::vector<std::vector<lattice::LatticePath>> paths(batch.size);
    count(Driver::kLatticeViterbi, batch.size);
    batch.for_each_item([&](int64_t b) { paths[b] = find(b); });
    return path_tensors(batch, scores, paths);
  });
}

// The paths that functor(item) finds in every item.
template <class Functor>
Tensors best_paths(const LatticeTensors& given, const Functor& functor) {
  return paths_of_items(
      given, [&](const auto& batch) { return [&](int64_t b) { return functor(batch.item(b)); }; });
}

// The best path of an item whose graph is not a matrix.
template <class Score>
lattice::LatticePath best_path(const lattice::LatticeItem<Score>& item, const Tensor& like) {
  const lattice::Predecessors ways(item);
  if (item.cuts.is_chain) return InRoom<lattice::ChainViterbi<Score>>(like, item)->path(ways);
  Best<Score> best(like, item);
  best->distances();
  return best->path(ways);
}

Tensors lattice_best(const LatticeTensors& given) {
  return paths_of_items(given, [&]<class Score>(const LatticeBatch<Score>& batch) {
    using Matrix = lattice::DenseBest<Score>;
    DenseGraphs<Score, Matrix> graphs(batch);
    auto together =
        graphs.only() ? std::vector<lattice::LatticePath>{} : paths_together(batch, given.scores);
    return [&, dense = std::move(graphs), found = std::move(together)](int64_t b) {
      lattice::LatticePath path;
      if (!found.empty()) return std::vector{found[b]};
      const auto in_matrix = [&](const Matrix& graph, const lattice::Frames<Score>& frames) {
        path = InRoom<lattice::DenseViterbi<Score>>(given.scores, graph, frames)->path();
      };
      if (!dense.with(b, in_matrix)) path = best_path(batch.item(b), given.scores);
      return std::vector{std::move(path)};
    };
  });
}

Tensors lattice_k_best(const LatticeTensors& given, int64_t k, int64_t max_prefixes) {
  return best_paths(given, [&]<class Score>(const lattice::LatticeItem<Score>& item) {
    Best<Score> best(given.scores, item);
    best->distances();
    Budget budget{max_prefixes};
    return lattice::k_best_of(item, *best, k, budget);
  });
}

// `seeds` [items * n], in float64.
Tensors lattice_sample(const LatticeTensors& given, Tensor seeds, int64_t n, int64_t max_arcs) {
  Budget budget{max_arcs};
  const LatticeBatch<double> batch(given);
  std::vector<std::vector<lattice::LatticePath>> paths(batch.size);
  const GraphsOf<double, double> forth(batch, &layout::TransitionRows::entering,
                                       &layout::TransitionRows::epsilon_entering);
  batch.for_each_item([&](int64_t b) {
    const lattice::LatticeItem<double> item = batch.item(b);
    lattice::OwnTrace<double> own(item.cuts, item.steps, true);
    const lattice::ForwardTrace<double> trace = own.get();
    score_item<double, double>(item, forth, trace, true);
    paths[b] = lattice::LatticeSampler<double>(item, trace.alpha, trace.offset)
                   .draw(input<int64_t>(seeds) + b * n, n, budget);
  });
  return path_tensors(batch, given.scores, paths);
}

// Of all items one after another: arc_offsets [items + 1], then from, to, row, arc; start_offsets,
// start_cut, start_state; accept_offsets, accept_cut, accept_state; numbered within the item.
Tensors lattice_prune(const LatticeTensors& given, double beam) {
  const Tensor& scores = given.scores;
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const LatticeBatch<Score> batch(given);
    std::vector<lattice::LatticeKept> kept(batch.size);
    batch.for_each_item([&](int64_t b) {
      const lattice::LatticeItem<Score> item = batch.item(b);
      Best<Score> before(scores, item), after(scores, item);
      before->distances();
      after->distances_to_end();
      kept[b] = lattice::LatticePrune<Score>(item, *before, *after).run(beam);
    });
    Tensors result;
    using Column = std::vector<int32_t> lattice::LatticeKept::*;
    const auto add = [&](std::vector<Column> columns) {
      const std::vector<int64_t> begin =
          batch.offsets([&](int64_t b) { return (kept[b].*columns[0]).size(); });
      result.push_back(empty<int64_t>(scores, batch.size + 1));
      std::copy(begin.begin(), begin.end(), output<int64_t>(result.back()));
      for (const Column column : columns) {
        result.push_back(empty<int32_t>(scores, begin.back()));
        int32_t* out = output<int32_t>(result.back());
        for (const lattice::LatticeKept& item : kept) {
          out = std::copy((item.*column).begin(), (item.*column).end(), out);
        }
      }
    };
    add({&lattice::LatticeKept::from, &lattice::LatticeKept::to, &lattice::LatticeKept::row,
         &lattice::LatticeKept::arc});
    add({&lattice::LatticeKept::start_cut, &lattice::LatticeKept::start_state});
    add({&lattice::LatticeKept::accept_cut, &lattice::LatticeKept::accept_state});
    return result;
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def("lattice_best(" GTNET_LATTICE_SCHEMA ") -> Tensor[]");
  m.def("lattice_k_best(" GTNET_LATTICE_SCHEMA ", int k, int max_prefixes) -> Tensor[]");
  m.def("lattice_sample(" GTNET_LATTICE_SCHEMA ", Tensor seeds, int n, int max_arcs) -> Tensor[]");
  m.def("lattice_prune(" GTNET_LATTICE_SCHEMA ", float beam) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("lattice_best", GTNET_BOX("lattice_best", &Unpacked<&lattice_best>::call));
  m.impl("lattice_k_best", GTNET_BOX("lattice_k_best", &Unpacked<&lattice_k_best>::call));
  m.impl("lattice_sample", GTNET_BOX("lattice_sample", &Unpacked<&lattice_sample>::call));
  m.impl("lattice_prune", GTNET_BOX("lattice_prune", &Unpacked<&lattice_prune>::call));
}

}  // namespace gtnet::ops
