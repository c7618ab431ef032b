// All accepting paths of one graph, depth first; every prefix followed leads to acceptance.
#pragma once

#include <limits>
#include <vector>

#include "core/budget.h"
#include "core/interrupt.h"
#include "paths/cpu/path_list.h"

namespace gtnet::paths {

enum class Enumerated : int8_t { kAll = 0, kTooMany = 1, kCycle = 2 };

template <class T>
class Enumerate {
 public:
  Enumerate(const Csr& leaving, const Csr& entering, const T* weights, const T* start,
            const T* accept, int32_t begin, int32_t end)
      : leaving_(leaving),
        weights_(weights),
        start_(start),
        accept_(accept),
        begin_(begin),
        end_(end),
        to_end_(end - begin, kNever) {
    std::vector<int32_t> queue;
    const auto reach = [&](int32_t s, int32_t arcs) {
      if (to_end_[s - begin] != kNever) return;
      to_end_[s - begin] = arcs;
      queue.push_back(s);
    };
    for (int32_t s = begin; s < end; ++s) {
      if (accept[s] > kNegInf) reach(s, 0);
    }
    for (size_t i = 0; i < queue.size(); ++i) {
      const int32_t s = queue[i];
      for (int32_t k = entering.offsets[s]; k < entering.offsets[s + 1]; ++k) {
        if (weights[entering.arcs[k]] > kNegInf) {
          reach(entering.states[k], to_end_[s - begin] + 1);
        }
      }
    }
  }

  // Paths of at most max_length arcs, any length if it is kNone; no more than `limit` of them.
  // Each spends its states.
  Enumerated run(int64_t limit, int64_t max_length, Budget& budget, Paths& paths) {
    limit_ = limit;
    budget_ = &budget;
    bounded_ = max_length != kNone;
    most_ = bounded_ ? max_length : std::numeric_limits<int64_t>::max();
    for (int32_t s = begin_; s < end_; ++s) {
      if (start_[s] == kNegInf || to_end_[s - begin_] == kNever || to_end_[s - begin_] > most_)
        continue;
      const Enumerated found = from(s, paths);
      if (found != Enumerated::kAll) return found;
    }
    return Enumerated::kAll;
  }

 private:
  static constexpr int32_t kNever = std::numeric_limits<int32_t>::max();

  struct Frame {
    int32_t state, next;  // the position of the next arc to follow
  };

  Enumerated from(int32_t first, Paths& paths) {
    std::vector<int32_t> taken;
    std::vector<Frame> stack;
    const auto enter = [&](int32_t s) {
      stack.push_back({s, leaving_.offsets[s]});
      if (accept_[s] == kNegInf) return true;
      if (paths.count() == limit_) return false;
      poll(static_cast<int64_t>(taken.size()));
      budget_->spend(static_cast<int64_t>(taken.size()) + 1);
      paths.arcs.insert(paths.arcs.end(), taken.begin(), taken.end());
      paths.lengths.push_back(static_cast<int64_t>(taken.size()));
      paths.first.push_back(first);
      paths.last.push_back(s);
      return true;
    };
    if (!enter(first)) return Enumerated::kTooMany;
    while (!stack.empty()) {
      poll(8);
      Frame& frame = stack.back();
      if (frame.next == leaving_.offsets[frame.state + 1]) {
        stack.pop_back();
        if (!taken.empty()) taken.pop_back();
        continue;
      }
      const int32_t k = frame.next++;
      const int32_t arc = leaving_.arcs[k], target = leaving_.states[k];
      const int32_t rest = to_end_[target - begin_];
      const auto length = static_cast<int64_t>(taken.size()) + 1;
      if (weights_[arc] == kNegInf || rest == kNever || rest > most_ - length) continue;
      // A path that visits more states than there are has gone round a cycle.
      if (!bounded_ && length >= end_ - begin_) return Enumerated::kCycle;
      taken.push_back(arc);
      if (!enter(target)) return Enumerated::kTooMany;
    }
    return Enumerated::kAll;
  }

  const Csr leaving_;
  const T *weights_, *start_, *accept_;
  const int32_t begin_, end_;
  std::vector<int32_t> to_end_;  // arcs of the shortest way from each state to acceptance
  int64_t limit_ = 0, most_ = 0;
  Budget* budget_ = nullptr;
  bool bounded_ = false;
};

}  // namespace gtnet::paths
