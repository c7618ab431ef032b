// Operands put side by side, with epsilons from where paths of one are accepted to where paths of
// the next start: union, concatenation and closure (Mohri 2009, section 2.3).
//
// A graph of the result is a row of sections: a copy of each operand's graph, then what joins them.
// All operands stand end to end, so that a graph, a state or an arc of them has one number.
#pragma once

#include "core/topology.h"

namespace gtnet::rewrite {

enum class Rational : int64_t { kUnion, kConcat, kPlus, kStar, kOptional };

// The marked ones among the states [begin, end), in order.
struct Marked {
  In<int64_t> up_to;  // how many are marked up to and with each state
  int64_t begin, end;

  GTNET_HD int64_t before() const { return begin > 0 ? up_to[begin - 1] : 0; }
  GTNET_HD int64_t count() const { return end > begin ? up_to[end - 1] - before() : 0; }
  GTNET_HD int64_t nth(int64_t n) const {
    const int64_t wanted = before() + n;
    int64_t low = begin, high = end - 1;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (up_to[middle] > wanted) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }
};

struct Arrangement {
  Rational kind;
  int64_t num_parts;
  In<int64_t> graph_of;  // [graphs, parts]: which graph of the operands a section copies
  In<int64_t> state_offsets, arc_offsets;
  In<int64_t> exits, entries;  // [states] how many accept, and start, up to and with each

  GTNET_HD bool repeats() const { return kind == Rational::kPlus || kind == Rational::kStar; }
  GTNET_HD bool has_empty_path() const {
    return kind == Rational::kStar || kind == Rational::kOptional;
  }
  GTNET_HD int64_t width() const {
    const int64_t joints = kind == Rational::kUnion    ? 0
                           : kind == Rational::kConcat ? num_parts - 1
                                                       : 1;
    return num_parts + joints;
  }
  GTNET_HD bool is_copy(int64_t section) const { return section % width() < num_parts; }
  GTNET_HD int64_t copied(int64_t graph, int64_t part) const {
    return graph_of[graph * num_parts + part];
  }

  // From the accepting states of a part to the start states of the next: an arc for each pair, or
  // through a state between them where that takes fewer arcs.
  struct Joint {
    int64_t from, to;  // parts
    Marked exits, entries;

    GTNET_HD bool through() const {
      const int64_t x = exits.count(), e = entries.count();
      return x * e > x + e;
    }
    GTNET_HD int64_t num_arcs() const {
      const int64_t x = exits.count(), e = entries.count();
      return through() ? x + e : x * e;
    }
  };

  GTNET_HD bool joins() const { return repeats() || kind == Rational::kConcat; }
  GTNET_HD Joint joint(int64_t section) const {
    const int64_t graph = section / width(), from = section % width() - num_parts;
    const int64_t to = repeats() ? from : from + 1;
    const int64_t a = copied(graph, from), b = copied(graph, to);
    return {from,
            to,
            {exits, state_offsets[a], state_offsets[a + 1]},
            {entries, state_offsets[b], state_offsets[b + 1]}};
  }

  // A section with what it takes a division or more to find.
  struct Section {
    int64_t number, row;  // the first section of its graph
    bool copies;
    int64_t copied;  // the operands' graph
    Joint joint;     // of other sections
  };

  GTNET_HD Section section(int64_t number) const {
    const int64_t graph = number / width(), row = graph * width(), part = number - row;
    if (part < num_parts) return {number, row, true, copied(graph, part), {}};
    return {number, row, false, kNone, joins() ? joint(number) : Joint{}};
  }

  // How large a section is.
  GTNET_HD int64_t num_states(int64_t section) const {
    if (!is_copy(section)) return has_empty_path() + (joins() && joint(section).through());
    const int64_t graph = copied(section / width(), section % width());
    return state_offsets[graph + 1] - state_offsets[graph];
  }
  GTNET_HD int64_t num_arcs(int64_t section) const {
    if (!is_copy(section)) return joins() ? joint(section).num_arcs() : 0;
    const int64_t graph = copied(section / width(), section % width());
    return arc_offsets[graph + 1] - arc_offsets[graph];
  }
};

// Arc i of a section. The maps name states and arcs of the operands whose scores it carries.
struct ArrangedArc {
  Arrangement all;
  In<int64_t> state_begin, arc_begin;  // of each section, in the batch
  In<int32_t> from_source, from_target, from_ilabels, from_olabels;  // the last may be null
  Out<int32_t> source, target, ilabels, olabels;
  Out<int32_t> arc, left, entered;  // whose weight, accept and start score

  GTNET_HD GTNET_INLINE void operator()(const Arrangement::Section& section, int64_t i) const {
    const int64_t at = arc_begin[section.number] + i;
    if (!section.copies) {
      join(section, i, at);
      return;
    }
    const int64_t from = all.arc_offsets[section.copied] + i;
    const int32_t first = local(section, section.number);
    source[at] = first + from_source[from];
    target[at] = first + from_target[from];
    ilabels[at] = from_ilabels[from];
    if (olabels) olabels[at] = from_olabels[from];
    arc[at] = static_cast<int32_t>(from);
    left[at] = entered[at] = kNone;
  }

 private:
  // The first state of a section of the same graph, within the graph.
  GTNET_HD int32_t local(const Arrangement::Section& section, int64_t number) const {
    return static_cast<int32_t>(state_begin[number] - state_begin[section.row]);
  }

  GTNET_HD void join(const Arrangement::Section& section, int64_t i, int64_t at) const {
    const Arrangement::Joint& joint = section.joint;
    const int64_t x = joint.exits.count(), e = joint.entries.count();
    const bool through = joint.through();
    int64_t exit = kNone, entry = kNone;
    if (!through) {
      exit = joint.exits.nth(i / e);
      entry = joint.entries.nth(i % e);
    } else if (i < x) {
      exit = joint.exits.nth(i);
    } else {
      entry = joint.entries.nth(i - x);
    }
    const int32_t between = local(section, section.number);
    const int64_t left_first = joint.exits.begin, entered_first = joint.entries.begin;
    source[at] = exit == kNone ? between
                               : local(section, section.row + joint.from) +
                                     static_cast<int32_t>(exit - left_first);
    target[at] = entry == kNone ? between
                                : local(section, section.row + joint.to) +
                                      static_cast<int32_t>(entry - entered_first);
    ilabels[at] = kEpsilon;
    if (olabels) olabels[at] = kEpsilon;
    arc[at] = kNone;
    left[at] = static_cast<int32_t>(exit);
    entered[at] = static_cast<int32_t>(entry);
  }
};

// State i of a section. Behind the states of the operands stand an impossible one (-inf) and a free
// one (0), for the scores of new states.
struct ArrangedState {
  Arrangement all;
  In<int64_t> state_begin;
  int64_t impossible;          // how many states the operands have
  Out<int32_t> origin;         // the state of the operands it copies
  Out<int32_t> start, accept;  // whose scores it carries

  GTNET_HD GTNET_INLINE void operator()(const Arrangement::Section& section, int64_t i) const {
    const int64_t at = state_begin[section.number] + i;
    int64_t begins = impossible, ends = impossible, own = kNone;
    if (section.copies) {
      own = all.state_offsets[section.copied] + i;
      const bool apart = all.kind != Rational::kConcat;
      if (apart || section.number == section.row) begins = own;
      if (apart || section.number + 1 == section.row + all.num_parts) ends = own;
    } else if (all.has_empty_path() && at + 1 == state_begin[section.number + 1]) {
      begins = ends = impossible + 1;
    }
    origin[at] = static_cast<int32_t>(own);
    start[at] = static_cast<int32_t>(begins);
    accept[at] = static_cast<int32_t>(ends);
  }
};

}  // namespace gtnet::rewrite
