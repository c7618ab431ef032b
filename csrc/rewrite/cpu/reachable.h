// Which states lie on a path from a start state to an accepting one.
#pragma once

#include <vector>

#include "core/interrupt.h"
#include "core/topology.h"

namespace gtnet::rewrite {

// Marks the states of one graph that are reached from `seeds` along `arcs`. O(states + arcs).
struct Reachable {
  const int64_t* state_offsets;
  Csr arcs;
  const bool* seeds;
  const bool* open;  // which arcs may be taken, all if null
  bool* reached;     // false on entry

  void operator()(int64_t graph) const {
    std::vector<int32_t> queue;
    const auto mark = [&](int32_t s) {
      if (!reached[s]) {
        reached[s] = true;
        queue.push_back(s);
      }
    };
    for (int64_t s = state_offsets[graph]; s < state_offsets[graph + 1]; ++s) {
      if (seeds[s]) mark(static_cast<int32_t>(s));
    }
    while (!queue.empty()) {
      const int32_t s = queue.back();
      queue.pop_back();
      poll(8 * (arcs.offsets[s + 1] - arcs.offsets[s]));
      for (int32_t k = arcs.offsets[s]; k < arcs.offsets[s + 1]; ++k) {
        if (open == nullptr || open[arcs.arcs[k]]) mark(arcs.states[k]);
      }
    }
  }
};

}  // namespace gtnet::rewrite
