// Best paths over segmentations composed with a graph (Viterbi 1967), a block per segmentation.
// Every position keeps how it was reached; ties as in lattice/cpu/viterbi.h.
#pragma once

#include "lattice/gpu/chain_viterbi.h"
#include "lattice/gpu/segmentation.h"

namespace gtnet::lattice {

// Scores of the labels of all segments, as doubles; flags [items], 0 on entry.
template <class T>
struct ReadSegmentScores {
  static constexpr int kThreads = 256;
  CutGrid<T> grid;
  RowsOf<double> emissions;
  Span<int32_t> flags;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    each_score(block, grid, [=, this](int64_t item, int64_t segment, int64_t l, double score) {
      const bool valid = score < -kNegInf;
      emissions.at(segment, grid.labels)[l] = valid ? score : kNegInf;
      if (!valid) Block::raise(flags[item], kNotFinite);
    });
  }
};

// How positions were reached: at a cut by an entry of the layout, by segment s (as -2 - s), or
// kNone where paths start; and before a segment is read, by an entry.
struct CutCameBy {
  RowsOf<int32_t> here, led;  // [cuts, slots]

  GTNET_HD static int32_t by(int32_t segment) { return -2 - segment; }
};

template <class T>
struct CutBestForward {
  static constexpr int kThreads = 1024;
  CutGrid<T> grid;
  RowsOf<double> alpha, led;  // [cuts, slots]
  RowsOf<double> emissions;   // [segments, labels]
  CutCameBy came_by;
  Span<const int32_t> flags;
  Span<double> score;
  Span<int32_t> last, last_cut;  // [items] where the path ends, the cut by its place in the order

  static int64_t shared_bytes() { return Room::sized<Candidate>(kWarp); }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t item = block.index(), graph = grid.chain.graph(item);
    const layout::TransitionPrograms steps =
        layout::TransitionPrograms::read(grid.chain.words, graph);
    const Span<Candidate> parts = block.template shared<Candidate>(kWarp);
    const int64_t cuts = grid.num_cuts(item), states = grid.chain.num_states(graph);
    const ChainBestForward<T> step{grid.chain, {}, {}, nullptr, nullptr};
    const int32_t reading = reading_phases(steps.forth);
    for (int64_t i = 0; i < cuts; ++i) {
      const int32_t c = grid.cut(item, i);
      const Span<double> here = alpha.at(c, steps.slots);
      const Span<int32_t> came = came_by.here.at(c, steps.slots);
      enter(block, steps, graph, c, here, came);
      block.sync();
      for (int32_t phase = steps.forth.reading; phase < steps.forth.phases; ++phase) {
        step.run(block, steps, graph, phase, here, here, nullptr, came);
        block.sync();
      }
      if (!grid.leads_on(c)) continue;
      for (int32_t phase = 0; phase < reading; ++phase) {
        step.run(block, steps, graph, phase, here, led.at(c, steps.slots), nullptr,
                 came_by.led.at(c, steps.slots));
        block.sync();
      }
    }
    const Span<const T> accept = grid.chain.states_of(graph, grid.chain.accept);
    const Candidate best = block.reduce(
        cuts * states, Candidate::none(), parts,
        [=, this](int64_t i) {
          const int32_t c = grid.cut(item, i / states);
          const int64_t s = i % states;
          if (!grid.accepts(c)) return Candidate{kNegInf, i};
          const double end = static_cast<double>(accept[s]) + static_cast<double>(grid.last[c]);
          return Candidate{alpha.at(c, states)[s] + end, i};
        },
        [](const Candidate& a, const Candidate& b) { return Candidate::better(a, b); });
    block.each(1, [=, this](int64_t) {
      const bool valid = flags[item] == 0, exists = valid && best.score > kNegInf;
      score[item] = valid ? best.score : kNotANumber;
      last[item] = exists ? static_cast<int32_t>(best.from % states) : kNone;
      last_cut[item] = exists ? grid.cut(item, best.from / states) : kNone;
    });
  }

 private:
  template <class Block>
  GTNET_KERNEL void enter(Block& block, const layout::TransitionPrograms& steps, int64_t graph,
                          int32_t c, Span<double> here, Span<int32_t> came) const {
    const Span<const T> start = grid.chain.states_of(graph, grid.chain.start);
    const int64_t states = grid.chain.num_states(graph), positions = steps.positions;
    const Span<const int32_t> label = steps.label;
    const bool starts = grid.starts(c);
    block.each(steps.slots, [=, this](int64_t p) {
      double best = kNegInf;
      int32_t by = kNone;
      if (starts && p < states) {
        best = static_cast<double>(start[p]) + static_cast<double>(grid.first[c]);
      }
      const Segments& entering = grid.entering;
      const int32_t end = p < positions ? entering.begin[c + 1] : entering.begin[c];
      for (int32_t k = entering.begin[c]; k < end; ++k) {
        const double x = led.at(entering.other[k], positions)[p] +
                         emissions.at(entering.segment[k], grid.labels)[label[p]];
        if (!(x > best)) continue;
        best = x;
        by = CutCameBy::by(entering.segment[k]);
      }
      here[p] = best;
      came[p] = by;
    });
  }
};

// Follows the best path of an item from its end; visit(arc of the graph, the segment it reads or
// kNone). Returns where it starts.
template <class T>
struct CutTrace {
  CutGrid<T> grid;
  CutCameBy came_by;
  Span<const int32_t> source;  // [segments] cuts of its item

  struct Place {
    int32_t position, cut;
  };

  template <class Visit>
  GTNET_HD Place operator()(int64_t item, Place at, const Visit& visit) const {
    const layout::TransitionPrograms steps =
        layout::TransitionPrograms::read(grid.chain.words, grid.chain.graph(item));
    const layout::TransitionProgram& program = steps.forth;
    const int64_t reading = int64_t{program.slice_begin[program.phase_begin[1]]} * kLanes;
    for (;;) {
      int32_t k = came_by.here.at(at.cut, steps.slots)[at.position];
      if (k == kNone) return at;
      if (k >= 0) {
        if (program.arc[k] >= 0) visit(program.arc[k], kNone);
        at.position = program.other[k];
        continue;
      }
      const int32_t segment = CutCameBy::by(k);
      at.cut = static_cast<int32_t>(grid.cut_offsets[item]) + source[segment];
      do {  // a long row was led on in parts
        k = came_by.led.at(at.cut, steps.slots)[at.position];
        if (program.arc[k] >= 0) visit(program.arc[k], segment);
        at.position = program.other[k];
      } while (k >= reading);
    }
  }
};

// How many arcs the best path of an item has.
template <class T>
struct CutPathLength {
  CutTrace<T> trace;
  Span<const int32_t> last, last_cut;
  Span<int64_t> length;

  GTNET_HD void operator()(int64_t item) const {
    int64_t arcs = 0;
    if (last[item] != kNone) {
      trace(item, {last[item], last_cut[item]}, [&](int32_t, int32_t) { ++arcs; });
    }
    length[item] = arcs;
  }
};

// Writes the best path of an item; arcs, states and cuts are then those of the batch, rows those of
// its own segmentation.
template <class T>
struct CutPathArcs {
  CutTrace<T> trace;
  Span<const int64_t> offsets;
  Span<int32_t> arcs, rows, first, first_cut, last, last_cut;
  Span<int64_t> count;  // [items] paths: one, if only one that does not exist

  GTNET_HD void operator()(int64_t item) const {
    const CutGrid<T>& grid = trace.grid;
    const int64_t graph = grid.chain.graph(item);
    const auto arc_before = static_cast<int32_t>(grid.chain.arc_offsets[graph]),
               state_before = static_cast<int32_t>(grid.chain.state_offsets[graph]),
               row_before = static_cast<int32_t>(grid.segment_offsets[item]);
    count[item] = 1;
    first[item] = first_cut[item] = kNone;
    if (last[item] == kNone) return;
    int64_t at = offsets[item + 1];
    const auto begin = trace(item, {last[item], last_cut[item]}, [&](int32_t arc, int32_t segment) {
      arcs[--at] = arc_before + arc;
      rows[at] = segment == kNone ? kNone : segment - row_before;
    });
    first[item] = state_before + begin.position;
    first_cut[item] = begin.cut;
    last[item] += state_before;
  }
};

}  // namespace gtnet::lattice
