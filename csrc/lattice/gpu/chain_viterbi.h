// Best paths over chains of frames composed with a graph (Viterbi 1967), a block per chain. Every
// position keeps the entry it came by, frame by frame; ties as in lattice/cpu/viterbi.h.
#pragma once

#include "lattice/gpu/chain.h"
#include "lattice/gpu/chain_phase.h"
#include "paths/path_writer.h"

namespace gtnet::lattice {

// The entries by which positions were reached, [items, frames + 1, slots]; -1 where paths start.
struct CameBy {
  Span<int32_t> all;
  int64_t frames, slots;

  GTNET_HD Span<int32_t> at(int64_t item, int64_t t, int32_t used) const {
    return all.part((item * (frames + 1) + t) * slots, used);
  }
};

// The scores of a frame for the labels of a graph; NaN and +inf are flagged and count as -inf.
template <class T, class Block>
GTNET_KERNEL void read_emissions(Block& block, const ChainGrid<T>& grid,
                                 const layout::TransitionPrograms& steps, int64_t item, int64_t t,
                                 Span<double> emission, Span<int32_t> flags) {
  const int64_t row = item * grid.item_stride + t * grid.row_stride;
  const Span<const int32_t> names = steps.names;
  block.each_last(steps.labels, [=, &grid](int64_t l) {
    const int32_t label = names[l];
    double x = l == layout::kNoLabel ? 0 : kNegInf;
    if (l != layout::kNoLabel && label < grid.num_labels) x = grid.scores[row + label];
    if (!(x < -kNegInf)) {
      Block::raise(flags[0], kNotFinite);
      x = kNegInf;
    }
    emission[l] = x;
  });
}

template <class T, class Block>
GTNET_KERNEL void viterbi_phase(Block& block, const layout::TransitionPrograms& steps,
                                Span<const T> weights, int32_t phase, Span<double> from,
                                Span<double> to, Span<double> emission, Span<int32_t> came) {
  const layout::TransitionProgram& program = steps.forth;
  run_phase(block, program, phase,
            ViterbiSemiring<T>{{steps, program, phase, from, to, emission},
                               {weights, program.other, program.arc},
                               came});
}

template <class T>
struct ChainBestForward {
  static constexpr int kThreads = 1024;
  ChainGrid<T> grid;
  block::Workspaces workspaces;
  CameBy came_by;
  Span<double> score;
  Span<int32_t> last;  // [items] the state in which the path ends, of its graph; kNone for none

  static int64_t shared_bytes() {
    return Chain<T>::shared_bytes() + block::Workspace::bytes<Candidate>(kWarp);
  }
  GTNET_HD static int64_t workspace_bytes(int64_t slots, int64_t labels) {
    return block::Workspace::bytes<double>(2 * slots) + block::Workspace::bytes<double>(2 * labels);
  }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Chain<T> chain(block, grid);
    const layout::TransitionPrograms& steps = chain.steps;
    const int64_t item = chain.item, states = chain.states;
    const Span<const T> start = chain.start, accept = chain.accept;
    const Span<int32_t> flags = chain.flags;
    const Span<Candidate> parts = block.template shared<Candidate>(kWarp);
    block::Workspace workspace = workspaces.of(block, workspace_bytes(steps.slots, steps.labels));
    const block::Turns<double> emission{workspace.take<double>(2 * steps.labels), steps.labels};
    const block::Turns<double> here{workspace.take<double>(2 * steps.slots), steps.slots};
    const Span<double> first = here[0];
    const Span<int32_t> from_start = came_by.at(item, 0, steps.slots);
    block.each(steps.slots, [=](int64_t p) {
      first[p] = p < states ? static_cast<double>(start[p]) : kNegInf;
      from_start[p] = kNone;
    });
    chain.walk(
        block, [&](int64_t t) { read_emissions(block, grid, steps, item, t, emission[t], flags); },
        [&](int32_t phase, int64_t from, int64_t to) {
          viterbi_phase(block, steps, chain.weights, phase, here[from], here[to], emission[from],
                        came_by.at(item, to, steps.slots));
        });
    const Span<double> reached = here[chain.frames];
    const Candidate best = block.reduce(
        states, Candidate::none(), parts,
        [=](int64_t s) { return Candidate{reached[s] + static_cast<double>(accept[s]), s}; },
        [](const Candidate& a, const Candidate& b) { return Candidate::better(a, b); });
    block.each(1, [=, this](int64_t) {
      const bool valid = flags[0] == 0;
      score[item] = valid ? best.score : kNotANumber;
      last[item] = valid && best.score > kNegInf ? static_cast<int32_t>(best.from) : kNone;
    });
  }
};

// Follows the best path of an item from its end; visit(arc of the graph, the frame it reads or
// kNone). Returns the state it starts in.
template <class T, class Visit>
GTNET_HD int32_t trace_back(const ChainGrid<T>& grid, const CameBy& came_by, int64_t item,
                            int32_t last, const Visit& visit) {
  const layout::TransitionPrograms steps =
      layout::TransitionPrograms::read(grid.words, grid.graph(item));
  const layout::TransitionProgram& program = steps.forth;
  const int64_t reading = int64_t{program.slice_begin[program.phase_begin[1]]} * kLanes;
  int32_t p = last;
  for (int64_t t = grid.length(item);;) {
    const int32_t k = came_by.at(item, t, steps.slots)[p];
    if (k < 0) return p;
    const bool reads = k < reading;
    if (program.arc[k] >= 0) visit(program.arc[k], static_cast<int32_t>(reads ? t - 1 : kNone));
    p = program.other[k];
    t -= reads;
  }
}

// How many arcs the best path of an item has.
template <class T>
struct ChainPathLength {
  ChainGrid<T> grid;
  CameBy came_by;
  Span<const int32_t> last;
  Span<int64_t> length;

  GTNET_HD void operator()(int64_t item) const {
    int64_t arcs = 0;
    if (last[item] != kNone) {
      trace_back(grid, came_by, item, last[item], [&](int32_t, int32_t) { ++arcs; });
    }
    length[item] = arcs;
  }
};

// Writes the best path of an item; arcs and states are then those of the batch of graphs.
template <class T>
struct ChainPathArcs {
  ChainGrid<T> grid;
  CameBy came_by;
  Span<const int64_t> offsets;
  Span<int32_t> arcs, frames, first, first_cut, last, last_cut;
  Span<int64_t> count;  // [items] paths: one, if only one that does not exist

  GTNET_HD void operator()(int64_t item) const {
    const int64_t graph = grid.graph(item);
    const auto arc_before = static_cast<int32_t>(grid.arc_offsets[graph]);
    const auto state_before = static_cast<int32_t>(grid.state_offsets[graph]);
    count[item] = 1;
    first[item] = first_cut[item] = last_cut[item] = kNone;
    if (last[item] == kNone) return;
    int64_t at = offsets[item + 1];
    first[item] =
        state_before + trace_back(grid, came_by, item, last[item], [&](int32_t arc, int32_t frame) {
          arcs[--at] = arc_before + arc;
          frames[at] = frame;
        });
    last[item] += state_before;
    first_cut[item] = 0;
    last_cut[item] = static_cast<int32_t>(grid.length(item));
  }
};

}  // namespace gtnet::lattice
