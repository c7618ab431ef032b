// The k best paths of a graph, best first: A* with the exact distance to the end as its heuristic
// (Mohri & Riley 2002). The best way on from every state is one arc of a tree, so the best path
// with a given beginning is followed to its end at once; what waits are the turns off such paths.
#pragma once

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/interrupt.h"
#include "paths/cpu/path_list.h"

namespace gtnet::paths {

// The best score from each state to an end, and the position among the leaving arcs of the first
// arc of such a path, kNone to end there: a tree, also where cycles cost nothing.
struct BestWays {
  const double* to_end;
  const int32_t* next;
};

// If `unique`, paths that spell the same `labels` (epsilons dropped) count once, by the best of
// them: a prefix that reaches a state with a spelling seen there before is given up.
//
// A turn waits by its loss, what it costs against the best path with the same beginning: a sum of
// terms >= 0 that is 0 along the tree whatever rounding does, so ties never hold a path back. Every
// prefix taken up begins one of the paths found: at most k · (length + 1) · states if `unique`,
// k · (length + 1) otherwise.
template <class T>
class KBest {
 public:
  KBest(const Csr& leaving, const T* weights, const T* start, const T* accept, const BestWays& best,
        bool unique, const int32_t* labels, int64_t k, int64_t max_prefixes)
      : leaving_(leaving),
        weights_(weights),
        start_(start),
        accept_(accept),
        best_(best),
        unique_(unique),
        labels_(labels),
        k_(k),
        max_prefixes_(max_prefixes) {}

  // False where it takes more than max_prefixes prefixes, or arcs of paths.
  bool run(int32_t begin, int32_t end, Paths& paths) {
    first_state_ = begin;
    onward_.resize(end - begin);
    find_starts(begin, end);
    wait(0, kNone, 0);
    while (static_cast<int64_t>(found_.size()) < k_ && !heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Turn turn = heap_.back();
      heap_.pop_back();
      wait(turn.base, turn.from, turn.rank + 1);
      if (!follow(turn)) return false;
    }
    // Losses and scores are rounded apart: paths come in the order of their scores.
    std::stable_sort(found_.begin(), found_.end(), [this](int32_t a, int32_t b) {
      return prefixes_[a].score > prefixes_[b].score;
    });
    for (const int32_t last : found_) emit(last, paths);
    return true;
  }

 private:
  // A way on from a state, and the best score it can still bring; to end is a way on, too.
  struct Step {
    double rest;
    int32_t arc, state;  // kNone, and the state itself, to end there
  };
  struct Prefix {
    int32_t parent, arc, state, spelling;
    int32_t length;  // in arcs
    double score;
  };
  // The rank-th way on from a prefix.
  struct Turn {
    double loss, base;  // base: that of the prefix
    int32_t from, rank;

    // Of equals, the one that began to wait first.
    bool operator<(const Turn& other) const {
      if (loss != other.loss) return loss > other.loss;
      return std::pair(from, rank) > std::pair(other.from, other.rank);
    }
  };

  static void sort(typename std::vector<Step>::iterator begin,
                   typename std::vector<Step>::iterator end) {
    std::stable_sort(begin, end, [](const Step& a, const Step& b) { return a.rest > b.rest; });
  }

  void find_starts(int32_t begin, int32_t end) {
    for (int32_t s = begin; s < end; ++s) {
      const double rest = static_cast<double>(start_[s]) + best_.to_end[s];
      if (rest != kNegInf) starts_.push_back({rest, kNone, s});
    }
    sort(starts_.begin(), starts_.end());
  }

  // The ways on from a state that lead to an end, first that of the tree, then best first; sorted
  // when first asked for.
  const std::vector<Step>& onward(int32_t state) {
    std::vector<Step>& steps = onward_[state - first_state_];
    if (!steps.empty()) return steps;
    poll(16 * (leaving_.offsets[state + 1] - leaving_.offsets[state]));
    const double accepted = accept_[state];
    const int32_t next = best_.next[state];
    size_t of_tree = 0;
    if (accepted != kNegInf) steps.push_back({accepted, kNone, state});
    for (int32_t p = leaving_.offsets[state]; p < leaving_.offsets[state + 1]; ++p) {
      const int32_t arc = leaving_.arcs[p], target = leaving_.states[p];
      const double rest = static_cast<double>(weights_[arc]) + best_.to_end[target];
      if (rest == kNegInf) continue;
      if (p == next) of_tree = steps.size();
      steps.push_back({rest, arc, target});
    }
    std::rotate(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(of_tree),
                steps.begin() + static_cast<std::ptrdiff_t>(of_tree) + 1);
    sort(steps.begin() + 1, steps.end());
    return steps;
  }

  const std::vector<Step>& ways(int32_t from) {
    return from == kNone ? starts_ : onward(prefixes_[from].state);
  }

  // Queues the rank-th way on from a prefix, if there is one.
  void wait(double base, int32_t from, int32_t rank) {
    const std::vector<Step>& steps = ways(from);
    if (rank >= static_cast<int32_t>(steps.size())) return;
    const double best = steps[0].rest, rest = steps[rank].rest;
    heap_.push_back({best > rest ? base + (best - rest) : base, base, from, rank});
    std::push_heap(heap_.begin(), heap_.end());
  }

  // Takes a turn, then the tree to its end; the other ways on wait.
  bool follow(const Turn& turn) {
    int32_t from = turn.from;
    for (int32_t rank = turn.rank;; rank = 0) {
      poll(32);
      const Step& step = ways(from)[rank];
      const bool begins = from == kNone, ended = !begins && step.arc == kNone;
      Prefix prefix{from, step.arc, step.state, 0, 0, start_[step.state]};
      if (!begins) {
        const Prefix& before = prefixes_[from];
        prefix.spelling = before.spelling;
        prefix.length = before.length + static_cast<int32_t>(!ended);
        prefix.score =
            before.score + static_cast<double>(ended ? accept_[step.state] : weights_[step.arc]);
        if (unique_ && !ended) prefix.spelling = spell(before.spelling, labels_[step.arc]);
      }
      if (unique_ && !fresh(prefix, ended)) return true;
      if (static_cast<int64_t>(prefixes_.size()) + path_arcs_ >= max_prefixes_) return false;
      from = static_cast<int32_t>(prefixes_.size());
      prefixes_.push_back(prefix);
      if (ended) {
        path_arcs_ += prefix.length;
        found_.push_back(from);
        return true;
      }
      wait(turn.loss, from, 1);
    }
  }

  // The number of a label sequence that is one label longer than a known one.
  int32_t spell(int32_t spelling, int32_t label) {
    if (label == kEpsilon) return spelling;
    const int64_t key = (static_cast<int64_t>(spelling) << 32) | static_cast<uint32_t>(label);
    return spellings_.try_emplace(key, static_cast<int32_t>(spellings_.size()) + 1).first->second;
  }

  bool fresh(const Prefix& prefix, bool ended) {
    const int32_t where = ended ? kNone : prefix.state;
    return seen_
        .insert((static_cast<uint64_t>(prefix.spelling) << 32) | static_cast<uint32_t>(where))
        .second;
  }

  void emit(int32_t last, Paths& paths) {
    const size_t begin = paths.arcs.size();
    paths.last.push_back(prefixes_[last].state);
    int32_t i = last;
    for (; prefixes_[i].parent != kNone; i = prefixes_[i].parent) {
      if (prefixes_[i].arc != kNone) paths.arcs.push_back(prefixes_[i].arc);
    }
    paths.first.push_back(prefixes_[i].state);
    std::reverse(paths.arcs.begin() + static_cast<std::ptrdiff_t>(begin), paths.arcs.end());
    paths.lengths.push_back(static_cast<int64_t>(paths.arcs.size() - begin));
  }

  const Csr& leaving_;
  const T *weights_, *start_, *accept_;
  const BestWays best_;
  const bool unique_;
  const int32_t* labels_;
  const int64_t k_, max_prefixes_;
  int32_t first_state_ = 0;
  int64_t path_arcs_ = 0;  // of the paths found
  std::vector<Step> starts_;
  std::vector<std::vector<Step>> onward_;
  std::vector<Prefix> prefixes_;
  std::vector<Turn> heap_;
  std::vector<int32_t> found_;  // by their last prefixes
  std::unordered_map<int64_t, int32_t> spellings_;
  std::unordered_set<uint64_t> seen_;
};

}  // namespace gtnet::paths
