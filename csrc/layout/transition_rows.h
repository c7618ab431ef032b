// One step through a graph, laid out for vectors. A position is a state, or the part of a state
// that one label leads to; positions gather their arcs in rows. Sixteen rows side by side are a
// slice, padded to its longest row (SELL, Kreutzer et al. 2014), so that a vector lane is a row; a
// row far longer than its neighbours is a slice of its own whose lanes are its arcs.
//
// Every position is entered either by arcs of one label or by epsilon arcs: a state entered by
// several labels gets a position for each, from which a unit arc leads on to it. So a label is a
// property of a position, and the epsilon arcs are the only ones within a frame.
#pragma once

#include <initializer_list>

#include "layout/lanes.h"

namespace gtnet::layout {

enum SliceKind : int32_t { kScattered, kInOrder, kLongRow };
enum Access : int32_t { kGathered, kContiguous, kBroadcast };

// Slices of rows. An entry is kLanes numbers wide; slice k owns entries [begin[k], begin[k+1]).
struct SlicedRows {
  int32_t num_slices, num_entries;
  const int32_t *begin, *kind;
  const int32_t* to;           // [slices, lanes] the position that each row belongs to, -1 for none
  const int32_t* access;       // [entries] how `other` runs over the lanes of an entry
  const int32_t *other, *arc;  // [entries, lanes] the position at the other end, and the arc
};

// What is known about one graph before any score.
struct TransitionRows {
  int32_t num_positions;         // states first, a multiple of kLanes
  int32_t num_labels;            // local ones, kNoLabel included
  int32_t up, down;              // how far arcs that read lead at most, in positions
  const int32_t* labels;         // [num_labels] the label that each local label stands for
  const int32_t* label;          // [num_positions] the local label that leads here
  SlicedRows entering, leaving;  // arcs that read a label
  SlicedRows epsilon_entering, epsilon_leaving;  // in an order that leads forward, or back
  SlicedRows by_label;                           // a row per local label: the positions it leads to
};

// Reads back what TransitionRowsBuilder wrote.
class TransitionRowsReader {
 public:
  explicit TransitionRowsReader(const int32_t* words) : at_(words) {}

  TransitionRows read() {
    TransitionRows steps;
    steps.num_positions = *at_++;
    steps.num_labels = *at_++;
    steps.up = *at_++;
    steps.down = *at_++;
    steps.labels = take(steps.num_labels);
    steps.label = take(steps.num_positions);
    for (SlicedRows* rows : {&steps.entering, &steps.leaving, &steps.epsilon_entering,
                             &steps.epsilon_leaving, &steps.by_label}) {
      *rows = rows_();
    }
    return steps;
  }

 private:
  const int32_t* at_;

  const int32_t* take(int64_t count) {
    const int32_t* const taken = at_;
    at_ += count;
    return taken;
  }

  SlicedRows rows_() {
    SlicedRows rows;
    rows.num_slices = *at_++;
    rows.num_entries = *at_++;
    rows.begin = take(rows.num_slices + 1);
    rows.kind = take(rows.num_slices);
    rows.to = take(int64_t{rows.num_slices} * kLanes);
    rows.access = take(rows.num_entries);
    rows.other = take(int64_t{rows.num_entries} * kLanes);
    rows.arc = take(int64_t{rows.num_entries} * kLanes);
    return rows;
  }
};

}  // namespace gtnet::layout
