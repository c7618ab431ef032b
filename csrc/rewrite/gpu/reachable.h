// Which states are reached, and how deep they lie: breadth first, a block per graph.
#pragma once

#include "block/load_balance.h"
#include "core/topology.h"

namespace gtnet::rewrite {

// States found by the block of a graph, in a list that may be in any order: nobody sees it.
struct Frontier {
  Out<int32_t> states;  // a place for each state of the batch
  Out<int32_t> found;   // [graphs], 0 on entry: how many

  template <class Block>
  GTNET_KERNEL void put(int64_t graph, int64_t begin, int32_t state) const {
    states[begin + Block::add(found[graph], 1)] = state;
  }

  // How many the block has found so far, for uniform code.
  template <class Block>
  GTNET_KERNEL int32_t count(Block& block, int64_t graph) const {
    block.sync();
    const int32_t known = found[graph];
    block.sync();
    return known;
  }
};

// Calls expand(state, k) for every position k of the arcs of each state in the frontier, and of
// those it puts there meanwhile. `level` counts the rounds.
template <class Block, class Spread, class Expand>
GTNET_KERNEL void breadth_first(Block& block, const Spread& spread, const Frontier& frontier,
                                int64_t graph, int64_t begin, In<int32_t> offsets,
                                const Expand& expand) {
  int32_t done = 0, known = frontier.count(block, graph);
  for (int32_t level = 0; done < known; ++level) {
    spread(
        block, known - done,
        [=](int64_t i) {
          const int32_t s = frontier.states[begin + done + i];
          return offsets[s + 1] - offsets[s];
        },
        [=](int64_t i, int64_t j) {
          const int32_t s = frontier.states[begin + done + i];
          expand(level, offsets[s] + j);
        });
    done = known;
    known = frontier.count(block, graph);
  }
}

// Marks the states that are reached from `seeds` along open arcs.
struct ReachKernel {
  static constexpr int kThreads = 512;
  static constexpr int64_t kBytes = block::Spread<kThreads>::kBytes;
  int64_t num_graphs;
  In<int64_t> state_offsets;
  Csr arcs;
  In<bool> seeds;
  In<bool> open;        // which arcs may be taken, all if null
  Out<int32_t> marked;  // [states], 0 on entry
  Frontier frontier;
  Out<bool> reached;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const auto spread = block::Spread<kThreads>::in(block);
    for (int64_t graph = block.index(); graph < num_graphs; graph += block.count()) {
      const int64_t begin = state_offsets[graph], end = state_offsets[graph + 1];
      block.each(end - begin, [=, this](int64_t i) {
        if (seeds[begin + i]) mark<Block>(graph, begin, static_cast<int32_t>(begin + i));
      });
      breadth_first(block, spread, frontier, graph, begin, arcs.offsets,
                    [=, this](int32_t /*level*/, int64_t k) {
                      if (!open || open[arcs.arcs[k]]) mark<Block>(graph, begin, arcs.states[k]);
                    });
      block.each(end - begin,
                 [=, this](int64_t i) { reached[begin + i] = marked[begin + i] != 0; });
      block.sync();
    }
  }

 private:
  template <class Block>
  GTNET_KERNEL void mark(int64_t graph, int64_t begin, int32_t s) const {
    if (Block::add(marked[s], 1) == 0) frontier.put<Block>(graph, begin, s);
  }
};

// The depth of each state, the number of arcs on the longest path to it (Kahn 1962); kNone for
// states on cycles and behind them.
struct DepthKernel {
  static constexpr int kThreads = 512;
  static constexpr int64_t kBytes = block::Spread<kThreads>::kBytes;
  int64_t num_graphs;
  In<int64_t> state_offsets;
  In<int32_t> entering;  // offsets
  In<int32_t> leaving;   // offsets
  In<int32_t> targets;   // of the leaving arcs
  Out<int32_t> pending;  // [states]
  Frontier frontier;
  Out<int32_t> depth;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const auto spread = block::Spread<kThreads>::in(block);
    for (int64_t graph = block.index(); graph < num_graphs; graph += block.count()) {
      const int64_t begin = state_offsets[graph], end = state_offsets[graph + 1];
      block.each(end - begin, [=, this](int64_t i) {
        const auto s = static_cast<int32_t>(begin + i);
        pending[s] = entering[s + 1] - entering[s];
        depth[s] = pending[s] == 0 ? 0 : kNone;
        if (pending[s] == 0) frontier.put<Block>(graph, begin, s);
      });
      breadth_first(block, spread, frontier, graph, begin, leaving,
                    [=, this](int32_t level, int64_t k) {
                      const int32_t t = targets[k];
                      if (Block::add(pending[t], -1) != 1) return;
                      depth[t] = level + 1;
                      frontier.put<Block>(graph, begin, t);
                    });
    }
  }
};

}  // namespace gtnet::rewrite
