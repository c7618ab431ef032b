// Which positions of a graph paths can be in at each cut of a chain of frames. An arc leads at most
// so far up or down among the positions, so in a graph that goes from left to right (a target of
// CTC, a hidden Markov model) paths spread from where they begin, narrow to where they end, and
// there is nothing to compute in the corners.
#pragma once

#include <algorithm>

#include "lattice/cpu/emissions.h"

namespace gtnet::lattice {

class ActiveBand {
 public:
  template <class Score>
  explicit ActiveBand(const LatticeItem<Score>& item)
      : steps_(item.steps), frames_(item.cuts.count - 1) {
    const layout::TransitionRows& steps = item.steps;
    limited_ = item.cuts.is_chain && steps.epsilon_entering.num_slices == 0 &&
               steps.up + steps.down < steps.num_positions / 4 && in_order(steps.entering) &&
               in_order(steps.leaving);
    if (!limited_) return;
    starts_ = ends_of(item.start, item.num_states);
    accepts_ = ends_of(item.accept, item.num_states);
  }

  // Whether there is less to compute than all positions at all cuts.
  bool is_limited() const { return limited_; }

  Window at(int32_t cut) const {
    if (!limited_) return {};
    const int64_t before = cut, after = frames_ - cut;
    const int64_t first = std::max(starts_.first - before * steps_.down,
                                   accepts_.first - after * steps_.up),
                  last = std::min(starts_.last + before * steps_.up,
                                  accepts_.last + after * steps_.down);
    if (first > last) return {0, 0};
    return {static_cast<int32_t>(std::max<int64_t>(first, 0) / kLanes * kLanes),
            static_cast<int32_t>(
                std::min<int64_t>(last, steps_.num_positions - 1) / kLanes * kLanes + kLanes)};
  }

 private:
  struct Ends {
    int64_t first = std::numeric_limits<int32_t>::max(), last = -1;
  };
  const layout::TransitionRows& steps_;
  const int64_t frames_;
  bool limited_;
  Ends starts_, accepts_;

  static bool in_order(const layout::SlicedRows& rows) {
    return std::all_of(rows.kind, rows.kind + rows.num_slices,
                       [](int32_t kind) { return kind == kInOrder; });
  }

  template <class Score>
  static Ends ends_of(const Score* scores, int32_t count) {
    Ends ends;
    for (int32_t s = 0; s < count; ++s) {
      if (scores[s] == kNegInf) continue;
      ends.first = std::min<int64_t>(ends.first, s);
      ends.last = s;
    }
    return ends;
  }
};

}  // namespace gtnet::lattice
