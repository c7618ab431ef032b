// The k best paths of an acyclic graph, best first: of every node that they pass the next best path
// is asked for only where it is needed (Huang & Chiang 2005, algorithm 3), given the distances of
// the best. Of equal paths to a node the one that begins there is better, then the one by an
// earlier way into it, then the better one of those that come by this way.
#pragma once

#include <algorithm>
#include <vector>

#include "core/budget.h"
#include "core/interrupt.h"
#include "core/platform.h"

namespace gtnet::paths {

// A Graph has nodes, numbered, and ways into them: a Way has the `node` that it comes from and the
// score from(distance) of a path over it. The Graph knows
//   ends(visit) and each(node, visit)   the ways to the end, and into a node, in their order;
//   start(node), distance(node)         the score of beginning there, and of the best path there;
//   place(node)                         an int32 to keep for each node, at first kNone.
// Steps that are found, ways into nodes that are passed and what else is spent count towards the
// budget, some 100 bytes each; OverBudget is thrown where it is used up.
template <class Graph>
class LazyKBest {
 public:
  using Way = typename Graph::Way;

  // The rank-th path to where the way comes from, and the way; a path that begins here has none.
  struct Step {
    double score;
    Way way;
    int32_t rank, order;     // order: of the way among those into the node
    int32_t before = kNone;  // the step that the path goes on with, once somebody asked

    bool begins() const { return rank == kNone; }
    bool operator<(const Step& other) const {
      return score != other.score ? score < other.score : order > other.order;
    }
  };

  LazyKBest(Graph& graph, Budget& budget) : graph_(graph), budget_(budget) {
    Node& goal = nodes_.emplace_back();
    graph_.ends([&](const Way& way) { add(goal, way, graph_.distance(way.node)); });
    goal.queue();
  }

  // The next path to the end, by its last step; kNone when there is none.
  int32_t next() {
    poll(256);
    extend(0);
    return nodes_[0].done ? kNone : nodes_[0].found.back();
  }
  const Step& step(int32_t number) const { return steps_[number]; }

  // visit(way) from the end of a path to its start; returns the node in which it begins.
  template <class Visit>
  int64_t follow(int32_t end, const Visit& visit) {
    int64_t at = steps_[end].way.node;
    for (int32_t s = before(end); !steps_[s].begins(); s = before(s)) {
      visit(steps_[s].way);
      at = steps_[s].way.node;
    }
    return at;
  }

 private:
  struct Node {
    bool done = false;
    bool open = false;  // the step after the last one found is not a candidate yet
    int32_t ways = 0;
    std::vector<int32_t> found;    // steps
    std::vector<Step> candidates;  // a heap

    void queue() { std::make_heap(candidates.begin(), candidates.end()); }
  };

  Graph& graph_;
  Budget& budget_;
  std::vector<Node> nodes_;  // the end first
  std::vector<Step> steps_;  // found, of all nodes
  std::vector<int32_t> waiting_;

  static void add(Node& node, const Way& way, double score) {
    const double total = way.from(score);
    const int32_t order = node.ways++;
    if (total != kNegInf) node.candidates.push_back({total, way, 0, order});
  }

  int32_t numbered(int64_t at) {
    int32_t& place = graph_.place(at);
    if (place != kNone) return place;
    place = static_cast<int32_t>(nodes_.size());
    Node& node = nodes_.emplace_back();
    const double begins = graph_.start(at);
    if (begins != kNegInf) node.candidates.push_back({begins, {}, kNone, kNone});
    graph_.each(at, [&](const Way& way) {
      add(node, way, graph_.distance(way.node));
      return false;
    });
    node.queue();
    budget_.spend(node.ways);
    return place;
  }

  int32_t before(int32_t s) {
    if (steps_[s].before != kNone) return steps_[s].before;
    const int32_t number = numbered(steps_[s].way.node), rank = steps_[s].rank;
    while (static_cast<int32_t>(nodes_[number].found.size()) <= rank) extend(number);
    return steps_[s].before = nodes_[number].found[rank];
  }

  // Finds one more path to a node; it is done where there is none.
  void extend(int32_t wanted) {
    waiting_.assign(1, wanted);
    while (!waiting_.empty()) {
      const int32_t here = waiting_.back();
      if (nodes_[here].open && !queue_next(here)) continue;
      Node& node = nodes_[here];
      if (node.candidates.empty()) {
        node.done = true;
      } else {
        std::pop_heap(node.candidates.begin(), node.candidates.end());
        budget_.spend(1);
        node.found.push_back(static_cast<int32_t>(steps_.size()));
        steps_.push_back(node.candidates.back());
        node.candidates.pop_back();
        node.open = true;
      }
      waiting_.pop_back();
    }
  }

  // Makes the step after the last one found a candidate; false if what it goes on with must be
  // found first, which then waits.
  bool queue_next(int32_t here) {
    const Step last = steps_[nodes_[here].found.back()];
    if (!last.begins()) {
      const int32_t number = numbered(last.way.node);
      const Node& from = nodes_[number];
      const auto next = static_cast<size_t>(last.rank) + 1;
      if (from.found.size() > next) {
        const int32_t before = from.found[next];
        std::vector<Step>& candidates = nodes_[here].candidates;
        const double score = last.way.from(steps_[before].score);
        candidates.push_back({score, last.way, last.rank + 1, last.order, before});
        std::push_heap(candidates.begin(), candidates.end());
      } else if (!from.done) {
        waiting_.push_back(number);
        return false;
      }
    }
    nodes_[here].open = false;
    return true;
  }
};

}  // namespace gtnet::paths
