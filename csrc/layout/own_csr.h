// The arcs of one graph by state, in memory of their own: for an operator that does all in one
// call.
#pragma once

#include <vector>

#include "layout/csr.h"

namespace gtnet::layout {

class OwnCsr {
 public:
  // The arcs grouped by one of their ends, in their order.
  OwnCsr(const int32_t* by, const int32_t* other, int64_t num_states, int64_t num_arcs)
      : bounds_{0, num_states}, offsets_(num_states + 1), arcs_(num_arcs), states_(num_arcs) {
    const int64_t arc_bounds[] = {0, num_arcs};
    offsets_[num_states] = static_cast<int32_t>(num_arcs);
    GroupArcs{bounds_, arc_bounds, by, other, offsets_.data(), arcs_.data(), states_.data()}(0);
  }

  Csr view() const { return {offsets_.data(), arcs_.data(), states_.data()}; }

  // Sorts the arcs of every state by label; the result is the labels at their positions.
  std::vector<int32_t> sort(const int32_t* labels) {
    std::vector<int32_t> sorted(arcs_.size()), arcs(arcs_.size()), states(arcs_.size());
    SortByLabel{bounds_, view(), labels, arcs.data(), states.data(), sorted.data()}(0);
    arcs_.swap(arcs);
    states_.swap(states);
    return sorted;
  }

  // An order of the states in which arcs lead forward, where the arcs are those that enter; false
  // where there is a cycle.
  bool order(std::vector<int32_t>& states) const {
    int64_t on_cycle = kNone;
    states.resize(offsets_.size() - 1);
    TopologicalOrder{bounds_, offsets_.data(), states_.data(), states.data(), &on_cycle}(0);
    return on_cycle == kNone;
  }

 private:
  int64_t bounds_[2];
  std::vector<int32_t> offsets_, arcs_, states_;
};

}  // namespace gtnet::layout
