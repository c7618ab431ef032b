// Which labels a state can write next: labels numbered so that these are intervals (Allauzen, Riley
// & Schalkwyk 2009, section 3). In a tree they are exact, elsewhere they hold what lies between
// too.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "core/interrupt.h"
#include "core/topology.h"

namespace gtnet::rewrite {

class LabelReach {
 public:
  // `olabels` by arc, below `num_labels`; `starts` and `accepts` by state.
  LabelReach(const Csr& leaving, In<int32_t> olabels, In<bool> starts, In<bool> accepts,
             int64_t num_states, int64_t num_labels)
      : leaving_(leaving),
        olabels_(olabels),
        rank_(num_labels, kNone),
        low_(num_states, kNone),
        high_(num_states, kNone),
        ends_(num_states),
        seen_(num_states, 0) {
    for (int64_t s = 0; s < num_states; ++s) ends_[s] = accepts[s];
    order_.reserve(num_states);
    for (int64_t s = 0; s < num_states; ++s) {
      if (starts[s]) visit(static_cast<int32_t>(s));
    }
    for (int64_t s = 0; s < num_states; ++s) visit(static_cast<int32_t>(s));
    while (join()) {
    }
    for (int64_t s = 0; s < num_states; ++s) {
      if (ends_[s]) {
        low_[s] = high_[s] = kNone;
      } else if (low_[s] == kNone) {
        low_[s] = 1;
        high_[s] = 0;
      }
    }
  }

  // By label its number, kNone for those that no arc writes.
  const std::vector<int32_t>& ranks() const { return rank_; }
  // By state the least and the greatest number of a label that it can write next; kNone where it
  // can accept before, and nothing lies between where it can do neither.
  const std::vector<int32_t>& low() const { return low_; }
  const std::vector<int32_t>& high() const { return high_; }

 private:
  // Depth first along arcs that write nothing; a state numbers the labels of its own arcs, then
  // come those of the states that it leads to.
  void visit(int32_t root) {
    if (seen_[root]) return;
    std::vector<std::pair<int32_t, int32_t>> path;
    const auto enter = [&](int32_t state) {
      seen_[state] = 1;
      for (int32_t k = leaving_.offsets[state]; k < leaving_.offsets[state + 1]; ++k) {
        const int32_t label = olabels_[leaving_.arcs[k]];
        if (label < 0) continue;
        if (rank_[label] == kNone) rank_[label] = next_++;
        include(state, rank_[label], rank_[label]);
      }
      path.emplace_back(state, leaving_.offsets[state]);
    };
    enter(root);
    while (!path.empty()) {
      poll(8);
      auto& [state, k] = path.back();
      while (k < leaving_.offsets[state + 1] &&
             (olabels_[leaving_.arcs[k]] >= 0 || seen_[leaving_.states[k]])) {
        ++k;
      }
      if (k < leaving_.offsets[state + 1]) {
        enter(leaving_.states[k++]);
      } else {
        order_.push_back(state);
        path.pop_back();
      }
    }
  }

  bool include(int32_t state, int32_t low, int32_t high) {
    if (low == kNone) return false;
    const bool wider = low_[state] == kNone || low < low_[state] || high > high_[state];
    low_[state] = low_[state] == kNone ? low : std::min(low_[state], low);
    high_[state] = std::max(high_[state], high);
    return wider;
  }

  // Once more where arcs that write nothing go round. Whether anything has changed.
  bool join() {
    bool changed = false;
    for (const int32_t state : order_) {
      poll(8);
      for (int32_t k = leaving_.offsets[state]; k < leaving_.offsets[state + 1]; ++k) {
        if (olabels_[leaving_.arcs[k]] >= 0) continue;
        const int32_t to = leaving_.states[k];
        changed |= include(state, low_[to], high_[to]);
        changed |= ends_[to] && !ends_[state];
        ends_[state] = ends_[state] || ends_[to];
      }
    }
    return changed;
  }

  const Csr leaving_;
  const In<int32_t> olabels_;
  std::vector<int32_t> rank_, low_, high_;
  std::vector<char> ends_, seen_;
  std::vector<int32_t> order_;  // of the states, after those that they lead to
  int32_t next_ = 0;
};

}  // namespace gtnet::rewrite
