// A batch of segmentations and the graph, or graphs, that they meet, as kernels see them: a block
// per segmentation, which takes its cuts in an order in which every segment leads on.
#pragma once

#include "lattice/gpu/chain.h"

namespace gtnet::lattice {

// The segments at one end of every cut, cuts and segments numbered through the batch: those at
// places [begin[c], begin[c + 1]), with the cut at their other end.
struct Segments {
  Span<const int32_t> begin, segment, other;
};

template <class T>
struct CutGrid {
  ChainGrid<T> chain;  // of the graphs; its frames and lengths are not used
  int64_t num_segments;
  Span<const int64_t> cut_offsets, segment_offsets;  // [items + 1]
  Span<const int32_t> order;                         // cuts of each item so that segments lead on
  Segments entering, leaving;                        // entering: as `order` has their sources
  Span<const T> first, last;                         // scores of beginning and ending in a cut
  int64_t slots, labels;                             // the most that a graph has

  GTNET_HD int64_t num_cuts(int64_t item) const {
    return cut_offsets[item + 1] - cut_offsets[item];
  }
  GTNET_HD int32_t cut(int64_t item, int64_t i) const { return order[cut_offsets[item] + i]; }
  GTNET_HD bool starts(int64_t cut) const { return static_cast<double>(first[cut]) != kNegInf; }
  GTNET_HD bool accepts(int64_t cut) const { return static_cast<double>(last[cut]) != kNegInf; }
  GTNET_HD bool leads_on(int64_t cut) const { return leaving.begin[cut] < leaving.begin[cut + 1]; }

  // The last item whose segments begin at or before this one.
  GTNET_HD int64_t item_of(int64_t segment) const {
    int64_t low = 0, high = chain.size - 1;
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      if (segment_offsets[middle] <= segment) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  // The score that a segment gives to a local label of the graph that it meets: 0 for none of them.
  GTNET_HD double score(const layout::TransitionPrograms& steps, int64_t segment, int64_t l) const {
    if (l == layout::kNoLabel) return 0;
    const int32_t label = steps.names[l];
    return label < chain.num_labels ? chain.scores[segment * chain.row_stride + label] : kNegInf;
  }
};

// The phases of a program that take arcs which read a label; a graph without states has none.
GTNET_HD inline int32_t reading_phases(const layout::TransitionProgram& program) {
  return program.reading < program.phases ? program.reading : program.phases;
}

// One row of so many values for every cut, or every segment.
template <class Value>
struct RowsOf {
  Span<Value> all;
  int64_t size;

  GTNET_HD Span<Value> at(int64_t row, int64_t used) const { return all.part(row * size, used); }
};

// visit(item, segment, local label, its score) for all of them: what walks read is prepared at
// once.
template <class T, class Block, class Visit>
GTNET_KERNEL void each_score(Block& block, const CutGrid<T>& grid, const Visit& visit) {
  block.each_in_grid(grid.num_segments * grid.labels, [=](int64_t i) {
    const int64_t segment = i / grid.labels, l = i % grid.labels, item = grid.item_of(segment);
    const layout::TransitionPrograms steps =
        layout::TransitionPrograms::read(grid.chain.words, grid.chain.graph(item));
    if (l < steps.labels) visit(item, segment, l, grid.score(steps, segment, l));
  });
}

}  // namespace gtnet::lattice
