// The k best paths of a lattice, given the best distances (paths/cpu/k_best_lazy.h): nodes are
// positions at cuts.
#pragma once

#include <unordered_map>

#include "core/interrupt.h"
#include "lattice/cpu/viterbi.h"
#include "paths/cpu/k_best_lazy.h"

namespace gtnet::lattice {

template <class Score>
class LatticeNodes {
 public:
  struct Way : lattice::Way {
    int64_t node = kNone;
  };

  LatticeNodes(const LatticeItem<Score>& item, const LatticeBest<Score>& distance)
      : item_(item),
        num_positions_(item.steps.num_positions),
        predecessors_(item),
        distance_(distance) {}

  template <class Visit>
  void ends(const Visit& visit) const {
    each_end(item_, [&](int32_t c, int32_t s, double accept) {
      visit(at({c, s, layout::kUnitArc, kNone, accept, 0}));
    });
  }
  template <class Visit>
  void each(int64_t node, const Visit& visit) const {
    predecessors_.each(cut(node), position(node), [&](const lattice::Way& way) {
      poll(8);
      return visit(at(way));
    });
  }
  double start(int64_t node) const { return predecessors_.start(cut(node), position(node)); }
  double distance(int64_t node) const { return distance_(cut(node), position(node)); }
  int32_t& place(int64_t node) { return places_.try_emplace(node, kNone).first->second; }

  int32_t cut(int64_t node) const { return static_cast<int32_t>(node / num_positions_); }
  int32_t position(int64_t node) const { return static_cast<int32_t>(node % num_positions_); }

 private:
  const LatticeItem<Score>& item_;
  const int64_t num_positions_;
  const Predecessors<Score> predecessors_;
  const LatticeBest<Score>& distance_;
  std::unordered_map<int64_t, int32_t> places_;

  Way at(const lattice::Way& way) const { return {way, way.cut * num_positions_ + way.position}; }
};

template <class Score>
std::vector<LatticePath> k_best_of(const LatticeItem<Score>& item,
                                   const LatticeBest<Score>& distance, int64_t k, Budget& budget) {
  using Nodes = LatticeNodes<Score>;
  using Search = paths::LazyKBest<Nodes>;
  Nodes nodes(item, distance);
  Search search(nodes, budget);
  std::vector<LatticePath> paths;
  while (static_cast<int64_t>(paths.size()) < k) {
    const int32_t end = search.next();
    if (end == kNone) break;
    const auto& last = search.step(end);
    LatticePath path;
    path.score = last.score;
    path.last = last.way.position;
    path.last_cut = last.way.cut;
    const int64_t first = search.follow(end, [&](const auto& way) { path.take(way.arc, way.row); });
    path.first = nodes.position(first);
    path.first_cut = nodes.cut(first);
    path.turn(item.cuts);
    budget.spend(static_cast<int64_t>(path.arcs.size()) + 1);
    paths.push_back(std::move(path));
  }
  return paths;
}

}  // namespace gtnet::lattice
