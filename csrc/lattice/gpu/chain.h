// A batch of chains of frames and the graph, or graphs, that they meet, as kernels see it: a block
// per chain, which runs through its frames in one launch.
#pragma once

#include <limits>

#include "core/extended_float.h"
#include "core/score_array.h"
#include "layout/transition_program.h"

namespace gtnet::lattice {

using layout::kLanes;

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// Memory of a block that lies in shared memory where it fits, else in a tensor of its own.
struct RoomOfItem {
  Span<char> room;
  int64_t used = 0;

  template <class Value>
  GTNET_HD Span<Value> take(int64_t count) {
    const int64_t begin = used, size = count * static_cast<int64_t>(sizeof(Value));
    used += (size + 15) / 16 * 16;
    return {reinterpret_cast<Value*>(room.part(begin, size).data()), count};
  }
};

// One of two halves of an array, in turn.
template <class Value>
GTNET_HD GTNET_INLINE Span<Value> in_turn(Span<Value> both, int64_t t, int64_t size) {
  return both.part(t % 2 * size, size);
}

struct Room {
  Span<char> scratch;     // of all items
  int64_t scratch_bytes;  // of an item, 0 where shared memory serves

  template <class Value>
  GTNET_HD static int64_t sized(int64_t count) {
    return (count * static_cast<int64_t>(sizeof(Value)) + 15) / 16 * 16;
  }

  template <class Block>
  GTNET_KERNEL RoomOfItem of(Block& block, int64_t item, int64_t bytes) const {
    if (scratch_bytes > 0) return {scratch.part(item * scratch_bytes, scratch_bytes)};
    return {block.template shared<char>(bytes)};
  }
};

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

// Expected numbers of uses of arcs, summed over frames; `counts` are null where nobody asks.
template <class T>
struct ArcCounts {
  Span<double> counts;  // [entries, lanes] of a program, or by_arc [arcs]
  bool by_arc;
  Span<const ExtendedFloat<T>> near;  // what reached the position of a row by the frame at hand
  T inverse;                          // 1 / mantissa of the total
  Exponent<T> total;
  double scale;

  GTNET_HD GTNET_INLINE void add(int64_t entry, int32_t arc, int32_t owner,
                                 ExtendedFloat<T> term) const {
    const ExtendedFloat<T> use = ExtendedFloat<T>{near[owner].m * inverse, near[owner].e} * term;
    counts[by_arc ? arc : entry] += static_cast<double>(use.over(total)) * scale;
  }
};

// One phase of a program: to[p] = factor[label p] * sum of from[other] * weight over p's row.
// `factor` is null where nothing is read.
template <class T, class Block>
GTNET_KERNEL void run_phase(Block& block, const layout::TransitionProgram& program,
                            const layout::TransitionPrograms& steps,
                            Span<const ExtendedFloat<T>> weights, int32_t phase,
                            Span<ExtendedFloat<T>> from, Span<ExtendedFloat<T>> to,
                            Span<ExtendedFloat<T>> factor, ArcCounts<T> uses, Span<int32_t> flags) {
  const Span<const ExtendedFloat<T>> weight =
      weights.part(int64_t{program.weights_before} * kLanes, int64_t{program.entries} * kLanes);
  const Span<ExtendedFloat<T>> source = phase == 0 ? from : to;
  const bool reads = factor && phase < program.reading;
  const Span<const int32_t> label = steps.label;
  const int32_t positions = steps.positions;
  block.template rows<kLanes>(
      program.phase_begin[phase], program.phase_begin[phase + 1],
      [=](int32_t slice, int lane) {
        const int32_t kind = program.flags[slice];
        const int64_t row = int64_t{slice} * kLanes + (kind & layout::kTogether ? 0 : lane);
        ExtendedFloat<T> sum = ExtendedFloat<T>::zero();
        if (program.to[row] < 0) return sum;
        if (kind & layout::kKeeps && !(kind & layout::kTogether && lane > 0))
          sum = to[program.to[row]];
        const int32_t owner = program.owner[row], end = program.slice_begin[slice + 1];
        for (int32_t j = program.slice_begin[slice]; j < end; ++j) {
          const int64_t k = int64_t{j} * kLanes + lane;
          const ExtendedFloat<T> term = weight[k] * source[program.other[k]];
          sum = sum + term;
          if (uses.counts && program.arc[k] >= 0) uses.add(k, program.arc[k], owner, term);
        }
        return sum;
      },
      [=](int32_t slice) { return (program.flags[slice] & layout::kTogether) != 0; },
      [](const ExtendedFloat<T>& a, const ExtendedFloat<T>& b) { return a + b; },
      [=](int32_t slice, int lane, const ExtendedFloat<T>& sum) {
        const int32_t p = program.to[int64_t{slice} * kLanes + lane];
        if (p < 0) return;
        int32_t found = 0;
        to[p] = (reads && p < positions ? sum * factor[label[p]] : sum).settled(found);
        if (found) Block::raise(flags[0], found);
      });
}

}  // namespace gtnet::lattice
