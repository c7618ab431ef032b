// The k best paths of an acyclic graph, best first: A* with the exact distance to the end as its
// heuristic, so only prefixes of paths at least as good as the k-th are ever expanded.
#pragma once

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "paths/cpu/path_list.h"

namespace gtnet::paths {

// If `unique`, paths that spell the same `labels` (epsilons dropped) count once, by the best of
// them: a prefix that reaches a state with a spelling seen there before is never expanded again.
template <class T>
class KBest {
 public:
  KBest(const Csr& leaving, const T* weights, const T* start, const T* accept, const double* to_end,
        bool unique, const int32_t* labels, int64_t k)
      : leaving_(leaving),
        weights_(weights),
        start_(start),
        accept_(accept),
        to_end_(to_end),
        unique_(unique),
        labels_(labels),
        k_(k) {}

  void run(int32_t begin, int32_t end, Paths& paths) {
    first_state_ = begin;
    onward_.resize(end - begin);
    for (int32_t s = begin; s < end; ++s) {
      const double score = start_[s], promise = score + to_end_[s];
      if (promise != kNegInf) enqueue({kNone, kNone, s, 0, 0, false, score}, promise);
    }
    for (int64_t found = 0; found < k_ && !heap_.empty();) {
      std::pop_heap(heap_.begin(), heap_.end());
      const int32_t index = heap_.back().prefix;
      heap_.pop_back();
      const Prefix prefix = prefixes_[index];
      if (prefix.parent != kNone) offer(prefix.parent, prefix.rank + 1);
      if (unique_ && !fresh(prefix)) continue;
      if (prefix.ended) {
        emit(index, paths);
        ++found;
      } else {
        offer(index, 0);
      }
    }
  }

 private:
  // A way on from a state, and the best score it can still bring; to end is a way on, too.
  struct Step {
    double rest;
    int32_t arc, state;  // kNone, and the state itself, to end there
  };
  struct Prefix {
    int32_t parent, arc, state, spelling;
    size_t rank;  // among the ways on from its parent's state
    bool ended;
    double score;
  };
  struct Entry {
    double promise;  // score of the best path with this prefix
    int32_t prefix;
    bool operator<(const Entry& other) const {
      return promise != other.promise ? promise < other.promise : prefix > other.prefix;
    }
  };

  // The ways on from a state that lead to an end, best first; sorted when first asked for.
  const std::vector<Step>& onward(int32_t state) {
    std::vector<Step>& steps = onward_[state - first_state_];
    if (!steps.empty()) return steps;
    const double accepted = accept_[state];
    if (accepted != kNegInf) steps.push_back({accepted, kNone, state});
    for (int32_t p = leaving_.offsets[state]; p < leaving_.offsets[state + 1]; ++p) {
      const int32_t arc = leaving_.arcs[p], target = leaving_.states[p];
      const double rest = static_cast<double>(weights_[arc]) + to_end_[target];
      if (rest != kNegInf) steps.push_back({rest, arc, target});
    }
    std::stable_sort(steps.begin(), steps.end(),
                     [](const Step& a, const Step& b) { return a.rest > b.rest; });
    return steps;
  }

  // Queues a prefix one step longer. Its next best sibling is queued when it is taken out, so the
  // queue grows by two at most however many arcs a state has.
  void offer(int32_t parent, size_t rank) {
    const Prefix from = prefixes_[parent];
    const std::vector<Step>& steps = onward(from.state);
    if (rank >= steps.size()) return;
    const Step& step = steps[rank];
    const bool ended = step.arc == kNone;
    const double score = ended ? accept_[step.state] : weights_[step.arc];
    const int32_t spelling =
        unique_ && !ended ? spell(from.spelling, labels_[step.arc]) : from.spelling;
    enqueue({parent, step.arc, step.state, spelling, rank, ended, from.score + score},
            from.score + step.rest);
  }

  void enqueue(const Prefix& prefix, double promise) {
    prefixes_.push_back(prefix);
    heap_.push_back({promise, static_cast<int32_t>(prefixes_.size() - 1)});
    std::push_heap(heap_.begin(), heap_.end());
  }

  // The number of a label sequence that is one label longer than a known one.
  int32_t spell(int32_t spelling, int32_t label) {
    if (label == kEpsilon) return spelling;
    const int64_t key = (static_cast<int64_t>(spelling) << 32) | static_cast<uint32_t>(label);
    return spellings_.try_emplace(key, static_cast<int32_t>(spellings_.size()) + 1).first->second;
  }

  bool fresh(const Prefix& prefix) {
    const int64_t where = prefix.ended ? -1 : prefix.state;
    return seen_
        .insert((static_cast<uint64_t>(prefix.spelling) << 32) | static_cast<uint32_t>(where))
        .second;
  }

  void emit(int32_t index, Paths& paths) {
    const size_t begin = paths.arcs.size();
    paths.last.push_back(prefixes_[index].state);
    int32_t i = index;
    for (; prefixes_[i].parent != kNone; i = prefixes_[i].parent) {
      if (prefixes_[i].arc != kNone) paths.arcs.push_back(prefixes_[i].arc);
    }
    paths.first.push_back(prefixes_[i].state);
    std::reverse(paths.arcs.begin() + static_cast<std::ptrdiff_t>(begin), paths.arcs.end());
    paths.lengths.push_back(static_cast<int64_t>(paths.arcs.size() - begin));
  }

  const Csr& leaving_;
  const T *weights_, *start_, *accept_;
  const double* to_end_;
  const bool unique_;
  const int32_t* labels_;
  const int64_t k_;
  int32_t first_state_ = 0;
  std::vector<std::vector<Step>> onward_;
  std::vector<Prefix> prefixes_;
  std::vector<Entry> heap_;
  std::unordered_map<int64_t, int32_t> spellings_;
  std::unordered_set<uint64_t> seen_;
};

}  // namespace gtnet::paths
