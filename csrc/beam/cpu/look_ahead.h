// Label look-ahead: which labels a graph can still write before the next one, and the best score
// that the graph behind it gives one of them (Allauzen, Riley & Schalkwyk 2009; Caseiro & Trancoso
// 2006). Labels are ranks that label_reach.h gives, so what a state can write is an interval.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/platform.h"
#include "rewrite/matching.h"

namespace gtnet::beam {

// The greatest of scores within a range, from the greatest of every kFan of them, level upon level:
// the tensor that holds the levels above the scores, one behind the other.
template <class Score>
class RangeMaximum {
 public:
  static constexpr int64_t kFan = 32;

  RangeMaximum(const Score* scores, const Score* above, int64_t size) {
    levels_.push_back(scores);
    while (size > kFan) {
      levels_.push_back(above);
      size = (size + kFan - 1) / kFan;
      above += size;
    }
  }

  double operator()(int64_t begin, int64_t end) const {
    Score best = static_cast<Score>(kNegInf);
    for (size_t level = 0; begin < end; ++level) {
      const Score* const scores = levels_[level];
      const bool last = level + 1 == levels_.size() || end - begin <= kFan;
      while (begin < end && (last || begin % kFan != 0)) best = std::max(best, scores[begin++]);
      while (begin < end && end % kFan != 0) best = std::max(best, scores[--end]);
      begin /= kFan;
      end /= kFan;
    }
    return static_cast<double>(best);
  }

 private:
  std::vector<const Score*> levels_;
};

// The arcs of a graph by the label that is matched. Where `width` is not 0, rows of scores stand
// for them: a state from 0 to below `end` has an arc for each label below `width`, at position
// state * width + label, and any other state has none.
struct Matched : rewrite::Operand {
  int32_t width = 0;

  bool has(int32_t state) const { return width == 0 || (0 <= state && state < end); }
  rewrite::ArcsOfState of(int32_t state) const {
    if (width == 0) return rewrite::ArcsOfState::of(*this, state);
    if (!has(state)) return {0, 0, 0};
    return {state * width, state * width, (state + 1) * width};
  }
  // The first position of a state's arcs whose label is not below `label`.
  int32_t first_not_below(const rewrite::ArcsOfState& arcs, int32_t label) const {
    if (width == 0) return rewrite::first_not_below(labels, arcs.label, arcs.end, label);
    return std::min(arcs.end, arcs.label + label);
  }
  int32_t place_of(const rewrite::ArcsOfState& arcs, int32_t label) const {
    if (width == 0) return rewrite::place_of(labels, arcs.label, arcs.end, label);
    return first_not_below(arcs, label);
  }
  bool reads(const rewrite::ArcsOfState& arcs, int32_t position, int32_t label) const {
    return (width == 0 ? labels[position] : position - arcs.label) == label;
  }
  int32_t arc(int32_t position) const { return width == 0 ? leaving.arcs[position] : position; }
};

// The labels from `low` to `high` are those that a state of the left graph may write next, along
// arcs that write nothing. low < 0: any, or it can end without another one.
struct Interval {
  const int32_t *low, *high;  // by state; null: any everywhere
};

// A bound on what the right graph adds until the left one has written its next label: of a pair of
// states the best of the labels in the interval, also after epsilons or failures of the right one.
// Any function of the pair would do: what it adds before a label, the label takes back.
template <class Score>
class LookAhead {
 public:
  LookAhead(const Interval& interval, const Matched& right, const Score* weights,
            const Score* maxima, int64_t num_arcs)
      : interval_(interval),
        right_(right),
        weights_(weights),
        maximum_(weights, maxima, num_arcs),
        known_(interval.low ? kKnown : 0) {}

  bool is_trivial() const { return interval_.low == nullptr; }

  double operator()(int32_t left, int32_t right) {
    if (is_trivial() || interval_.low[left] < 0) return 0;
    const uint64_t key = (static_cast<uint64_t>(left) << 32) | static_cast<uint32_t>(right);
    Known& known = known_[(key * 0x9E3779B97F4A7C15ull) >> (64 - kKnownBits)];
    if (known.key != key) known = {key, bound(interval_.low[left], interval_.high[left], right)};
    return known.bound;
  }

 private:
  static constexpr int kKnownBits = 14;
  static constexpr size_t kKnown = size_t{1} << kKnownBits;
  struct Known {
    uint64_t key = ~uint64_t{0};
    double bound = 0;
  };

  double bound(int32_t low, int32_t high, int32_t state) const {
    if (!right_.has(state)) return 0;
    double best = kNegInf, before = 0;
    for (;;) {
      const auto arcs = right_.of(state);
      const int32_t first = right_.first_not_below(arcs, low);
      const int32_t last = right_.first_not_below(arcs, high + 1);
      best = std::max(best, before + maximum_(first, last));
      if (arcs.epsilons() == 0) return best;
      if (arcs.epsilons() > 1) return std::max(best, before);  // where to is not looked at
      before += static_cast<double>(weights_[arcs.epsilon]);
      if (!(before > kNegInf)) return best;
      state = right_.leaving.states[arcs.epsilon];
    }
  }

  const Interval interval_;
  const Matched right_;
  const Score* const weights_;
  const RangeMaximum<Score> maximum_;
  std::vector<Known> known_;
};

}  // namespace gtnet::beam
