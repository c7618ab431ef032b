// Frame-synchronous beam search through a chain of frames composed with a graph (Lowerre 1976; the
// lattice as in Povey et al. 2012). Only the states that survive a frame are touched or stored.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "beam/cpu/ordered_set.h"
#include "beam/limits.h"
#include "core/interrupt.h"
#include "core/simd_dispatch.h"

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
};

// How a token came to be: along `arc`, `slack` worse than along the best arc that leads to it.
struct TraceArc {
  int32_t source, target, arc;
  float slack;
};

// The survivors of one item, cut by cut: tokens, which are states reached, and their arcs. Cut c,
// the moment before frame c, owns tokens [cuts[c], cuts[c + 1]), which are entered by arcs
// [arc_cuts[c], arc_cuts[c + 1]).
struct BeamTrace {
  std::vector<int32_t> states;
  std::vector<TraceArc> arcs;
  std::vector<int64_t> cuts{0}, arc_cuts{0};
  std::vector<double> scores;       // of the last cut's tokens
  std::vector<double> start_slack;  // of the first cut's, where the search begins: to start there
};

template <class Score>
class BeamSearch {
 public:
  BeamSearch(const BeamGraph<Score>& graph, const BeamLimits& limits)
      : graph_(graph),
        limits_(limits),
        slot_of_state_(static_cast<int32_t*>(
                           std::calloc(graph.last_state - graph.first_state + 1, sizeof(int32_t))),
                       &std::free),
        queue_(graph.epsilon_order ? graph.last_state - graph.first_state : 0),
        slot_in_queue_(std::make_unique_for_overwrite<int32_t[]>(
            graph.epsilon_order ? graph.last_state - graph.first_state : 0)) {
    if (!slot_of_state_) throw std::bad_alloc();
  }

  // The cut before the first frame.
  void begin() {
    clear(graph_.last_state - graph_.first_state);
    for (int32_t s = graph_.first_state; s < graph_.last_state; ++s) {
      best_ = std::max(best_, static_cast<double>(graph_.start[s]));
    }
    const double lowest = limits_.lowest_within(best_);
    for (int32_t s = graph_.first_state; s < graph_.last_state; ++s) {
      const auto score = static_cast<double>(graph_.start[s]);
      if (score >= lowest) enter(s, score);
    }
    choose();
    follow_epsilons(lowest);
    survive();
    for (size_t i = 0; i < trace_.states.size(); ++i) {
      const auto start = static_cast<double>(graph_.start[trace_.states[i]]);
      trace_.start_slack.push_back(BeamLimits::slack(trace_.scores[i], start));
    }
  }

  // The cut at which another search ended.
  void resume(const int32_t* states, const double* scores, int64_t count) {
    trace_.states.assign(states, states + count);
    trace_.scores.assign(scores, scores + count);
    close_cut();
  }

  // One frame: its score of each label.
  void read(const Score* row, int64_t num_labels) {
    score_arcs(row, num_labels);
    poll(16 * (num_arcs_ + 1));
    clear(num_arcs_);
    const auto [worst, best] = extremes();
    best_ = best;
    const double lowest = limits_.lowest_within(best_);
    const bool some = limits_.foresee && num_arcs_ > limits_.max_active;
    if (some) count_scores(std::max(worst, lowest));
    double above = -kNegInf;
    for (int64_t wanted = limits_.max_active;; wanted *= 2) {
      const double bound = some ? bound_for(ScoreBins::arcs_for(wanted), lowest) : lowest;
      follow_scored(bound, above);
      above = bound;
      if (bound <= lowest || count_ >= limits_.max_active) break;
    }
    choose();
    follow_epsilons(lowest);
    survive();
    if (trace_.arcs.size() > forget_at_) forget();
  }

  // What was kept, without what leads nowhere.
  const BeamTrace& finish() {
    forget();
    return trace_;
  }

 private:
  static constexpr double kLowest = BeamLimits::kLowest;

  const BeamGraph<Score> graph_;
  const BeamLimits limits_;
  BeamTrace trace_;
  // Briggs & Torczon 1993: a slot counts if the state entered there says so, so nothing is cleared.
  const std::unique_ptr<int32_t, decltype(&std::free)> slot_of_state_;
  // The arcs that leave the last cut and read a label: the first num_arcs_ of these.
  std::vector<double> arc_score_;
  std::vector<int32_t> arc_token_, arc_position_, chosen_;
  std::vector<int32_t> entered_, place_, bins_;
  std::vector<double> score_, ranked_, behind_;
  OrderedSet queue_;  // of states with epsilons to follow, by their order
  const std::unique_ptr<int32_t[]> slot_in_queue_;  // by their order
  // The epsilon arcs that were followed: slot, position, target, score, in order.
  struct Followed {
    int32_t from, position, target;
    double score;
  };
  std::vector<Followed> followed_;
  int64_t num_arcs_ = 0, count_ = 0;  // arcs scored, states entered
  double best_ = kNegInf;
  ScoreBins bins_of_scores_;
  size_t forget_at_ = size_t{1} << 16;

  void clear(int64_t most) {
    best_ = kNegInf;
    count_ = 0;
    if (static_cast<int64_t>(entered_.size()) < most) {
      entered_.resize(most);
      score_.resize(most);
    }
    followed_.clear();
  }

  void score_arcs(const Score* row, int64_t num_labels) {
    const int64_t begin = trace_.cuts[trace_.cuts.size() - 2], end = trace_.cuts.back();
    int64_t degrees = 0;
    for (int64_t token = begin; token < end; ++token) {
      const int32_t state = trace_.states[token];
      degrees += graph_.offsets[state + 1] - graph_.offsets[state];
    }
    if (static_cast<int64_t>(arc_score_.size()) < degrees) {
      arc_score_.resize(degrees);
      arc_token_.resize(degrees);
      arc_position_.resize(degrees);
      chosen_.resize(degrees);
    }
    int64_t arc = 0;
    for (int64_t token = begin; token < end; ++token) {
      const int32_t state = trace_.states[token];
      const double before = trace_.scores[token - begin];
      int32_t first = graph_.offsets[state], last = graph_.offsets[state + 1];
      while (first < last && graph_.labels[first] < 0) ++first;
      while (first < last && graph_.labels[last - 1] >= num_labels) --last;
      for (int32_t k = first; k < last; ++k, ++arc) {
        arc_score_[arc] = before + static_cast<double>(graph_.weights[k]) +
                          static_cast<double>(row[graph_.labels[k]]);
        arc_token_[arc] = static_cast<int32_t>(token);
        arc_position_[arc] = k;
      }
    }
    num_arcs_ = arc;
  }

  // The worst and the best finite score of an arc.
  std::pair<double, double> extremes() const {
    double worst = -kNegInf, best = kNegInf;
    const double* const score = arc_score_.data();
    const int64_t count = num_arcs_;
    const auto body = [&]() __attribute__((always_inline)) {
      double low = -kNegInf, high = kNegInf;
      GTNET_SIMD(reduction(min : low) reduction(max : high))
      for (int64_t k = 0; k < count; ++k) {
        high = score[k] > high ? score[k] : high;
        const double finite = score[k] > kNegInf ? score[k] : -kNegInf;
        low = finite < low ? finite : low;
      }
      worst = low;
      best = high;
    };
    vectorized(body);
    return {worst, best};
  }

  // Lists the arcs with scores in [low, high) in chosen_; how many.
  int64_t choose_arcs(double low, double high) {
    int64_t count = 0;
    for (int64_t k = 0; k < num_arcs_; ++k) {
      chosen_[count] = static_cast<int32_t>(k);
      count +=
          static_cast<int64_t>(arc_score_[k] >= low) & static_cast<int64_t>(arc_score_[k] < high);
    }
    return count;
  }

  // A histogram of the arcs' scores from the best one down to `worst`.
  void count_scores(double worst) {
    bins_of_scores_.set(best_, worst);
    bins_.assign(ScoreBins::kCount, 0);
    for (int64_t k = 0; k < num_arcs_; ++k) {
      ++bins_[bins_of_scores_.bin(arc_score_[k])];
    }
  }

  // The score of that rank (from 1 on) among the states entered.
  double score_of_rank(int64_t rank) {
    const ScoreBins of{best_, bins_of_scores_.per_score};
    bins_.assign(ScoreBins::kCount, 0);
    for (int64_t slot = 0; slot < count_; ++slot) ++bins_[of.bin(score_[slot])];
    int at = 0;
    while (rank > bins_[at]) rank -= bins_[at++];
    ranked_.clear();
    for (int64_t slot = 0; slot < count_; ++slot) {
      if (of.bin(score_[slot]) == at) ranked_.push_back(score_[slot]);
    }
    std::nth_element(ranked_.begin(), ranked_.begin() + rank - 1, ranked_.end(), std::greater<>());
    return ranked_[rank - 1];
  }

  // A score that at least so many arcs reach, and not many more; `lowest` where there are fewer.
  double bound_for(int64_t wanted, double lowest) const {
    for (int k = 0; k < ScoreBins::kCount - 1; ++k) {
      wanted -= bins_[k];
      if (wanted <= 0) return std::max(lowest, bins_of_scores_.edge(k));
    }
    return lowest;
  }

  int32_t& slot_of(int32_t state) const { return slot_of_state_.get()[state - graph_.first_state]; }

  // The slot of a state that was entered, else kNone.
  int32_t entered_slot(int32_t state) const {
    const int32_t slot = slot_of(state);
    return slot < count_ && entered_[slot] == state ? slot : kNone;
  }

  void enter(int32_t state, double score) {
    int32_t& slot = slot_of(state);
    if (slot < count_ && entered_[slot] == state) {
      if (score > score_[slot]) score_[slot] = score;
      return;
    }
    slot = static_cast<int32_t>(count_++);
    entered_[slot] = state;
    score_[slot] = score;
  }

  // Enters what the arcs with scores in [bound, above) lead to.
  void follow_scored(double bound, double above) {
    const int64_t count = choose_arcs(bound, above);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t k = chosen_[i];
      enter(graph_.targets[arc_position_[k]], arc_score_[k]);
    }
  }

  void enqueue(int32_t slot) {
    const int32_t state = entered_[slot], k = graph_.offsets[state];
    if (k == graph_.offsets[state + 1] || graph_.labels[k] >= 0) return;
    const int32_t at = graph_.epsilon_order[state] - graph_.first_state;
    queue_.insert(at);
    slot_in_queue_[at] = slot;
  }

  // Within a cut, in an order that leads forward: whoever is taken from the queue is final.
  void follow_epsilons(double bound) {
    if (!graph_.epsilon_order) return;
    const auto count = static_cast<int32_t>(count_);
    for (int32_t slot = 0; slot < count; ++slot) enqueue(slot);
    while (!queue_.empty()) {
      const int32_t from = slot_in_queue_[queue_.take()];
      const int32_t state = entered_[from], end = graph_.offsets[state + 1];
      for (int32_t k = graph_.offsets[state]; k < end && graph_.labels[k] < 0; ++k) {
        const double score = score_[from] + static_cast<double>(graph_.weights[k]);
        followed_.push_back({from, k, graph_.targets[k], score});
        if (score < bound) continue;
        best_ = std::max(best_, score);
        if (count_ == static_cast<int64_t>(entered_.size())) {
          entered_.resize(2 * count_ + 1);
          score_.resize(2 * count_ + 1);
        }
        const int64_t known = count_;
        enter(graph_.targets[k], score);
        if (count_ > known) enqueue(static_cast<int32_t>(known));
      }
    }
  }

  // Writes down who is within the beam, now that epsilons may have raised it, and the arcs between
  // them.
  void survive() {
    const double within = limits_.lowest_within(best_);
    place_.assign(count_, kNone);
    for (int64_t slot = 0; slot < count_; ++slot) {
      if (score_[slot] >= within) place_[slot] = 0;
    }
    keep_epsilon_sources();
    const int64_t begin = trace_.cuts.back();
    double least = best_;
    trace_.scores.clear();
    for (int64_t slot = 0; slot < count_; ++slot) {
      if (place_[slot] == kNone) continue;
      least = std::min(least, score_[slot]);
      place_[slot] = static_cast<int32_t>(begin + trace_.scores.size());
      trace_.states.push_back(entered_[slot]);
      trace_.scores.push_back(score_[slot]);
    }
    const int64_t arcs = choose_arcs(limits_.lowest_of_arcs(least), -kNegInf);
    for (int64_t i = 0; i < arcs; ++i) {
      const int32_t k = chosen_[i];
      record(arc_token_[k], graph_.targets[arc_position_[k]], arc_position_[k], arc_score_[k]);
    }
    for (const Followed& arc : followed_) {
      if (place_[arc.from] == kNone || arc.score < kLowest) continue;
      record(place_[arc.from], arc.target, arc.position, arc.score);
    }
    close_cut();
  }

  // Of the states entered the max_active best stay, of equal ones those that were reached first.
  void choose() {
    if (count_ <= limits_.max_active) return;
    const double least = score_of_rank(limits_.max_active);
    int64_t equal = limits_.max_active - std::count_if(score_.begin(), score_.begin() + count_,
                                                       [&](double score) { return score > least; });
    int64_t kept = 0;
    for (int64_t slot = 0; slot < count_; ++slot) {
      if (score_[slot] < least || (score_[slot] == least && equal-- <= 0)) continue;
      if (kept < slot) {
        entered_[kept] = entered_[slot];
        score_[kept] = score_[slot];
        slot_of(entered_[kept]) = static_cast<int32_t>(kept);
      }
      ++kept;
    }
    count_ = kept;
  }

  // The states that the epsilons of a survivor come through survive with it.
  void keep_epsilon_sources() {
    for (size_t i = followed_.size(); i-- > 0;) {
      const Followed& arc = followed_[i];
      if (place_[arc.from] != kNone) continue;
      const int32_t to = entered_slot(arc.target);
      if (to == kNone || place_[to] == kNone) continue;
      if (arc.score == score_[to]) place_[arc.from] = 0;
    }
  }

  void record(int32_t source, int32_t state, int32_t position, double score) {
    const int32_t slot = entered_slot(state);
    if (slot == kNone || place_[slot] == kNone) return;
    const double slack = BeamLimits::slack(score_[slot], score);
    if (slack > limits_.lattice_beam || slack == -kNegInf) return;
    trace_.arcs.push_back({source, place_[slot], graph_.arcs[position], static_cast<float>(slack)});
  }

  void close_cut() {
    trace_.cuts.push_back(static_cast<int64_t>(trace_.states.size()));
    trace_.arc_cuts.push_back(static_cast<int64_t>(trace_.arcs.size()));
  }

  // Drops tokens and arcs from which no token of the last cut is within the lattice beam. Those of
  // the first cut stay: a chunk before this one counts on them.
  void forget() {
    const int64_t last = trace_.cuts[trace_.cuts.size() - 2];
    behind_.assign(trace_.states.size(), -kNegInf);
    std::fill(behind_.begin() + last, behind_.end(), 0.0);
    for (size_t k = trace_.arcs.size(); k-- > 0;) {
      const TraceArc& arc = trace_.arcs[k];
      const double here = behind_[arc.target] + static_cast<double>(arc.slack);
      if (here <= limits_.lattice_beam) {
        behind_[arc.source] = std::min(behind_[arc.source], here);
      }
    }
    place_.assign(trace_.states.size(), kNone);
    int64_t tokens = 0, arcs = 0, token = 0, arc = 0;
    for (size_t c = 0; c + 1 < trace_.cuts.size(); ++c) {
      for (; token < trace_.cuts[c + 1]; ++token) {
        if (c > 0 && !(behind_[token] < -kNegInf)) continue;
        place_[token] = static_cast<int32_t>(tokens);
        trace_.states[tokens++] = trace_.states[token];
      }
      for (; arc < trace_.arc_cuts[c + 1]; ++arc) {
        TraceArc kept = trace_.arcs[arc];
        if (!(behind_[kept.target] + static_cast<double>(kept.slack) <= limits_.lattice_beam) ||
            !(behind_[kept.target] < -kNegInf)) {
          continue;
        }
        kept.source = place_[kept.source];
        kept.target = place_[kept.target];
        trace_.arcs[arcs++] = kept;
      }
      trace_.cuts[c + 1] = tokens;
      trace_.arc_cuts[c + 1] = arcs;
    }
    trace_.states.resize(tokens);
    trace_.arcs.resize(arcs);
    forget_at_ = std::max(forget_at_, 2 * trace_.arcs.size());
  }
};

}  // namespace gtnet::beam
