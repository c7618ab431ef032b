// The part of a product that its best paths lie in, found without the rest (Hart, Nilsson & Raphael
// 1968). A path of the product is one path of each operand, so what the operands can still gain at
// best, added up, bounds what the product can: states are taken in the order of the score of the
// best path through them, if it was so.
#pragma once

#include <algorithm>
#include <queue>
#include <utility>
#include <vector>

#include "rewrite/cpu/compose.h"

namespace gtnet::rewrite {

// The scores of an operand, and the best that each state can still gain, its end included.
struct Prospects {
  In<double> weights, start, accept, ahead;  // weights by arc
};

class BestFirst {
 public:
  // Looks for `paths` best paths (at least 1), and for all that are at most `slack` worse than the
  // last of these.
  BestFirst(const Moves& moves, const Prospects& a, const Prospects& b, int64_t paths, double slack,
            Budget& budget, PairTable& table)
      : moves_(moves), a_(a), b_(b), paths_(paths), slack_(slack), budget_(budget), table_(table) {}

  // States in the order in which they were taken; not trimmed.
  Product run() {
    table_.reset(moves_.a.end - moves_.a.begin, moves_.b.end - moves_.b.begin,
                 moves_.filter.states);
    begin();
    while (!queue_.empty() && !too_large_) {
      const auto [score, state] = queue_.top();
      if (ended_ >= paths_ && score < least_ - kRounding * (1 + std::abs(least_))) break;
      queue_.pop();
      if (state == kNone) {
        if (++ended_ == paths_) least_ = score - slack_;
      } else {
        take(state, score);
      }
    }
    Product found;
    if (too_large_) {
      found.too_large = true;
    } else {
      found = taken();
    }
    for (const Node& node : nodes_) {
      table_(node.pair.a - moves_.a.begin, node.pair.b - moves_.b.begin, node.pair.filter) = kNone;
    }
    return found;
  }

 private:
  static constexpr double kRounding = 1e-9;

  struct Node {
    Pair pair;
    int64_t begin = 0, end = 0;  // of its steps
    int64_t times = 0;           // that it was taken
    double best = 0;
  };
  struct Step {
    ProductArc arc;
    double loss;  // of what can be reached at best, at most 0
  };

  void begin() {
    for (int32_t s = moves_.a.begin; s < moves_.a.end; ++s) {
      const double one = a_.start[s] + a_.ahead[s];
      if (!(one > kNegInf)) continue;
      for (int32_t t = moves_.b.begin; t < moves_.b.end; ++t) {
        const double other = b_.start[t] + b_.ahead[t];
        if (other > kNegInf) push(one + other, number(s, t, 0));
      }
    }
  }

  // How often a state is taken: the n best paths take it with at most n scores.
  int64_t most() const { return ended_ < paths_ ? paths_ : 1; }

  void take(int32_t state, double score) {
    if (nodes_[state].times >= most()) return;
    if (++nodes_[state].times == 1) expand(state, score);
    const Node node = nodes_[state];
    for (int64_t i = node.begin; i < node.end; ++i) {
      const Step& step = steps_[i];
      if (nodes_[step.arc.target].times < most()) push(score + step.loss, step.arc.target);
    }
    const double end = a_.accept[node.pair.a] + b_.accept[node.pair.b];
    if (end > kNegInf) push(score + std::min(end - ahead(node.pair), 0.0), kNone);
    poll(8 + 8 * (node.end - node.begin));
  }

  void expand(int32_t state, double score) {
    const Pair pair = nodes_[state].pair;
    const double from = ahead(pair);
    nodes_[state].begin = static_cast<int64_t>(steps_.size());
    nodes_[state].best = score;
    each_move(moves_, pair, [&](const Move& move) {
      const double weight = (move.arc_a == kNone ? 0 : a_.weights[move.arc_a]) +
                            (move.arc_b == kNone ? 0 : b_.weights[move.arc_b]);
      const double to = a_.ahead[move.a] + b_.ahead[move.b];
      if (!(weight + to > kNegInf)) return true;
      const int32_t target = number(move.a, move.b, move.filter);
      steps_.push_back({{target, move.arc_a, move.arc_b}, std::min(weight + to - from, 0.0)});
      return true;
    });
    nodes_[state].end = static_cast<int64_t>(steps_.size());
    order_.push_back(state);
    too_large_ = too_large_ || !budget_.charge(nodes_[state].end - nodes_[state].begin);
  }

  void push(double score, int32_t state) {
    queue_.emplace(score, state);
    too_large_ = too_large_ || static_cast<int64_t>(queue_.size()) > budget_.most;
  }

  double ahead(const Pair& pair) const { return a_.ahead[pair.a] + b_.ahead[pair.b]; }

  int32_t number(int32_t state_a, int32_t state_b, int filter) {
    int32_t& known = table_(state_a - moves_.a.begin, state_b - moves_.b.begin, filter);
    if (known == kNone) {
      known = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({{state_a, state_b, static_cast<int8_t>(filter)}});
    }
    return known;
  }

  // What was taken, without the arcs that only worse paths take.
  Product taken() const {
    const double least =
        ended_ >= paths_ ? least_ - kRounding * (1 + std::abs(least_)) : double{kNegInf};
    Product found;
    std::vector<int32_t> place(nodes_.size(), kNone);
    for (const int32_t state : order_) {
      place[state] = static_cast<int32_t>(found.states.size());
      found.states.push_back(nodes_[state].pair);
    }
    for (const int32_t state : order_) {
      const Node& node = nodes_[state];
      found.arc_begin.push_back(static_cast<int64_t>(found.arcs.size()));
      for (int64_t i = node.begin; i < node.end; ++i) {
        const int32_t target = place[steps_[i].arc.target];
        if (target == kNone || node.best + steps_[i].loss < least) continue;
        found.arcs.push_back({target, steps_[i].arc.a, steps_[i].arc.b});
      }
    }
    found.arc_begin.push_back(static_cast<int64_t>(found.arcs.size()));
    return found;
  }

  const Moves moves_;
  const Prospects a_, b_;
  const int64_t paths_;
  const double slack_;
  Budget& budget_;
  PairTable& table_;
  bool too_large_ = false;
  int64_t ended_ = 0;
  double least_ = 0;  // once enough paths have ended
  std::vector<Node> nodes_;
  std::vector<Step> steps_;
  std::vector<int32_t> order_;
  std::priority_queue<std::pair<double, int32_t>> queue_;  // kNone: a path ends
};

}  // namespace gtnet::rewrite
