// The arcs of a lattice that lie on a path whose score is near the best (forward-backward pruning,
// Sixtus & Ortmanns 1999), found without building the others.
#pragma once

#include "lattice/cpu/viterbi.h"
#include "lattice/tie_slack.h"

namespace gtnet::lattice {

// Arcs kept, cut by cut, those that read nothing first: the cuts that each leads between, the row
// that it reads (-1 for an epsilon) and its arc of the graph; the ends kept, of cut and state.
struct LatticeKept {
  std::vector<int32_t> from, to, row, arc, start_cut, start_state, accept_cut, accept_state;
};

template <class Score>
class LatticePrune {
 public:
  LatticePrune(const LatticeItem<Score>& item, const LatticeBest<Score>& before,
               const LatticeBest<Score>& after)
      : item_(item),
        before_(before),
        after_(after),
        reading_(item.steps.entering, item.num_arcs),
        epsilon_(item.steps.epsilon_entering, item.num_arcs),
        needed_(item.steps.num_positions) {}

  LatticeKept run(double beam) {
    const Cuts& cuts = item_.cuts;
    double best = kNegInf;
    each_end(item_, [&](int32_t c, int32_t s, double accept) {
      best = std::max(best, before_(c, s) + accept);
    });
    LatticeKept kept;
    if (best == kNegInf) return kept;
    // Rounding of sums taken in another order must not drop what ties with the threshold.
    const double least = best - beam - kTieSlack<Score> * (1 + std::abs(best));
    std::vector<Score> emission(item_.steps.num_labels);
    for (int32_t c = 0; c < cuts.count; ++c) {
      for (int32_t s = 0; cuts.starts(c) && s < item_.num_states; ++s) {
        const double score = static_cast<double>(item_.start[s]) + cuts.start[c];
        if (score + after_(c, s) < least) continue;
        kept.start_cut.push_back(cuts.name[c]);
        kept.start_state.push_back(s);
      }
      emission.assign(emission.size(), Score{0});
      arcs(epsilon_, c, c, kNone, emission, least, kept);
      for (int32_t k = cuts.begin[c]; k < cuts.begin[c + 1]; ++k) {
        read_scores(item_, k, emission.data());
        arcs(reading_, c, cuts.target[k], cuts.row[k], emission, least, kept);
      }
    }
    each_end(item_, [&](int32_t c, int32_t s, double accept) {
      if (before_(c, s) + accept < least) return;
      kept.accept_cut.push_back(cuts.name[c]);
      kept.accept_state.push_back(s);
    });
    return kept;
  }

 private:
  // The arcs of a layout in the order of the graph, and the positions that they lead between.
  struct Arcs {
    std::vector<int32_t> arc, from, to;

    Arcs(const layout::SlicedRows& rows, int32_t num_arcs)
        : arc(num_arcs, kNone), from(num_arcs), to(num_arcs) {
      for (int32_t k = 0; k < rows.num_slices; ++k) {
        const int32_t* const ends = rows.to + int64_t{k} * kLanes;
        for (int64_t at = int64_t{rows.begin[k]} * kLanes,
                     end = int64_t{rows.begin[k + 1]} * kLanes;
             at < end; ++at) {
          const int32_t a = rows.arc[at];
          if (a < 0) continue;
          arc[a] = a;
          from[a] = rows.other[at];
          to[a] = ends[rows.kind[k] == kLongRow ? 0 : at % kLanes];
        }
      }
      size_t count = 0;
      for (int32_t a = 0; a < num_arcs; ++a) {
        if (arc[a] == kNone) continue;
        arc[count] = a;
        from[count] = from[a];
        to[count++] = to[a];
      }
      arc.resize(count);
    }
  };

  const LatticeItem<Score>& item_;
  const LatticeBest<Score>&before_, &after_;
  const Arcs reading_, epsilon_;
  std::vector<double> needed_;  // of a path up to a position

  void arcs(const Arcs& arcs, int32_t from, int32_t to, int32_t row,
            const std::vector<Score>& emission, double least, LatticeKept& kept) {
    if (arcs.arc.empty()) return;
    for (int32_t p = 0; p < item_.steps.num_positions; ++p) {
      const double rest = after_(to, p) + static_cast<double>(emission[item_.steps.label[p]]);
      needed_[p] = rest == kNegInf ? std::numeric_limits<double>::infinity() : least - rest;
    }
    for (size_t i = 0; i < arcs.arc.size(); ++i) {
      const int32_t arc = arcs.arc[i];
      const double score = before_(from, arcs.from[i]) + static_cast<double>(item_.weights[arc]);
      if (score == kNegInf || score < needed_[arcs.to[i]]) continue;
      kept.from.push_back(item_.cuts.name[from]);
      kept.to.push_back(item_.cuts.name[to]);
      kept.row.push_back(row);
      kept.arc.push_back(arc);
    }
  }
};

}  // namespace gtnet::lattice
