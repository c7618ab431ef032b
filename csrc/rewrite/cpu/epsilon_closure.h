// Which states are reached by epsilons alone: the pairs (source, state) and the arcs between them.
#pragma once

#include <vector>

#include "core/budget.h"
#include "core/interrupt.h"
#include "core/topology.h"

namespace gtnet::rewrite {

// For every source, a copy of the part of the epsilon graph that it reaches: its states, the source
// first, and its arcs, whose ends are numbered within the copy.
struct EpsilonPairs {
  std::vector<int32_t> sources, states, arcs, arc_source, arc_target;
  std::vector<int64_t> state_begin{0}, arc_begin{0};
  bool too_large = false;
};

// The pairs of the states of one graph that `wanted` marks, as long as `budget` has some for the
// pairs and the copies of arcs. O(states + copies made).
inline EpsilonPairs epsilon_pairs(const Csr& leaving, const bool* wanted, int32_t begin,
                                  int32_t end, Budget& budget) {
  EpsilonPairs out;
  std::vector<int32_t> place(end - begin, kNone);
  for (int32_t source = begin; source < end; ++source) {
    if (!wanted[source]) continue;
    const auto first = static_cast<int32_t>(out.states.size());
    const auto number = [&](int32_t s) {
      if (place[s - begin] == kNone) {
        place[s - begin] = static_cast<int32_t>(out.states.size()) - first;
        out.states.push_back(s);
      }
      return place[s - begin];
    };
    out.sources.push_back(source);
    number(source);
    for (size_t i = first; i < out.states.size(); ++i) {
      const int32_t s = out.states[i];
      for (int32_t k = leaving.offsets[s]; k < leaving.offsets[s + 1]; ++k) {
        out.arcs.push_back(leaving.arcs[k]);
        out.arc_source.push_back(static_cast<int32_t>(i) - first);
        out.arc_target.push_back(number(leaving.states[k]));
      }
    }
    const auto copied = static_cast<int64_t>(out.states.size()) - first +
                        static_cast<int64_t>(out.arcs.size()) - out.arc_begin.back();
    poll(4 * copied);
    if (!budget.charge(copied)) {
      out = EpsilonPairs{};
      out.too_large = true;
      return out;
    }
    for (size_t i = first; i < out.states.size(); ++i) place[out.states[i] - begin] = kNone;
    out.state_begin.push_back(static_cast<int64_t>(out.states.size()));
    out.arc_begin.push_back(static_cast<int64_t>(out.arcs.size()));
  }
  return out;
}

}  // namespace gtnet::rewrite
