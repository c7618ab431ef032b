// A batch of chains of frames and the graph, or graphs, that they meet, as kernels see it: a block
// per chain, which runs through its frames in one launch. What it does with the arcs of the graph
// is in lattice/gpu/chain_phase.h.
#pragma once

#include "block/workspace.h"
#include "core/extended_float.h"
#include "core/score_array.h"
#include "layout/transition_program.h"

namespace gtnet::lattice {

using layout::kLanes;

template <class T>
struct ChainGrid {
  int64_t size, frames, num_labels, num_graphs;
  ScoreArray scores;
  int64_t item_stride, row_stride;
  Span<const int64_t> lengths, state_offsets, arc_offsets;
  Span<const int32_t> words;
  Span<const T> weights, start, accept;
  Span<const ExtendedFloat<T>>
      entry_weights;                // [entries of forth and back, lanes], by WeighEntries
  Span<const int32_t> graph_flags;  // what went wrong with the weights of each graph
  double highest;                   // the largest score that cannot overflow

  GTNET_HD int64_t graph(int64_t item) const { return num_graphs == 1 ? 0 : item; }

  GTNET_HD int64_t length(int64_t item) const {
    const int64_t given = lengths[item];
    return given < 0 ? 0 : given > frames ? frames : given;
  }

  GTNET_HD int64_t num_arcs(int64_t graph) const {
    return arc_offsets[graph + 1] - arc_offsets[graph];
  }
  GTNET_HD Span<const T> weights_of(int64_t graph) const {
    return weights.part(arc_offsets[graph], num_arcs(graph));
  }
  GTNET_HD int64_t num_states(int64_t graph) const {
    return state_offsets[graph + 1] - state_offsets[graph];
  }
  GTNET_HD Span<const T> states_of(int64_t graph, Span<const T> scores_of_states) const {
    return scores_of_states.part(state_offsets[graph], num_states(graph));
  }

  GTNET_HD ExtendedFloat<T> number(T score, int32_t& found) const {
    return ExtendedFloat<T>::exp(static_cast<double>(score), highest, found).settled(found);
  }

  // The sum of all paths from what reached the states in the end.
  template <class Block>
  GTNET_KERNEL ExtendedFloat<T> total(Block& block, Span<ExtendedFloat<T>> last,
                                      Span<const T> accepts, int64_t states,
                                      Span<ExtendedFloat<T>> parts, Span<int32_t> flags) const {
    int32_t none = 0;
    return block
        .reduce(
            states, ExtendedFloat<T>::zero(), parts,
            [=, this](int64_t s) {
              int32_t found = 0;
              const ExtendedFloat<T> term = last[s] * number(accepts[s], found);
              if (found) Block::raise(flags[0], found);
              return term;
            },
            [](const ExtendedFloat<T>& a, const ExtendedFloat<T>& b) { return a + b; })
        .settled(none);
  }
};

// The chain of a block with its graph: where each kernel over chains begins.
template <class T>
struct Chain {
  int64_t item, graph, frames, states;
  layout::TransitionPrograms steps;
  Span<const T> start, accept, weights;
  Span<int32_t> flags;  // [1] what went wrong, shared by the threads

  static int64_t shared_bytes() { return block::Workspace::bytes<int32_t>(1); }

  template <class Block>
  GTNET_KERNEL Chain(Block& block, const ChainGrid<T>& grid)
      : item(block.index()),
        graph(grid.graph(item)),
        frames(grid.length(item)),
        states(grid.num_states(graph)),
        steps(layout::TransitionPrograms::read(grid.words, graph)),
        start(grid.states_of(graph, grid.start)),
        accept(grid.states_of(graph, grid.accept)),
        weights(grid.weights_of(graph)),
        flags(block.template shared<int32_t>(1)) {
    const Span<int32_t> own = flags;
    const int32_t before = grid.graph_flags ? grid.graph_flags[graph] : 0;
    block.each(1, [=](int64_t) { own[0] = before; });
    block.sync();
  }

  // Runs through the frames: read(t) prepares what frame t emits, while run(phase, from, to) takes
  // a phase of the graph from one cut to another; before the first frame they are the same.
  template <class Block, class Read, class Run>
  GTNET_KERNEL void walk(Block& block, const Read& read, const Run& run) const {
    if (frames > 0) read(0);
    block.sync();
    for (int32_t phase = steps.forth.reading; phase < steps.forth.phases; ++phase) {
      run(phase, 0, 0);
      block.sync();
    }
    for (int64_t t = 0; t < frames; ++t) {
      if (t + 1 < frames) read(t + 1);
      for (int32_t phase = 0; phase < steps.forth.phases; ++phase) {
        run(phase, t, t + 1);
        block.sync();
      }
    }
  }
};

// The weights of entries, exponentiated once for all frames and items: a few blocks per graph.
template <class T>
struct WeighEntries {
  static constexpr int kThreads = 256;
  static constexpr int64_t kBlocks = 16;  // per graph
  ChainGrid<T> grid;
  Span<ExtendedFloat<T>> weight;
  Span<int32_t> flags;  // [graphs], 0 on entry

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t graph = block.index() / kBlocks, chunk = block.index() % kBlocks;
    const layout::TransitionPrograms steps = layout::TransitionPrograms::read(grid.words, graph);
    const int64_t first = grid.arc_offsets[graph];
    const Span<const T> own = grid.weights.part(first, grid.arc_offsets[graph + 1] - first);
    weigh(block, steps.forth, chunk, own, graph);
    weigh(block, steps.back, chunk, own, graph);
  }

 private:
  template <class Block>
  GTNET_KERNEL void weigh(Block& block, const layout::TransitionProgram& program, int64_t chunk,
                          Span<const T> own, int64_t graph) const {
    const int64_t lanes = int64_t{program.entries} * kLanes;
    const int64_t share = (lanes + kBlocks - 1) / kBlocks, begin = chunk * share;
    const int64_t end = begin + share < lanes ? begin + share : lanes;
    if (begin >= end) return;
    const int64_t before = int64_t{program.weights_before} * kLanes;
    const Span<const int32_t> arc = program.arc;
    block.each(end - begin, [=, this](int64_t i) {
      const int64_t k = begin + i;
      int32_t found = 0;
      weight[before + k] = arc[k] == layout::kPadding ? ExtendedFloat<T>::zero()
                           : arc[k] < 0 ? ExtendedFloat<T>::one()
                                        : ExtendedFloat<T>::exp(static_cast<double>(own[arc[k]]),
                                                                grid.highest, found);
      if (found) Block::raise(flags[graph], found);
    });
  }
};

// The scores of a frame for the labels of a graph, exponentiated into `factor`.
template <class T, class Block>
GTNET_KERNEL void read_factors(Block& block, const ChainGrid<T>& grid,
                               const layout::TransitionPrograms& steps, int64_t item, int64_t t,
                               Span<ExtendedFloat<T>> factor, Span<int32_t> flags) {
  constexpr int64_t kAhead = 4;  // frames, to have rows in the cache when they are needed
  const int64_t row = item * grid.item_stride + t * grid.row_stride;
  const int64_t later = t + kAhead < grid.frames ? row + kAhead * grid.row_stride : row;
  const Span<const int32_t> names = steps.names;
  block.each_last(steps.labels, [=, &grid](int64_t l) {
    const int32_t label = names[l];
    if (l == layout::kNoLabel) {
      factor[l] = ExtendedFloat<T>::one();
    } else if (label >= grid.num_labels) {
      factor[l] = ExtendedFloat<T>::zero();
    } else {
      Block::prefetch(grid.scores.address(later + label));
      int32_t found = 0;
      factor[l] = ExtendedFloat<T>::exp(grid.scores[row + label], grid.highest, found);
      if (found) Block::raise(flags[0], found);
    }
  });
}

}  // namespace gtnet::lattice
