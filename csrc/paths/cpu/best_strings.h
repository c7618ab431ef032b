// The label sequences of a graph with the largest sums over their paths, best first: A* over their
// prefixes. A prefix holds the log-sums of its paths into each state (a state of the deterministic
// automaton, made only where the search comes), and promises the most that one sequence with this
// prefix can still sum to.
#pragma once

#include <algorithm>
#include <cmath>
#include <queue>
#include <vector>

#include "core/interrupt.h"
#include "core/topology.h"

namespace gtnet::paths {

// log(exp(a) + exp(b))
inline double log_sum(double a, double b) {
  if (a < b) std::swap(a, b);
  return b == kNegInf ? a : a + std::log1p(std::exp(b - a));
}

struct Answers {
  std::vector<int64_t> lengths;
  std::vector<int32_t> labels;  // sequence after sequence
  bool too_many = false;
};

// A graph whose epsilon arcs lead forward in an order of its states; labels stand beside the
// positions of `leaving`, sorted within a state, epsilons first.
struct Lattice {
  Csr leaving;
  const int32_t* labels;
  const double *weights, *start, *accept;
  const int32_t* order;
  int32_t begin, end;  // its states, and their positions in the order
};

// For each state the most that one label sequence can sum to from there on, by the best label at
// every state on its own: as true a bound as paths that meet where labels do. The graph is acyclic.
inline std::vector<double> best_rest(const Lattice& graph) {
  constexpr int32_t kEnd = std::numeric_limits<int32_t>::max();
  using Item = std::pair<int32_t, double>;  // a label, or kEnd, and the bound behind it
  std::vector<std::vector<Item>> items(graph.end - graph.begin);
  std::vector<double> rest(graph.end - graph.begin, kNegInf);
  for (int32_t i = graph.end; i-- > graph.begin;) {
    const int32_t state = graph.order[i];
    std::vector<Item> found;
    if (graph.accept[state] != kNegInf) found.emplace_back(kEnd, graph.accept[state]);
    for (int32_t p = graph.leaving.offsets[state]; p < graph.leaving.offsets[state + 1]; ++p) {
      const double weight = graph.weights[graph.leaving.arcs[p]];
      const int32_t target = graph.leaving.states[p] - graph.begin;
      if (weight == kNegInf || rest[target] == kNegInf) continue;
      if (graph.labels[p] != kEpsilon) {
        found.emplace_back(graph.labels[p], weight + rest[target]);
        continue;
      }
      for (const auto& [label, score] : items[target]) found.emplace_back(label, weight + score);
    }
    poll(16 * static_cast<int64_t>(found.size()));
    std::stable_sort(found.begin(), found.end(),
                     [](const Item& a, const Item& b) { return a.first < b.first; });
    std::vector<Item>& merged = items[state - graph.begin];
    for (const auto& [label, score] : found) {
      if (!merged.empty() && merged.back().first == label) {
        merged.back().second = log_sum(merged.back().second, score);
      } else {
        merged.emplace_back(label, score);
      }
    }
    for (const Item& item : merged) {
      rest[state - graph.begin] = std::max(rest[state - graph.begin], item.second);
    }
  }
  return rest;
}

class BestAnswers {
 public:
  // `rest` is, by state, no less than the most that one sequence can sum to from there.
  BestAnswers(const Lattice& graph, const double* rest)
      : graph_(graph),
        rest_(rest),
        rank_(graph.end - graph.begin),
        sum_(graph.end - graph.begin, kNegInf) {
    for (int32_t i = graph.begin; i < graph.end; ++i) {
      rank_[graph.order[i] - graph.begin] = i - graph.begin;
    }
  }

  void run(int64_t count, int64_t max_prefixes, Answers& answers) {
    std::vector<Reached> start;
    for (int32_t s = graph_.begin; s < graph_.end; ++s) {
      if (graph_.start[s] != kNegInf) start.push_back({s, graph_.start[s]});
    }
    enqueue({-kNegInf, 0, kNone}, kNone, std::move(start));
    std::vector<Ended> found;
    for (int64_t expanded = 0; !heap_.empty() && static_cast<int64_t>(found.size()) < count;) {
      const Entry next = heap_.top();
      heap_.pop();
      if (prefixes_[next.prefix].reached.empty()) {
        found.push_back({prefixes_[next.prefix].ended, next.prefix});
      } else if (expanded++ + made_ / kMadeByPrefix >= max_prefixes) {
        answers.too_many = true;
        return;
      } else {
        expand(next);
      }
    }
    // Promises are rounded to those of shorter prefixes: answers come in the order of their sums.
    std::stable_sort(found.begin(), found.end(),
                     [](const Ended& a, const Ended& b) { return a.sum > b.sum; });
    for (const Ended& answer : found) emit(answer.prefix, answers);
  }

 private:
  static constexpr double kRounding = 1e-12;
  // What counts as a prefix more, in 16 bytes: large prefixes count several times, so that
  // max_prefixes bounds time and memory.
  static constexpr int64_t kMadeByPrefix = 160;

  struct Reached {
    int32_t state;
    double sum;
  };
  struct Prefix {
    int32_t parent, label;
    double ended;                  // the sum where the sequence ends here
    std::vector<Reached> reached;  // none: it does
  };
  struct Ended {
    double sum;
    int32_t prefix;
  };
  // Of equal promises the longest prefix comes first, lest all prefixes of equal answers are
  // expanded before one of them has ended; then the first made.
  struct Entry {
    double promise;
    int32_t length, prefix;
    bool operator<(const Entry& other) const {
      if (promise != other.promise) return promise < other.promise;
      return length != other.length ? length < other.length : prefix > other.prefix;
    }
  };
  struct Step {
    int32_t label, state;
    double sum;
  };

  void enqueue(const Entry& parent, int32_t label, std::vector<Reached> reached) {
    double promise = kNegInf;
    for (const Reached& r : reached) {
      promise = log_sum(promise, r.sum + rest_[r.state - graph_.begin]);
    }
    if (promise == kNegInf) return;
    made_ += static_cast<int64_t>(reached.size());
    push(parent, promise, {parent.prefix, label, kNegInf, std::move(reached)});
  }

  // A child promises no more than its parent, and just as much where rounding alone differs.
  void push(const Entry& parent, double promise, Prefix prefix) {
    const double nearly = parent.promise - kRounding * (1 + std::abs(parent.promise));
    if (promise >= nearly) promise = parent.promise;
    made_ += (sizeof(Prefix) + sizeof(Entry)) / sizeof(Reached);
    prefixes_.push_back(std::move(prefix));
    heap_.push({promise, parent.length + 1, static_cast<int32_t>(prefixes_.size() - 1)});
  }

  // Follows the epsilons of a prefix in the order of the states, ends it, and queues its children.
  void expand(const Entry& from) {
    const int32_t index = from.prefix;
    for (const Reached& r : prefixes_[index].reached) add(r.state, r.sum);
    std::vector<Reached>().swap(prefixes_[index].reached);
    double ended = kNegInf;
    steps_.clear();
    while (!open_.empty()) {
      const int32_t state = graph_.order[graph_.begin - open_.top()];
      open_.pop();
      poll(16 * (graph_.leaving.offsets[state + 1] - graph_.leaving.offsets[state] + 1));
      double& here = sum_[state - graph_.begin];
      const double sum = here;
      here = kNegInf;
      ended = log_sum(ended, sum + graph_.accept[state]);
      for (int32_t p = graph_.leaving.offsets[state]; p < graph_.leaving.offsets[state + 1]; ++p) {
        const double further = sum + graph_.weights[graph_.leaving.arcs[p]];
        if (further == kNegInf) continue;
        if (graph_.labels[p] == kEpsilon) {
          add(graph_.leaving.states[p], further);
        } else {
          steps_.push_back({graph_.labels[p], graph_.leaving.states[p], further});
        }
      }
    }
    if (ended != kNegInf) push(from, ended, {index, kNone, ended, {}});
    std::stable_sort(steps_.begin(), steps_.end(), [](const Step& a, const Step& b) {
      return a.label != b.label ? a.label < b.label : a.state < b.state;
    });
    for (size_t i = 0; i < steps_.size();) {
      const int32_t label = steps_[i].label;
      std::vector<Reached> reached;
      for (; i < steps_.size() && steps_[i].label == label; ++i) {
        if (!reached.empty() && reached.back().state == steps_[i].state) {
          reached.back().sum = log_sum(reached.back().sum, steps_[i].sum);
        } else {
          reached.push_back({steps_[i].state, steps_[i].sum});
        }
      }
      enqueue(from, label, std::move(reached));
    }
  }

  // One more way into a state; states wait in their order, each once.
  void add(int32_t state, double sum) {
    double& here = sum_[state - graph_.begin];
    if (here == kNegInf) open_.push(-rank_[state - graph_.begin]);
    here = log_sum(here, sum);
  }

  void emit(int32_t index, Answers& answers) {
    const size_t begin = answers.labels.size();
    for (int32_t i = prefixes_[index].parent; prefixes_[i].parent != kNone;
         i = prefixes_[i].parent) {
      answers.labels.push_back(prefixes_[i].label);
    }
    std::reverse(answers.labels.begin() + static_cast<std::ptrdiff_t>(begin), answers.labels.end());
    answers.lengths.push_back(static_cast<int64_t>(answers.labels.size() - begin));
  }

  const Lattice& graph_;
  const double* rest_;
  int64_t made_ = 0;  // states reached, and prefixes in their size
  std::vector<int32_t> rank_;
  std::vector<double> sum_;  // of the states in open_, -inf elsewhere
  std::vector<Prefix> prefixes_;
  std::vector<Step> steps_;
  std::priority_queue<Entry> heap_;
  std::priority_queue<int32_t> open_;  // minus the ranks, so that the first comes first
};

}  // namespace gtnet::paths
