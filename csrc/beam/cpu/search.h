// Frame-synchronous beam search through a chain of frames composed with a graph (Lowerre 1976; the
// lattice as in Povey et al. 2012). Only the states that survive a frame are touched or stored.
//
// The graph is a model: BuiltGraph (built_graph.h), or Product (product.h), which makes the states
// of several graphs composed as the search reaches them. States and arcs are numbers that a model
// gives; those of arcs hold until the next cut. A model has
//   Score                    the type of the scores of frames
//   starts(reached)          where paths start, with their scores; start(state) of one, or -inf
//   begin_cut()              the numbers of arcs of the cut before may be used again
//   labelled(state, labels)  the arcs that leave a state and read a label below `labels`
//   silent(state)            those that read an epsilon; may_be_silent(state): whether any may be
//   label(k), weight(k), target(k), and arc(k), which is written into the trace
//   slot(state)              an int32 for each state, which the search may write to
//   queue()                  states in an order in which epsilons lead forward, where there are any
//   keep(trace), is_full()   forgets what the trace does not name; asks for that
#pragma once

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "beam/cpu/trace.h"
#include "beam/limits.h"
#include "core/extremes.h"
#include "core/interrupt.h"
#include "core/simd_dispatch.h"

namespace gtnet::beam {

template <class Model>
class BeamSearch {
 public:
  using Score = typename Model::Score;

  BeamSearch(Model& model, const BeamLimits& limits)
      : model_(model), limits_(limits), queue_(model.queue()) {}

  // The cut before the first frame.
  void begin() {
    model_.begin_cut();
    std::vector<Reached> starts;
    model_.starts(starts);
    clear(static_cast<int64_t>(starts.size()));
    for (const Reached& start : starts) best_ = std::max(best_, start.score);
    const double lowest = limits_.lowest_within(best_);
    for (const Reached& start : starts) {
      if (start.score >= lowest) enter(start.state, start.score);
    }
    choose();
    follow_epsilons(lowest);
    survive();
    for (size_t i = 0; i < trace_.states.size(); ++i) {
      trace_.start_slack.push_back(
          BeamLimits::slack(trace_.scores[i], model_.start(trace_.states[i])));
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
    model_.begin_cut();
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
    if (trace_.arcs.size() > forget_at_ || model_.is_full()) forget();
  }

  // What was kept, without what leads nowhere.
  const BeamTrace& finish() {
    forget();
    return trace_;
  }

 private:
  static constexpr double kLowest = BeamLimits::kLowest;

  Model& model_;
  const BeamLimits limits_;
  BeamTrace trace_;
  // The arcs that leave the last cut and read a label: the first num_arcs_ of these.
  std::vector<double> arc_score_;
  std::vector<int32_t> arc_token_, arc_position_, chosen_;
  std::vector<ArcRange> ranges_;  // of the last cut's tokens
  std::vector<int32_t> entered_, place_, bins_;
  std::vector<double> score_, ranked_, behind_;
  typename Model::Queue queue_;  // of states with epsilons to follow
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
    ranges_.clear();
    int64_t degrees = 0;
    for (int64_t token = begin; token < end; ++token) {
      ranges_.push_back(model_.labelled(trace_.states[token], num_labels));
      degrees += ranges_.back().last - ranges_.back().first;
    }
    if (static_cast<int64_t>(arc_score_.size()) < degrees) {
      arc_score_.resize(degrees);
      arc_token_.resize(degrees);
      arc_position_.resize(degrees);
      chosen_.resize(degrees);
    }
    int64_t arc = 0;
    for (int64_t token = begin; token < end; ++token) {
      const double before = trace_.scores[token - begin];
      const ArcRange range = ranges_[token - begin];
      for (int32_t k = range.first; k < range.last; ++k, ++arc) {
        arc_score_[arc] = before + static_cast<double>(model_.weight(k)) +
                          static_cast<double>(row[model_.label(k)]);
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
      SideBySide<double> low(-kNegInf), high(kNegInf);
      in_lanes(count, [&](int64_t k, int i) __attribute__((always_inline)) {
        high.raise(i, score[k]);
        low.lower(i, score[k] > kNegInf ? score[k] : -kNegInf);
      });
      worst = low.smallest();
      best = high.largest();
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

  // Briggs & Torczon 1993: a slot counts if the state entered there says so, so nothing is cleared.
  // The slot of a state that was entered, else kNone.
  int32_t entered_slot(int32_t state) const {
    const int32_t slot = model_.slot(state);
    return slot < count_ && entered_[slot] == state ? slot : kNone;
  }

  void enter(int32_t state, double score) {
    int32_t& slot = model_.slot(state);
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
      enter(model_.target(arc_position_[k]), arc_score_[k]);
    }
  }

  void enqueue(int32_t slot) {
    if (model_.may_be_silent(entered_[slot])) queue_.insert(entered_[slot]);
  }

  // Within a cut, in an order that leads forward: whoever is taken from the queue is final.
  void follow_epsilons(double bound) {
    if (!queue_.is_needed()) return;
    const auto count = static_cast<int32_t>(count_);
    for (int32_t slot = 0; slot < count; ++slot) enqueue(slot);
    while (!queue_.empty()) {
      const int32_t state = queue_.take(), from = model_.slot(state);
      const ArcRange range = model_.silent(state);
      for (int32_t k = range.first; k < range.last; ++k) {
        const double score = score_[from] + static_cast<double>(model_.weight(k));
        const int32_t target = model_.target(k);
        followed_.push_back({from, k, target, score});
        if (score < bound) continue;
        best_ = std::max(best_, score);
        if (count_ == static_cast<int64_t>(entered_.size())) {
          entered_.resize(2 * count_ + 1);
          score_.resize(2 * count_ + 1);
        }
        const int64_t known = count_;
        enter(target, score);
        if (count_ > known) enqueue(static_cast<int32_t>(known));
      }
      poll(8 + 8 * (range.last - range.first));
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
      record(arc_token_[k], model_.target(arc_position_[k]), arc_position_[k], arc_score_[k]);
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
        model_.slot(entered_[kept]) = static_cast<int32_t>(kept);
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
    trace_.arcs.push_back({source, place_[slot], model_.arc(position), static_cast<float>(slack)});
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
    model_.keep(trace_);
  }
};

}  // namespace gtnet::beam
