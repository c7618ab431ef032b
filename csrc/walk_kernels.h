// Kernels that run a functor for numbers, or for states in the order of a walk.
#pragma once

#include "topology.h"

namespace gtnet {

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

// A block walks a graph layer by layer: threads share the states of a layer, which do not depend
// on one another, and wait for all of them before the next.
template <class Functor>
struct EachState {
  static constexpr int kThreads = 256;
  LayeredWalk walk;
  Functor functor;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    for (int64_t graph = block.index(); graph < walk.num_graphs; graph += block.count()) {
      const int64_t begin = walk.state_offsets[graph], end = walk.state_offsets[graph + 1];
      if (walk.reverse) {
        for (int64_t last = end; last > begin;) {
          const int64_t first = walk.layer_begin[last - 1];
          layer(block, graph, first, last);
          last = first;
        }
      } else {
        for (int64_t first = begin; first < end;) {
          const int64_t last = walk.layer_end[first];
          layer(block, graph, first, last);
          first = last;
        }
      }
    }
  }

 private:
  template <class Block>
  GTNET_KERNEL void layer(Block& block, int64_t graph, int64_t first, int64_t last) const {
    block.each(last - first, [=, this](int64_t i) { functor(graph, walk.order[first + i]); });
    block.sync();
  }
};

}  // namespace gtnet
