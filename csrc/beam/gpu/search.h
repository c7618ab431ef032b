// Frame-synchronous beam search, a block per chain through all its frames: beam/cpu/search.h for
// blocks of threads. Survivors are a list, so that a frame costs the arcs that leave them (a
// thousand of 34,000 states), and of every frame only they are kept; where arcs meet, a table by
// state serves, one for each item. Arcs that lead to one state meet there in the highest key of a
// score and the lowest number of an arc, which no order of threads changes; states are listed in
// the order in which the CPU enters them, so equal scores and numbers are treated as there.
#pragma once

#include "beam/gpu/workspace.h"

namespace gtnet::beam {

// The survivors from which a search goes on: item i has those from offsets[i] to offsets[i + 1].
struct BeamBegin {
  bool resumed = false;
  Span<const int32_t> states;
  Span<const double> scores;
  Span<const int64_t> offsets;
};

// One item of a search; what is not in arrays is the same for all threads.
template <class T, class Block>
class BeamPass {
 public:
  GTNET_KERNEL BeamPass(Block& block, const BeamGrid<T>& grid, const BeamTokens& tokens,
                        int64_t item, const BeamRoom& room)
      : block_(block),
        grid_(grid),
        tokens_(tokens),
        item_(item),
        origin_(grid.first_state(item)),
        room_(room),
        shared_(block) {
    const BeamRoom all = room_;
    const Span<int32_t> counters = shared_.counters;
    block_.each(grid.num_states(item), [=](int64_t s) {
      all.best[s] = BeamRoom::kUntouched;
      all.opener[s] = BeamRoom::kUnopened;
      all.kept[s] = all.round[s] = 0;
    });
    block_.each(3, [=](int64_t i) { counters[i] = 0; });
    block_.sync();
  }

  // The cut before the first frame.
  GTNET_KERNEL void begin() {
    const BeamRoom room = room_;
    const Span<const T> start = grid_.start.part(origin_, grid_.num_states(item_));
    const auto score = [=](int64_t s) {
      const auto x = static_cast<double>(start[s]);
      return x <= kHighest ? x : kNegInf;
    };
    best_ = range(grid_.num_states(item_), score).best;
    const double bound = grid_.limits.lowest_within(best_);
    count_ = block_.prefix_sums(
        grid_.num_states(item_), shared_.parts, [=](int64_t s) { return score(s) >= bound; },
        [=](int64_t s, int64_t before) {
          if (!(score(s) >= bound)) return;
          room.entered[before] = static_cast<int32_t>(s);
          room.best[s] = key_of(score(s));
          room.opener[s] = before;
        });
    block_.sync();
    choose(bound);
    follow_epsilons(bound);
    survive();
  }

  // The cut at which another search ended.
  GTNET_KERNEL void resume(Span<const int32_t> states, Span<const double> scores, int64_t count) {
    const BeamRoom room = room_;
    const int32_t origin = origin_;
    num_tokens_ = count;
    block_.each(count, [=](int64_t i) {
      room.token[i] = states[i] - origin;
      room.token_score[i] = scores[i];
    });
    block_.sync();
    write_tokens();
  }

  GTNET_KERNEL void read(int64_t t) {
    const BeamLimits& limits = grid_.limits;
    const BeamRoom room = room_;
    const int32_t origin = origin_;
    const Fan fan = grid_.fan_of(block_, room.fan, num_tokens_, true, shared_.parts,
                                 [=](int64_t i) { return origin + room.token[i]; });
    const auto score = [=, this](int64_t arc) {
      const Fan::Place at = fan[arc];
      return grid_.along(room.token_score[at.from], at.position, item_, t);
    };
    const BeamShared::Range all = range(fan.arcs, score);
    best_ = all.best;
    count_ = 0;
    const double lowest = limits.lowest_within(best_);
    const bool some = limits.foresee && fan.arcs > limits.max_active;
    ScoreBins bins;
    if (some) {
      bins.set(best_, all.worst > lowest ? all.worst : lowest);
      count_scores(bins, fan.arcs, score);
    }
    double bound = lowest, above = -kNegInf;
    int64_t round = 0;
    for (int64_t wanted = limits.max_active;; wanted *= 2, ++round) {
      if (some) bound = bound_for(bins, ScoreBins::arcs_for(wanted), lowest);
      follow(fan, round << 32, bound, above, score);
      above = bound;
      if (bound <= lowest || count_ >= limits.max_active) break;
    }
    choose(bound);
    follow_epsilons(lowest);
    survive();
  }

 private:
  Block& block_;
  const BeamGrid<T>& grid_;
  const BeamTokens& tokens_;
  const int64_t item_;
  const int32_t origin_;
  BeamRoom room_;
  const BeamShared shared_;
  int64_t cut_ = 0, used_ = 0;          // cuts done, and the tokens of them
  int64_t num_tokens_ = 0, count_ = 0;  // survivors of the last cut, states entered at this one
  int64_t num_followed_ = 0;            // of those, the ones with epsilons
  double best_ = kNegInf;

  static constexpr int64_t kByEpsilon = int64_t{1} << 62;

  // The worst and the best finite one of so many scores.
  template <class Score>
  GTNET_KERNEL BeamShared::Range range(int64_t count, const Score& score) const {
    const auto term = [=](int64_t i) {
      const double x = score(i);
      return BeamShared::Range{x > kNegInf ? x : -kNegInf, x};
    };
    block_.sync();
    using Range = BeamShared::Range;
    return block_.reduce(count, Range{-kNegInf, kNegInf}, shared_.ranges, term,
                         [](const Range& a, const Range& b) { return Range::both(a, b); });
  }

  template <class Score>
  GTNET_KERNEL void count_scores(const ScoreBins& bins, int64_t count, const Score& score) const {
    const Span<int32_t> counts = shared_.bins;
    block_.each(ScoreBins::kCount, [=](int64_t b) { counts[b] = 0; });
    block_.sync();
    block_.each(count, [=](int64_t arc) { Block::add(counts[bins.bin(score(arc))], 1); });
    block_.sync();
  }

  // A score that at least so many arcs reach, and not many more; `lowest` where there are fewer.
  GTNET_KERNEL double bound_for(const ScoreBins& bins, int64_t wanted, double lowest) const {
    const Span<int32_t> counts = shared_.bins;
    const Span<block::RankedBin> found = shared_.found;
    block_.each(1, [=](int64_t) { found[0].bin = kNone; });
    block_.prefix_sums(
        ScoreBins::kCount - 1, shared_.parts, [=](int64_t b) { return counts[b]; },
        [=](int64_t b, int64_t before) {
          if (before < wanted && before + counts[b] >= wanted) found[0].bin = b;
        });
    const int64_t bin = block_.seen(found[0].bin);
    const double edge = bin == kNone ? lowest : bins.edge(static_cast<int>(bin));
    return edge > lowest ? edge : lowest;
  }

  // Enters what the arcs with scores in [bound, above) lead to.
  template <class Score>
  GTNET_KERNEL void follow(const Fan& fan, int64_t first, double bound, double above,
                           const Score& score) {
    const BeamRoom room = room_;
    const auto target = [=, this](int64_t arc) {
      return grid_.targets[fan[arc].position] - origin_;
    };
    block_.each(fan.arcs, [=](int64_t arc) {
      const double x = score(arc);
      if (!(x >= bound && x < above)) return;
      const int32_t to = target(arc);
      Block::lift(room.best[to], key_of(x));
      Block::lower(room.opener[to], first + arc);
    });
    enter(fan.arcs, first, target);
  }

  // Lists the states that arcs were the first to lead to, in the order of these.
  template <class Target>
  GTNET_KERNEL void enter(int64_t arcs, int64_t first, const Target& target) {
    const BeamRoom room = room_;
    const int64_t known = count_;
    const auto opens = [=](int64_t arc) { return room.opener[target(arc)] == first + arc; };
    count_ += block_.prefix_sums(arcs, shared_.parts, opens, [=](int64_t arc, int64_t before) {
      if (opens(arc)) room.entered[known + before] = target(arc);
    });
    block_.sync();
  }

  // Within a cut: scores go on along epsilons until none of them changes.
  GTNET_KERNEL void follow_epsilons(double bound) {
    num_followed_ = 0;
    if (!grid_.epsilon_order) return;
    const BeamRoom room = room_;
    const int32_t origin = origin_;
    const Span<int32_t> counters = shared_.counters;
    const auto key = [=, this](int32_t s) {
      return int64_t{grid_.epsilon_order[origin + s]} << 32 | s;
    };
    const auto silent = [=, this](int32_t s) { return grid_.has_epsilons(origin + s); };
    int64_t queued = block_.prefix_sums(
        count_, shared_.parts, [=](int64_t i) { return silent(room.entered[i]); },
        [=](int64_t i, int64_t before) {
          const int32_t s = room.entered[i];
          if (!silent(s)) return;
          room.queue[0][before] = s;
          room.followed[before] = key(s);
          room.round[s] = 1;
        });
    if (queued == 0) return;
    const auto known = static_cast<int32_t>(queued);
    block_.each(1, [=](int64_t) { counters[2] = known; });
    block_.sync();
    for (int32_t round = 1; queued > 0; ++round) {
      const Span<int32_t> queue = room.queue[(round - 1) % 2], next = room.queue[round % 2];
      const Fan fan = grid_.fan_of(block_, room.fan, queued, false, shared_.parts,
                                   [=](int64_t i) { return origin + queue[i]; });
      block_.each(1, [=](int64_t) { counters[(round - 1) % 2] = 0; });
      block_.each(fan.arcs, [=, this](int64_t arc) {
        const Fan::Place at = fan[arc];
        const double before = of_key(Block::now(room.best[queue[at.from]]));
        const double score = grid_.along_epsilon(before, at.position);
        if (!(score >= bound)) return;
        const int32_t to = grid_.targets[at.position] - origin;
        if (Block::lift(room.best[to], key_of(score)) >= key_of(score) || !silent(to)) return;
        const int32_t last = Block::lift(room.round[to], round + 1);
        if (last <= round) next[Block::add(counters[round % 2], 1)] = to;
        if (last == 0) room.followed[Block::add(counters[2], 1)] = key(to);
      });
      queued = block_.seen(counters[round % 2]);
    }
    num_followed_ = block_.seen(counters[2]);
    block::sort_keys(block_, room.followed, num_followed_);
    const Fan fan = epsilons();
    block_.each(fan.arcs, [=, this](int64_t arc) {
      const Fan::Place at = fan[arc];
      const double score = grid_.along_epsilon(of_key(room.best[source(at)]), at.position);
      if (!(score >= bound)) return;
      Block::lower(room.opener[grid_.targets[at.position] - origin], kByEpsilon + arc);
    });
    enter(fan.arcs, kByEpsilon,
          [=, this](int64_t arc) { return grid_.targets[fan[arc].position] - origin; });
    best_ = range(count_, [=](int64_t i) { return of_key(room.best[room.entered[i]]); }).best;
  }

  // The epsilons that leave what was followed, in an order that leads forward.
  GTNET_KERNEL Fan epsilons() const {
    const BeamRoom room = room_;
    const int32_t origin = origin_;
    return grid_.fan_of(block_, room.fan, num_followed_, false, shared_.parts,
                        [=](int64_t i) { return origin + static_cast<int32_t>(room.followed[i]); });
  }
  GTNET_KERNEL int32_t source(const Fan::Place& at) const {
    return static_cast<int32_t>(room_.followed[at.from]);
  }

  // Writes down who is within the beam, now that epsilons may have raised it.
  GTNET_KERNEL void survive() {
    const BeamRoom room = room_;
    const int64_t within = key_of(grid_.limits.lowest_within(best_));
    block_.each(count_, [=](int64_t i) {
      const int32_t s = room.entered[i];
      room.kept[s] = room.best[s] >= within;
    });
    block_.sync();
    keep_epsilon_sources();
    const auto kept = [=](int64_t i) { return room.kept[room.entered[i]]; };
    num_tokens_ = block_.prefix_sums(count_, shared_.parts, kept, [=](int64_t i, int64_t before) {
      if (!kept(i)) return;
      room.token[before] = room.entered[i];
      room.token_score[before] = of_key(room.best[room.entered[i]]);
    });
    block_.sync();
    block_.each(count_, [=](int64_t i) {
      const int32_t s = room.entered[i];
      room.best[s] = BeamRoom::kUntouched;
      room.opener[s] = BeamRoom::kUnopened;
      room.kept[s] = room.round[s] = 0;
    });
    write_tokens();
  }

  // Of the states entered, whose scores are not below `bound`, the max_active best stay, of equal
  // ones those that were reached first.
  GTNET_KERNEL void choose(double bound) {
    if (count_ <= grid_.limits.max_active) return;
    const BeamRoom room = room_;
    const auto key = [=](int64_t i) { return room.best[room.entered[i]]; };
    const block::RankedKey last =
        block::key_of_rank(block_, count_, grid_.limits.max_active, key_of(bound), key_of(best_),
                           shared_.bins, ScoreBins::kCount, shared_.parts, shared_.found, key);
    block_.prefix_sums(
        count_, shared_.parts, [=](int64_t i) { return key(i) == last.key; },
        [=](int64_t i, int64_t before) {
          const int64_t own = key(i);
          room.kept[room.entered[i]] = own > last.key || (own == last.key && before < last.rank);
        });
    block_.sync();
    const auto kept = [=](int64_t i) { return room.kept[room.entered[i]]; };
    const Span<int32_t> list = room.queue[0];
    count_ = block_.prefix_sums(count_, shared_.parts, kept, [=](int64_t i, int64_t before) {
      const int32_t s = room.entered[i];
      if (kept(i)) {
        list[before] = s;
      } else {
        room.best[s] = BeamRoom::kUntouched;
        room.opener[s] = BeamRoom::kUnopened;
      }
    });
    block_.sync();
    block_.each(count_, [=](int64_t i) { room.entered[i] = list[i]; });
    block_.sync();
  }

  // The states that the epsilons of a survivor come through survive with it.
  GTNET_KERNEL void keep_epsilon_sources() const {
    if (num_followed_ == 0) return;
    const BeamRoom room = room_;
    const int32_t origin = origin_;
    const Span<int32_t> counters = shared_.counters;
    const Fan fan = epsilons();
    block_.each(2, [=](int64_t i) { counters[i] = 0; });
    block_.sync();
    for (int32_t round = 0, more = 1; more != 0; ++round) {
      block_.each(1, [=](int64_t) { counters[(round + 1) % 2] = 0; });
      block_.each(fan.arcs, [=, this](int64_t arc) {
        const Fan::Place at = fan[arc];
        const int32_t from = source(at), to = grid_.targets[at.position] - origin;
        if (Block::now(room.kept[from]) != 0 || Block::now(room.kept[to]) == 0) return;
        const double score = grid_.along_epsilon(of_key(room.best[from]), at.position);
        if (score != of_key(room.best[to])) return;
        Block::raise(room.kept[from], 1);
        Block::raise(counters[round % 2], 1);
      });
      more = block_.seen(counters[round % 2]);
    }
  }

  // Closes a cut, whose tokens lie in the room.
  GTNET_KERNEL void write_tokens() {
    const BeamRoom room = room_;
    const BeamTokens tokens = tokens_;
    const int64_t item = item_, used = used_, cut = cut_, left = tokens.capacity - used;
    const int64_t count = num_tokens_;
    block_.each(count, [=](int64_t i) {
      if (i >= left) return;
      tokens.states[item * tokens.capacity + used + i] = room.token[i];
      tokens.scores[item * tokens.capacity + used + i] = room.token_score[i];
    });
    block_.each(1, [=](int64_t) {
      if (cut == 0) tokens.cut(item, 0) = 0;
      tokens.cut(item, cut + 1) = used + count;
    });
    block_.sync();
    used_ += count;
    ++cut_;
  }
};

template <class T>
struct BeamForward {
  static constexpr int kThreads = 1024;
  BeamGrid<T> grid;
  Span<char> scratch;  // of all items
  BeamBegin begin;
  BeamTokens tokens;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t item = block.index(), states = grid.num_states(item);
    const int64_t before = grid.num_graphs == 1 ? item * states : grid.state_offsets[item];
    const BeamRoom room(scratch.part(BeamRoom::bytes(item, before), BeamRoom::bytes(1, states)),
                        states);
    BeamPass<T, Block> pass(block, grid, tokens, item, room);
    if (begin.resumed) {
      const int64_t first = begin.offsets[item], count = begin.offsets[item + 1] - first;
      pass.resume(begin.states.part(first, count), begin.scores.part(first, count), count);
    } else {
      pass.begin();
    }
    for (int64_t t = 0; t < grid.length(item); ++t) pass.read(t);
  }
};

}  // namespace gtnet::beam
