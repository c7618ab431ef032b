// What lies on a path near the best over chains of frames composed with a graph, as
// lattice/cpu/prune.h finds it: best distances from the start and to the end, then a thread per
// frame and arc.
#pragma once

#include "lattice/gpu/chain_viterbi.h"
#include "lattice/tie_slack.h"

namespace gtnet::lattice {

// Best distances of all positions at all frames, [items, frames + 1, slots].
struct Distances {
  Span<double> all;
  int64_t frames, slots;

  GTNET_HD Span<double> at(int64_t item, int64_t t) const {
    return all.part((item * (frames + 1) + t) * slots, slots);
  }
};

// The two of them, a block per item.
template <class T>
struct ChainDistances {
  static constexpr int kThreads = 1024;
  ChainGrid<T> grid;
  block::Workspaces workspaces;
  Distances before, after;
  Span<double> best;  // [items] -inf where there is no path, or scores are no numbers

  static int64_t shared_bytes() {
    return Chain<T>::shared_bytes() + block::Workspace::bytes<double>(kWarp);
  }
  GTNET_HD static int64_t workspace_bytes(int64_t slots, int64_t labels) {
    return block::Workspace::bytes<double>(slots) + block::Workspace::bytes<double>(2 * labels);
  }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Chain<T> chain(block, grid);
    const layout::TransitionPrograms& steps = chain.steps;
    const int64_t item = chain.item, frames = chain.frames, states = chain.states;
    const Span<const T> start = chain.start, accept = chain.accept;
    const Span<int32_t> flags = chain.flags;
    const Span<double> parts = block.template shared<double>(kWarp);
    block::Workspace workspace = workspaces.of(block, workspace_bytes(steps.slots, steps.labels));
    const Span<double> read = workspace.take<double>(steps.slots);
    const block::Turns<double> emission{workspace.take<double>(2 * steps.labels), steps.labels};
    const auto read_frame = [&](int64_t t) {
      read_emissions(block, grid, steps, item, t, emission[t], flags);
    };
    const auto run = [&](const layout::TransitionProgram& program, int32_t phase, Span<double> from,
                         Span<double> to, Span<double> emitted) {
      run_phase(block, program, phase,
                MaxSemiring<T>{{steps, program, phase, from, to, emitted},
                               {chain.weights, program.other, program.arc}});
    };
    const Span<double> first = before.at(item, 0), last = after.at(item, frames);
    block.each(steps.slots, [=](int64_t p) {
      first[p] = p < states ? static_cast<double>(start[p]) : kNegInf;
      last[p] = p < states ? static_cast<double>(accept[p]) : kNegInf;
    });
    chain.walk(block, read_frame, [&](int32_t phase, int64_t from, int64_t to) {
      run(steps.forth, phase, before.at(item, from), before.at(item, to), emission[from]);
    });
    for (int32_t phase = steps.back.reading; phase < steps.back.phases; ++phase) {
      run(steps.back, phase, last, last, nullptr);
      block.sync();
    }
    for (int64_t t = frames; t-- > 0;) {
      const Span<double> beyond = after.at(item, t + 1), scores = emission[t];
      const Span<const int32_t> label = steps.label;
      block.each(steps.positions, [=](int64_t p) { read[p] = beyond[p] + scores[label[p]]; });
      block.sync();
      if (t > 0) read_frame(t - 1);
      for (int32_t phase = 0; phase < steps.back.phases; ++phase) {
        run(steps.back, phase, read, after.at(item, t), nullptr);
        block.sync();
      }
    }
    const Span<double> reached = before.at(item, frames);
    const double found = block.reduce(
        states, kNegInf, parts,
        [=](int64_t s) { return reached[s] + static_cast<double>(accept[s]); },
        [](double a, double b) { return a > b ? a : b; });
    block.each(1, [=, this](int64_t) { best[item] = flags[0] ? kNegInf : found; });
  }
};

// For every arc of the graphs where it comes from and leads to, as positions.
struct ArcPlaces {
  static constexpr int kThreads = 256;
  Span<const int32_t> words;
  Span<const int64_t> arc_offsets;
  Span<int32_t> from, to;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t graph = block.index(), first = arc_offsets[graph];
    const layout::TransitionProgram program = layout::TransitionPrograms::read(words, graph).forth;
    block.template rows<kLanes>(
        0, program.slices,
        [=, this](int32_t slice, int lane) {
          const int64_t row =
              int64_t{slice} * kLanes + (program.flags[slice] & layout::kTogether ? 0 : lane);
          for (int32_t j = program.slice_begin[slice]; j < program.slice_begin[slice + 1]; ++j) {
            const int64_t k = int64_t{j} * kLanes + lane;
            if (program.arc[k] < 0) continue;
            from[first + program.arc[k]] = program.other[k];
            to[first + program.arc[k]] = program.owner[row];
          }
          return int32_t{0};
        },
        [](int32_t) { return false; }, [](int32_t a, int32_t) { return a; },
        [](int32_t, int, int32_t) {});
  }
};

// What may be kept of each item, in rows: whether the i-th of a row is.
template <class T>
struct NearBest {
  ChainGrid<T> grid;
  Distances before, after;
  Span<const double> best;
  double beam;

  GTNET_HD double least(int64_t item) const {
    // Rounding of sums taken in another order must not drop what ties with the threshold.
    return best[item] - beam - kTieSlack<T> * (1 + std::abs(best[item]));
  }
};

// The states in which paths begin, and those in which they end, a row per item.
template <class T>
struct NearEnds {
  NearBest<T> near;
  bool at_end;
  Span<int32_t> cut, state;

  GTNET_HD int64_t count(int64_t item) const {
    return near.best[item] == kNegInf ? 0 : near.grid.num_states(near.grid.graph(item));
  }
  GTNET_HD bool keeps(int64_t item, int64_t s) const {
    const ChainGrid<T>& grid = near.grid;
    const int64_t last = grid.length(item);
    const Span<double> distance = at_end ? near.before.at(item, last) : near.after.at(item, 0);
    const T own = grid.states_of(grid.graph(item), at_end ? grid.accept : grid.start)[s];
    return !(static_cast<double>(own) + distance[s] < near.least(item));
  }
  GTNET_HD void write(int64_t item, int64_t s, int64_t at) const {
    cut[at] = static_cast<int32_t>(at_end ? near.grid.length(item) : 0);
    state[at] = static_cast<int32_t>(s);
  }
};

// The arcs taken at each frame of each item, a row each: first those that read nothing.
template <class T>
struct NearArcs {
  NearBest<T> near;
  Span<const int32_t> arc_from, arc_to;
  Span<int32_t> from, to, row, arc;

  GTNET_HD int64_t item(int64_t at) const { return at / (near.grid.frames + 1); }
  GTNET_HD int64_t frame(int64_t at) const { return at % (near.grid.frames + 1); }
  GTNET_HD int64_t num_arcs(int64_t at) const {
    return near.grid.num_arcs(near.grid.graph(item(at)));
  }

  GTNET_HD int64_t count(int64_t at) const {
    const int64_t b = item(at), left = near.grid.length(b) - frame(at);
    return near.best[b] == kNegInf || left < 0 ? 0 : (left > 0 ? 2 : 1) * num_arcs(at);
  }
  GTNET_HD bool keeps(int64_t at, int64_t i) const {
    const ChainGrid<T>& grid = near.grid;
    const int64_t b = item(at), t = frame(at), graph = grid.graph(b), arcs = num_arcs(at);
    const bool reads = i >= arcs;
    const int64_t a = grid.arc_offsets[graph] + (reads ? i - arcs : i);
    const layout::TransitionPrograms steps = layout::TransitionPrograms::read(grid.words, graph);
    const int32_t p = arc_to[a], label = steps.label[p];
    if (reads != (label != layout::kNoLabel)) return false;
    double emission = 0;
    if (reads) {
      const int32_t name = steps.names[label];
      if (name >= grid.num_labels) return false;
      emission = grid.scores[b * grid.item_stride + t * grid.row_stride + name];
    }
    const double rest = near.after.at(b, t + reads)[p] + emission;
    const double score = near.before.at(b, t)[arc_from[a]] + static_cast<double>(grid.weights[a]);
    if (rest == kNegInf || score == kNegInf) return false;
    return !(score < near.least(b) - rest);
  }
  GTNET_HD void write(int64_t at, int64_t i, int64_t place) const {
    const int64_t arcs = num_arcs(at);
    const bool reads = i >= arcs;
    const auto t = static_cast<int32_t>(frame(at));
    from[place] = t;
    to[place] = t + reads;
    row[place] = reads ? t : kNone;
    arc[place] = static_cast<int32_t>(reads ? i - arcs : i);
  }
};

// counts[row] of what is kept, then all of it written from offsets[row] on; rows are shared out
// over the blocks.
template <class Near>
struct CountNear {
  static constexpr int kThreads = 256;
  Near near;
  Span<int64_t> counts;
  int64_t rows;

  static int64_t shared_bytes() { return kWarp * static_cast<int64_t>(sizeof(int64_t)); }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> parts = block.template shared<int64_t>(kWarp);
    for (int64_t row = block.index(); row < rows; row += block.count()) {
      const int64_t kept = block.reduce(
          near.count(row), int64_t{0}, parts,
          [=, this](int64_t i) { return int64_t{near.keeps(row, i)}; },
          [](int64_t a, int64_t b) { return a + b; });
      block.each(1, [=, this](int64_t) { counts[row] = kept; });
    }
  }
};

template <class Near>
struct WriteNear {
  static constexpr int kThreads = 256;
  Near near;
  Span<const int64_t> offsets;
  int64_t rows;

  static int64_t shared_bytes() { return kWarp * static_cast<int64_t>(sizeof(int64_t)); }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> parts = block.template shared<int64_t>(kWarp);
    for (int64_t row = block.index(); row < rows; row += block.count()) {
      block.prefix_sums(
          near.count(row), parts, [=, this](int64_t i) { return int64_t{near.keeps(row, i)}; },
          [=, this](int64_t i, int64_t before) {
            if (near.keeps(row, i)) near.write(row, i, offsets[row] + before);
          });
    }
  }
};

// offsets[0] = 0, offsets[i + 1] = offsets[i] + sizes[i], by one block.
struct ManyOffsets {
  static constexpr int kThreads = 1024;
  int64_t count;
  Span<const int64_t> sizes;
  Span<int64_t> offsets;

  static int64_t shared_bytes() { return kWarp * static_cast<int64_t>(sizeof(int64_t)); }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> parts = block.template shared<int64_t>(kWarp);
    const int64_t total = block.prefix_sums(
        count, parts, [=, this](int64_t i) { return sizes[i]; },
        [=, this](int64_t i, int64_t before) { offsets[i] = before; });
    block.each(1, [=, this](int64_t) { offsets[count] = total; });
  }
};

// of_items[item] = of_rows[item * rows of an item].
struct ItemOffsets {
  int64_t rows;
  Span<const int64_t> of_rows;
  Span<int64_t> of_items;

  GTNET_HD void operator()(int64_t item) const { of_items[item] = of_rows[item * rows]; }
};

}  // namespace gtnet::lattice
