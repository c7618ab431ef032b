// The k best paths of an acyclic graph, best first: A* with the exact distance to the end as its
// heuristic, so only prefixes of paths at least as good as the k-th are ever expanded.
#pragma once

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "paths.h"

namespace gtnet {

// If `unique`, paths that spell the same `labels` (epsilons dropped) count once, by the best of
// them: a prefix that reaches a state with a spelling seen there before is never expanded again.
template <class T>
class KBest {
 public:
  KBest(const Incidence& leaving, const T* weights, const T* start, const T* accept,
        const double* to_end, bool unique, const int32_t* labels, int64_t k)
      : leaving_(leaving),
        weights_(weights),
        start_(start),
        accept_(accept),
        to_end_(to_end),
        unique_(unique),
        labels_(labels),
        k_(k) {}

  void run(int32_t begin, int32_t end, Paths& paths) {
    for (int32_t s = begin; s < end; ++s) push(kNone, kNone, s, start_[s], 0);
    for (int64_t found = 0; found < k_ && !heap_.empty();) {
      std::pop_heap(heap_.begin(), heap_.end());
      const int32_t index = heap_.back().prefix;
      heap_.pop_back();
      const Prefix prefix = prefixes_[index];
      if (unique_ && !fresh(prefix)) continue;
      if (prefix.ended) {
        emit(index, paths);
        ++found;
        continue;
      }
      const double accepted = accept_[prefix.state];
      if (accepted != kNegInf)
        enqueue({index, kNone, prefix.state, prefix.spelling, true, prefix.score + accepted},
                prefix.score + accepted);
      for (int32_t p = leaving_.offsets[prefix.state]; p < leaving_.offsets[prefix.state + 1];
           ++p) {
        const int32_t arc = leaving_.arcs[p];
        const int32_t spelling = unique_ ? spell(prefix.spelling, labels_[arc]) : 0;
        push(index, arc, leaving_.states[p], prefix.score + static_cast<double>(weights_[arc]),
             spelling);
      }
    }
  }

 private:
  struct Prefix {
    int32_t parent, arc, state, spelling;
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

  void push(int32_t parent, int32_t arc, int32_t state, double score, int32_t spelling) {
    const double promise = score + to_end_[state];
    if (promise != kNegInf) enqueue({parent, arc, state, spelling, false, score}, promise);
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

  const Incidence& leaving_;
  const T *weights_, *start_, *accept_;
  const double* to_end_;
  const bool unique_;
  const int32_t* labels_;
  const int64_t k_;
  std::vector<Prefix> prefixes_;
  std::vector<Entry> heap_;
  std::unordered_map<int64_t, int32_t> spellings_;
  std::unordered_set<uint64_t> seen_;
};

}  // namespace gtnet
