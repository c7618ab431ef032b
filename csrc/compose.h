// Composition of two weighted transducers, one pair of graphs at a time (Mohri, Pereira & Riley
// 1996): breadth-first over reachable pairs of states, epsilons through the three-state filter so
// that every pair of matching paths appears once, then trimmed to the states that reach an end.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "topology.h"

namespace gtnet {

// One operand: arcs of a state sorted by the label that is matched (output side of a, input of b).
struct Operand {
  Incidence leaving;
  const int32_t* labels;  // at the positions of `leaving`
  const bool* is_start;
  const bool* is_accept;
  int32_t begin, end;  // the states of the graph at hand
};

// A pair of states and the filter state: 0 after a match, 1 after a moved alone on an epsilon it
// writes, 2 after b moved alone on an epsilon it reads. After 1 only a, after 2 only b may go on
// alone, and two epsilons may match in 0 only.
struct Pair {
  int32_t a, b;
  int8_t filter;
};

struct ProductArc {
  int32_t target;
  int32_t a, b;  // arcs of the operands, kNone for who stays
};

// How many arcs the products of a batch may have together.
struct Budget {
  int64_t most;
  std::atomic<int64_t> used{0};

  bool charge(int64_t arcs) { return used.fetch_add(arcs) + arcs <= most; }
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

// Explores the reachable product; stops with too_large once the budget is spent.
class Explore {
 public:
  Explore(const Operand& a, const Operand& b, int filters, Budget& budget, PairTable& table,
          Product& product)
      : a_(a), b_(b), filters_(filters), budget_(budget), table_(table), product_(product) {}

  void run() {
    charge(0);
    table_.reset(a_.end - a_.begin, b_.end - b_.begin, filters_);
    for (int32_t s = a_.begin; s < a_.end && !exceeds(product_.states); ++s) {
      if (!a_.is_start[s]) continue;
      for (int32_t t = b_.begin; t < b_.end; ++t) {
        if (b_.is_start[t]) number(s, t, 0);
      }
    }
    for (size_t i = 0; i < product_.states.size() && !product_.too_large; ++i) {
      product_.arc_begin.push_back(static_cast<int64_t>(product_.arcs.size()));
      expand(product_.states[i]);
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

  void expand(const Pair pair) {
    const int32_t* const offsets_a = a_.leaving.offsets + pair.a;
    const int32_t* const offsets_b = b_.leaving.offsets + pair.b;
    int32_t i = offsets_a[0], j = offsets_b[0];
    const int32_t end_a = offsets_a[1], end_b = offsets_b[1];
    const int32_t eps_a = i, eps_b = j;  // epsilon is the smallest label, so its arcs come first
    while (i < end_a && a_.labels[i] == kEpsilon) ++i;
    while (j < end_b && b_.labels[j] == kEpsilon) ++j;
    if (pair.filter == 0) {
      for (int32_t k = eps_a; k < i; ++k) {
        for (int32_t l = eps_b; l < j; ++l) add(k, l);
      }
    }
    if (pair.filter != 2) {
      for (int32_t k = eps_a; k < i; ++k) {
        add_arc(a_.leaving.states[k], pair.b, filters_ > 1 ? 1 : 0, a_.leaving.arcs[k], kNone);
      }
    }
    if (pair.filter != 1) {
      for (int32_t l = eps_b; l < j; ++l) {
        add_arc(pair.a, b_.leaving.states[l], filters_ > 1 ? 2 : 0, kNone, b_.leaving.arcs[l]);
      }
    }
    if (end_a - i <= end_b - j) {
      match(a_.labels, i, end_a, b_.labels, j, end_b, [this](int32_t k, int32_t l) { add(k, l); });
    } else {
      match(b_.labels, j, end_b, a_.labels, i, end_a, [this](int32_t l, int32_t k) { add(k, l); });
    }
  }

  // Calls found(k, l) for equal labels of the shorter and the longer run. The longer run is often
  // complete (0, 1, 2, ...: a network's output), so the place where it then stands is tried first.
  template <class Found>
  void match(const int32_t* shorter, int32_t k, int32_t end_k, const int32_t* longer, int32_t l,
             int32_t end_l, const Found& found) const {
    if (l == end_l) return;
    const int32_t origin = l, smallest = longer[l];
    for (; k < end_k && !product_.too_large; ++k) {
      const int32_t label = shorter[k];
      if (label < smallest) continue;
      const int64_t guess = origin + (static_cast<int64_t>(label) - smallest);
      if (guess < end_l && longer[guess] == label &&
          (guess == origin || longer[guess - 1] < label)) {
        l = static_cast<int32_t>(guess);
      } else if (longer[l] != label || l == origin || longer[l - 1] == label) {
        l = static_cast<int32_t>(std::lower_bound(longer + origin, longer + end_l, label) - longer);
      }
      if (l == end_l) return;
      for (int32_t m = l; m < end_l && longer[m] == label; ++m) found(k, m);
    }
  }

  void add(int32_t k, int32_t l) {
    add_arc(a_.leaving.states[k], b_.leaving.states[l], 0, a_.leaving.arcs[k], b_.leaving.arcs[l]);
  }

  void add_arc(int32_t state_a, int32_t state_b, int filter, int32_t arc_a, int32_t arc_b) {
    if (exceeds(product_.arcs)) return;
    product_.arcs.push_back({number(state_a, state_b, filter), arc_a, arc_b});
  }

  int32_t number(int32_t state_a, int32_t state_b, int filter) {
    int32_t& known = table_(state_a - a_.begin, state_b - b_.begin, filter);
    if (known == kNone) {
      known = static_cast<int32_t>(product_.states.size());
      product_.states.push_back({state_a, state_b, static_cast<int8_t>(filter)});
    }
    return known;
  }

  const Operand& a_;
  const Operand& b_;
  const int filters_;
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

// A product written out as one graph of the result; the result's arrays start at its first entry.
struct ProductArrays {
  int32_t *source, *target, *ilabels, *olabels, *arc_a, *arc_b, *state_a, *state_b;
  int8_t* filter;
};

inline void write(const Product& product, const int32_t* ilabels_of_a, const int32_t* olabels_of_b,
                  const ProductArrays& out) {
  for (size_t s = 0; s < product.states.size(); ++s) {
    out.state_a[s] = product.states[s].a;
    out.state_b[s] = product.states[s].b;
    out.filter[s] = product.states[s].filter;
    for (int64_t k = product.arc_begin[s]; k < product.arc_begin[s + 1]; ++k) {
      const ProductArc& arc = product.arcs[k];
      out.source[k] = static_cast<int32_t>(s);
      out.target[k] = arc.target;
      out.ilabels[k] = arc.a == kNone ? kEpsilon : ilabels_of_a[arc.a];
      if (out.olabels) out.olabels[k] = arc.b == kNone ? kEpsilon : olabels_of_b[arc.b];
      out.arc_a[k] = arc.a;
      out.arc_b[k] = arc.b;
    }
  }
}

}  // namespace gtnet
