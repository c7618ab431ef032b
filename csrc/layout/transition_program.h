// One step through a graph for a block of threads: the layout of layout/transition_rows.h as
// programs. A program is phases of slices with a barrier between them; a slice is sixteen threads
// wide, which hold a row each, or together one long row. Rows that are longer still are summed in
// parts, side by side, whose sums a later phase adds up: no thread takes more than a few dozen
// arcs.
#pragma once

#include "core/span.h"
#include "layout/lanes.h"

namespace gtnet::layout {

constexpr int kHeader = 16;  // words in front of a graph and of a program; arrays begin at such too

enum SliceFlag : int32_t {
  kTogether = 1,  // all lanes take one row
  kKeeps = 2,     // what a row's position held is one more term
};

// Rows of phase 0 read one array and write another; later phases read what was written.
struct TransitionProgram {
  int32_t phases, reading;  // phases before `reading` take the arcs that read a label
  int32_t slices, entries;
  int32_t weights_before, counts_before;         // entries of other graphs and programs
  Span<const int32_t> phase_begin, slice_begin;  // slices of a phase, entries of a slice
  Span<const int32_t> flags;                     // [slices]
  Span<const int32_t> to, owner;   // [slices, lanes] what a row writes, the position it is part of
  Span<const int32_t> other, arc;  // [entries, lanes]

  GTNET_HD GTNET_INLINE static int64_t aligned(int64_t words) {
    return (words + kHeader - 1) / kHeader * kHeader;
  }

  GTNET_HD static TransitionProgram read(Span<const int32_t> words, int64_t at) {
    TransitionProgram p;
    p.phases = words[at];
    p.reading = words[at + 1];
    p.slices = words[at + 2];
    p.entries = words[at + 3];
    p.weights_before = words[at + 4];
    p.counts_before = words[at + 5];
    const int64_t rows = int64_t{p.slices} * kLanes, lanes = int64_t{p.entries} * kLanes;
    at += kHeader;
    p.phase_begin = next(words, at, p.phases + 1);
    p.slice_begin = next(words, at, p.slices + 1);
    p.flags = next(words, at, p.slices);
    p.to = next(words, at, rows);
    p.owner = next(words, at, rows);
    p.other = next(words, at, lanes);
    p.arc = next(words, at, lanes);
    return p;
  }

 private:
  GTNET_HD static Span<const int32_t> next(Span<const int32_t> words, int64_t& at, int64_t count) {
    const int64_t begin = at;
    at += aligned(count);
    return words.part(begin, count);
  }
};

// A graph as a kernel sees it. Slots are positions, then places for the sums of parts of rows.
struct TransitionPrograms {
  int32_t positions, slots, labels, totals;  // totals: labels, then places for parts likewise
  Span<const int32_t> names, label;          // what each local label stands for; [slots]
  TransitionProgram forth, back, by_label;

  // `words` begin with the places of the graphs, in units of kHeader.
  GTNET_HD static TransitionPrograms read(Span<const int32_t> words, int64_t graph) {
    const int64_t at = int64_t{words[graph]} * kHeader;
    TransitionPrograms steps;
    steps.positions = words[at];
    steps.slots = words[at + 1];
    steps.labels = words[at + 2];
    steps.totals = words[at + 3];
    const int64_t names = at + kHeader, label = names + TransitionProgram::aligned(steps.labels);
    steps.names = words.part(names, steps.labels);
    steps.label = words.part(label, steps.slots);
    steps.forth = TransitionProgram::read(words, at + words[at + 4]);
    steps.back = TransitionProgram::read(words, at + words[at + 5]);
    steps.by_label = TransitionProgram::read(words, at + words[at + 6]);
    return steps;
  }
};

// What a launch must know about a batch of graphs: the largest of each, and sums.
enum StepSize : int64_t {
  kMostSlots,
  kMostTotals,
  kMostLabels,
  kMostSlices,  // of a first phase
  kMostPhases,
  kAllWeights,  // entries of forth and back
  kAllCounts,   // entries of back
  kStepSizes
};

}  // namespace gtnet::layout
