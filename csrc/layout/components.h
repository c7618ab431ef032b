// Strongly connected components in topological order (Tarjan 1972, without recursion).
#pragma once

#include <algorithm>
#include <vector>

#include "core/interrupt.h"
#include "core/topology.h"

namespace gtnet::layout {

// Orders the states of one graph so that arcs between components lead forward; the states of a
// component follow one another in reverse postorder, so most arcs within it lead forward too.
struct StrongComponents {
  const int64_t* state_offsets;
  const int32_t* offsets;  // of the leaving arcs
  const int32_t* targets;
  int32_t* order;
  std::vector<CyclicComponent>* cyclic;  // of each graph, empty on entry

  void operator()(int64_t graph) const {
    const auto begin = static_cast<int32_t>(state_offsets[graph]);
    const auto end = static_cast<int32_t>(state_offsets[graph + 1]);
    std::vector<Visit> visits(end - begin);
    std::vector<int32_t> path, finished;  // states being visited; done, but in no component yet
    int32_t count = 0, placed = end;
    const auto enter = [&](int32_t s) {
      poll(16 * (offsets[s + 1] - offsets[s]));
      visits[s - begin] = {++count, count, offsets[s]};
      path.push_back(s);
    };
    for (int32_t root = begin; root < end; ++root) {
      if (visits[root - begin].number == 0) enter(root);
      while (!path.empty()) {
        const int32_t s = path.back();
        Visit& here = visits[s - begin];
        if (here.next < offsets[s + 1]) {
          const int32_t t = targets[here.next++];
          const Visit& there = visits[t - begin];
          if (there.number == 0) {
            enter(t);
          } else if (there.number != kPlaced) {
            here.low = std::min(here.low, there.number);
          }
          continue;
        }
        path.pop_back();
        finished.push_back(s);
        if (here.low == here.number) {
          placed = place(graph, begin, placed, finished, visits);
        } else {
          Visit& parent = visits[path.back() - begin];
          parent.low = std::min(parent.low, here.low);
        }
      }
    }
    std::reverse(cyclic[graph].begin(), cyclic[graph].end());
  }

 private:
  static constexpr int32_t kPlaced = -1;
  struct Visit {
    int32_t number = 0;  // in order of discovery, 0 before it
    int32_t low = 0;     // the least number that the state reaches outside placed components
    int32_t next = 0;    // leaving arc to follow next
  };

  // The state finished last is the root of a component: it and what was finished since it was
  // discovered go before everything placed so far.
  int32_t place(int64_t graph, int32_t base, int32_t end, std::vector<int32_t>& finished,
                std::vector<Visit>& visits) const {
    const int32_t root = finished.back(), first = visits[root - base].number;
    int32_t size = 0;
    for (auto s = finished.rbegin(); s != finished.rend(); ++s, ++size) {
      if (visits[*s - base].number < first) break;
    }
    const int32_t begin = end - size;
    for (int32_t i = begin; i < end; ++i) {
      order[i] = finished.back();
      finished.pop_back();
      visits[order[i] - base].number = kPlaced;
    }
    if (size > 1 || loops(root)) cyclic[graph].push_back({begin, end});
    return begin;
  }

  bool loops(int32_t s) const {
    return std::find(targets + offsets[s], targets + offsets[s + 1], s) != targets + offsets[s + 1];
  }
};

}  // namespace gtnet::layout
