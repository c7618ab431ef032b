// Best paths over chains of frames composed with a graph (Viterbi 1967), a block per chain. Every
// position keeps the entry it came by, frame by frame; ties as in lattice/cpu/viterbi.h.
#pragma once

#include "lattice/gpu/chain.h"
#include "paths/path_writer.h"

namespace gtnet::lattice {

constexpr int64_t kLastEntry = int64_t{1} << 31;

// A score and where it came from; of equal scores the first is better.
struct Candidate {
  double score;
  int64_t from;

  GTNET_HD static Candidate none() { return {kNegInf, kLastEntry}; }
  GTNET_HD static Candidate better(const Candidate& a, const Candidate& b) {
    return a.score > b.score || (a.score == b.score && a.from < b.from) ? a : b;
  }
};

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

template <class T>
struct ChainBestForward {
  static constexpr int kThreads = 1024;
  ChainGrid<T> grid;
  Room room;
  CameBy came_by;
  Span<double> score;
  Span<int32_t> last;  // [items] the state in which the path ends, of its graph; kNone for none

  static int64_t shared_bytes() { return Room::sized<int32_t>(1) + Room::sized<Candidate>(kWarp); }
  GTNET_HD static int64_t room_bytes(int64_t slots, int64_t labels) {
    return Room::sized<double>(2 * slots) + Room::sized<double>(2 * labels);
  }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t item = block.index(), graph = grid.graph(item), frames = grid.length(item);
    const layout::TransitionPrograms steps = layout::TransitionPrograms::read(grid.words, graph);
    const Span<const T> start = grid.states_of(graph, grid.start),
                        accept = grid.states_of(graph, grid.accept);
    const int64_t states = grid.num_states(graph);
    const Span<int32_t> flags = block.template shared<int32_t>(1);
    const Span<Candidate> parts = block.template shared<Candidate>(kWarp);
    RoomOfItem left = room.of(block, item, room_bytes(steps.slots, steps.labels));
    const Span<double> emissions = left.take<double>(2 * steps.labels);
    const Span<double> alpha = left.take<double>(2 * steps.slots);
    const auto emission = [&](int64_t t) { return in_turn(emissions, t, steps.labels); };
    const auto here = [&](int64_t t) { return in_turn(alpha, t, steps.slots); };
    const Span<double> first = here(0);
    const Span<int32_t> from_start = came_by.at(item, 0, steps.slots);
    block.each(1, [=](int64_t) { flags[0] = 0; });
    block.sync();
    block.each(steps.slots, [=](int64_t p) {
      first[p] = p < states ? static_cast<double>(start[p]) : kNegInf;
      from_start[p] = kNone;
    });
    if (frames > 0) read_emissions(block, grid, steps, item, 0, emission(0), flags);
    block.sync();
    for (int32_t phase = steps.forth.reading; phase < steps.forth.phases; ++phase) {
      run(block, steps, graph, phase, first, first, nullptr, from_start);
      block.sync();
    }
    for (int64_t t = 0; t < frames; ++t) {
      if (t + 1 < frames) read_emissions(block, grid, steps, item, t + 1, emission(t + 1), flags);
      for (int32_t phase = 0; phase < steps.forth.phases; ++phase) {
        run(block, steps, graph, phase, here(t), here(t + 1), emission(t),
            came_by.at(item, t + 1, steps.slots));
        block.sync();
      }
    }
    const Span<double> reached = here(frames);
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

  // One phase of the program: to[p] = emission[label p] + max of from[other] + weight over p's row,
  // or what p held if that is better. `emission` is null where nothing is read.
  template <class Block>
  GTNET_KERNEL void run(Block& block, const layout::TransitionPrograms& steps, int64_t graph,
                        int32_t phase, Span<double> from, Span<double> to, Span<double> emission,
                        Span<int32_t> came) const {
    const layout::TransitionProgram& program = steps.forth;
    const Span<double> source = phase == 0 ? from : to;
    const bool reads = emission && phase < program.reading;
    const Span<const int32_t> label = steps.label;
    const int32_t positions = steps.positions;
    const int64_t first = grid.arc_offsets[graph];
    const Span<const T> weights = grid.weights.part(first, grid.arc_offsets[graph + 1] - first);
    block.template rows<kLanes>(
        program.phase_begin[phase], program.phase_begin[phase + 1],
        [=](int32_t slice, int lane) {
          const int32_t kind = program.flags[slice];
          const int64_t row = int64_t{slice} * kLanes + (kind & layout::kTogether ? 0 : lane);
          Candidate best = Candidate::none();
          if (program.to[row] < 0) return best;
          for (int32_t j = program.slice_begin[slice]; j < program.slice_begin[slice + 1]; ++j) {
            const int64_t k = int64_t{j} * kLanes + lane;
            const int32_t arc = program.arc[k];
            if (arc == layout::kPadding) continue;
            const double weight = arc < 0 ? 0 : static_cast<double>(weights[arc]);
            const double x = source[program.other[k]] + weight;
            if (x > best.score) best = {x, k};
          }
          return best;
        },
        [=](int32_t slice) { return (program.flags[slice] & layout::kTogether) != 0; },
        [](const Candidate& a, const Candidate& b) { return Candidate::better(a, b); },
        [=](int32_t slice, int lane, const Candidate& best) {
          const int32_t p = program.to[int64_t{slice} * kLanes + lane];
          if (p < 0) return;
          if (program.flags[slice] & layout::kKeeps) {
            // Equal scores: a start comes before an epsilon, an epsilon before a label.
            if (best.score < to[p] || (came[p] == kNone && best.score == to[p])) return;
            if (best.score == kNegInf) return;
            to[p] = best.score;
          } else {
            to[p] = reads && p < positions ? best.score + emission[label[p]] : best.score;
          }
          came[p] = best.score > kNegInf ? static_cast<int32_t>(best.from) : kNone;
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
