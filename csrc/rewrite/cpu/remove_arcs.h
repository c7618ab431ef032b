// A graph without arcs that say nothing, by reachability alone: what they lead to counts, and not
// how often or at what weight. As the package gtn removes; rewrite/cpu/epsilon_closure.h keeps
// weights.
#pragma once

#include <vector>

#include "core/interrupt.h"
#include "core/packed_graph.h"
#include "layout/own_csr.h"

namespace gtnet::rewrite {

// A state has, for all states that silent arcs reach from it, itself first and then breadth first,
// their other arcs, and accepts if one of these states does. States go that only silent arcs lead
// to, and that do not start. O(arcs), and that of the pairs of a state and one it so reaches.
class RemoveArcs {
 public:
  using Parts = PackedParts<const int32_t, const float>;

  std::vector<int32_t> source, target, arc;  // of the result; which arc each was
  std::vector<char> start, accept;

  RemoveArcs(const PackedGraph& graph, const Parts& parts, int64_t ilabel, int64_t olabel)
      : parts_(parts),
        ilabel_(ilabel),
        olabel_(olabel),
        leaving_(parts.source, parts.target, graph.num_states, graph.num_arcs),
        number_(graph.num_states, kNone),
        seen_by_(graph.num_states, kNone) {
    std::vector<char> kept(graph.num_states, 0);
    for (int64_t s = 0; s < graph.num_states; ++s) kept[s] = parts.start[s] > kNegInf;
    for (int64_t a = 0; a < graph.num_arcs; ++a) {
      if (!silent(a)) kept[parts.target[a]] = 1;
    }
    int32_t count = 0;
    for (int64_t s = 0; s < graph.num_states; ++s) {
      if (kept[s]) number_[s] = count++;
    }
    for (int32_t s = 0; s < graph.num_states; ++s) {
      if (kept[s]) expand(s);
    }
  }

 private:
  bool silent(int64_t a) const {
    return parts_.ilabels[a] == ilabel_ && parts_.olabels[a] == olabel_;
  }

  void expand(int32_t origin) {
    const Csr leaving = leaving_.view();
    bool accepts = false;
    queue_.assign(1, origin);
    seen_by_[origin] = origin;
    for (size_t i = 0; i < queue_.size(); ++i) {
      const int32_t s = queue_[i];
      accepts = accepts || parts_.accept[s] > kNegInf;
      poll(8 * (leaving.offsets[s + 1] - leaving.offsets[s]));
      for (int32_t k = leaving.offsets[s]; k < leaving.offsets[s + 1]; ++k) {
        const int32_t a = leaving.arcs[k], to = leaving.states[k];
        if (!silent(a)) {
          source.push_back(number_[origin]);
          target.push_back(number_[to]);
          arc.push_back(a);
        } else if (seen_by_[to] != origin) {
          seen_by_[to] = origin;
          queue_.push_back(to);
        }
      }
    }
    start.push_back(parts_.start[origin] > kNegInf);
    accept.push_back(accepts);
  }

  const Parts parts_;
  const int64_t ilabel_, olabel_;
  const layout::OwnCsr leaving_;
  std::vector<int32_t> number_, seen_by_, queue_;
};

}  // namespace gtnet::rewrite
