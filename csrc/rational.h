// Operands put side by side, with epsilons from where paths of one are accepted to where paths of
// the next start: union, concatenation and closure (Mohri 2009, section 2.3).
#pragma once

#include <algorithm>
#include <vector>

#include "topology.h"

namespace gtnet {

enum class Rational : int64_t { kUnion, kConcat, kPlus, kStar, kOptional };

// One operand. States and arcs count through its batch; in the operands put end to end its first
// ones are `first_state` and `first_arc`. A batch of one graph takes part in every result.
struct Part {
  int64_t graphs;
  const int64_t *state_offsets, *arc_offsets;
  const int32_t *source, *target, *ilabels, *olabels;
  const bool *is_start, *is_accept;
  int64_t first_state, first_arc;

  int64_t of(int64_t graph) const { return graphs == 1 ? 0 : graph; }
  int64_t num_states(int64_t graph) const {
    return state_offsets[of(graph) + 1] - state_offsets[of(graph)];
  }
  int64_t num_arcs(int64_t graph) const {
    return arc_offsets[of(graph) + 1] - arc_offsets[of(graph)];
  }

  // Where paths of a graph begin or end, numbered from its first state.
  std::vector<int32_t> ends(int64_t graph, const bool* marked) const {
    std::vector<int32_t> found;
    const int64_t begin = state_offsets[of(graph)], end = state_offsets[of(graph) + 1];
    for (int64_t s = begin; s < end; ++s) {
      if (marked[s]) found.push_back(static_cast<int32_t>(s - begin));
    }
    return found;
  }
};

// One graph of the result. The maps name items of the operands put end to end; behind their states
// stand an impossible one (-inf) and a free one (0), for the scores of new states.
struct Arranged {
  int32_t *source, *target, *ilabels, *olabels;  // olabels may be null
  int32_t *arc, *left, *entered;  // whose weight, accept and start score an arc carries
  int32_t *start, *accept;        // whose scores a state carries
  std::vector<int32_t*> arc_maps, state_maps;  // for each operand its own arcs and states
};

class Arrangement {
 public:
  Arrangement(const std::vector<Part>& parts, Rational kind) : parts_(parts), kind_(kind) {
    for (const Part& part : parts) num_states_ += part.state_offsets[part.graphs];
  }

  int64_t num_states(int64_t graph) const {
    int64_t total = has_empty_path();
    for (const Part& part : parts_) total += part.num_states(graph);
    for (size_t j = 0; j < junctions(); ++j) total += Junction(*this, j, graph).through;
    return total;
  }

  int64_t num_arcs(int64_t graph) const {
    int64_t total = 0;
    for (const Part& part : parts_) total += part.num_arcs(graph);
    for (size_t j = 0; j < junctions(); ++j) total += Junction(*this, j, graph).num_arcs();
    return total;
  }

  void write(int64_t graph, const Arranged& out) const {
    std::vector<int32_t> begin(parts_.size());
    int32_t states = 0;
    int64_t arcs = 0;
    for (size_t k = 0; k < parts_.size(); ++k) {
      begin[k] = states;
      copy(graph, k, out, states, arcs);
    }
    const auto impossible = static_cast<int32_t>(num_states_);
    for (size_t j = 0; j < junctions(); ++j) {
      const Junction joint(*this, j, graph);
      if (joint.through) add_state(out, states, impossible);
      join(joint, graph, begin[j], begin[next(j)], states, out, arcs);
      states += joint.through;
    }
    if (has_empty_path()) add_state(out, states, impossible + 1);
  }

 private:
  // From the accepting states of part j to the start states of the next: an arc for each pair, or
  // through a state between them where that takes fewer arcs.
  struct Junction {
    std::vector<int32_t> exits, entries;
    bool through;
    size_t from, to;

    Junction(const Arrangement& all, size_t j, int64_t graph)
        : exits(all.parts_[j].ends(graph, all.parts_[j].is_accept)),
          entries(all.parts_[all.next(j)].ends(graph, all.parts_[all.next(j)].is_start)),
          through(exits.size() * entries.size() > exits.size() + entries.size()),
          from(j),
          to(all.next(j)) {}

    int64_t num_arcs() const {
      return static_cast<int64_t>(through ? exits.size() + entries.size()
                                          : exits.size() * entries.size());
    }
  };

  bool has_empty_path() const { return kind_ == Rational::kStar || kind_ == Rational::kOptional; }
  bool repeats() const { return kind_ == Rational::kPlus || kind_ == Rational::kStar; }
  size_t junctions() const {
    return repeats() ? 1 : kind_ == Rational::kConcat ? parts_.size() - 1 : 0;
  }
  size_t next(size_t j) const { return repeats() ? j : j + 1; }

  void copy(int64_t graph, size_t k, const Arranged& out, int32_t& states, int64_t& arcs) const {
    const Part& part = parts_[k];
    const auto impossible = static_cast<int32_t>(num_states_);
    const bool starts = kind_ != Rational::kConcat || k == 0;
    const bool accepts = kind_ != Rational::kConcat || k + 1 == parts_.size();
    const int64_t first_arc = part.arc_offsets[part.of(graph)];
    for (int64_t a = first_arc; a < first_arc + part.num_arcs(graph); ++a, ++arcs) {
      out.source[arcs] = states + part.source[a];
      out.target[arcs] = states + part.target[a];
      out.ilabels[arcs] = part.ilabels[a];
      if (out.olabels) out.olabels[arcs] = part.olabels[a];
      out.arc[arcs] = static_cast<int32_t>(part.first_arc + a);
      out.left[arcs] = out.entered[arcs] = kNone;
      out.arc_maps[k][arcs] = static_cast<int32_t>(a);
    }
    const int64_t first_state = part.state_offsets[part.of(graph)];
    for (int64_t s = first_state; s < first_state + part.num_states(graph); ++s, ++states) {
      const auto own = static_cast<int32_t>(part.first_state + s);
      out.start[states] = starts ? own : impossible;
      out.accept[states] = accepts ? own : impossible;
      out.state_maps[k][states] = static_cast<int32_t>(s);
    }
  }

  static void add_state(const Arranged& out, int32_t state, int32_t scores) {
    out.start[state] = out.accept[state] = scores;
  }

  void join(const Junction& joint, int64_t graph, int32_t begin_from, int32_t begin_to, int32_t hub,
            const Arranged& out, int64_t& arcs) const {
    const auto origin = [&](size_t k, int32_t s) {
      const Part& part = parts_[k];
      return static_cast<int32_t>(part.first_state + part.state_offsets[part.of(graph)] + s);
    };
    const auto add = [&](int32_t source, int32_t target, int32_t left, int32_t entered) {
      out.source[arcs] = source;
      out.target[arcs] = target;
      out.ilabels[arcs] = kEpsilon;
      if (out.olabels) out.olabels[arcs] = kEpsilon;
      out.arc[arcs] = kNone;
      out.left[arcs] = left;
      out.entered[arcs] = entered;
      ++arcs;
    };
    for (const int32_t x : joint.exits) {
      if (joint.through) {
        add(begin_from + x, hub, origin(joint.from, x), kNone);
        continue;
      }
      for (const int32_t e : joint.entries) {
        add(begin_from + x, begin_to + e, origin(joint.from, x), origin(joint.to, e));
      }
    }
    if (!joint.through) return;
    for (const int32_t e : joint.entries) add(hub, begin_to + e, kNone, origin(joint.to, e));
  }

  const std::vector<Part>& parts_;
  const Rational kind_;
  int64_t num_states_ = 0;  // of all operands
};

}  // namespace gtnet
