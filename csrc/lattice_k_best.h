// The k best paths of a lattice: of every position that they pass the next best path is asked for
// only where it is needed (Huang & Chiang 2005, algorithm 3), given the best distances.
#pragma once

#include <queue>
#include <unordered_map>

#include "lattice_best.h"

namespace gtnet {

template <class Score>
class LatticeKBest {
 public:
  LatticeKBest(const LatticeItem<Score>& item, const LatticeBest<Score>& distance)
      : item_(item), num_positions_(item.steps.num_positions), ways_(item), distance_(distance) {}

  std::vector<LatticePath> run(int64_t k) {
    Node& goal = nodes_[kGoal];
    goal.started = true;
    each_end(item_, [&](int32_t c, int32_t s, double accept) {
      add(goal, {c, s, kUnitArc, kNone, accept, 0}, 0, distance_(c, s));
    });
    std::vector<LatticePath> paths;
    while (static_cast<int64_t>(paths.size()) < k && extend(kGoal)) {
      paths.push_back(path(goal.found.back()));
    }
    return paths;
  }

 private:
  static constexpr int64_t kGoal = -1;

  // The rank-th path to where the way comes from, and the way; a path that begins here has none.
  struct Step {
    double score;
    Way way;
    int32_t rank, order;  // order: among equals what was found first

    bool begins() const { return rank < 0; }
    bool operator<(const Step& other) const {
      return score != other.score ? score < other.score : order > other.order;
    }
  };

  struct Node {
    bool started = false, done = false;
    bool open = false;  // the step after the last one found is not a candidate yet
    std::vector<Step> found;
    std::priority_queue<Step> candidates;
    int32_t added = 0;
  };

  const LatticeItem<Score>& item_;
  const int64_t num_positions_;
  const Ways<Score> ways_;
  const LatticeBest<Score>& distance_;
  std::unordered_map<int64_t, Node> nodes_;

  int64_t key(const Way& way) const { return way.cut * num_positions_ + way.position; }

  static void add(Node& node, const Way& way, int32_t rank, double score) {
    const double total = way.from(score);
    if (total != kNegInf) node.candidates.push({total, way, rank, node.added++});
  }

  void start(int64_t at, Node& node) {
    node.started = true;
    const auto cut = static_cast<int32_t>(at / num_positions_),
               position = static_cast<int32_t>(at % num_positions_);
    const double begins = ways_.start(cut, position);
    if (begins != kNegInf) node.candidates.push({begins, {}, -1, node.added++});
    ways_.each(cut, position, [&](const Way& way) {
      add(node, way, 0, distance_(way.cut, way.position));
      return false;
    });
  }

  // Finds one more path to a node; false where there is none.
  bool extend(int64_t wanted) {
    std::vector<int64_t> waiting{wanted};
    while (!waiting.empty()) {
      Node& node = nodes_[waiting.back()];
      if (!node.started) start(waiting.back(), node);
      if (node.open) {
        const Step last = node.found.back();
        if (!last.begins()) {
          const Node& before = nodes_[key(last.way)];
          const auto next = static_cast<size_t>(last.rank) + 1;
          if (before.found.size() > next) {
            add(node, last.way, last.rank + 1, before.found[next].score);
          } else if (!before.done) {
            waiting.push_back(key(last.way));
            continue;
          }
        }
        node.open = false;
      }
      if (node.candidates.empty()) {
        node.done = true;
      } else {
        node.found.push_back(node.candidates.top());
        node.candidates.pop();
        node.open = true;
      }
      waiting.pop_back();
    }
    return !nodes_[wanted].done;
  }

  LatticePath path(const Step& end) {
    LatticePath path;
    path.score = end.score;
    path.last = end.way.position;
    path.last_cut = end.way.cut;
    for (Step step = end;;) {
      const Way way = step.way;
      const int64_t at = key(way);
      while (static_cast<int32_t>(nodes_[at].found.size()) <= step.rank) extend(at);
      step = nodes_[at].found[step.rank];
      if (step.begins()) {
        path.first = way.position;
        path.first_cut = way.cut;
        break;
      }
      path.take(step.way.arc, step.way.row);
    }
    path.turn(item_.cuts);
    return path;
  }
};

}  // namespace gtnet
