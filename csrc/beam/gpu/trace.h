// What a beam search kept, as the lattice needs it: the tokens from which the last cut is within
// the lattice beam, and the arcs between them. A search keeps tokens only; arcs are found again
// from the scores, and no arc is ever stored that does not stay.
#pragma once

#include <initializer_list>

#include "beam/gpu/batch.h"
#include "block/sort.h"

namespace gtnet::beam {

// How much worse the best path from each token to the last cut is than the best path through it.
// Such numbers are not below 0: their bits are in their order.
GTNET_HD GTNET_INLINE int64_t bits_of(double behind) {
  return __builtin_bit_cast(int64_t, behind);
}
GTNET_HD GTNET_INLINE double of_bits(int64_t bits) {
  return __builtin_bit_cast(double, bits);
}

// Whether the way along an arc is within the lattice beam, and lowers `from` to it if it is.
template <class Block>
GTNET_KERNEL bool reach(int64_t& from, double along, double lattice_beam) {
  return along <= lattice_beam && along < of_bits(Block::now(from)) &&
         along < of_bits(Block::lower(from, bits_of(along)));
}

// The arcs that enter a cut, seen from where they leave: tokens of this cut or of the one before.
template <class T>
struct BeamCut {
  BeamGrid<T> grid;
  BeamTokens tokens;
  int64_t item, cut;
  Span<int32_t> places;  // by state: 1 + its token among those of this cut, 0 if there is none
  double lowest;         // no arc with a lower score can stay

  struct Arc {
    int32_t target;  // kNone for an arc that does not stay
    float slack;
  };

  GTNET_HD Arc to(int32_t position, double score) const {
    const int32_t state = grid.targets[position] - grid.first_state(item), place = places[state];
    if (place == 0 || !(score >= lowest)) return {kNone, 0};
    const double slack = BeamLimits::slack(tokens.scores_of(item, cut)[place - 1], score);
    if (!(slack <= grid.limits.lattice_beam) || slack == -kNegInf) return {kNone, 0};
    return {place - 1, static_cast<float>(slack)};
  }
  // From a token of the cut before, reading a frame, or from one of this cut, reading nothing.
  GTNET_HD Arc reading(const Fan::Place& at, int32_t from) const {
    const double before = tokens.scores_of(item, cut - 1)[from];
    return to(at.position, grid.along(before, at.position, item, cut - 1));
  }
  GTNET_HD Arc silent(const Fan::Place& at, int32_t from) const {
    return to(at.position, grid.along_epsilon(tokens.scores_of(item, cut)[from], at.position));
  }

  GTNET_HD int64_t count() const { return tokens.count(item, cut); }
  GTNET_HD int64_t count_before() const { return tokens.count(item, cut - 1); }
  GTNET_HD int32_t state(int64_t token) const {
    return grid.first_state(item) + tokens.states_of(item, cut)[token];
  }
  GTNET_HD int32_t state_before(int64_t token) const {
    return grid.first_state(item) + tokens.states_of(item, cut - 1)[token];
  }

  // Enters the tokens of the cut into `places`, which holds 0, and finds the least of their scores.
  template <class Block>
  GTNET_KERNEL void open(Block& block, Span<double> parts) {
    const Span<const int32_t> states = tokens.states_of(item, cut);
    const Span<const double> scores = tokens.scores_of(item, cut);
    const Span<int32_t> all = places;
    block.each(count(), [=](int64_t i) { all[states[i]] = static_cast<int32_t>(i) + 1; });
    block.sync();
    const double least = block.reduce(
        count(), -kNegInf, parts, [=](int64_t i) { return scores[i]; },
        [](double a, double b) { return a < b ? a : b; });
    lowest = grid.limits.lowest_of_arcs(least);
  }
  template <class Block>
  GTNET_KERNEL void close(Block& block) const {
    const Span<const int32_t> states = tokens.states_of(item, cut);
    const Span<int32_t> all = places;
    block.sync();
    block.each(count(), [=](int64_t i) { all[states[i]] = 0; });
    block.sync();
  }
};

// Memory of a block for cuts of so many tokens.
struct BeamCutRoom {
  Span<int32_t> places;
  Fan fan;
  Span<int32_t> rank, rank_before;
  Span<int64_t> order;

  GTNET_HD static int64_t bytes(int64_t states, int64_t tokens) {
    return block::Workspace::bytes<int32_t>(states) + 4 * block::Workspace::bytes<int32_t>(tokens) +
           block::Workspace::bytes<int64_t>(tokens);
  }
  GTNET_HD BeamCutRoom(Span<char> memory, int64_t states, int64_t tokens) {
    block::Workspace workspace{memory};
    places = workspace.take<int32_t>(states);
    order = workspace.take<int64_t>(tokens);
    for (Span<int32_t>* list : {&fan.begin, &fan.first, &rank, &rank_before}) {
      *list = workspace.take<int32_t>(tokens);
    }
  }
};

// What the threads of a block share.
struct BeamTraceShared {
  Span<int64_t> parts;
  Span<double> least;
  Span<int32_t> more;

  static int64_t bytes() {
    return block::Workspace::bytes<int64_t>(kWarp) + block::Workspace::bytes<double>(kWarp) +
           block::Workspace::bytes<int32_t>(2);
  }
  template <class Block>
  GTNET_KERNEL explicit BeamTraceShared(Block& block)
      : parts(block.template shared<int64_t>(kWarp)),
        least(block.template shared<double>(kWarp)),
        more(block.template shared<int32_t>(2)) {}
};

// Runs step(round's flag) until a round in which nothing raised it; `more` are two flags.
template <class Block, class Step>
GTNET_KERNEL void repeat(Block& block, Span<int32_t> more, const Step& step) {
  block.each(2, [=](int64_t i) { more[i] = 0; });
  block.sync();
  for (int64_t round = 0, again = 1; again != 0; ++round) {
    block.each(1, [=](int64_t) { more[(round + 1) % 2] = 0; });
    step(more.part(round % 2, 1));
    again = block.seen(more[round % 2]);
  }
}

// From the last cut of each item to its first: how far behind every token is.
template <class T>
struct BeamBackward {
  static constexpr int kThreads = 1024;
  BeamGrid<T> grid;
  BeamTokens tokens;
  bool resumed;               // then the epsilons of the first cut belong to what was before
  int64_t most_states, most;  // of a graph; tokens of a cut
  Span<char> scratch;         // of all items, 0
  Span<int64_t> behind;       // [items, capacity]

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t item = block.index(), last = grid.length(item);
    const int64_t bytes = BeamCutRoom::bytes(most_states, most);
    const BeamCutRoom room(scratch.part(item * bytes, bytes), most_states, most);
    const BeamTraceShared shared(block);
    const int64_t used = tokens.cut(item, last + 1), first_of_last = tokens.cut(item, last);
    const Span<int64_t> own = behind.part(item * tokens.capacity, used);
    block.each(used, [=](int64_t i) { own[i] = bits_of(i < first_of_last ? -kNegInf : 0.0); });
    for (int64_t c = last; c >= 0; --c) {
      BeamCut<T> cut{grid, tokens, item, c, room.places, 0};
      cut.open(block, shared.least);
      const Span<int64_t> here = own.part(tokens.cut(item, c), tokens.count(item, c));
      if (grid.epsilon_order && !(c == 0 && resumed)) follow(block, cut, room, shared, here);
      if (c > 0) {
        const Span<int64_t> before = own.part(tokens.cut(item, c - 1), tokens.count(item, c - 1));
        const Fan fan = grid.fan_of(block, room.fan, cut.count_before(), true, shared.parts,
                                    [=](int64_t i) { return cut.state_before(i); });
        const double lattice_beam = grid.limits.lattice_beam;
        block.each(fan.arcs, [=](int64_t arc) {
          const Fan::Place at = fan[arc];
          const auto found = cut.reading(at, at.from);
          if (found.target == kNone) return;
          reach<Block>(before[at.from], of_bits(here[found.target]) + found.slack, lattice_beam);
        });
      }
      cut.close(block);
    }
  }

 private:
  // Within a cut, along its epsilons.
  template <class Block>
  GTNET_KERNEL void follow(Block& block, const BeamCut<T>& cut, const BeamCutRoom& room,
                           const BeamTraceShared& shared, Span<int64_t> here) const {
    const Fan fan = grid.fan_of(block, room.fan, cut.count(), false, shared.parts,
                                [=](int64_t i) { return cut.state(i); });
    if (fan.arcs == 0) return;
    const double lattice_beam = grid.limits.lattice_beam;
    repeat(block, shared.more, [&](Span<int32_t> more) {
      block.each(fan.arcs, [=](int64_t arc) {
        const Fan::Place at = fan[arc];
        const auto found = cut.silent(at, at.from);
        if (found.target == kNone) return;
        const double along = of_bits(Block::now(here[found.target])) + found.slack;
        if (reach<Block>(here[at.from], along, lattice_beam)) Block::raise(more[0], 1);
      });
    });
  }
};

// The tokens of an item and of a cut, and the states of a graph, at most.
template <class T>
struct BeamNeed {
  static constexpr int kThreads = 256;
  BeamGrid<T> grid;
  BeamTokens tokens;
  Span<int64_t> most;  // Sizes

  struct Sizes {
    int64_t tokens, in_cut, states;

    GTNET_HD static Sizes both(const Sizes& a, const Sizes& b) {
      return {a.tokens > b.tokens ? a.tokens : b.tokens, a.in_cut > b.in_cut ? a.in_cut : b.in_cut,
              a.states > b.states ? a.states : b.states};
    }
  };

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<Sizes> parts = block.template shared<Sizes>(kWarp);
    const int64_t cuts = tokens.frames + 1;
    const Sizes found = block.reduce(
        grid.size * cuts, Sizes{0, 0, 0}, parts,
        [=, this](int64_t i) {
          const int64_t item = i / cuts, c = i % cuts;
          if (c > grid.length(item)) return Sizes{0, 0, 0};
          return Sizes{tokens.cut(item, c + 1), tokens.count(item, c), grid.num_states(item)};
        },
        [](const Sizes& a, const Sizes& b) { return Sizes::both(a, b); });
    block.each(1, [=, this](int64_t) {
      most[0] = found.tokens;
      most[1] = found.in_cut;
      most[2] = found.states;
    });
  }
};

}  // namespace gtnet::beam
