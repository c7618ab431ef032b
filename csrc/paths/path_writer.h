// Paths that threads follow, some of each graph or lattice, written out one after another.
//
// `Paths` has count(item) paths of an item and follow(item, i, visit), which calls visit(arc, row)
// along the i-th of them, from its end if kBackward, and returns its ends.
#pragma once

#include "core/span.h"

namespace gtnet::paths {

// The states, and the cuts of a lattice, between which a path leads; kNone if it was given up.
struct PathEnds {
  double score;
  int32_t first, first_cut, last, last_cut;
};

// How long the paths are: a thread per path, of at most `most` of each item.
template <class Paths>
struct MeasurePaths {
  Paths paths;
  int64_t most;
  Span<int64_t> length;
  Span<PathEnds> ends;

  GTNET_HD void operator()(int64_t i) const {
    const int64_t item = i / most;
    int64_t arcs = 0;
    length[i] = 0;
    if (i % most >= paths.count(item)) return;
    ends[i] = paths.follow(item, i % most, [&](int32_t, int32_t) { ++arcs; });
    length[i] = ends[i].first == kNone ? 0 : arcs;
  }
};

// counts[item] paths with arcs[item] arcs in all.
template <class Paths>
struct SumPaths {
  Paths paths;
  int64_t most;
  Span<const int64_t> length;
  Span<int64_t> counts, arcs;

  GTNET_HD void operator()(int64_t item) const {
    int64_t sum = 0;
    counts[item] = paths.count(item);
    for (int64_t i = 0; i < counts[item]; ++i) sum += length[item * most + i];
    arcs[item] = sum;
  }
};

// offsets[0] = 0, offsets[i + 1] = offsets[i] + sizes[i], by one thread: batches are short.
struct Offsets {
  int64_t count;
  Span<const int64_t> sizes;
  Span<int64_t> offsets;

  GTNET_HD void operator()(int64_t) const {
    offsets[0] = 0;
    for (int64_t i = 0; i < count; ++i) offsets[i + 1] = offsets[i] + sizes[i];
  }
};

// Where each path's arcs begin, item by item.
struct PlacePaths {
  int64_t items, most;
  Span<const int64_t> length, first_path, first_arc;
  Span<int64_t> offsets;  // [paths + 1]
  Span<int64_t> lengths;  // [paths], may be null

  GTNET_HD void operator()(int64_t item) const {
    int64_t at = first_arc[item];
    for (int64_t p = first_path[item]; p < first_path[item + 1]; ++p) {
      offsets[p] = at;
      const int64_t arcs = length[item * most + p - first_path[item]];
      if (lengths) lengths[p] = arcs;
      at += arcs;
    }
    if (item + 1 == items) offsets[first_path[items]] = at;
  }
};

// Writes the paths: a thread per path.
template <class Paths>
struct WritePaths {
  Paths paths;
  int64_t most;
  Span<const int64_t> first_path, offsets;
  Span<const PathEnds> ends;
  Span<int32_t> arcs, rows;  // rows may be null
  Span<double> score;        // may be null, as the cuts
  Span<int32_t> first, first_cut, last, last_cut;

  GTNET_HD void operator()(int64_t i) const {
    const int64_t item = i / most, p = first_path[item] + i % most;
    if (p >= first_path[item + 1]) return;
    first[p] = ends[i].first;
    last[p] = ends[i].last;
    if (score) {
      score[p] = ends[i].score;
      first_cut[p] = ends[i].first_cut;
      last_cut[p] = ends[i].last_cut;
    }
    if (offsets[p] == offsets[p + 1]) return;
    int64_t at = Paths::kBackward ? offsets[p + 1] : offsets[p];
    paths.follow(item, i % most, [&](int32_t arc, int32_t row) {
      if (Paths::kBackward) --at;
      arcs[at] = arc;
      if (rows) rows[at] = row;
      if (!Paths::kBackward) ++at;
    });
  }
};

}  // namespace gtnet::paths
