// Arcs grouped by state (counting sort) and topological order (Kahn 1962), graph by graph.
#pragma once

#include <algorithm>
#include <vector>

#include "core/interrupt.h"
#include "core/topology.h"

namespace gtnet::layout {

// Groups the arcs of one graph by one of their ends (`by`), keeping their order within a state.
struct GroupArcs {
  const int64_t* state_offsets;
  const int64_t* arc_offsets;
  const int32_t* by;
  const int32_t* other;
  int32_t* offsets;  // [states + 1], zero on entry but for the last
  int32_t* arcs;
  int32_t* states;

  void operator()(int64_t graph) const {
    const int64_t states_begin = state_offsets[graph], states_end = state_offsets[graph + 1];
    const int64_t arcs_begin = arc_offsets[graph], arcs_end = arc_offsets[graph + 1];
    const auto base = static_cast<int32_t>(states_begin);
    int32_t* const count = offsets + states_begin;
    std::vector<int32_t> next(states_end - states_begin, 0);
    for (int64_t a = arcs_begin; a < arcs_end; ++a) ++next[by[a]];
    auto position = static_cast<int32_t>(arcs_begin);
    for (size_t s = 0; s < next.size(); ++s) {
      count[s] = position;
      position += next[s];
      next[s] = count[s];
    }
    for (int64_t a = arcs_begin; a < arcs_end; ++a) {
      const int32_t k = next[by[a]]++;
      arcs[k] = static_cast<int32_t>(a);
      states[k] = base + other[a];
    }
  }
};

// Sorts the arcs of every state of one graph by label; equal labels keep their order.
struct SortByLabel {
  const int64_t* state_offsets;
  Csr leaving;
  const int32_t* labels;
  int32_t* sorted_arcs;
  int32_t* sorted_states;
  int32_t* sorted_labels;

  void operator()(int64_t graph) const {
    std::vector<std::pair<int64_t, int32_t>> keys;  // (label and arc in one key, state)
    for (int64_t s = state_offsets[graph]; s < state_offsets[graph + 1]; ++s) {
      const int32_t begin = leaving.offsets[s], end = leaving.offsets[s + 1];
      poll(16 * (end - begin));
      keys.clear();
      bool sorted = true;
      for (int32_t k = begin; k < end; ++k) {
        const int64_t label = labels[leaving.arcs[k]];
        keys.emplace_back((label << 32) | leaving.arcs[k], leaving.states[k]);
        sorted = sorted && (k == begin || keys[keys.size() - 2].first < keys.back().first);
      }
      if (!sorted) std::sort(keys.begin(), keys.end());
      for (int32_t k = begin; k < end; ++k) {
        sorted_arcs[k] = static_cast<int32_t>(keys[k - begin].first & 0xffffffff);
        sorted_states[k] = keys[k - begin].second;
        sorted_labels[k] = static_cast<int32_t>(keys[k - begin].first >> 32);
      }
    }
  }
};

// Orders the states of one graph so that arcs lead forward: the order they have where it serves,
// else from the back, a state once all states it leads to are placed. cyclic[graph] is a state
// on a cycle, kNone if there is none.
struct TopologicalOrder {
  const int64_t* state_offsets;
  const int32_t* offsets;  // of the entering arcs
  const int32_t* sources;
  int32_t* order;
  int64_t* cyclic;

  void operator()(int64_t graph) const {
    const auto begin = static_cast<int32_t>(state_offsets[graph]);
    const auto end = static_cast<int32_t>(state_offsets[graph + 1]);
    cyclic[graph] = kNone;
    if (numbered_forward(begin, end)) {
      for (int32_t s = begin; s < end; ++s) order[s] = s;
      return;
    }
    std::vector<int32_t> pending(end - begin, 0);  // leaving arcs whose target is not placed yet
    for (int32_t k = offsets[begin]; k < offsets[end]; ++k) ++pending[sources[k] - begin];
    int32_t placed = end;  // order[placed ... end) is final; the queue runs from back to front
    for (int32_t s = end; s-- > begin;) {
      if (pending[s - begin] == 0) order[--placed] = s;
    }
    for (int32_t i = end; i-- > placed;) {
      const int32_t s = order[i];
      poll(8 * (offsets[s + 1] - offsets[s]));
      for (int32_t k = offsets[s]; k < offsets[s + 1]; ++k) {
        if (--pending[sources[k] - begin] == 0) order[--placed] = sources[k];
      }
    }
    if (placed != begin) cyclic[graph] = on_cycle(begin, pending);
  }

 private:
  bool numbered_forward(int32_t begin, int32_t end) const {
    for (int32_t s = begin; s < end; ++s) {
      for (int32_t k = offsets[s]; k < offsets[s + 1]; ++k) {
        if (sources[k] >= s) return false;
      }
    }
    return true;
  }

  // Every pending state leads to a pending state, so following such arcs ends on a cycle.
  int64_t on_cycle(int32_t begin, const std::vector<int32_t>& pending) const {
    std::vector<int32_t> next(pending.size(), kNone);
    int32_t walker = kNone;
    for (size_t t = 0; t < pending.size(); ++t) {
      if (pending[t] == 0) continue;
      walker = static_cast<int32_t>(t);
      for (int32_t k = offsets[begin + walker]; k < offsets[begin + walker + 1]; ++k) {
        next[sources[k] - begin] = walker;
      }
    }
    for (size_t step = 0; step < pending.size(); ++step) walker = next[walker];
    return begin + walker;
  }
};

// The depth of each state of one graph, the number of arcs on the longest path to it (Kahn 1962);
// kNone for states on cycles and behind them.
struct Depths {
  const int64_t* state_offsets;
  const int32_t* entering;  // offsets
  const int32_t* leaving;   // offsets
  const int32_t* targets;   // of the leaving arcs
  int32_t* depth;

  void operator()(int64_t graph) const {
    const auto begin = static_cast<int32_t>(state_offsets[graph]);
    const auto end = static_cast<int32_t>(state_offsets[graph + 1]);
    std::vector<int32_t> pending(end - begin), queue;
    for (int32_t s = begin; s < end; ++s) {
      pending[s - begin] = entering[s + 1] - entering[s];
      depth[s] = pending[s - begin] == 0 ? 0 : kNone;
      if (depth[s] == 0) queue.push_back(s);
    }
    for (size_t i = 0; i < queue.size(); ++i) {
      const int32_t s = queue[i];
      poll(8 * (leaving[s + 1] - leaving[s]));
      for (int32_t k = leaving[s]; k < leaving[s + 1]; ++k) {
        const int32_t t = targets[k];
        if (--pending[t - begin] > 0) continue;
        depth[t] = depth[s] + 1;
        queue.push_back(t);
      }
    }
  }
};

}  // namespace gtnet::layout
