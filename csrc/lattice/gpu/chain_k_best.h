// The k best paths over chains of frames composed with a graph, a block per chain: every position
// keeps its k best at every frame, merged from sorted lists as in paths/gpu/k_best.h.
#pragma once

#include "lattice/gpu/chain_viterbi.h"
#include "paths/gpu/k_best.h"

namespace gtnet::lattice {

// The entry of the layout by which a path came, and the how many-th of those where it comes from it
// goes on with; kNone where it begins.
struct CameAlong {
  int32_t entry, rank;
};

template <class T>
struct ChainKBest {
  static constexpr int kThreads = 1024;
  static constexpr int64_t kEndsAtOnce = 64;
  ChainGrid<T> grid;
  Room room;
  int64_t slots, k;
  Span<CameAlong> came;      // [items, frames + 1, slots, k]
  Span<paths::Ranked> ends;  // [items, k] where paths end, by state
  Span<int32_t> counts;      // [items]

  static int64_t shared_bytes() { return Room::sized<int32_t>(1); }
  GTNET_HD static int64_t room_bytes(int64_t slots, int64_t labels, int64_t k) {
    return Room::sized<double>(2 * slots * k) + Room::sized<double>(2 * labels) +
           Room::sized<int32_t>(2 * slots) + Room::sized<paths::Ranked>(k) +
           Room::sized<int32_t>(2);
  }

  GTNET_HD Span<CameAlong> came_at(int64_t item, int64_t t) const {
    return came.part((item * (grid.frames + 1) + t) * slots * k, slots * k);
  }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t item = block.index(), graph = grid.graph(item), frames = grid.length(item);
    const layout::TransitionPrograms steps = layout::TransitionPrograms::read(grid.words, graph);
    const Span<const T> start = grid.states_of(graph, grid.start);
    const int64_t states = grid.num_states(graph);
    const Span<int32_t> flags = block.template shared<int32_t>(1);
    RoomOfItem left = room.of(block, item, room_bytes(steps.slots, steps.labels, k));
    const Span<double> scores = left.take<double>(2 * steps.slots * k);
    const Span<double> emissions = left.take<double>(2 * steps.labels);
    const Span<int32_t> sizes = left.take<int32_t>(2 * steps.slots);
    const Span<paths::Ranked> other_ends = left.take<paths::Ranked>(k);
    const Span<int32_t> end_sizes = left.take<int32_t>(2);
    const auto emission = [&](int64_t t) { return in_turn(emissions, t, steps.labels); };
    const auto here = [&](int64_t t) -> Lists {
      return {in_turn(scores, t, steps.slots * k), in_turn(sizes, t, steps.slots), k};
    };
    const Lists first = here(0);
    const Span<CameAlong> from_start = came_at(item, 0);
    block.each(1, [=](int64_t) { flags[0] = 0; });
    block.sync();
    block.each(steps.slots, [=, this](int64_t p) {
      const double begins = p < states ? static_cast<double>(start[p]) : kNegInf;
      first.sizes[p] = paths::is_possible(begins);
      first.scores[p * k] = begins;
      from_start[p * k] = {kNone, kNone};
    });
    if (frames > 0) read_emissions(block, grid, steps, item, 0, emission(0), flags);
    block.sync();
    const auto run = [&](int32_t phase, int64_t from, int64_t to, Span<double> read) {
      const Lists source = here(phase == 0 ? from : to), target = here(to);
      const bool reads = read && phase < steps.forth.reading;
      const SlicedRows rows{steps,
                            grid.weights_of(graph),
                            source,
                            target,
                            came_at(item, to),
                            reads ? read : nullptr,
                            to == 0 ? start : nullptr,
                            states};
      merge(block, rows, phase);
    };
    for (int32_t phase = steps.forth.reading; phase < steps.forth.phases; ++phase) {
      run(phase, 0, 0, nullptr);
      block.sync();
    }
    for (int64_t t = 0; t < frames; ++t) {
      if (t + 1 < frames) read_emissions(block, grid, steps, item, t + 1, emission(t + 1), flags);
      for (int32_t phase = 0; phase < steps.forth.phases; ++phase) {
        run(phase, t, t + 1, emission(t));
        block.sync();
      }
    }
    finish(block, here(frames), grid.states_of(graph, grid.accept), states, ends.part(item * k, k),
           other_ends, end_sizes);
    block.each(1, [=, this](int64_t) { counts[item] = flags[0] || !states ? 0 : end_sizes[0]; });
  }

 private:
  // The best paths to every slot at a frame.
  struct Lists {
    Span<double> scores;  // [slots, k]
    Span<int32_t> sizes;  // [slots]
    int64_t k;
  };

  // The rows of a phase, whose ways are entries.
  struct SlicedRows {
    const layout::TransitionPrograms& steps;
    Span<const T> weights;
    Lists source, target;
    Span<CameAlong> came;
    Span<double> emission;  // null where nothing is read
    Span<const T> start;    // [states], null where no path begins
    int64_t states;
  };

  // What a row merges: list 0 is the path that begins here, then come its entries.
  struct Row {
    const SlicedRows& rows;
    int64_t first, stride, count;  // entries
    int32_t to;
    double begins, emission;

    GTNET_HD int64_t entry(int64_t list) const { return first + (list - 1) * stride; }

    GTNET_HD double weight(int64_t entry) const {
      const int32_t arc = rows.steps.forth.arc[entry];
      return arc == layout::kPadding ? kNegInf
             : arc < 0               ? 0
                                     : static_cast<double>(rows.weights[arc]);
    }
    GTNET_HD int64_t size(int64_t list) const {
      if (list == 0) return paths::is_possible(begins);
      const int64_t k = entry(list);
      if (!paths::is_possible(emission) || !paths::is_possible(weight(k))) return 0;
      return rows.source.sizes[rows.steps.forth.other[k]];
    }
    GTNET_HD double score(int64_t list, int64_t i) const {
      if (list == 0) return begins;
      const int64_t k = entry(list);
      return rows.source.scores[rows.steps.forth.other[k] * rows.source.k + i] + weight(k) +
             emission;
    }
  };

  GTNET_HD static Row row_of(const SlicedRows& rows, int32_t slice, int32_t lane) {
    const layout::TransitionProgram& program = rows.steps.forth;
    const bool together = (program.flags[slice] & layout::kTogether) != 0;
    const int32_t to = program.to[int64_t{slice} * kLanes + (together ? 0 : lane)];
    const int64_t begin = int64_t{program.slice_begin[slice]} * kLanes,
                  cells = int64_t{program.slice_begin[slice + 1]} * kLanes - begin;
    const bool keeps = (program.flags[slice] & layout::kKeeps) != 0 && rows.start && to >= 0;
    const bool emits = rows.emission && to >= 0 && to < rows.steps.positions;
    return {rows,
            together ? begin : begin + lane,
            together ? 1 : kLanes,
            together ? cells : cells / kLanes,
            to,
            keeps && to < rows.states ? static_cast<double>(rows.start[to]) : kNegInf,
            emits ? rows.emission[rows.steps.label[to]] : 0};
  }

  template <class Block>
  GTNET_KERNEL void merge(Block& block, const SlicedRows& rows, int32_t phase) const {
    const layout::TransitionProgram& program = rows.steps.forth;
    const int32_t first = program.phase_begin[phase], last = program.phase_begin[phase + 1];
    const int64_t begin = int64_t{program.slice_begin[first]} * kLanes,
                  end = int64_t{program.slice_begin[last]} * kLanes;
    block.each(int64_t{last - first} * kLanes, [=, this](int64_t i) {
      const auto slice = static_cast<int32_t>(first + i / kLanes);
      const auto lane = static_cast<int32_t>(i % kLanes);
      const bool twice = lane > 0 && (rows.steps.forth.flags[slice] & layout::kTogether) != 0;
      const Row row = row_of(rows, slice, lane);
      if (twice || row.to < 0) return;
      rows.target.sizes[row.to] = paths::size_of_all(row, row.count + 1, k);
      put(row, 0, 0);
    });
    block.each((end - begin) * k, [=, this](int64_t i) {
      const int64_t entry = begin + i / k;
      const int32_t slice =
          slice_of(rows.steps.forth, first, last, static_cast<int32_t>(entry / kLanes));
      const Row row = row_of(rows, slice, static_cast<int32_t>(entry % kLanes));
      if (row.to >= 0) put(row, 1 + (entry - row.first) / row.stride, i % k);
    });
  }

  // The slice among [first, last) that has an entry; bisection, for slices may be empty.
  GTNET_HD static int32_t slice_of(const layout::TransitionProgram& program, int32_t first,
                                   int32_t last, int32_t entry) {
    while (last - first > 1) {
      const int32_t middle = (first + last) / 2;
      if (program.slice_begin[middle] <= entry) {
        first = middle;
      } else {
        last = middle;
      }
    }
    return first;
  }

  GTNET_HD void put(const Row& row, int64_t list, int64_t rank) const {
    if (rank >= row.size(list)) return;
    const double score = row.score(list, rank);
    const int64_t at = paths::place_of(row, row.count + 1, list, rank, score, k);
    if (at >= k) return;
    const int64_t place = row.to * k + at;
    row.rows.target.scores[place] = score;
    row.rows.came[place] =
        list == 0 ? CameAlong{kNone, kNone}
                  : CameAlong{static_cast<int32_t>(row.entry(list)), static_cast<int32_t>(rank)};
  }

  // The ends of paths: list 0 is what rounds before found, then come states.
  struct Ends {
    Lists reached;
    Span<const T> accept;
    int64_t first, states;
    Span<paths::Ranked> found;
    Span<int32_t> found_size;  // null in the first round

    GTNET_HD int64_t size(int64_t list) const {
      if (list == 0) return found_size ? found_size[0] : 0;
      const int64_t s = first + list - 1;
      return s < states && paths::is_possible(accept[s]) ? reached.sizes[s] : 0;
    }
    GTNET_HD double score(int64_t list, int64_t i) const {
      if (list == 0) return found[i].score;
      const int64_t s = first + list - 1;
      return reached.scores[s * reached.k + i] + static_cast<double>(accept[s]);
    }
  };

  // Merges the best paths to the states, some states in a round; the last into `own` and sizes[0].
  template <class Block>
  GTNET_KERNEL void finish(Block& block, Lists reached, Span<const T> accept, int64_t states,
                           Span<paths::Ranked> own, Span<paths::Ranked> other,
                           Span<int32_t> sizes) const {
    constexpr int64_t kLists = kEndsAtOnce + 1;
    const int64_t rounds = (states + kEndsAtOnce - 1) / kEndsAtOnce;
    for (int64_t round = 0; round < rounds; ++round) {
      const int64_t to = (rounds - 1 - round) % 2;
      const Span<paths::Ranked> out = to == 0 ? own : other;
      const Ends lists{reached,
                       accept,
                       round * kEndsAtOnce,
                       states,
                       to == 0 ? other : own,
                       round > 0 ? sizes.part(1 - to, 1) : nullptr};
      block.each(kLists * k, [=, this](int64_t i) {
        const int64_t list = i / k, rank = i % k;
        if (i == 0) sizes[to] = paths::size_of_all(lists, kLists, k);
        if (rank >= lists.size(list)) return;
        const double score = lists.score(list, rank);
        const int64_t at = paths::place_of(lists, kLists, list, rank, score, k);
        if (at >= k) return;
        const auto state = static_cast<int32_t>(lists.first + list - 1);
        out[at] =
            list == 0 ? lists.found[rank] : paths::Ranked{score, state, static_cast<int32_t>(rank)};
      });
      block.sync();
    }
  }
};

// The paths found, for paths/path_writer.h.
template <class T>
struct ChainKBestPaths {
  static constexpr bool kBackward = true;
  ChainKBest<T> found;

  GTNET_HD int64_t count(int64_t item) const { return found.counts[item]; }

  template <class Visit>
  GTNET_HD paths::PathEnds follow(int64_t item, int64_t i, const Visit& visit) const {
    const ChainGrid<T>& grid = found.grid;
    const int64_t graph = grid.graph(item), k = found.k;
    const layout::TransitionPrograms steps = layout::TransitionPrograms::read(grid.words, graph);
    const layout::TransitionProgram& program = steps.forth;
    const int64_t reading = int64_t{program.slice_begin[program.phase_begin[1]]} * kLanes;
    const auto arc_before = static_cast<int32_t>(grid.arc_offsets[graph]),
               state_before = static_cast<int32_t>(grid.state_offsets[graph]);
    const paths::Ranked end = found.ends[item * k + i];
    int32_t p = end.way, rank = end.rank;
    int64_t t = grid.length(item);
    paths::PathEnds ends{end.score, kNone, 0, state_before + p, static_cast<int32_t>(t)};
    for (;;) {
      const CameAlong step = found.came_at(item, t)[p * k + rank];
      if (step.entry == kNone) break;
      const bool reads = step.entry < reading;
      const int32_t arc = program.arc[step.entry];
      if (arc >= 0) visit(arc_before + arc, static_cast<int32_t>(reads ? t - 1 : kNone));
      p = program.other[step.entry];
      rank = step.rank;
      t -= reads;
    }
    ends.first = state_before + p;
    return ends;
  }
};

}  // namespace gtnet::lattice
