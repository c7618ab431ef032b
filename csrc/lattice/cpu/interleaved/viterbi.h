// The best paths of interleaved items: as `ChainViterbi` finds them alone, the same where several
// are best. Distances are kept of two cuts only; of the others it is kept along which arc every
// position is reached best.
#pragma once

#include "core/interrupt.h"
#include "lattice/cpu/interleaved/best_rows.h"
#include "lattice/cpu/interleaved/emissions.h"
#include "lattice/cpu/predecessors.h"

namespace gtnet::lattice::interleaved {

// The scores of a graph, laid out for best paths, and the distances at a first cut.
template <class Score>
class BestGraph {
 public:
  const layout::TransitionRows steps;
  const int32_t num_states;
  const Score *const start, *const accept;
  const BestRows<Score> reading, epsilon;
  std::vector<double> first;

  explicit BestGraph(const LatticeItem<Score>& item)
      : steps(item.steps),
        num_states(item.num_states),
        start(item.start),
        accept(item.accept),
        reading(steps, steps.entering, item.weights, false),
        epsilon(steps, steps.epsilon_entering, item.weights, true),
        first(steps.num_positions, kNegInf) {
    for (int32_t s = 0; s < num_states; ++s) {
      first[s] = std::max(kNegInf, static_cast<double>(start[s]));
    }
    for (const auto& run : epsilon.runs()) {
      for (int32_t k = run.begin; k < run.end; ++k) {
        double& here = first[epsilon.rows()[k].position];
        const auto& place = epsilon.places()[k];
        for (int32_t j = 0; j < place.count; ++j) here = std::max(here, at_first(place.entry + j));
      }
    }
  }

  // Takes the way back from a position at the first cut; returns where it begins.
  int32_t begin_of(int32_t position, LatticePath& path) const {
    while (position >= num_states || static_cast<double>(start[position]) != first[position]) {
      int32_t entry = epsilon.place_of(position)->entry;
      while (at_first(entry) != first[position]) ++entry;
      path.take(epsilon.arc(entry), kNone);
      position = epsilon.entries()[entry].other;
    }
    return position;
  }

 private:
  double at_first(int32_t entry) const {
    const auto& [weight, other] = epsilon.entries()[entry];
    return first[other] + static_cast<double>(weight);
  }
};

template <class Score, int L>
class BestPaths {
 public:
  // `numbers` has room for room(graph, items) doubles.
  BestPaths(const BestGraph<Score>& graph, const Items<Score, L>& items, double* numbers)
      : graph_(graph),
        items_(items),
        size_(int64_t{graph.steps.num_positions} * L),
        distances_(numbers),
        came_(reinterpret_cast<unsigned char*>(numbers + 2 * size_)),
        emission_(int64_t{graph.steps.num_labels} * L) {}

  static int64_t room(const BestGraph<Score>& graph, const Items<Score, L>& items) {
    return 2 * int64_t{graph.steps.num_positions} * L +
           (items.longest() * came_size(graph) + 7) / 8;
  }

  // paths[item]
  void find(LatticePath* paths) {
    for (int64_t p = 0; p < graph_.steps.num_positions; ++p) {
      std::fill_n(at(0) + p * L, L, graph_.first[p]);
    }
    std::fill_n(at(1), size_, kNegInf);
    end_at(0, paths);
    for (int32_t cut = 1; cut <= items_.longest(); ++cut) {
      poll(8 * size_);
      advance(cut);
      end_at(cut, paths);
      if (cut == 1) std::fill_n(at(0), size_, kNegInf);  // what is reached at the start alone
    }
    for (int i = 0; i < items_.count; ++i) {
      if (paths[i].last != kNone) trace_back(i, paths[i]);
    }
  }

 private:
  const BestGraph<Score>& graph_;
  const Items<Score, L>& items_;
  const int64_t size_;
  double* const distances_;    // [2, positions, L]
  unsigned char* const came_;  // [frames] of arcs that read, and of epsilons
  const Aligned<double> emission_;

  static int64_t came_size(const BestGraph<Score>& graph) {
    return graph.reading.came_size() + graph.epsilon.came_size();
  }
  unsigned char* came(int32_t cut) const { return came_ + (cut - 1) * came_size(graph_); }
  unsigned char* came_by_epsilon(int32_t cut) const {
    return came(cut) + graph_.reading.came_size();
  }
  double* at(int32_t cut) const { return distances_ + cut % 2 * size_; }

  void advance(int32_t cut) const {
    read(cut - 1);
    double* const to = at(cut);
    vectorized(
        TakeBest<Score, L, true>{graph_.reading, at(cut - 1), emission_.begin(), to, came(cut)});
    vectorized(TakeBest<Score, L, false>{graph_.epsilon, to, nullptr, to, came_by_epsilon(cut)});
  }

  void read(int32_t frame) const {
    const layout::TransitionRows& steps = graph_.steps;
    const int32_t readable = labels_below(items_.row_size, steps.labels, steps.num_labels);
    double* const emission = emission_.begin();
    std::fill_n(emission, L, 0.0);
    for (int i = 0; i < L; ++i) {
      const bool inside = frame < items_.length[i];
      const Score* const row = inside ? items_.scores[i] + frame * items_.row_stride : nullptr;
      for (int32_t l = 1; l < steps.num_labels; ++l) {
        const bool there = inside && l < readable;
        emission[l * L + i] = there ? static_cast<double>(row[steps.labels[l]]) : kNegInf;
      }
    }
  }

  void end_at(int32_t cut, LatticePath* paths) const {
    for (int i = 0; i < items_.count; ++i) {
      if (items_.length[i] != cut) continue;
      for (int32_t s = 0; s < graph_.num_states; ++s) {
        const auto accept = static_cast<double>(graph_.accept[s]);
        if (accept == kNegInf) continue;
        paths[i].end_at(cut, s, at(cut)[int64_t{s} * L + i] + accept);
      }
    }
  }

  void trace_back(int item, LatticePath& path) const {
    int32_t position = path.last;
    for (int32_t cut = path.last_cut; cut > 0;) {
      const auto* const by_epsilon = graph_.epsilon.place_of(position);
      const BestRows<Score>& rows = by_epsilon ? graph_.epsilon : graph_.reading;
      const unsigned char* const which = by_epsilon ? came_by_epsilon(cut) : came(cut);
      const auto& row = by_epsilon ? *by_epsilon : *rows.place_of(position);
      const int64_t entry = rows.best(row, item, which);
      if (!by_epsilon) --cut;
      path.take(rows.arc(entry), by_epsilon ? kNone : cut);
      position = rows.entries()[entry].other;
    }
    path.first = graph_.begin_of(position, path);
    path.first_cut = 0;
    path.turn();
  }
};

}  // namespace gtnet::lattice::interleaved
