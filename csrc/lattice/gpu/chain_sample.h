// Paths over chains of frames composed with a graph, drawn at random from their ends back as in
// lattice/cpu/sample.h: a thread per path, given the alphas of all frames in float64.
#pragma once

#include "lattice/gpu/chain_forward_backward.h"
#include "paths/sample.h"

namespace gtnet::lattice {

// The entries by which a slot is entered: first, first + stride, ...
struct EntriesOf {
  int64_t first = 0, stride = 0, count = 0;
};

// Where the row of every slot is: of entries that read a label, then of those that do not; -1 for
// none. A place is a slice and a lane.
struct RowPlaces {
  Span<int32_t> all;  // [graphs, 2, slots]
  int64_t slots;

  GTNET_HD int32_t& at(int64_t graph, bool keeps, int32_t slot) const {
    return all[(graph * 2 + keeps) * slots + slot];
  }

  GTNET_HD EntriesOf entries(const layout::TransitionProgram& program, int64_t graph, bool keeps,
                             int32_t slot) const {
    const int32_t place = at(graph, keeps, slot);
    if (place < 0) return {};
    const int32_t slice = place / kLanes;
    const int64_t begin = int64_t{program.slice_begin[slice]} * kLanes,
                  cells = int64_t{program.slice_begin[slice + 1]} * kLanes - begin;
    if (program.flags[slice] & layout::kTogether) return {begin, 1, cells};
    return {begin + place % kLanes, kLanes, cells / kLanes};
  }
};

// Finds them, a block per graph; they are -1 on entry.
struct FindRows {
  static constexpr int kThreads = 256;
  Span<const int32_t> words;
  RowPlaces places;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t graph = block.index();
    const layout::TransitionProgram program = layout::TransitionPrograms::read(words, graph).forth;
    block.each(int64_t{program.slices} * kLanes, [=, this](int64_t place) {
      const int32_t flags = program.flags[place / kLanes];
      const int32_t to = program.to[place];
      if (to < 0 || (flags & layout::kTogether && place % kLanes > 0)) return;
      places.at(graph, (flags & layout::kKeeps) != 0, to) = static_cast<int32_t>(place);
    });
  }
};

// Running sums over the states of an item of the chances to end in them; all 0 without a path.
struct EndChances {
  ChainGrid<double> grid;
  Alphas<double> alphas;
  Span<double> sums;  // [states] of all items

  GTNET_HD Span<double> of(int64_t item) const {
    const int64_t graph = grid.graph(item), states = grid.num_states(graph);
    return sums.part(grid.num_graphs == 1 ? item * states : grid.state_offsets[graph], states);
  }

  GTNET_HD void operator()(int64_t item) const {
    const int64_t graph = grid.graph(item), states = grid.num_states(graph);
    const Span<const double> accept = grid.states_of(graph, grid.accept);
    const auto slots = static_cast<int32_t>(alphas.slots);
    const Span<ExtendedFloat<double>> last = alphas.at(item, grid.length(item), slots);
    const Span<double> own = of(item);
    double best = kNegInf, sum = 0;
    for (int64_t s = 0; s < states; ++s) {
      own[s] = accept[s] == kNegInf ? kNegInf : last[s].log() + accept[s];
      best = own[s] > best ? own[s] : best;
    }
    for (int64_t s = 0; s < states; ++s) {
      own[s] = sum += own[s] == kNegInf ? 0 : std::exp(own[s] - best);
    }
  }
};

// `each` paths of every item, one per seed, for paths/path_writer.h.
struct ChainSampledPaths {
  static constexpr bool kBackward = true;
  EndChances ends;
  RowPlaces places;
  Span<const int64_t> seeds;
  int64_t each;

  GTNET_HD int64_t count(int64_t item) const {
    const int64_t states = ends.grid.num_states(ends.grid.graph(item));
    return states > 0 && ends.of(item)[states - 1] > 0 ? each : 0;
  }

  template <class Visit>
  GTNET_HD paths::PathEnds follow(int64_t item, int64_t i, const Visit& visit) const {
    const ChainGrid<double>& grid = ends.grid;
    const int64_t graph = grid.graph(item), states = grid.num_states(graph);
    const auto arc_before = static_cast<int32_t>(grid.arc_offsets[graph]),
               state_before = static_cast<int32_t>(grid.state_offsets[graph]);
    paths::Uniform uniform(seeds[item * each + i]);
    const Span<double> chances = ends.of(item);
    Point point{layout::TransitionPrograms::read(grid.words, graph), item, graph, grid.length(item),
                0};
    point.position = static_cast<int32_t>(
        paths::above(chances, 0, states, paths::part_below(uniform(), chances[states - 1])));
    paths::PathEnds found{kNegInf, kNone, 0, state_before + point.position,
                          static_cast<int32_t>(point.frame)};
    for (;;) {
      const double begins = begin_chance(point);
      double sum = begins;
      bool any = false;
      each_way(point, [&](const Way& way) {
        any = true;
        sum += way.chance;
        return false;
      });
      if (!any) break;
      const double x = paths::part_below(uniform(), sum);
      if (begins > x) break;
      Way chosen{};
      double passed = begins;
      each_way(point, [&](const Way& way) {
        chosen = way;
        passed += way.chance;
        return passed > x;
      });
      const auto frame = static_cast<int32_t>(chosen.reads ? point.frame - 1 : kNone);
      if (chosen.arc >= 0) visit(arc_before + chosen.arc, frame);
      point.position = chosen.other;
      point.frame -= chosen.reads;
    }
    found.first = state_before + point.position;
    return found;
  }

 private:
  struct Point {
    layout::TransitionPrograms steps;
    int64_t item, graph, frame;
    int32_t position;
  };
  struct Way {
    double chance;  // given that the path is here
    int32_t arc, other;
    bool reads;
  };

  GTNET_HD double distance(const Point& point, int64_t frame, int32_t position) const {
    return ends.alphas.at(point.item, frame, point.steps.slots)[position].log();
  }

  GTNET_HD double begin_chance(const Point& point) const {
    const ChainGrid<double>& grid = ends.grid;
    if (point.frame > 0 || point.position >= grid.num_states(point.graph)) return 0;
    const double begins = grid.states_of(point.graph, grid.start)[point.position];
    if (begins == kNegInf) return 0;
    return std::exp(begins - distance(point, 0, point.position));
  }

  // visit(way) for every possible way into a point until it returns true: epsilons, then labels.
  template <class Visit>
  GTNET_HD void each_way(const Point& point, const Visit& visit) const {
    const double here = distance(point, point.frame, point.position);
    const auto along = [&](bool reads, double emission) {
      return each_entry(point, !reads, [&](int64_t k) {
        const layout::TransitionProgram& program = point.steps.forth;
        const int32_t arc = program.arc[k], other = program.other[k];
        const double weight = arc < 0 ? 0 : ends.grid.weights_of(point.graph)[arc];
        const double score = distance(point, point.frame - reads, other) + weight + emission;
        if (score == kNegInf) return false;
        return visit(Way{std::exp(score - here), arc, other, reads});
      });
    };
    if (along(false, 0)) return;
    const int32_t label = point.steps.label[point.position];
    if (label == layout::kNoLabel || point.frame == 0) return;
    const ChainGrid<double>& grid = ends.grid;
    const int32_t name = point.steps.names[label];
    const int64_t row = point.item * grid.item_stride + (point.frame - 1) * grid.row_stride;
    along(true, name < grid.num_labels ? grid.scores[row + name] : kNegInf);
  }

  // The entries of a position's row; where parts of it are rows of their own, those of the parts.
  template <class Visit>
  GTNET_HD bool each_entry(const Point& point, bool keeps, const Visit& visit) const {
    const layout::TransitionProgram& program = point.steps.forth;
    const EntriesOf row = places.entries(program, point.graph, keeps, point.position);
    for (int64_t j = 0; j < row.count; ++j) {
      const int64_t k = row.first + j * row.stride;
      if (program.arc[k] == layout::kPadding) continue;
      const int32_t other = program.other[k];
      if (other < point.steps.positions) {
        if (visit(k)) return true;
        continue;
      }
      const EntriesOf part = places.entries(program, point.graph, false, other);
      for (int64_t i = 0; i < part.count; ++i) {
        const int64_t entry = part.first + i * part.stride;
        if (program.arc[entry] != layout::kPadding && visit(entry)) return true;
      }
    }
    return false;
  }
};

}  // namespace gtnet::lattice
