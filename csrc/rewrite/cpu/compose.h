// Composition of two weighted transducers, one pair of graphs at a time (Mohri, Pereira & Riley
// 1996): breadth-first over reachable pairs of states, epsilons through the three-state filter so
// that every pair of matching paths appears once, then trimmed to the states that reach an end.
#pragma once

#include <algorithm>
#include <vector>

#include "core/budget.h"
#include "core/interrupt.h"
#include "rewrite/matching.h"

namespace gtnet::rewrite {

struct ProductArc {
  int32_t target;
  int32_t a, b;  // arcs of the operands, kNone for who stays
};

// The product of one pair of graphs; arcs lie grouped by source.
struct Product {
  std::vector<Pair> states{};
  std::vector<int64_t> arc_begin{};  // [states + 1]
  std::vector<ProductArc> arcs{};
  bool too_large = false;
};

// The number of each pair seen so far: a dense table where it is small, else open addressing.
class PairTable {
 public:
  // Prepares for pairs of `num_a` x `num_b` states and `filters` filter states.
  void reset(int64_t num_a, int64_t num_b, int filters) {
    num_b_ = num_b;
    filters_ = filters;
    const int64_t size = num_a * num_b * filters;
    dense_ = size <= kDenseLimit;
    if (dense_) {
      if (static_cast<int64_t>(numbers_.size()) < size) numbers_.assign(size, kNone);
    } else {
      slots_.assign(1 << 12, Slot{kFree, kNone});
      used_ = 0;
    }
  }

  // The place of the number of a pair; kNone is written there when the pair is new.
  int32_t& operator()(int64_t a, int64_t b, int filter) {
    const int64_t key = (a * num_b_ + b) * filters_ + filter;
    if (dense_) return numbers_[key];
    if (2 * (used_ + 1) > static_cast<int64_t>(slots_.size())) grow();
    Slot& slot = find(key);
    if (slot.key == kFree) {
      slot.key = key;
      ++used_;
    }
    return slot.number;
  }

  // Forgets the pairs of a product, so that the dense table can serve the next one.
  void clear(const Product& product, int32_t a_begin, int32_t b_begin) {
    if (!dense_) return;
    for (const Pair& p : product.states) (*this)(p.a - a_begin, p.b - b_begin, p.filter) = kNone;
  }

 private:
  struct Slot {
    int64_t key;
    int32_t number;
  };
  static constexpr int64_t kFree = -1;
  static constexpr int64_t kDenseLimit = int64_t{1} << 25;

  Slot& find(int64_t key) {
    const uint64_t mask = slots_.size() - 1;
    uint64_t at = static_cast<uint64_t>(key) * 0x9E3779B97F4A7C15ull;
    for (at = (at ^ (at >> 32)) & mask;; at = (at + 1) & mask) {
      if (slots_[at].key == key || slots_[at].key == kFree) return slots_[at];
    }
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2, Slot{kFree, kNone});
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key != kFree) find(slot.key) = slot;
    }
  }

  bool dense_ = true;
  int64_t num_b_ = 0, used_ = 0;
  int filters_ = 1;
  std::vector<int32_t> numbers_;
  std::vector<Slot> slots_;
};

// Calls found(k, l) for equal labels of the shorter and the longer list, until it says false.
template <class Found>
void each_match(In<int32_t> shorter, const ArcsOfState& few, In<int32_t> longer,
                const ArcsOfState& many, const Found& found) {
  if (many.labelled() == 0) return;
  int32_t l = many.label;
  for (int32_t k = few.label; k < few.end; ++k) {
    const int32_t label = shorter[k];
    if (longer[l] != label) l = place_of(longer, many.label, many.end, label);
    if (l == many.end) return;
    for (int32_t m = l; m < many.end && longer[m] == label; ++m) {
      if (!found(k, m)) return;
    }
  }
}

// Calls add(move) for what a pair of states can do, in the order of matching.h, until it says
// false.
template <class Add>
void each_move(const Moves& moves, const Pair pair, const Add& add) {
  const ArcsOfState a = ArcsOfState::of(moves.a, pair.a), b = ArcsOfState::of(moves.b, pair.b);
  if (EpsilonFilter::match(pair.filter)) {
    for (int32_t k = a.epsilon; k < a.label; ++k) {
      for (int32_t l = b.epsilon; l < b.label; ++l) {
        if (!add(moves.both(k, l))) return;
      }
    }
  }
  if (EpsilonFilter::a_alone(pair.filter)) {
    for (int32_t k = a.epsilon; k < a.label; ++k) {
      if (!add(moves.a_alone(k, pair.b))) return;
    }
  }
  if (EpsilonFilter::b_alone(pair.filter)) {
    for (int32_t l = b.epsilon; l < b.label; ++l) {
      if (!add(moves.b_alone(l, pair.a))) return;
    }
  }
  const auto both = [&](int32_t k, int32_t l) { return add(moves.both(k, l)); };
  const auto turned = [&](int32_t l, int32_t k) { return add(moves.both(k, l)); };
  if (a.labelled() <= b.labelled()) {
    each_match(moves.a.labels, a, moves.b.labels, b, both);
  } else {
    each_match(moves.b.labels, b, moves.a.labels, a, turned);
  }
}

// Explores the reachable product; stops with too_large once the budget is spent.
class Explore {
 public:
  Explore(const Moves& moves, Budget& budget, PairTable& table, Product& product)
      : moves_(moves),
        a_(moves_.a),
        b_(moves_.b),
        budget_(budget),
        table_(table),
        product_(product) {}

  void run() {
    charge(0);
    table_.reset(a_.end - a_.begin, b_.end - b_.begin, moves_.filter.states);
    for (int32_t s = a_.begin; s < a_.end && !exceeds(product_.states); ++s) {
      if (!a_.is_start[s]) continue;
      for (int32_t t = b_.begin; t < b_.end; ++t) {
        if (b_.is_start[t]) number(s, t, 0);
      }
    }
    for (size_t i = 0; i < product_.states.size() && !product_.too_large; ++i) {
      product_.arc_begin.push_back(static_cast<int64_t>(product_.arcs.size()));
      each_move(moves_, product_.states[i], [this](const Move& move) { return add(move); });
      poll(8 + 8 * (static_cast<int64_t>(product_.arcs.size()) - product_.arc_begin.back()));
      charge(kChargedAtOnce);
    }
    charge(1);
    product_.arc_begin.push_back(static_cast<int64_t>(product_.arcs.size()));
    table_.clear(product_, a_.begin, b_.begin);
    if (product_.too_large) product_ = Product{.too_large = true};
  }

 private:
  static constexpr int64_t kChargedAtOnce = 4096;  // threads share the budget: ask it rarely

  template <class Things>
  bool exceeds(const Things& things) {
    product_.too_large |= static_cast<int64_t>(things.size()) > budget_.most;
    return product_.too_large;
  }

  void charge(int64_t at_least) {
    const int64_t due = static_cast<int64_t>(product_.arcs.size()) - charged_;
    if (due < at_least) return;
    charged_ += due;
    product_.too_large |= !budget_.charge(due);
  }

  // Whether there is room for more.
  bool add(const Move& move) {
    if (exceeds(product_.arcs)) return false;
    product_.arcs.push_back({number(move.a, move.b, move.filter), move.arc_a, move.arc_b});
    return true;
  }

  int32_t number(int32_t state_a, int32_t state_b, int filter) {
    int32_t& known = table_(state_a - a_.begin, state_b - b_.begin, filter);
    if (known == kNone) {
      known = static_cast<int32_t>(product_.states.size());
      product_.states.push_back({state_a, state_b, static_cast<int8_t>(filter)});
    }
    return known;
  }

  const Moves moves_;
  const Operand &a_, &b_;
  Budget& budget_;
  int64_t charged_ = 0;
  PairTable& table_;
  Product& product_;
};

// Keeps the states of the product from which an accepting pair can be reached, and their arcs.
inline void trim(const Operand& a, const Operand& b, Product& product) {
  const auto num_states = static_cast<int32_t>(product.states.size());
  std::vector<char> useful(num_states, 0);
  std::vector<int32_t> queue;
  const auto mark = [&](int32_t s) {
    if (!useful[s]) {
      useful[s] = 1;
      queue.push_back(s);
    }
  };
  // Where arcs lead to larger numbers one sweep from the back suffices; it marks most states in
  // any case, and the arcs that lead back are followed from a list grouped by target.
  std::vector<std::pair<int32_t, int32_t>> backward;  // (target, source)
  for (int32_t s = num_states; s-- > 0;) {
    const Pair& p = product.states[s];
    bool alive = a.is_accept[p.a] && b.is_accept[p.b];
    for (int64_t k = product.arc_begin[s]; k < product.arc_begin[s + 1]; ++k) {
      const int32_t target = product.arcs[k].target;
      alive = alive || useful[target];
      if (target < s) backward.emplace_back(target, s);
    }
    useful[s] = alive;
  }
  if (!backward.empty()) {
    std::vector<int32_t> offsets(num_states + 1, 0), sources(product.arcs.size());
    for (const ProductArc& arc : product.arcs) ++offsets[arc.target + 1];
    for (int32_t s = 0; s < num_states; ++s) offsets[s + 1] += offsets[s];
    std::vector<int32_t> next(offsets.begin(), offsets.end() - 1);
    for (int32_t s = 0; s < num_states; ++s) {
      for (int64_t k = product.arc_begin[s]; k < product.arc_begin[s + 1]; ++k) {
        sources[next[product.arcs[k].target]++] = s;
      }
    }
    for (const auto& [target, source] : backward) {
      if (useful[target]) mark(source);
    }
    while (!queue.empty()) {
      const int32_t s = queue.back();
      queue.pop_back();
      for (int32_t k = offsets[s]; k < offsets[s + 1]; ++k) mark(sources[k]);
    }
  }
  std::vector<int32_t> renumbered(num_states, kNone);
  int32_t kept = 0;
  for (int32_t s = 0; s < num_states; ++s) {
    if (useful[s]) renumbered[s] = kept++;
  }
  int64_t kept_arcs = 0;
  for (int32_t s = 0; s < num_states; ++s) {
    if (!useful[s]) continue;
    const int64_t begin = product.arc_begin[s], end = product.arc_begin[s + 1];
    product.states[renumbered[s]] = product.states[s];
    product.arc_begin[renumbered[s]] = kept_arcs;
    for (int64_t k = begin; k < end; ++k) {
      ProductArc arc = product.arcs[k];
      arc.target = renumbered[arc.target];
      if (arc.target != kNone) product.arcs[kept_arcs++] = arc;
    }
  }
  product.states.resize(kept);
  product.arc_begin.resize(kept + 1);
  product.arc_begin[kept] = kept_arcs;
  product.arcs.resize(kept_arcs);
}

// A product written out as one graph of a batch, whose arrays begin here.
struct ProductArrays {
  int32_t *source, *target, *arc_a, *arc_b, *state_a, *state_b;
  int8_t* filter;

  ProductArrays from(int64_t s, int64_t k) const {
    return {source + k, target + k, arc_a + k, arc_b + k, state_a + s, state_b + s, filter + s};
  }
};

inline void write(const Product& product, const ProductArrays& out) {
  for (size_t s = 0; s < product.states.size(); ++s) {
    out.state_a[s] = product.states[s].a;
    out.state_b[s] = product.states[s].b;
    out.filter[s] = product.states[s].filter;
    for (int64_t k = product.arc_begin[s]; k < product.arc_begin[s + 1]; ++k) {
      const ProductArc& arc = product.arcs[k];
      out.source[k] = static_cast<int32_t>(s);
      out.target[k] = arc.target;
      out.arc_a[k] = arc.a;
      out.arc_b[k] = arc.b;
    }
  }
}

// The labels of the arcs of one operand that the arcs come from.
inline void write_labels(const Product& product, int32_t ProductArc::* arc_of_operand,
                         const int32_t* labels_of_operand, int32_t* labels) {
  for (size_t k = 0; k < product.arcs.size(); ++k) {
    const int32_t arc = product.arcs[k].*arc_of_operand;
    labels[k] = arc == kNone ? kEpsilon : labels_of_operand[arc];
  }
}

}  // namespace gtnet::rewrite
