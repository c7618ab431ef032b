// Graphs composed while a beam search goes through them, as a model of it (search.h): a state is a
// state of each graph and the states of the epsilon filters between them, and gets its number when
// the search reaches it. Paths are those of the product that rewrite/cpu/compose.h builds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "beam/cpu/look_ahead.h"
#include "beam/cpu/trace.h"
#include "core/interrupt.h"
#include "rewrite/matching.h"

namespace gtnet::beam {

constexpr int kMostGraphs = 8;

// One graph of several. Its arcs are sorted by the label that is matched: what the first one writes
// and what the others read.
template <class Score>
struct ProductGraph {
  Matched arcs;                   // rows of scores: of the last graph alone
  const int32_t* others;          // by position, the label of the other side; null for rows
  const Score *weights, *maxima;  // by position; the greatest of them (RangeMaximum)
  const Score* start;             // by state
  const int32_t* epsilon_order;   // by state; null where no arc reads an epsilon
  int64_t num_arcs;               // of the batch
  bool writes_epsilons;
  bool failing;  // its epsilons are failures: taken where no arc reads the label, with that label
};

// Tuples of numbers and the number of each, in the order in which they came.
class TupleTable {
 public:
  explicit TupleTable(int32_t width) : width_(width), places_(1 << 10, kNone) {}

  int32_t size() const { return static_cast<int32_t>(tuples_.size() / width_); }
  const int32_t* operator[](int32_t number) const {
    return tuples_.data() + static_cast<int64_t>(number) * width_;
  }

  int32_t number(const int32_t* tuple) {
    uint64_t at = hash(tuple);
    for (; places_[at] != kNone; at = (at + 1) & mask()) {
      if (std::equal(tuple, tuple + width_, (*this)[places_[at]])) return places_[at];
    }
    const int32_t fresh = size();
    places_[at] = fresh;
    tuples_.insert(tuples_.end(), tuple, tuple + width_);
    if (2 * tuples_.size() / width_ > places_.size()) grow();
    return fresh;
  }

 private:
  uint64_t mask() const { return places_.size() - 1; }
  uint64_t hash(const int32_t* tuple) const {
    uint64_t mixed = 0;
    for (int32_t i = 0; i < width_; ++i) {
      mixed = (mixed ^ static_cast<uint32_t>(tuple[i])) * 0x9E3779B97F4A7C15ull;
      mixed ^= mixed >> 29;
    }
    return mixed & mask();
  }
  void grow() {
    places_.assign(places_.size() * 2, kNone);
    for (int32_t number = 0; number < size(); ++number) {
      uint64_t at = hash((*this)[number]);
      while (places_[at] != kNone) at = (at + 1) & mask();
      places_[at] = number;
    }
  }

  int32_t width_;
  std::vector<int32_t> tuples_, places_;
};

template <class ScoreOfFrames>
class Product {
 public:
  using Score = ScoreOfFrames;

  // `silent` by state of the first graph: whether an arc that leaves it reads an epsilon. Of
  // `intervals` the one at i belongs to graphs i and i + 1.
  Product(std::vector<ProductGraph<Score>> graphs, const bool* silent,
          const std::vector<Interval>& intervals)
      : graphs_(std::move(graphs)),
        size_(static_cast<int>(graphs_.size())),
        silent_(silent),
        table_(size_ + 1) {
    bool left_writes_epsilons = false;
    for (int i = 0; i + 1 < size_; ++i) {
      const ProductGraph<Score>&left = graphs_[i], &right = graphs_[i + 1];
      left_writes_epsilons |= left.writes_epsilons;
      const bool both = left_writes_epsilons && right.epsilon_order && !right.failing;
      filters_.push_back({both ? 3 : 1});
      ahead_.emplace_back(intervals[i], right.arcs, right.weights, right.maxima, right.num_arcs);
    }
  }

  // States in an order in which epsilons lead forward: an epsilon moves the first graph of those
  // that move along one of its own epsilons.
  class Queue {
   public:
    explicit Queue(const Product& product) : product_(product) {}

    static constexpr bool is_needed() { return true; }
    bool empty() const { return states_.empty(); }
    void insert(int32_t state) {
      states_.push_back(state);
      std::push_heap(states_.begin(), states_.end(), later());
    }
    int32_t take() {
      std::pop_heap(states_.begin(), states_.end(), later());
      const int32_t state = states_.back();
      states_.pop_back();
      return state;
    }

   private:
    auto later() const {
      return [this](int32_t a, int32_t b) { return product_.is_before(b, a); };
    }
    const Product& product_;
    std::vector<int32_t> states_;
  };

  Queue queue() const { return Queue(*this); }

  void starts(std::vector<Reached>& reached) {
    int32_t tuple[kMostGraphs + 1] = {};
    begin_with(tuple, 0, 0, reached);
  }

  double start(int32_t state) {
    const int32_t* const tuple = table_[state];
    if (tuple[size_] != 0) return kNegInf;
    double score = 0;
    for (int i = 0; i < size_; ++i) {
      if (!graphs_[i].arcs.has(tuple[i])) return kNegInf;
      score += static_cast<double>(graphs_[i].start[tuple[i]]);
    }
    return score + potential(tuple);
  }

  // What the look-ahead has added to the score of a path to a state.
  double potential(const int32_t* tuple) {
    double sum = 0;
    for (int i = 0; i + 1 < size_; ++i) sum += ahead_[i](tuple[i], tuple[i + 1]);
    return sum;
  }

  void begin_cut() {
    arcs_.clear();
    positions_.clear();
  }

  ArcRange labelled(int32_t state, int64_t num_labels) { return expand(state, false, num_labels); }
  ArcRange silent(int32_t state) { return expand(state, true, 0); }
  bool may_be_silent(int32_t state) const {
    const int32_t* const tuple = table_[state];
    if (silent_[tuple[0]]) return true;
    for (int i = 1; i < size_; ++i) {
      const Matched& arcs = graphs_[i].arcs;
      if (graphs_[i].failing || arcs.width > 0) continue;
      const int32_t k = arcs.leaving.offsets[tuple[i]];
      if (k == arcs.leaving.offsets[tuple[i] + 1]) continue;
      if (arcs.labels[k] < 0 && filters_[i - 1].b_alone(filter_of(tuple, i))) return true;
    }
    return false;
  }

  int32_t label(int32_t k) const { return arcs_[k].label; }
  double weight(int32_t k) const { return arcs_[k].weight; }
  int32_t target(int32_t k) {
    Arc& arc = arcs_[k];
    if (arc.target == kNone) {
      int32_t tuple[kMostGraphs + 1];
      const int32_t* const positions = &positions_[static_cast<int64_t>(k) * size_];
      for (int i = 0; i < size_; ++i) tuple[i] = moved(i, table_[arc.source], positions);
      tuple[size_] = arc.filters;
      arc.target = number(tuple);
    }
    return arc.target;
  }

  // Its place in the list of arcs written down, by the arc of each graph, kNone for who stays.
  int32_t arc(int32_t k) {
    const auto place = static_cast<int32_t>(recorded_.size() / size_);
    for (int i = 0; i < size_; ++i) {
      const int32_t at = positions_[static_cast<int64_t>(k) * size_ + i];
      recorded_.push_back(at == kNone ? kNone : graphs_[i].arcs.arc(at));
    }
    return place;
  }
  const int32_t* recorded(int32_t arc) const {
    return recorded_.data() + static_cast<int64_t>(arc) * size_;
  }

  const int32_t* tuple(int32_t state) const { return table_[state]; }
  int32_t number(const int32_t* tuple) {
    const int32_t state = table_.number(tuple);
    if (state == static_cast<int32_t>(slots_.size())) slots_.push_back(0);
    return state;
  }
  int32_t& slot(int32_t state) { return slots_[state]; }

  bool is_full() const { return table_.size() > full_at_; }
  void keep(BeamTrace& trace) {
    TupleTable before(size_ + 1);
    std::swap(before, table_);
    std::vector<int32_t> fresh(before.size(), kNone), kept;
    slots_.clear();
    for (int32_t& state : trace.states) {
      if (fresh[state] == kNone) fresh[state] = number(before[state]);
      state = fresh[state];
    }
    for (TraceArc& arc : trace.arcs) {
      const int32_t* const parts = recorded(arc.arc);
      arc.arc = static_cast<int32_t>(kept.size() / size_);
      kept.insert(kept.end(), parts, parts + size_);
    }
    recorded_ = std::move(kept);
    full_at_ = std::max(full_at_, 2 * table_.size());
  }

 private:
  struct Arc {
    int32_t source, label, target, filters;
    double weight;
  };
  // A move of the first graphs: what it reads and writes, and the position of each graph's arc.
  struct Move {
    int32_t ilabel, olabel, filters;
    double weight;
    int32_t positions[kMostGraphs];
  };

  // Between graph i and those before it.
  int filter_of(const int32_t* tuple, int i) const { return (tuple[size_] >> (2 * (i - 1))) & 3; }

  int32_t moved(int i, const int32_t* tuple, const int32_t* positions) const {
    return positions[i] == kNone ? tuple[i] : graphs_[i].arcs.leaving.states[positions[i]];
  }

  bool is_before(int32_t a, int32_t b) const {
    const int32_t *const one = table_[a], *const other = table_[b];
    for (int i = 0; i < size_; ++i) {
      if (!graphs_[i].epsilon_order || one[i] == other[i]) continue;
      return graphs_[i].epsilon_order[one[i]] < graphs_[i].epsilon_order[other[i]];
    }
    return false;
  }

  void begin_with(int32_t* tuple, int i, double score, std::vector<Reached>& reached) {
    if (i == size_) {
      score += potential(tuple);
      if (score > kNegInf) reached.push_back({number(tuple), score});
      return;
    }
    const ProductGraph<Score>& graph = graphs_[i];
    for (tuple[i] = graph.arcs.begin; tuple[i] < graph.arcs.end; ++tuple[i]) {
      poll();
      const auto own = static_cast<double>(graph.start[tuple[i]]);
      if (own > kNegInf) begin_with(tuple, i + 1, score + own, reached);
    }
  }

  // Lists the arcs that leave a state and read an epsilon, or a label.
  ArcRange expand(int32_t state, bool silent, int64_t num_labels) {
    const int32_t* const tuple = table_[state];
    list_first(tuple, silent, num_labels);
    for (int i = 1; i < size_; ++i) {
      joined_.clear();
      join(i, tuple, silent);
      moves_.swap(joined_);
    }
    double here[kMostGraphs];
    for (int i = 0; i + 1 < size_; ++i) here[i] = ahead_[i](tuple[i], tuple[i + 1]);
    const auto first = static_cast<int32_t>(arcs_.size());
    for (const Move& move : moves_) {
      double weight = move.weight;
      for (int i = 0; i + 1 < size_; ++i) {
        if (move.positions[i] == kNone && move.positions[i + 1] == kNone) continue;
        if (ahead_[i].is_trivial()) continue;
        const int32_t left = moved(i, tuple, move.positions);
        weight += ahead_[i](left, moved(i + 1, tuple, move.positions)) - here[i];
      }
      if (!(weight > kNegInf)) continue;
      arcs_.push_back({state, move.ilabel, kNone, move.filters, weight});
      positions_.insert(positions_.end(), move.positions, move.positions + size_);
    }
    poll(8 + 8 * static_cast<int64_t>(moves_.size()));
    return {first, static_cast<int32_t>(arcs_.size())};
  }

  // The moves of the first graph; where it has more than the second one reads, only those.
  void list_first(const int32_t* tuple, bool silent, int64_t num_labels) {
    moves_.clear();
    const ProductGraph<Score>&first = graphs_[0], &second = graphs_[1];
    const auto add = [&](int32_t k) {
      const int32_t reads = first.others[k];
      if ((reads < 0) != silent || (!silent && reads >= num_labels)) return;
      Move move{reads, first.arcs.labels[k], 0, static_cast<double>(first.weights[k]), {}};
      std::fill(move.positions, move.positions + size_, kNone);
      move.positions[0] = k;
      moves_.push_back(move);
    };
    if (silent && !silent_[tuple[0]]) return;
    const auto arcs = first.arcs.of(tuple[0]), read = second.arcs.of(tuple[1]);
    for (int32_t k = arcs.epsilon; k < arcs.label; ++k) add(k);
    if (second.failing || second.arcs.width > 0 || arcs.labelled() <= read.labelled()) {
      for (int32_t k = arcs.label; k < arcs.end; ++k) add(k);
      return;
    }
    for (int32_t l = read.label; l < read.end; ++l) {
      const int32_t label = second.arcs.labels[l];
      if (l > read.label && second.arcs.labels[l - 1] == label) continue;
      int32_t k = first.arcs.place_of(arcs, label);
      for (; k < arcs.end && first.arcs.labels[k] == label; ++k) add(k);
    }
  }

  // From the moves of the graphs before graph i those of the graphs up to it.
  void join(int i, const int32_t* tuple, bool silent) {
    const ProductGraph<Score>& graph = graphs_[i];
    const rewrite::EpsilonFilter filter = filters_[i - 1];
    const int now = filter_of(tuple, i);
    const auto arcs = graph.arcs.of(tuple[i]);
    const bool follows = !graph.failing;
    for (const Move& move : moves_) {
      if (move.olabel >= 0) {
        if (graph.failing) {
          fail(i, move, tuple[i]);
        } else {
          match(i, move, arcs, 0);
        }
        continue;
      }
      if (filter.match(now) && follows) {
        for (int32_t l = arcs.epsilon; l < arcs.label; ++l) add(i, move, l, 0, 0);
      }
      if (filter.a_alone(now)) add(i, move, kNone, filter.after_a(), 0);
    }
    if (!silent || !follows || !filter.b_alone(now)) return;
    Move rest{kEpsilon, kEpsilon, 0, 0, {}};
    std::fill(rest.positions, rest.positions + size_, kNone);
    for (int j = 1; j < i; ++j) rest.filters |= filter_of(tuple, j) << (2 * (j - 1));
    for (int32_t l = arcs.epsilon; l < arcs.label; ++l) add(i, rest, l, filter.after_b(), 0);
  }

  // Whether arcs of these read what the move writes.
  bool match(int i, const Move& move, const rewrite::ArcsOfState& arcs, double before) {
    if (arcs.labelled() == 0) return false;
    const Matched& own = graphs_[i].arcs;
    const int32_t first = own.place_of(arcs, move.olabel);
    int32_t l = first;
    for (; l < arcs.end && own.reads(arcs, l, move.olabel); ++l) add(i, move, l, 0, before);
    return l > first;
  }

  void fail(int i, const Move& move, int32_t state) {
    double before = 0;
    for (;;) {
      const auto arcs = graphs_[i].arcs.of(state);
      if (match(i, move, arcs, before) || arcs.epsilons() == 0) return;
      before += static_cast<double>(graphs_[i].weights[arcs.epsilon]);
      state = graphs_[i].arcs.leaving.states[arcs.epsilon];
    }
  }

  void add(int i, const Move& move, int32_t position, int filter, double before) {
    Move longer = move;
    longer.filters |= filter << (2 * (i - 1));
    longer.olabel = kEpsilon;
    if (position != kNone) {
      longer.positions[i] = position;
      if (graphs_[i].others) longer.olabel = graphs_[i].others[position];
      longer.weight += before + static_cast<double>(graphs_[i].weights[position]);
    }
    if (longer.weight > kNegInf) joined_.push_back(longer);
  }

  const std::vector<ProductGraph<Score>> graphs_;
  const int size_;
  const bool* const silent_;
  std::vector<rewrite::EpsilonFilter> filters_;
  std::vector<LookAhead<Score>> ahead_;
  TupleTable table_;
  std::vector<int32_t> slots_;
  std::vector<Arc> arcs_;           // of this cut
  std::vector<int32_t> positions_;  // of each arc of this cut, by graph
  std::vector<int32_t> recorded_;
  std::vector<Move> moves_, joined_;
  int32_t full_at_ = 1 << 16;
};

}  // namespace gtnet::beam
