// Frame-synchronous beam search through a chain of frames composed with a graph (Lowerre 1976; the
// lattice as in Povey et al. 2012). Only the states that survive a frame are touched or stored.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "platform.h"

namespace gtnet {

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

struct BeamLimits {
  double beam, lattice_beam;
  int64_t max_active;
  bool foresee;  // no epsilon raises a score, so a state that falls behind helps no other
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
                       &std::free) {}

  // The cut before the first frame.
  void begin() {
    clear(graph_.last_state - graph_.first_state);
    for (int32_t s = graph_.first_state; s < graph_.last_state; ++s) {
      best_ = std::max(best_, static_cast<double>(graph_.start[s]));
    }
    bound_ = lowest_within(limits_.beam);
    for (int32_t s = graph_.first_state; s < graph_.last_state; ++s) {
      const auto score = static_cast<double>(graph_.start[s]);
      if (score >= bound_) enter(s, score);
    }
    follow_epsilons();
    survive();
    for (size_t i = 0; i < trace_.states.size(); ++i) {
      const auto start = static_cast<double>(graph_.start[trace_.states[i]]);
      trace_.start_slack.push_back(trace_.scores[i] - start);
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
    clear(num_arcs_);
    const auto [worst, best] = extremes();
    best_ = best;
    const double lowest = lowest_within(limits_.beam);
    const bool some = limits_.foresee && num_arcs_ > limits_.max_active;
    if (some) count_scores(std::max(worst, lowest));
    double above = -kNegInf;
    for (int64_t wanted = limits_.max_active;; wanted *= 2) {
      bound_ = some ? bound_for(wanted + wanted / 4, lowest) : lowest;
      follow_scored(above);
      above = bound_;
      if (bound_ <= lowest || count_ >= limits_.max_active) break;
    }
    follow_epsilons();
    survive();
    if (trace_.arcs.size() > forget_at_) forget();
  }

  // What was kept, without what leads nowhere.
  const BeamTrace& finish() {
    forget();
    return trace_;
  }

 private:
  static constexpr double kLowest = std::numeric_limits<double>::lowest();
  static constexpr int kBins = 1024;

  const BeamGraph<Score> graph_;
  const BeamLimits limits_;
  BeamTrace trace_;
  // Briggs & Torczon 1993: a slot counts if the state entered there says so, so nothing is cleared.
  const std::unique_ptr<int32_t, decltype(&std::free)> slot_of_state_;
  // The arcs that leave the last cut and read a label: the first num_arcs_ of these.
  std::vector<double> arc_score_;
  std::vector<int32_t> arc_token_, arc_position_, chosen_;
  std::vector<int32_t> entered_, place_, bins_, followed_;
  std::vector<double> score_, ranked_, behind_;
  std::vector<std::pair<int32_t, int32_t>> queue_;  // (order, slot), the lowest order in front
  int64_t num_arcs_ = 0, count_ = 0;                // arcs scored, states entered
  double best_ = kNegInf, bound_ = kLowest, bins_per_score_ = 0;
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

  double lowest_within(double beam) const { return std::max(kLowest, best_ - beam); }

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
    GTNET_SIMD(reduction(min : worst) reduction(max : best))
    for (int64_t k = 0; k < num_arcs_; ++k) {
      best = score[k] > best ? score[k] : best;
      const double finite = score[k] > kNegInf ? score[k] : -kNegInf;
      worst = finite < worst ? finite : worst;
    }
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
    bins_per_score_ = best_ > worst ? (kBins - 1) / (best_ - worst) : 0;
    bins_.assign(kBins, 0);
    for (int64_t k = 0; k < num_arcs_; ++k) {
      // What is worse than the worst that counts lands in the last bin, which nobody asks.
      const double place = (best_ - arc_score_[k]) * bins_per_score_;
      ++bins_[static_cast<int>(place < kBins - 1 ? place : kBins - 1)];
    }
  }

  // A score that at least so many arcs reach, and not many more; `lowest` where there are fewer.
  double bound_for(int64_t wanted, double lowest) const {
    for (int k = 0; k < kBins - 1; ++k) {
      wanted -= bins_[k];
      if (wanted <= 0) return std::max(lowest, best_ - (k + 1) / bins_per_score_);
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

  // Enters what the arcs with scores in [bound_, above) lead to.
  void follow_scored(double above) {
    const int64_t count = choose_arcs(bound_, above);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t k = chosen_[i];
      enter(graph_.targets[arc_position_[k]], arc_score_[k]);
    }
  }

  void enqueue(int32_t slot) {
    const int32_t state = entered_[slot], k = graph_.offsets[state];
    if (k == graph_.offsets[state + 1] || graph_.labels[k] >= 0) return;
    queue_.emplace_back(graph_.epsilon_order[state], slot);
    std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
  }

  // body(arc's position) for every epsilon arc that leaves a state.
  template <class Body>
  void for_each_epsilon(int32_t state, const Body& body) const {
    const int32_t end = graph_.offsets[state + 1];
    for (int32_t k = graph_.offsets[state]; k < end && graph_.labels[k] < 0; ++k) body(k);
  }

  // Within a cut, in an order that leads forward: whoever is taken from the queue is final.
  void follow_epsilons() {
    if (!graph_.epsilon_order) return;
    const auto count = static_cast<int32_t>(count_);
    for (int32_t slot = 0; slot < count; ++slot) enqueue(slot);
    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
      const int32_t from = queue_.back().second;
      queue_.pop_back();
      followed_.push_back(from);
      for_each_epsilon(entered_[from], [&](int32_t k) {
        const double score = score_[from] + static_cast<double>(graph_.weights[k]);
        if (score < bound_) return;
        if (score > best_) {
          best_ = score;
          bound_ = std::max(bound_, lowest_within(limits_.beam));
        }
        if (count_ == static_cast<int64_t>(entered_.size())) {
          entered_.resize(2 * count_ + 1);
          score_.resize(2 * count_ + 1);
        }
        const int64_t known = count_;
        enter(graph_.targets[k], score);
        if (count_ > known) enqueue(static_cast<int32_t>(known));
      });
    }
  }

  // Chooses who goes on, and writes them and the arcs between them down.
  void survive() {
    choose();
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
    const int64_t arcs = choose_arcs(std::max(kLowest, least - limits_.lattice_beam), -kNegInf);
    for (int64_t i = 0; i < arcs; ++i) {
      const int32_t k = chosen_[i];
      record(arc_token_[k], graph_.targets[arc_position_[k]], arc_position_[k], arc_score_[k]);
    }
    for (const int32_t from : followed_) {
      if (place_[from] == kNone) continue;
      for_each_epsilon(entered_[from], [&](int32_t k) {
        const double score = score_[from] + static_cast<double>(graph_.weights[k]);
        if (score >= kLowest) record(place_[from], graph_.targets[k], k, score);
      });
    }
    close_cut();
  }

  // Gives a place to the max_active best within the beam, of equal ones to those that were reached
  // first.
  void choose() {
    place_.assign(count_, kNone);
    double least = lowest_within(limits_.beam);
    int64_t equal = count_;  // how many may have just this score
    if (count_ > limits_.max_active) {
      ranked_.assign(score_.begin(), score_.begin() + count_);
      const auto last = ranked_.begin() + limits_.max_active - 1;
      std::nth_element(ranked_.begin(), last, ranked_.end(), std::greater<>());
      if (*last >= least) {
        least = *last;
        equal = limits_.max_active - std::count_if(ranked_.begin(), last,
                                                   [least](double score) { return score > least; });
      }
    }
    for (int64_t slot = 0; slot < count_; ++slot) {
      if (score_[slot] > least || (score_[slot] == least && equal-- > 0)) place_[slot] = 0;
    }
  }

  // The states that the epsilons of a survivor come through survive with it.
  void keep_epsilon_sources() {
    for (size_t i = followed_.size(); i-- > 0;) {
      const int32_t from = followed_[i];
      for_each_epsilon(entered_[from], [&](int32_t k) {
        const int32_t to = entered_slot(graph_.targets[k]);
        if (to == kNone || place_[to] == kNone) return;
        if (score_[from] + static_cast<double>(graph_.weights[k]) == score_[to]) place_[from] = 0;
      });
    }
  }

  void record(int32_t source, int32_t state, int32_t position, double score) {
    const int32_t slot = entered_slot(state);
    if (slot == kNone || place_[slot] == kNone) return;
    const double slack = score_[slot] - score;
    if (slack > limits_.lattice_beam) return;
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

// The trace of one item over one chunk of frames, read back from where it is kept.
struct TraceView {
  int64_t num_frames;              // of this item in this chunk
  const int64_t *cuts, *arc_cuts;  // [frames + 2], numbered through the chunk's batch
  const int32_t* states;
  const int32_t *sources, *targets, *arcs;  // [arcs] tokens count from cuts[0]
  const float* slacks;

  int64_t num_tokens() const { return cuts[num_frames + 1] - cuts[0]; }
  int64_t num_tokens(int64_t cut) const { return cuts[cut + 1] - cuts[cut]; }
};

// The arcs and states of the lattice of one item.
struct BeamLattice {
  std::vector<int32_t> source, target, arc, frame;  // by arc; frame -1 for an epsilon
  std::vector<int32_t> state, cut;                  // by state
  std::vector<int32_t> starts, accepts;             // states where paths begin and end
};

// The paths of a trace that are at most `lattice_beam` worse than the best that accepts (Povey et
// al. 2012, section 3). The best continuation of a token is `behind` the best path.
class LatticeBuilder {
 public:
  LatticeBuilder(std::vector<TraceView> chunks, double lattice_beam)
      : chunks_(std::move(chunks)), lattice_beam_(lattice_beam), behind_(chunks_.size()) {}

  // `start_slack` by token of the first cut: how much worse it is to start there than to come there
  // otherwise; `ends` by token of the last cut: the score of the best path that ends there.
  BeamLattice run(const double* start_slack, std::vector<double> ends) {
    BeamLattice lattice;
    const double best = ends.empty() ? kNegInf : *std::max_element(ends.begin(), ends.end());
    if (!(best > kNegInf)) return lattice;
    for (double& score : ends) score = best - score;
    go_back(ends);
    go_forth(lattice, start_slack, ends);
    return lattice;
  }

 private:
  const std::vector<TraceView> chunks_;
  const double lattice_beam_;
  std::vector<std::vector<double>> behind_;

  void go_back(std::vector<double> carried) {
    for (size_t c = chunks_.size(); c-- > 0;) {
      const TraceView& chunk = chunks_[c];
      std::vector<double>& behind = behind_[c];
      behind.assign(chunk.num_tokens(), -kNegInf);
      std::copy(carried.begin(), carried.end(), behind.end() - carried.size());
      for (int64_t k = chunk.arc_cuts[chunk.num_frames + 1]; k-- > chunk.arc_cuts[0];) {
        const double here = behind[chunk.targets[k]] + static_cast<double>(chunk.slacks[k]);
        if (here <= lattice_beam_ && here < behind[chunk.sources[k]]) {
          behind[chunk.sources[k]] = here;
        }
      }
      carried.assign(behind.begin(), behind.begin() + chunk.num_tokens(0));
    }
  }

  bool kept(double behind) const { return behind <= lattice_beam_ && behind < -kNegInf; }

  void go_forth(BeamLattice& lattice, const double* start_slack,
                const std::vector<double>& ends) const {
    std::vector<int32_t> number, carried;
    int32_t cut = 0;
    for (size_t c = 0; c < chunks_.size(); ++c) {
      const TraceView& chunk = chunks_[c];
      const std::vector<double>& behind = behind_[c];
      number.assign(chunk.num_tokens(), kNone);
      std::copy(carried.begin(), carried.end(), number.begin());
      for (int64_t f = 0; f <= chunk.num_frames; ++f, ++cut) {
        if (f > 0 || c == 0) add_states(lattice, chunk, behind, f, cut, number);
        add_arcs(lattice, chunk, behind, f, cut, number);
      }
      --cut;  // the next chunk begins where this one ends
      carried.assign(number.begin() + (chunk.cuts[chunk.num_frames] - chunk.cuts[0]), number.end());
      if (c > 0) continue;
      for (int64_t token = 0; token < chunk.num_tokens(0); ++token) {
        if (number[token] != kNone && kept(behind[token] + start_slack[token])) {
          lattice.starts.push_back(number[token]);
        }
      }
    }
    for (size_t i = 0; i < ends.size(); ++i) {
      if (carried[i] != kNone && kept(ends[i])) lattice.accepts.push_back(carried[i]);
    }
  }

  void add_states(BeamLattice& lattice, const TraceView& chunk, const std::vector<double>& behind,
                  int64_t f, int32_t cut, std::vector<int32_t>& number) const {
    for (int64_t k = chunk.cuts[f]; k < chunk.cuts[f + 1]; ++k) {
      const int64_t token = k - chunk.cuts[0];
      if (!kept(behind[token])) continue;
      number[token] = static_cast<int32_t>(lattice.state.size());
      lattice.state.push_back(chunk.states[k]);
      lattice.cut.push_back(cut);
    }
  }

  void add_arcs(BeamLattice& lattice, const TraceView& chunk, const std::vector<double>& behind,
                int64_t f, int32_t cut, const std::vector<int32_t>& number) const {
    const int64_t here = chunk.cuts[f] - chunk.cuts[0];
    for (int64_t k = chunk.arc_cuts[f]; k < chunk.arc_cuts[f + 1]; ++k) {
      const int32_t source = chunk.sources[k], target = chunk.targets[k];
      if (!kept(behind[target] + static_cast<double>(chunk.slacks[k]))) continue;
      lattice.source.push_back(number[source]);
      lattice.target.push_back(number[target]);
      lattice.arc.push_back(chunk.arcs[k]);
      lattice.frame.push_back(source < here ? cut - 1 : kNone);
    }
  }
};

}  // namespace gtnet
