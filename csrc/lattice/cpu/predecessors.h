// Paths of a lattice, and the ways back from a position at a cut along which they are found.
#pragma once

#include <algorithm>
#include <vector>

#include "lattice/cpu/emissions.h"

namespace gtnet::lattice {

// Arcs of the operand along a path, and the row of scores that each reads, -1 for an epsilon; the
// state and the cut in which the path begins and ends.
struct LatticePath {
  double score = kNegInf;
  int32_t first = kNone, last = kNone, first_cut = kNone, last_cut = kNone;
  std::vector<int32_t> arcs, rows;

  void take(int32_t arc, int32_t row) {
    if (arc == layout::kUnitArc) return;
    arcs.push_back(arc);
    rows.push_back(row);
  }

  // A path of this score ends in a state at a cut: this one, if it is the best so far.
  void end_at(int32_t cut, int32_t state, double with_score) {
    if (with_score > score) score = with_score, last = state, last_cut = cut;
  }

  // Of a path found from its end; cuts get the names that they have outside.
  void turn() {
    std::reverse(arcs.begin(), arcs.end());
    std::reverse(rows.begin(), rows.end());
  }
  void turn(const Cuts& cuts) {
    turn();
    first_cut = cuts.name[first_cut];
    last_cut = cuts.name[last_cut];
  }
};

// Where the entries of every position's row begin, their stride and number; 0 for no row.
struct RowPlace {
  int64_t begin = 0;
  int32_t stride = 0, count = 0;

  static std::vector<RowPlace> of(const layout::SlicedRows& rows, int32_t num_positions) {
    std::vector<RowPlace> found(num_positions);
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int64_t begin = int64_t{rows.begin[k]} * kLanes;
      const int32_t entries = rows.begin[k + 1] - rows.begin[k];
      const int32_t* const to = rows.to + int64_t{k} * kLanes;
      if (rows.kind[k] == kLongRow) {
        found[to[0]] = {begin, 1, entries * kLanes};
        continue;
      }
      for (int i = 0; i < kLanes; ++i) {
        if (to[i] >= 0) found[to[i]] = {begin + i, kLanes, entries};
      }
    }
    return found;
  }
};

// The last step of a path to a position: from where, along which arc of the graph (kUnitArc: none),
// reading which row (-1: none).
struct Way {
  int32_t cut, position, arc, row;
  double weight, emission;

  double from(double distance) const { return distance + weight + emission; }
};

// visit(cut, state, score) for every way to end.
template <class Score, class Visit>
void each_end(const LatticeItem<Score>& item, const Visit& visit) {
  for (int32_t c = 0; c < item.cuts.count; ++c) {
    for (int32_t s = 0; item.cuts.accepts(c) && s < item.num_states; ++s) {
      visit(c, s, static_cast<double>(item.accept[s]) + item.cuts.accept[c]);
    }
  }
}

template <class Score>
class Predecessors {
 public:
  explicit Predecessors(const LatticeItem<Score>& item)
      : item_(item),
        steps_(item.steps),
        entering_(item.cuts.entering()),
        reading_(RowPlace::of(steps_.entering, steps_.num_positions)),
        epsilon_(RowPlace::of(steps_.epsilon_entering, steps_.num_positions)) {}

  // visit(way) for every way into a position until it returns true.
  template <class Visit>
  void each(int32_t cut, int32_t position, const Visit& visit) const {
    const auto along = [&](const layout::SlicedRows& rows, const RowPlace& place, Way way) {
      for (int32_t j = 0; j < place.count; ++j) {
        const int64_t k = place.begin + int64_t{j} * place.stride;
        if (rows.arc[k] == layout::kPadding) continue;
        way.position = rows.other[k];
        way.arc = rows.arc[k];
        way.weight = way.arc >= 0 ? static_cast<double>(item_.weights[way.arc]) : 0;
        if (visit(way)) return true;
      }
      return false;
    };
    if (along(steps_.epsilon_entering, epsilon_[position], {cut, 0, 0, kNone, 0, 0})) return;
    const int32_t local = steps_.label[position], label = steps_.labels[local];
    if (local == layout::kNoLabel) return;
    for (int32_t i = entering_.begin[cut]; i < entering_.begin[cut + 1]; ++i) {
      const int32_t segment = entering_.segment[i];
      const double emission =
          label < item_.num_labels ? static_cast<double>(item_.row(segment)[label]) : kNegInf;
      const Way way{entering_.source[i], 0, 0, item_.cuts.row[segment], 0, emission};
      if (along(steps_.entering, reading_[position], way)) return;
    }
  }

  // The score of beginning in a position at a cut.
  double start(int32_t cut, int32_t position) const {
    if (position >= item_.num_states) return kNegInf;
    return static_cast<double>(item_.start[position]) + item_.cuts.start[cut];
  }

 private:
  const LatticeItem<Score>& item_;
  const layout::TransitionRows& steps_;
  const Cuts::Entering entering_;
  const std::vector<RowPlace> reading_, epsilon_;
};

}  // namespace gtnet::lattice
