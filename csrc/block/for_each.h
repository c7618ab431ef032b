// Kernels that run a functor for numbers, or for states in the order of a walk.
#pragma once

#include "core/topology.h"

namespace gtnet::block {

// functor(i) for 0 <= i < count, over all blocks.
template <class Functor>
struct Each {
  static constexpr int kThreads = 256;
  int64_t count;
  Functor functor;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    block.each_in_grid(count, [this](int64_t i) { functor(i); });
  }
};

// to[i] = value.
template <class T>
struct Fill {
  T value;
  Span<T> to;

  GTNET_HD void operator()(int64_t i) const { to[i] = value; }
};

// The layers of a graph, from the first or from the last.
struct LayersOfGraph {
  LayeredWalk walk;
  int64_t first, last;  // the layer at hand
  int64_t end;          // of the graph, in the direction of the walk

  GTNET_HD LayersOfGraph(const LayeredWalk& of, int64_t graph) : walk(of) {
    const int64_t begin = of.state_offsets[graph], behind = of.state_offsets[graph + 1];
    first = last = of.reverse ? behind : begin;
    end = of.reverse ? begin : behind;
    next();
  }
  GTNET_HD bool more() const { return first != last; }
  GTNET_HD bool is(const LayersOfGraph& other) const {
    return first == other.first && last == other.last;
  }
  GTNET_HD int64_t size() const { return last - first; }
  GTNET_HD void next() {
    if (walk.reverse) {
      last = first;
      if (last != end) first = walk.layer_begin[last - 1];
    } else {
      first = last;
      if (first != end) last = walk.layer_end[first];
    }
  }
};

// Walks a graph layer by layer: threads share the states of a layer, which do not depend on one
// another, and wait for all of them before the next.
template <class Functor>
struct EachState {
  static constexpr int kThreads = 256;
  LayeredWalk walk;
  Functor functor;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    for (int64_t graph = block.index(); graph < walk.num_graphs; graph += block.count()) {
      for (LayersOfGraph layer(walk, graph); layer.more(); layer.next()) {
        share(block, graph, layer);
      }
    }
  }

 protected:
  template <class Block>
  GTNET_KERNEL void share(Block& block, int64_t graph, const LayersOfGraph& layer) const {
    const int64_t first = layer.first;
    block.each(layer.size(), [=, this](int64_t i) { functor(graph, walk.order[first + i]); });
    block.sync();
  }
};

// The same by teams of blocks. Layers with a state per thread of a block, or fewer, are left to
// one block, so that the others wait for many of them at once.
template <class Functor>
struct EachStateByTeams : EachState<Functor> {
  using EachState<Functor>::kThreads;
  using EachState<Functor>::walk;

  template <class Team>
  GTNET_KERNEL void operator()(Team& team) const {
    for (int64_t graph = team.index(); graph < walk.num_graphs; graph += team.count()) {
      LayersOfGraph layer(walk, graph);
      while (layer.more()) {
        if (layer.size() > kThreads) {
          this->share(team, graph, layer);
          layer.next();
          continue;
        }
        const LayersOfGraph narrow = layer;
        while (layer.more() && layer.size() <= kThreads) layer.next();
        team.lead([=, this](auto& block) {
          for (LayersOfGraph one = narrow; !one.is(layer); one.next()) {
            this->share(block, graph, one);
          }
        });
        team.sync();
      }
    }
  }
};

}  // namespace gtnet::block
