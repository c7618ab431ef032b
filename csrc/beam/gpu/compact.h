// The tokens and arcs that stay of what a beam search kept, counted and then written. A block takes
// any cut: they do not depend on one another.
#pragma once

#include "beam/gpu/trace.h"

namespace gtnet::beam {

// What stays of all cuts, as the operator returns it. Counts come first, for the offsets.
struct BeamKept {
  Span<int64_t> token_counts, arc_counts;         // [items, frames + 1]
  Span<const int64_t> cuts, arc_cuts;             // [items, frames + 2]; null while counting
  Span<const int64_t> last_tokens, first_tokens;  // [items + 1] of the last and the first cuts
  Span<int32_t> states;
  Span<double> last_scores, start_slack;
  Span<int32_t> sources, targets, arcs;
  Span<float> slacks;
};

// Counts, or writes, the tokens of every cut that stay and the arcs that enter them: a block takes
// one cut after another of any item.
template <class T>
struct BeamKeep {
  static constexpr int kThreads = 512;
  BeamGrid<T> grid;
  BeamTokens tokens;
  bool resumed;
  int64_t most_states, most;
  Span<char> scratch;  // of all blocks, 0
  Span<const int64_t> behind;
  BeamKept kept;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t bytes = BeamCutRoom::bytes(most_states, most);
    const BeamCutRoom room(scratch.part(block.index() * bytes, bytes), most_states, most);
    const BeamTraceShared shared(block);
    const int64_t cuts = grid.frames + 1;
    for (int64_t i = block.index(); i < grid.size * cuts; i += block.count()) {
      if (i % cuts <= grid.length(i / cuts)) {
        keep(block, room, shared, i / cuts, i % cuts);
      } else if (!kept.cuts) {
        block.each(1, [=, this](int64_t) { kept.token_counts[i] = kept.arc_counts[i] = 0; });
      }
    }
  }

 private:
  template <class Block>
  GTNET_KERNEL void keep(Block& block, const BeamCutRoom& room, const BeamTraceShared& shared,
                         int64_t item, int64_t c) const {
    BeamCut<T> cut{grid, tokens, item, c, room.places, 0};
    cut.open(block, shared.least);
    const bool writing = static_cast<bool>(kept.cuts);
    const int64_t row = item * (grid.frames + 2), place = item * (grid.frames + 1) + c;
    const Span<const int64_t> here = behind_of(item, c);
    const int64_t first = writing ? kept.cuts[row + c] - kept.cuts[row] : 0;
    const int64_t num_tokens = number(block, shared, here, c == 0, first, room.rank, cut.count());
    int64_t num_arcs = 0;
    if (c > 0) {
      const int64_t ahead = writing ? kept.cuts[row + c - 1] - kept.cuts[row] : 0;
      if (writing) {
        number(block, shared, behind_of(item, c - 1), c == 1, ahead, room.rank_before,
               cut.count_before());
      }
      const Fan fan = grid.fan_of(block, room.fan, cut.count_before(), true, shared.parts,
                                  [=](int64_t i) { return cut.state_before(i); });
      num_arcs = keep_arcs(
          block, shared, cut, fan, here, room.rank, writing ? kept.arc_cuts[row + c] : 0,
          [=](const Fan::Place& at) { return cut.reading(at, at.from); },
          [=](const Fan::Place& at) { return room.rank_before[at.from]; });
    }
    if (grid.epsilon_order && !(c == 0 && resumed)) {
      const int64_t silent = in_order(block, shared, cut, room);
      const auto token = [=](int64_t i) { return static_cast<int32_t>(room.order[i]); };
      const Fan fan = grid.fan_of(block, room.fan, silent, false, shared.parts,
                                  [=](int64_t i) { return cut.state(token(i)); });
      num_arcs += keep_arcs(
          block, shared, cut, fan, here, room.rank, writing ? kept.arc_cuts[row + c] + num_arcs : 0,
          [=](const Fan::Place& at) { return cut.silent(at, token(at.from)); },
          [=](const Fan::Place& at) { return room.rank[token(at.from)]; });
    }
    if (writing) {
      write_tokens(block, cut, room.rank);
    } else {
      block.each(1, [=, this](int64_t) {
        kept.token_counts[place] = num_tokens;
        kept.arc_counts[place] = num_arcs;
      });
    }
    cut.close(block);
  }

  GTNET_HD Span<const int64_t> behind_of(int64_t item, int64_t c) const {
    return behind.part(item * tokens.capacity + tokens.cut(item, c), tokens.count(item, c));
  }

  // The numbers of the tokens of a cut that stay, from `first` on; all of the first cut do. How
  // many there are.
  template <class Block>
  GTNET_KERNEL static int64_t number(Block& block, const BeamTraceShared& shared,
                                     Span<const int64_t> here, bool all, int64_t first,
                                     Span<int32_t> rank, int64_t count) {
    const auto stays = [=](int64_t i) { return all || of_bits(here[i]) < -kNegInf; };
    return block.prefix_sums(count, shared.parts, stays, [=](int64_t i, int64_t before) {
      rank[i] = stays(i) ? static_cast<int32_t>(first + before) : kNone;
    });
  }

  // The tokens of the cut that epsilons leave, in the order in which these lead forward.
  template <class Block>
  GTNET_KERNEL int64_t in_order(Block& block, const BeamTraceShared& shared, const BeamCut<T>& cut,
                                const BeamCutRoom& room) const {
    const auto silent = [=, this](int64_t i) { return grid.has_epsilons(cut.state(i)); };
    const Span<int64_t> order = room.order;
    const int64_t count =
        block.prefix_sums(cut.count(), shared.parts, silent, [=, this](int64_t i, int64_t before) {
          if (silent(i)) order[before] = int64_t{grid.epsilon_order[cut.state(i)]} << 32 | i;
        });
    block::sort_keys(block, order, count);
    return count;
  }

  // Counts the arcs of a fan that stay, and writes them from place `first` on.
  template <class Block, class Found, class Source>
  GTNET_KERNEL int64_t keep_arcs(Block& block, const BeamTraceShared& shared, const BeamCut<T>& cut,
                                 const Fan& fan, Span<const int64_t> here, Span<const int32_t> rank,
                                 int64_t first, const Found& find, const Source& source) const {
    const auto stays = [=](int64_t arc) {
      const auto found = find(fan[arc]);
      if (found.target == kNone) return false;
      const double behind_target = of_bits(here[found.target]);
      return behind_target < -kNegInf &&
             behind_target + found.slack <= cut.grid.limits.lattice_beam;
    };
    return block.prefix_sums(fan.arcs, shared.parts, stays, [=, this](int64_t arc, int64_t before) {
      if (!kept.cuts || !stays(arc)) return;
      const Fan::Place at = fan[arc];
      const auto found = find(at);
      kept.sources[first + before] = source(at);
      kept.targets[first + before] = rank[found.target];
      kept.arcs[first + before] = grid.arcs[at.position];
      kept.slacks[first + before] = found.slack;
    });
  }

  template <class Block>
  GTNET_KERNEL void write_tokens(Block& block, const BeamCut<T>& cut,
                                 Span<const int32_t> rank) const {
    const int64_t item = cut.item, c = cut.cut, begin = kept.cuts[item * (grid.frames + 2)];
    const bool is_first = c == 0 && !resumed, is_last = c == grid.length(item);
    const Span<const double> scores = tokens.scores_of(item, c);
    block.each(cut.count(), [=, this](int64_t i) {
      if (rank[i] == kNone) return;
      kept.states[begin + rank[i]] = cut.state(i);
      if (is_first) {
        const auto start = static_cast<double>(grid.start[cut.state(i)]);
        kept.start_slack[kept.first_tokens[item] + i] = scores[i] - start;
      }
      if (is_last) kept.last_scores[kept.last_tokens[item] + i] = scores[i];
    });
  }
};

// How much there is in all.
struct BeamTotals {
  int64_t tokens, arcs, last_tokens, first_tokens;
};

// The offsets of cuts from their sizes, by one block.
struct BeamOffsets {
  static constexpr int kThreads = 1024;
  int64_t size, frames;
  Span<const int64_t> lengths, token_counts, arc_counts;  // counts [items, frames + 1]
  Span<int64_t> cuts, arc_cuts, last_tokens, first_tokens;
  Span<int64_t> totals;  // BeamTotals

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> parts = block.template shared<int64_t>(kWarp);
    const int64_t tokens = offsets(block, parts, token_counts, cuts);
    const int64_t num_arcs = offsets(block, parts, arc_counts, arc_cuts);
    const auto last = [=, this](int64_t item) {
      const int64_t given = lengths[item];
      return given < 0 ? 0 : given > frames ? frames : given;
    };
    const int64_t last_count = ends(block, parts, last_tokens, last);
    const int64_t first_count = ends(block, parts, first_tokens, [](int64_t) { return 0; });
    block.each(1, [=, this](int64_t) {
      totals[0] = tokens;
      totals[1] = num_arcs;
      totals[2] = last_count;
      totals[3] = first_count;
    });
  }

 private:
  template <class Block>
  GTNET_KERNEL int64_t offsets(Block& block, Span<int64_t> parts, Span<const int64_t> counts,
                               Span<int64_t> begin) const {
    const int64_t row = frames + 1;
    return block.prefix_sums(
        size * row, parts, [=](int64_t i) { return counts[i]; },
        [=](int64_t i, int64_t before) {
          begin[i / row * (row + 1) + i % row] = before;
          if (i % row == row - 1) begin[i / row * (row + 1) + row] = before + counts[i];
        });
  }

  template <class Block, class Cut>
  GTNET_KERNEL int64_t ends(Block& block, Span<int64_t> parts, Span<int64_t> begin,
                            const Cut& cut) const {
    const auto count = [=, this](int64_t item) {
      return token_counts[item * (frames + 1) + cut(item)];
    };
    return block.prefix_sums(size, parts, count, [=, this](int64_t item, int64_t before) {
      begin[item] = before;
      if (item == size - 1) begin[size] = before + count(item);
    });
  }
};

}  // namespace gtnet::beam
