// Minimization of a deterministic automaton by partition refinement that always splits off the
// smaller half (Hopcroft 1971), for partial transition functions: Valmari 2012, "Fast brief
// practical DFA minimization". O(arcs log arcs), cyclic or not.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "core/interrupt.h"
#include "core/topology.h"

namespace gtnet::rewrite {

// Refines `classes` so that members of one also agree in `scores`: they span at most delta.
inline void refine(std::vector<int32_t>& classes, const double* scores, double delta) {
  if (classes.empty()) return;
  const auto size = static_cast<int32_t>(classes.size());
  const auto [low, high] = std::minmax_element(scores, scores + size);
  if (*low == *high || *high - *low <= delta) return;
  std::vector<int32_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return classes[a] != classes[b] ? classes[a] < classes[b] : scores[a] < scores[b];
  });
  std::vector<int32_t> refined(size);
  int32_t number = 0;
  double anchor = scores[order[0]];
  for (int32_t i = 0; i < size; ++i) {
    const double score = scores[order[i]];
    const bool equal = score == anchor || score - anchor <= delta;
    if (i > 0 && (!equal || classes[order[i]] != classes[order[i - 1]])) {
      ++number;
      anchor = score;
    }
    refined[order[i]] = number;
  }
  classes.swap(refined);
}

// A partition of 0 ... size - 1 whose sets are split by marking some of their members.
class Partition {
 public:
  explicit Partition(int32_t size)
      : elements_(size), place_(size), set_(size, 0), begin_(size), end_(size), marked_(size, 0) {
    std::iota(elements_.begin(), elements_.end(), 0);
    std::iota(place_.begin(), place_.end(), 0);
    if (size) add(0, size);
  }

  // One set for every class.
  explicit Partition(const std::vector<int32_t>& classes)
      : Partition(static_cast<int32_t>(classes.size())) {
    const auto size = static_cast<int32_t>(classes.size());
    std::stable_sort(elements_.begin(), elements_.end(),
                     [&](int32_t a, int32_t b) { return classes[a] < classes[b]; });
    num_sets_ = 0;
    int32_t begin = 0;
    for (int32_t i = 0; i < size; ++i) {
      place_[elements_[i]] = i;
      if (i + 1 == size || classes[elements_[i]] != classes[elements_[i + 1]]) {
        for (int32_t j = begin; j <= i; ++j) set_[elements_[j]] = num_sets_;
        add(begin, i + 1);
        begin = i + 1;
      }
    }
  }

  int32_t num_sets() const { return num_sets_; }
  int32_t set_of(int32_t element) const { return set_[element]; }
  const int32_t* begin(int32_t set) const { return elements_.data() + begin_[set]; }
  const int32_t* end(int32_t set) const { return elements_.data() + end_[set]; }

  // An element is marked at most once between splits.
  void mark(int32_t element) {
    const int32_t set = set_[element], here = place_[element];
    const int32_t there = begin_[set] + marked_[set];
    elements_[here] = elements_[there];
    place_[elements_[here]] = here;
    elements_[there] = element;
    place_[element] = there;
    if (marked_[set]++ == 0) touched_.push_back(set);
  }

  // Parts the marked members of every set from the others; the smaller part becomes a new set.
  void split() {
    for (; !touched_.empty(); touched_.pop_back()) {
      const int32_t set = touched_.back(), count = std::exchange(marked_[set], 0);
      const int32_t middle = begin_[set] + count;
      if (middle == end_[set]) continue;
      const int32_t fresh = num_sets_;
      if (count <= end_[set] - middle) {
        add(begin_[set], middle);
        begin_[set] = middle;
      } else {
        add(middle, end_[set]);
        end_[set] = middle;
      }
      for (int32_t i = begin_[fresh]; i < end_[fresh]; ++i) set_[elements_[i]] = fresh;
    }
  }

 private:
  void add(int32_t begin, int32_t end) {
    begin_[num_sets_] = begin;
    end_[num_sets_++] = end;
  }

  std::vector<int32_t> elements_, place_, set_, begin_, end_, marked_, touched_;
  int32_t num_sets_ = 0;
};

// block[s] for the states of one graph: equal for states with the same future. Arcs count as equal
// where `labels` and all rows of `arc_scores` are, ends where all rows of `accept_scores` are.
struct Minimize {
  const int64_t* state_offsets;
  const int64_t* arc_offsets;
  const int32_t* source;  // within the graph
  const int32_t* labels;
  Csr entering;
  int64_t rows, num_states, num_arcs;
  const double* arc_scores;     // [rows, num_arcs]
  const double* accept_scores;  // [rows, num_states]
  double delta;
  int32_t* block;

  void operator()(int64_t graph) const {
    const int64_t first_state = state_offsets[graph], first_arc = arc_offsets[graph];
    const auto states = static_cast<int32_t>(state_offsets[graph + 1] - first_state);
    const auto arcs = static_cast<int32_t>(arc_offsets[graph + 1] - first_arc);
    std::vector<int32_t> ends(states, 0), kinds(labels + first_arc, labels + first_arc + arcs);
    for (int64_t r = 0; r < rows; ++r) {
      refine(ends, accept_scores + r * num_states + first_state, delta);
      refine(kinds, arc_scores + r * num_arcs + first_arc, delta);
    }
    Partition blocks(ends), cords(kinds);
    int32_t b = 1, c = 0;  // the first block needs no turn: its cords are what the others leave
    while (c < cords.num_sets()) {
      poll(8 * (cords.end(c) - cords.begin(c)));
      for (const int32_t* arc = cords.begin(c); arc != cords.end(c); ++arc) {
        blocks.mark(source[first_arc + *arc]);
      }
      blocks.split();
      ++c;
      for (; b < blocks.num_sets(); ++b) {
        poll(32 * (blocks.end(b) - blocks.begin(b)));
        for (const int32_t* s = blocks.begin(b); s != blocks.end(b); ++s) {
          const int32_t* const offsets = entering.offsets + first_state + *s;
          for (int32_t k = offsets[0]; k < offsets[1]; ++k) {
            cords.mark(entering.arcs[k] - static_cast<int32_t>(first_arc));
          }
        }
        cords.split();
      }
    }
    for (int32_t s = 0; s < states; ++s) block[first_state + s] = blocks.set_of(s);
  }
};

}  // namespace gtnet::rewrite
