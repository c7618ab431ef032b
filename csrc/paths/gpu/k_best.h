// The k best paths to every state of acyclic graphs, in the order of paths/cpu/k_best_lazy.h. A
// state merges the sorted lists of the states that its arcs come from: a thread takes one element
// of one list and finds its place by counting, by bisection, those in the other lists that come
// before it.
#pragma once

#include "core/topology.h"
#include "paths/path_writer.h"

namespace gtnet::paths {

// One of the best paths to somewhere: its score, by which way it came, and the how many-th of those
// where the way comes from it goes on with; both are kNone where it begins.
struct Ranked {
  double score;
  int32_t way, rank;
};

// How many elements of a list, sorted by falling score, come before a score: those above it and,
// if `ties`, those equal to it.
template <class ScoreAt>
GTNET_HD GTNET_INLINE int64_t count_before(int64_t size, double score, bool ties,
                                           const ScoreAt& at) {
  int64_t low = 0, high = size;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    const double x = at(middle);
    if (x > score || (ties && x == score)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The place of an element, the rank-th of a list, among those of so many sorted lists; at least k
// if it is not among the k first. Of equal elements those of an earlier list come first.
template <class Lists>
GTNET_HD GTNET_INLINE int64_t place_of(const Lists& lists, int64_t count, int64_t list,
                                       int64_t rank, double score, int64_t k) {
  int64_t place = rank;
  for (int64_t b = 0; b < count && place < k; ++b) {
    if (b == list) continue;
    place +=
        count_before(lists.size(b), score, b < list, [&](int64_t i) { return lists.score(b, i); });
  }
  return place;
}

// How many elements there are in so many lists, up to k.
template <class Lists>
GTNET_HD GTNET_INLINE int32_t size_of_all(const Lists& lists, int64_t count, int64_t k) {
  int64_t size = 0;
  for (int64_t b = 0; b < count && size < k; ++b) size += lists.size(b);
  return static_cast<int32_t>(size < k ? size : k);
}

// A score that a path may have: on a GPU nobody looked for NaN and infinity before.
GTNET_HD GTNET_INLINE bool is_possible(double score) {
  return score > kNegInf && score < -kNegInf;
}

// The states of a batch, then an end for each of its graphs; and the ways into them.
template <class T>
struct KBestNodes {
  Csr entering;
  In<int64_t> state_offsets;
  Span<int32_t> goals, num_goals;  // the states in which paths may end, by Goals
  Span<const T> weights, start, accept;
  int64_t num_states, num_arcs, k;
  Span<Ranked> lists;   // [nodes, k]
  Span<int32_t> sizes;  // [nodes]

  // The ways into a node are [first_way(node), last_way(node)): arcs, then ways to end.
  GTNET_HD int64_t first_way(int64_t node) const {
    return node < num_states ? entering.offsets[node] : num_arcs + state_offsets[node - num_states];
  }
  GTNET_HD int64_t last_way(int64_t node) const {
    return node < num_states ? entering.offsets[node + 1]
                             : first_way(node) + num_goals[node - num_states];
  }
  GTNET_HD int32_t before(int64_t way) const {
    return way < num_arcs ? entering.states[way] : goals[way - num_arcs];
  }
  GTNET_HD double weight(int64_t way) const {
    return way < num_arcs ? weights[entering.arcs[way]] : accept[goals[way - num_arcs]];
  }
  GTNET_HD double begins(int64_t node) const {
    return node < num_states ? static_cast<double>(start[node]) : kNegInf;
  }
};

// Lists the states in which paths may end, a block per graph.
template <class T>
struct Goals {
  static constexpr int kThreads = 512;
  KBestNodes<T> nodes;

  static int64_t shared_bytes() { return kWarp * sizeof(int32_t); }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int32_t> parts = block.template shared<int32_t>(kWarp);
    const int64_t graph = block.index(), begin = nodes.state_offsets[graph];
    const int32_t found = block.prefix_sums(
        nodes.state_offsets[graph + 1] - begin, parts,
        [=, this](int64_t i) { return int32_t{is_possible(nodes.accept[begin + i])}; },
        [=, this](int64_t i, int32_t before) {
          if (!is_possible(nodes.accept[begin + i])) return;
          nodes.goals[begin + before] = static_cast<int32_t>(begin + i);
        });
    block.each(1, [=, this](int64_t) { nodes.num_goals[graph] = found; });
  }
};

// A block per graph, layer by layer, and its end.
template <class T>
struct KBestLists {
  static constexpr int kThreads = 512;
  static constexpr int64_t kAtOnce = 32;  // ways into a state that are merged together
  KBestNodes<T> nodes;
  LayeredWalk walk;
  Span<Ranked> merged;  // [lists that take more than one round, k] for every other round
  Span<int32_t> merged_sizes;

  static int64_t shared_bytes() { return kWarp * sizeof(int64_t); }
  static int64_t num_merged(int64_t ways) { return ways / kAtOnce + 1; }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> parts = block.template shared<int64_t>(kWarp);
    for (int64_t graph = block.index(); graph < walk.num_graphs; graph += block.count()) {
      const int64_t end = walk.state_offsets[graph + 1], goal = nodes.num_states + graph;
      for (int64_t first = walk.state_offsets[graph]; first < end;) {
        const int64_t last = walk.layer_end[first];
        merge(block, parts, last - first, [=, this](int64_t i) { return walk.order[first + i]; });
        first = last;
      }
      merge(block, parts, 1, [=](int64_t) { return goal; });
    }
  }

 private:
  struct List {
    Span<Ranked> elements;
    Span<int32_t> size_;

    GTNET_HD int64_t size() const { return size_[0]; }
  };

  // What is merged in a round: list 0 is what rounds before made, then come the ways.
  struct Round {
    const KBestNodes<T>& nodes;
    int64_t node, number, first;  // the first way
    List made;                    // by rounds before

    GTNET_HD int64_t size(int64_t list) const {
      if (list > 0) {
        const int64_t way = first + list - 1;
        return is_possible(nodes.weight(way)) ? nodes.sizes[nodes.before(way)] : 0;
      }
      return number > 0 ? made.size() : is_possible(nodes.begins(node));
    }
    GTNET_HD double score(int64_t list, int64_t i) const {
      if (list > 0) {
        const int64_t way = first + list - 1;
        return nodes.lists[nodes.before(way) * nodes.k + i].score + nodes.weight(way);
      }
      return number > 0 ? made.elements[i].score : nodes.begins(node);
    }
  };

  template <class Block, class Node>
  GTNET_KERNEL void merge(Block& block, Span<int64_t> parts, int64_t count,
                          const Node& node) const {
    const int64_t most = block.reduce(
        count, int64_t{0}, parts,
        [=, this](int64_t i) { return nodes.last_way(node(i)) - nodes.first_way(node(i)); },
        [](int64_t a, int64_t b) { return a > b ? a : b; });
    const int64_t lists = 1 + (most < kAtOnce ? most : kAtOnce), size = lists * nodes.k;
    for (int64_t round = 0; round == 0 || round * kAtOnce < most; ++round) {
      block.each(count * size, [=, this](int64_t e) {
        place(node(e / size), round, e % size / nodes.k, e % nodes.k);
      });
      block.sync();
    }
  }

  // Takes an element of a list to its place among the k best, if it has one.
  GTNET_HD void place(int64_t node, int64_t number, int64_t list, int64_t rank) const {
    const int64_t begin = nodes.first_way(node), ways = nodes.last_way(node) - begin;
    const int64_t rounds = ways > kAtOnce ? (ways + kAtOnce - 1) / kAtOnce : 1;
    if (number >= rounds) return;
    const int64_t left = ways - number * kAtOnce;
    const Round round{nodes, node, number, begin + number * kAtOnce,
                      number > 0 ? list_of(node, begin, rounds - number) : List{}};
    const int64_t count = 1 + (left < kAtOnce ? left : kAtOnce);
    if (list >= count) return;
    const List out = list_of(node, begin, rounds - number - 1);
    if (list == 0 && rank == 0) out.size_[0] = size_of_all(round, count, nodes.k);
    if (rank >= round.size(list)) return;
    const double score = round.score(list, rank);
    const int64_t at = place_of(round, count, list, rank, score, nodes.k);
    if (at >= nodes.k) return;
    if (list > 0) {
      const int64_t way = number * kAtOnce + list - 1;
      out.elements[at] = {score, static_cast<int32_t>(way), static_cast<int32_t>(rank)};
    } else {
      out.elements[at] = number > 0 ? round.made.elements[rank] : Ranked{score, kNone, kNone};
    }
  }

  // Where a node's list is after a round, given how many rounds are to come: its own in the end.
  GTNET_HD List list_of(int64_t node, int64_t first_way, int64_t to_come) const {
    if (to_come % 2 == 0) {
      return {nodes.lists.part(node * nodes.k, nodes.k), nodes.sizes.part(node, 1)};
    }
    // More than kAtOnce ways have a multiple of kAtOnce among them, of which no other node has.
    const int64_t slot = (first_way + kAtOnce - 1) / kAtOnce;
    return {merged.part(slot * nodes.k, nodes.k), merged_sizes.part(slot, 1)};
  }
};

// The paths found, for paths/path_writer.h.
template <class T>
struct KBestPaths {
  static constexpr bool kBackward = true;
  KBestNodes<T> nodes;

  GTNET_HD int64_t count(int64_t graph) const { return nodes.sizes[nodes.num_states + graph]; }

  template <class Visit>
  GTNET_HD PathEnds follow(int64_t graph, int64_t i, const Visit& visit) const {
    int64_t node = nodes.num_states + graph;
    Ranked step = nodes.lists[node * nodes.k + i];
    PathEnds ends{step.score, kNone, kNone, kNone, kNone};
    while (step.way != kNone) {
      const int64_t way = nodes.first_way(node) + step.way;
      if (way < nodes.num_arcs) {
        visit(nodes.entering.arcs[way], kNone);
      } else {
        ends.last = nodes.before(way);
      }
      node = nodes.before(way);
      step = nodes.lists[node * nodes.k + step.rank];
    }
    ends.first = static_cast<int32_t>(node);
    return ends;
  }
};

}  // namespace gtnet::paths
