// A graph that is there as the model of a beam search (search.h).
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "beam/cpu/ordered_set.h"
#include "beam/cpu/trace.h"
#include "beam/limits.h"

namespace gtnet::beam {

// A graph whose leaving arcs are sorted by input label, epsilons first; states, arcs and positions
// are numbered through the batch.
template <class Score>
struct BeamGraph {
  int32_t first_state, last_state;
  const int32_t* offsets;  // state s owns positions [offsets[s], offsets[s + 1])
  const int32_t *arcs, *targets, *labels;
  const Score* weights;          // by position
  const Score* start;            // by state
  const int32_t* epsilon_order;  // of the states, so that epsilon arcs lead forward; may be null

  int32_t num_states() const { return last_state - first_state; }
};

// States by the order of their epsilons.
template <class Score>
class EpsilonQueue {
 public:
  explicit EpsilonQueue(const BeamGraph<Score>& graph)
      : graph_(graph),
        set_(graph.epsilon_order ? graph.num_states() : 0),
        state_(std::make_unique_for_overwrite<int32_t[]>(graph.epsilon_order ? graph.num_states()
                                                                             : 0)) {}

  bool is_needed() const { return graph_.epsilon_order != nullptr; }
  bool empty() const { return set_.empty(); }
  void insert(int32_t state) {
    const int32_t at = graph_.epsilon_order[state] - graph_.first_state;
    set_.insert(at);
    state_[at] = state;
  }
  int32_t take() { return state_[set_.take()]; }

 private:
  const BeamGraph<Score> graph_;
  OrderedSet set_;
  const std::unique_ptr<int32_t[]> state_;  // by order
};

template <class ScoreOfFrames>
class BuiltGraph {
 public:
  using Score = ScoreOfFrames;
  using Queue = EpsilonQueue<Score>;

  explicit BuiltGraph(const BeamGraph<Score>& graph)
      : graph_(graph),
        slots_(static_cast<int32_t*>(std::calloc(graph.num_states() + 1, sizeof(int32_t))),
               &std::free) {
    if (!slots_) throw std::bad_alloc();
  }

  void starts(std::vector<Reached>& reached) const {
    for (int32_t s = graph_.first_state; s < graph_.last_state; ++s) {
      if (start(s) >= BeamLimits::kLowest) reached.push_back({s, start(s)});
    }
  }
  double start(int32_t state) const { return static_cast<double>(graph_.start[state]); }

  void begin_cut() const {}
  ArcRange labelled(int32_t state, int64_t num_labels) const {
    int32_t first = graph_.offsets[state], last = graph_.offsets[state + 1];
    while (first < last && graph_.labels[first] < 0) ++first;
    while (first < last && graph_.labels[last - 1] >= num_labels) --last;
    return {first, last};
  }
  bool may_be_silent(int32_t state) const {
    const int32_t k = graph_.offsets[state];
    return k < graph_.offsets[state + 1] && graph_.labels[k] < 0;
  }
  ArcRange silent(int32_t state) const {
    const int32_t first = graph_.offsets[state], end = graph_.offsets[state + 1];
    int32_t last = first;
    while (last < end && graph_.labels[last] < 0) ++last;
    return {first, last};
  }

  int32_t label(int32_t k) const { return graph_.labels[k]; }
  Score weight(int32_t k) const { return graph_.weights[k]; }
  int32_t target(int32_t k) const { return graph_.targets[k]; }
  int32_t arc(int32_t k) const { return graph_.arcs[k]; }

  int32_t& slot(int32_t state) const { return slots_.get()[state - graph_.first_state]; }
  Queue queue() const { return Queue(graph_); }
  void keep(const BeamTrace& /*trace*/) const {}
  static bool is_full() { return false; }

 private:
  const BeamGraph<Score> graph_;
  const std::unique_ptr<int32_t, decltype(&std::free)> slots_;
};

}  // namespace gtnet::beam
