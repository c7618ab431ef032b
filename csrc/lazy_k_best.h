// The k best paths of an acyclic graph, best first: of every node that they pass the next best path
// is asked for only where it is needed (Huang & Chiang 2005, algorithm 3), given the distances of
// the best. Of equal paths to a node the one that begins there is better, then the one by an
// earlier way into it, then the better one of those that come by this way.
#pragma once

#include <algorithm>
#include <deque>
#include <queue>
#include <vector>

#include "platform.h"

namespace gtnet {

// A Graph has nodes, numbered, and ways into them: a Way has the `node` that it comes from and the
// score from(distance) of a path over it. The Graph knows
//   ends(visit) and each(node, visit)   the ways to the end, and into a node, in their order;
//   start(node), distance(node)         the score of beginning there, and of the best path there;
//   place(node)                         an int32 to keep for each node, at first kNone.
template <class Graph>
class LazyKBest {
 public:
  using Way = typename Graph::Way;

  // The rank-th path to where the way comes from, and the way; a path that begins here has none.
  struct Step {
    double score;
    Way way;
    int32_t rank, order;  // order: of the way among those into the node

    bool begins() const { return rank == kNone; }
    bool operator<(const Step& other) const {
      return score != other.score ? score < other.score : order > other.order;
    }
  };

  explicit LazyKBest(Graph& graph) : graph_(graph) {
    Node& goal = nodes_.emplace_back();
    graph_.ends([&](const Way& way) { add(goal, way, 0, graph_.distance(way.node)); });
    goal.queue();
  }

  // The next path to the end, as its last step; null when there is none.
  const Step* next() {
    extend(0);
    const Node& goal = nodes_.front();
    return goal.done ? nullptr : &goal.found.back();
  }

  // visit(way) from the end of a path to its start; returns the node in which it begins.
  template <class Visit>
  int64_t follow(const Step& end, const Visit& visit) {
    for (Step step = end;;) {
      const int64_t at = step.way.node;
      const int32_t number = numbered(at), rank = step.rank;
      while (static_cast<int32_t>(nodes_[number].found.size()) <= rank) extend(number);
      step = nodes_[number].found[rank];
      if (step.begins()) return at;
      visit(step.way);
    }
  }

 private:
  struct Node {
    bool done = false;
    bool open = false;  // the step after the last one found is not a candidate yet
    int32_t ways = 0;
    std::vector<Step> found, candidates;  // candidates: a heap

    void queue() { std::make_heap(candidates.begin(), candidates.end()); }
  };

  Graph& graph_;
  std::deque<Node> nodes_;  // the end first

  static void add(Node& node, const Way& way, int32_t rank, double score) {
    const double total = way.from(score);
    const int32_t order = node.ways++;
    if (total != kNegInf) node.candidates.push_back({total, way, rank, order});
  }

  int32_t numbered(int64_t at) {
    int32_t& place = graph_.place(at);
    if (place != kNone) return place;
    place = static_cast<int32_t>(nodes_.size());
    Node& node = nodes_.emplace_back();
    const double begins = graph_.start(at);
    if (begins != kNegInf) node.candidates.push_back({begins, {}, kNone, kNone});
    graph_.each(at, [&](const Way& way) {
      add(node, way, 0, graph_.distance(way.node));
      return false;
    });
    node.queue();
    return place;
  }

  // Finds one more path to a node; it is done where there is none.
  void extend(int32_t wanted) {
    std::vector<int32_t> waiting{wanted};
    while (!waiting.empty()) {
      Node& node = nodes_[waiting.back()];
      if (node.open) {
        const Step& last = node.found.back();
        if (!last.begins()) {
          const int32_t number = numbered(last.way.node);
          const Node& before = nodes_[number];
          const auto next = static_cast<size_t>(last.rank) + 1;
          if (before.found.size() > next) {
            const double score = last.way.from(before.found[next].score);
            node.candidates.push_back({score, last.way, last.rank + 1, last.order});
            std::push_heap(node.candidates.begin(), node.candidates.end());
          } else if (!before.done) {
            waiting.push_back(number);
            continue;
          }
        }
        node.open = false;
      }
      if (node.candidates.empty()) {
        node.done = true;
      } else {
        std::pop_heap(node.candidates.begin(), node.candidates.end());
        node.found.push_back(node.candidates.back());
        node.candidates.pop_back();
        node.open = true;
      }
      waiting.pop_back();
    }
  }
};

}  // namespace gtnet
