// The states of an acyclic graph laid side by side for vectors, one layout for each direction.
//
// States of one layer (arcs lead from layer to later layer only) do not depend on one another, so
// kLanes of them make a slice whose vector lanes are states, padded to the longest row of arcs
// (SELL, Kreutzer et al. 2014); within a layer they are sorted by the number of their arcs. A state
// all of whose arcs are consecutive and lead to one other state is a run, whose lanes are arcs
// and need no indices. Everything else is taken state by state.
#pragma once

#include <algorithm>
#include <vector>

#include "topology.h"

namespace gtnet {

constexpr int kLanes = 16;
constexpr int32_t kManyArcs = 24;  // rows of so many arcs are never part of a slice

// kLanes rows of arcs. Lanes that no state is left for repeat lane 0, and entries beyond the length
// of a row repeat its last one, so that whatever is written there is written twice.
struct Slice {
  int32_t width;
  const int32_t *states, *lengths, *entries;

  GTNET_INLINE const int32_t* other(int32_t j) const { return entries + 2 * kLanes * j; }
  GTNET_INLINE const int32_t* arc(int32_t j) const { return other(j) + kLanes; }
};

// The arcs first_arc, first_arc + 1, ... between one state and one other.
struct Run {
  int32_t state, other, first_arc, count;
};

// Whether the arcs of a row (they come in increasing order) are a run.
GTNET_HD GTNET_INLINE bool is_run(const Incidence& incidence, int32_t begin, int32_t end) {
  if (incidence.arcs[end - 1] - incidence.arcs[begin] != end - 1 - begin) return false;
  int32_t differing = 0;
  GTNET_SIMD(reduction(| : differing))
  for (int32_t k = begin; k < end; ++k) differing |= incidence.states[k] ^ incidence.states[begin];
  return differing == 0;
}

// The largest of a few weights, -inf for none.
template <class T>
GTNET_HD GTNET_INLINE T largest_of(const T* weights, int32_t count) {
  T largest = static_cast<T>(kNegInf);
  GTNET_SIMD(reduction(max : largest))
  for (int32_t k = 0; k < count; ++k) largest = weights[k] > largest ? weights[k] : largest;
  return largest;
}

// A plan in memory: for each graph where its blocks begin, counted in kLanes words; then the
// blocks. A block is a head (kind, count) of kLanes words and what belongs to it.
enum BlockKind : int32_t { kAlone, kSlice, kRun };

struct SliceWalk {
  int64_t num_graphs;
  const int32_t* words;

  const int32_t* begin(int64_t graph) const { return words + int64_t{words[graph]} * kLanes; }
};

constexpr int64_t whole_lanes(int64_t words) {
  return (words + kLanes - 1) / kLanes * kLanes;
}

// Plans one graph and writes the plan down. O(states + arcs).
class SlicePlanner {
 public:
  // `order` [begin, end) of the graph's states, `reverse` to walk it from its end along
  // `incidence`.
  void plan(const Incidence& incidence, const int32_t* order, int32_t begin, int32_t end,
            bool reverse) {
    incidence_ = incidence;
    sort_by_layer(order, begin, end, reverse);
    for (size_t layer = 0; layer + 1 < layers_.size(); ++layer) {
      plan_layer(layers_[layer], layers_[layer + 1]);
    }
  }

  // Whether any states or arcs are laid side by side.
  bool pays() const {
    return std::any_of(blocks_.begin(), blocks_.end(),
                       [](const Block& block) { return block.kind != kAlone; });
  }

  int64_t size() const {
    int64_t words = 0;
    for (const Block& block : blocks_) {
      words += kLanes;
      if (block.kind == kAlone) words += whole_lanes(block.count);
      if (block.kind == kSlice) words += int64_t{2 * kLanes} * (1 + width(block));
    }
    return words;
  }

  void write(int32_t* words) const {
    for (const Block& block : blocks_) {
      std::fill_n(words, kLanes, 0);
      words[0] = block.kind;
      words[1] = block.count;
      const int32_t* const states = states_.data() + block.begin;
      if (block.kind == kAlone) {
        int32_t* const end = std::copy_n(states, block.count, words + kLanes);
        std::fill(end, words + kLanes + whole_lanes(block.count), 0);
        words += kLanes + whole_lanes(block.count);
      } else if (block.kind == kRun) {
        const int32_t k = incidence_.offsets[*states];
        words[1] = degree(*states);
        words[2] = *states;
        words[3] = incidence_.states[k];
        words[4] = incidence_.arcs[k];
        words += kLanes;
      } else {
        words[1] = width(block);
        for (int32_t i = 0; i < kLanes; ++i) {
          write_lane(words + kLanes + i, states[i < block.count ? i : 0], width(block));
        }
        words += kLanes + int64_t{2 * kLanes} * (1 + width(block));
      }
    }
  }

 private:
  struct Block {
    BlockKind kind;
    int32_t begin, count;  // in states_
  };

  Incidence incidence_;
  std::vector<int32_t> states_, layers_;  // by layer; where each layer begins, and the end
  std::vector<Block> blocks_;

  int32_t degree(int32_t s) const { return incidence_.offsets[s + 1] - incidence_.offsets[s]; }
  int32_t width(const Block& block) const { return degree(states_[block.begin]); }

  void sort_by_layer(const int32_t* order, int32_t begin, int32_t end, bool reverse) {
    std::vector<int32_t> depth(end - begin, 0);
    layers_.assign(1, 0);
    const auto at = [&](int32_t i) { return order[reverse ? end - 1 - (i - begin) : i]; };
    for (int32_t i = begin; i < end; ++i) {
      const int32_t s = at(i);
      int32_t deepest = 0;
      for (int32_t k = incidence_.offsets[s]; k < incidence_.offsets[s + 1]; ++k) {
        deepest = std::max(deepest, depth[incidence_.states[k] - begin] + 1);
      }
      depth[s - begin] = deepest;
      if (layers_.size() < static_cast<size_t>(deepest) + 2) layers_.resize(deepest + 2, 0);
      ++layers_[deepest + 1];
    }
    for (size_t d = 1; d < layers_.size(); ++d) layers_[d] += layers_[d - 1];
    std::vector<int32_t> next(layers_);
    states_.resize(end - begin);
    for (int32_t i = begin; i < end; ++i) states_[next[depth[at(i) - begin]]++] = at(i);
  }

  // Long rows first, then the others by falling degree, in chunks of a slice.
  void plan_layer(int32_t begin, int32_t end) {
    if (end - begin > 1) sort_by_degree(begin, end);
    int32_t i = begin;
    for (; i < end && degree(states_[i]) >= kManyArcs; ++i) {
      const int32_t k = incidence_.offsets[states_[i]];
      add(is_run(incidence_, k, k + degree(states_[i])) ? kRun : kAlone, i, 1);
    }
    for (; i < end; i += kLanes) {
      const int32_t count = std::min(end - i, int32_t{kLanes});
      int32_t arcs = 0;
      for (int32_t j = i; j < i + count; ++j) arcs += degree(states_[j]);
      const bool all_have_arcs = degree(states_[i + count - 1]) > 0;
      // Measured: an entry of a slice takes as long as three arcs alone, a slice as seven more.
      const bool pays = all_have_arcs && 3 * degree(states_[i]) + 7 < arcs;
      add(pays ? kSlice : kAlone, i, count);
    }
  }

  void sort_by_degree(int32_t begin, int32_t end) {
    std::stable_sort(states_.begin() + begin, states_.begin() + end,
                     [&](int32_t a, int32_t b) { return degree(a) > degree(b); });
  }

  void add(BlockKind kind, int32_t begin, int32_t count) {
    if (kind == kAlone && !blocks_.empty() && blocks_.back().kind == kAlone) {
      blocks_.back().count += count;
    } else {
      blocks_.push_back({kind, begin, count});
    }
  }

  void write_lane(int32_t* lane, int32_t s, int32_t width) const {
    const int32_t length = degree(s), first = incidence_.offsets[s];
    lane[0] = s;
    lane[kLanes] = length;
    for (int32_t j = 0; j < width; ++j) {
      const int32_t k = first + std::min(j, length - 1);
      lane[2 * kLanes * (j + 1)] = incidence_.states[k];
      lane[2 * kLanes * (j + 1) + kLanes] = incidence_.arcs[k];
    }
  }
};

}  // namespace gtnet
