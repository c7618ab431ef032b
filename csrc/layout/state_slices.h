// The states of an acyclic graph laid side by side for vectors, one layout for each direction.
//
// States of one layer (arcs lead from layer to later layer only) do not depend on one another, so
// kLanes of them make a slice whose vector lanes are states, padded to the longest row of arcs
// (SELL, Kreutzer et al. 2014); within a layer they are sorted by the number of their arcs. A state
// all of whose arcs are consecutive and lead to one other state is a run, whose lanes are arcs
// and need no indices. Everything else is taken state by state.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/interrupt.h"
#include "core/topology.h"
#include "layout/lanes.h"

namespace gtnet::layout {

constexpr int32_t kManyArcs = 24;  // rows of so many arcs are never part of a slice

// kLanes rows of arcs. Lanes that no state is left for repeat lane 0, and entries beyond the length
// of a row repeat its last one, so that whatever is written there is written twice. States and arcs
// count from a base, in 16 bits where that is enough: reading them is much of the work.
struct StateSlice {
  int32_t width, count;
  int32_t ahead;  // the first of the width * kLanes arcs that a later slice is expected to read
  int32_t first_other, first_arc;
  bool narrow;
  const int32_t *states, *lengths, *entries;

  explicit StateSlice(const int32_t* head)
      : width(head[1]),
        count(head[2]),
        ahead(head[3]),
        first_other(head[4]),
        first_arc(head[5]),
        narrow(head[6] != 0),
        states(head + kLanes),
        lengths(head + 2 * kLanes),
        entries(head + 3 * kLanes) {}

  // Brings near what a later slice is expected to read.
  template <class T>
  GTNET_INLINE void fetch(const T* weights) const {
    for (int32_t j = 0; j < width; ++j) __builtin_prefetch(weights + ahead + kLanes * j);
  }

  // States and arcs of an entry, relative to their bases.
  GTNET_INLINE void entry(int32_t j, int32_t* other, int32_t* arc) const {
    if (narrow) {
      widen(entries + kLanes * j, other);
      widen(entries + kLanes * j + kLanes / 2, arc);
    } else {
      std::memcpy(other, entries + 2 * kLanes * j, sizeof(Words));
      std::memcpy(arc, entries + 2 * kLanes * j + kLanes, sizeof(Words));
    }
  }

 private:
  typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));
  typedef int32_t Words __attribute__((vector_size(4 * kLanes)));

  // In one piece, or else what loads it next would wait for the parts.
  GTNET_INLINE static void widen(const int32_t* packed, int32_t* wide) {
    Halves halves;
    std::memcpy(&halves, packed, sizeof(Halves));
    const Words words = __builtin_convertvector(halves, Words);
    std::memcpy(wide, &words, sizeof(Words));
  }
};

// The arcs first_arc, first_arc + 1, ... between one state and one other.
struct Run {
  int32_t state, other, first_arc, count;
};

// Whether the arcs of a row (they come in increasing order) are a run.
GTNET_INLINE bool is_run(const Csr& incidence, int32_t begin, int32_t end) {
  if (incidence.arcs[end - 1] - incidence.arcs[begin] != end - 1 - begin) return false;
  int32_t differing = 0;
  GTNET_SIMD(reduction(| : differing))
  for (int32_t k = begin; k < end; ++k) differing |= incidence.states[k] ^ incidence.states[begin];
  return differing == 0;
}

// The largest weight, -inf for none. Lanes of an array and no single maximum: that waits for the
// last one, and Clang would take it number by number.
template <class T>
GTNET_INLINE T largest_of(const T* weights, int32_t count) {
  T largest[kLanes];
  for (T& lane : largest) lane = static_cast<T>(kNegInf);
  const int32_t whole = count / kLanes * kLanes;
  for (int32_t first = 0; first < whole; first += kLanes) {
    GTNET_SIMD()
    for (int i = 0; i < kLanes; ++i) {
      largest[i] = weights[first + i] > largest[i] ? weights[first + i] : largest[i];
    }
  }
  T most = largest[0];
  for (int32_t k = whole; k < count; ++k) most = weights[k] > most ? weights[k] : most;
  for (int i = 1; i < kLanes; ++i) most = largest[i] > most ? largest[i] : most;
  return most;
}

// A plan in memory: for each graph where its blocks begin, counted in kLanes words; then the
// blocks. A block is a head (kind, count) of kLanes words and what belongs to it.
enum BlockKind : int32_t { kAlone, kRun, kSlice };

struct StateSliceWalk {
  int64_t num_graphs;
  const int32_t* words;

  const int32_t* begin(int64_t graph) const { return words + int64_t{words[graph]} * kLanes; }
};

constexpr int64_t whole_lanes(int64_t words) {
  return (words + kLanes - 1) / kLanes * kLanes;
}

// The words of a block, given its kind and what its head counts.
GTNET_INLINE int64_t block_size(int32_t kind, int32_t count, bool narrow) {
  if (kind == kAlone) return kLanes + whole_lanes(count);
  if (kind == kRun) return kLanes;
  return int64_t{3 * kLanes} + int64_t{narrow ? kLanes : 2 * kLanes} * count;
}

// Plans one graph and writes the plan down. O(states + arcs).
class SlicePlanner {
 public:
  // `order` [begin, end) of the graph's states, `reverse` to walk it from its end along
  // `incidence`.
  SlicePlanner(const Csr& incidence, const int32_t* order, int32_t begin, int32_t end, bool reverse)
      : incidence_(incidence), order_(order), begin_(begin), end_(end), reverse_(reverse) {}

  void plan_slices() {
    sort_states();
    for (size_t layer = 0; layer + 1 < layers_.size(); ++layer) {
      plan_layer(layers_[layer], layers_[layer + 1]);
    }
  }

  // Only runs, for what takes other states as quickly one by one; the order stays.
  void plan_runs() {
    states_.resize(end_ - begin_);
    for (int32_t i = 0; i < end_ - begin_; ++i) {
      states_[i] = at(i);
      add(degree(states_[i]) >= kManyArcs ? kind_of_long(states_[i]) : kAlone, i, 1);
    }
  }

  // Whether any states or arcs are laid side by side.
  bool pays() const {
    return std::any_of(blocks_.begin(), blocks_.end(),
                       [](const Block& block) { return block.kind != kAlone; });
  }

  int64_t size() const {
    int64_t words = 0;
    for (const Block& block : blocks_) words += size_of(block);
    return words;
  }

  void write(int32_t* words) const {
    int32_t passed = 0;
    for (const Block& block : blocks_) {
      poll(64 * block.count);
      std::fill_n(words, kLanes, 0);
      words[0] = block.kind;
      words[1] = in_head(block);
      const int32_t* const states = states_.data() + block.begin;
      if (block.kind == kAlone) {
        int32_t* const end = std::copy_n(states, block.count, words + kLanes);
        std::fill(end, words + kLanes + whole_lanes(block.count), 0);
      } else if (block.kind == kRun) {
        const int32_t k = incidence_.offsets[*states];
        words[2] = *states;
        words[3] = incidence_.states[k];
        words[4] = incidence_.arcs[k];
      } else {
        words[2] = block.count;
        words[3] = ahead_of(passed, words[1]);
        const Span span = span_of(block);
        words[4] = span.narrow() ? span.first_other : 0;
        words[5] = span.narrow() ? span.first_arc : 0;
        words[6] = span.narrow();
        span.narrow() ? write_lanes<uint16_t>(words, states, block.count)
                      : write_lanes<int32_t>(words, states, block.count);
      }
      for (int32_t i = 0; i < block.count; ++i) passed += degree(states[i]);
      words += size_of(block);
    }
  }

 private:
  struct Block {
    BlockKind kind;
    int32_t begin, count;  // in states_
  };
  struct Span {
    int32_t first_other, last_other, first_arc, last_arc;

    bool narrow() const {
      return std::max(last_other - first_other, last_arc - first_arc) < (1 << 16);
    }
  };

  // Weights mostly lie in the order in which they are read, but for the width of some layers.
  static constexpr int32_t kLead = 1 << 14;

  const Csr incidence_;
  const int32_t* const order_;
  const int32_t begin_, end_;
  const bool reverse_;
  std::vector<int32_t> states_, layers_;  // by layer; where each layer begins, and the end
  std::vector<Block> blocks_;

  int32_t degree(int32_t s) const { return incidence_.offsets[s + 1] - incidence_.offsets[s]; }

  int32_t at(int32_t i) const { return order_[reverse_ ? end_ - 1 - i : begin_ + i]; }

  BlockKind kind_of_long(int32_t s) const {
    return is_run(incidence_, incidence_.offsets[s], incidence_.offsets[s + 1]) ? kRun : kAlone;
  }

  int32_t ahead_of(int32_t passed, int32_t width) const {
    const int32_t first = incidence_.offsets[begin_], last = incidence_.offsets[end_];
    const int64_t from_here = int64_t{passed} + kLead;
    const int64_t arc = reverse_ ? last - from_here - int64_t{width} * kLanes : first + from_here;
    return static_cast<int32_t>(std::clamp<int64_t>(arc, first, last));
  }

  // What a head counts: states, the arcs of a run, the width of a slice.
  int32_t in_head(const Block& block) const {
    return block.kind == kAlone ? block.count : degree(states_[block.begin]);
  }

  // By layer, within a layer by falling degree: counting sorts, the last key first.
  void sort_states() {
    const int32_t size = end_ - begin_;
    std::vector<int32_t> depth(size), by_degree(size), next(kManyArcs + 2, 0);
    const auto key = [&](int32_t s) { return kManyArcs - std::min(degree(s), kManyArcs); };
    layers_.assign(2, 0);
    for (int32_t i = 0; i < size; ++i) {
      const int32_t s = at(i);
      poll(8 * degree(s));
      int32_t deepest = 0;
      for (int32_t k = incidence_.offsets[s]; k < incidence_.offsets[s + 1]; ++k) {
        deepest = std::max(deepest, depth[incidence_.states[k] - begin_] + 1);
      }
      depth[s - begin_] = deepest;
      if (layers_.size() < static_cast<size_t>(deepest) + 2) layers_.resize(deepest + 2, 0);
      ++layers_[deepest + 1];
      ++next[key(s) + 1];
    }
    for (size_t d = 1; d < next.size(); ++d) next[d] += next[d - 1];
    for (int32_t i = 0; i < size; ++i) by_degree[next[key(at(i))]++] = at(i);
    for (size_t d = 1; d < layers_.size(); ++d) layers_[d] += layers_[d - 1];
    next = layers_;
    states_.resize(size);
    for (int32_t s : by_degree) states_[next[depth[s - begin_]]++] = s;
  }

  // Long rows come first, then the others in chunks of a slice.
  void plan_layer(int32_t begin, int32_t end) {
    int32_t i = begin;
    for (; i < end && degree(states_[i]) >= kManyArcs; ++i) {
      add(kind_of_long(states_[i]), i, 1);
    }
    for (; i < end; i += kLanes) {
      const int32_t count = std::min(end - i, int32_t{kLanes});
      add(slice_pays(i, count) ? kSlice : kAlone, i, count);
    }
  }

  // Measured: an entry of a slice takes as long as three arcs alone, a slice as seven more.
  bool slice_pays(int32_t begin, int32_t count) const {
    if (degree(states_[begin + count - 1]) == 0) return false;
    int32_t arcs = 0;
    for (int32_t i = begin; i < begin + count; ++i) arcs += degree(states_[i]);
    return 3 * degree(states_[begin]) + 7 < arcs;
  }

  Span span_of(const Block& block) const {
    const int32_t at = incidence_.offsets[states_[block.begin]];
    const int32_t other = incidence_.states[at], arc = incidence_.arcs[at];
    Span span{other, other, arc, arc};
    for (int32_t i = block.begin; i < block.begin + block.count; ++i) {
      const int32_t k = incidence_.offsets[states_[i]], end = k + degree(states_[i]);
      for (int32_t j = k; j < end; ++j) {
        span.first_other = std::min(span.first_other, incidence_.states[j]);
        span.last_other = std::max(span.last_other, incidence_.states[j]);
      }
      span.first_arc = std::min(span.first_arc, incidence_.arcs[k]);
      span.last_arc = std::max(span.last_arc, incidence_.arcs[end - 1]);
    }
    return span;
  }

  int64_t size_of(const Block& block) const {
    const bool narrow = block.kind == kSlice && span_of(block).narrow();
    return block_size(block.kind, in_head(block), narrow);
  }

  void add(BlockKind kind, int32_t begin, int32_t count) {
    if (kind == kAlone && !blocks_.empty() && blocks_.back().kind == kAlone) {
      blocks_.back().count += count;
    } else {
      blocks_.push_back({kind, begin, count});
    }
  }

  template <class Index>
  void write_lanes(int32_t* head, const int32_t* states, int32_t count) const {
    const int32_t width = head[1], first_other = head[4], first_arc = head[5];
    for (int32_t i = 0; i < kLanes; ++i) {
      const int32_t s = states[i < count ? i : 0], length = degree(s);
      head[kLanes + i] = s;
      head[2 * kLanes + i] = length;
      Index* entry = reinterpret_cast<Index*>(head + 3 * kLanes) + i;
      for (int32_t j = 0; j < width; ++j, entry += 2 * kLanes) {
        const int32_t k = incidence_.offsets[s] + std::min(j, length - 1);
        entry[0] = static_cast<Index>(incidence_.states[k] - first_other);
        entry[kLanes] = static_cast<Index>(incidence_.arcs[k] - first_arc);
      }
    }
  }
};

}  // namespace gtnet::layout
