// The inner loop over the arcs of a graph for a block of threads: one phase of its program
// (layout/transition_program.h) in a semiring. To every position it gives the sum of what the
// entries of its row bring.
//
// A semiring here is a struct with the arrays that the phase works on:
//   Sum                      what is added up
//   zero(), plus(a, b)       of sums
//   kept(p)                  what position p held before, where the phase adds to that
//   add(sum, entry, owner)   adds an entry of a row that is part of a position, its owner
//   put(p, sum, keeps)       the end of the row of p; whether the phase adds to what p held
#pragma once

#include "core/extended_float.h"
#include "layout/transition_program.h"

namespace gtnet::lattice {

using layout::kLanes;

template <class Semiring, class Block>
GTNET_KERNEL void run_phase(Block& block, const layout::TransitionProgram& program, int32_t phase,
                            const Semiring& semiring) {
  using Sum = typename Semiring::Sum;
  block.template rows<kLanes>(
      program.phase_begin[phase], program.phase_begin[phase + 1],
      [=](int32_t slice, int lane) {
        const int32_t kind = program.flags[slice];
        const bool together = (kind & layout::kTogether) != 0;
        const int64_t row = int64_t{slice} * kLanes + (together ? 0 : lane);
        const int32_t to = program.to[row];
        Sum sum = Semiring::zero();
        if (to < 0) return sum;
        if (kind & layout::kKeeps && !(together && lane > 0)) sum = semiring.kept(to);
        const int32_t owner = program.owner[row], end = program.slice_begin[slice + 1];
        for (int32_t j = program.slice_begin[slice]; j < end; ++j) {
          semiring.add(sum, int64_t{j} * kLanes + lane, owner);
        }
        return sum;
      },
      [=](int32_t slice) { return (program.flags[slice] & layout::kTogether) != 0; },
      [](const Sum& a, const Sum& b) { return Semiring::plus(a, b); },
      [=](int32_t slice, int lane, const Sum& sum) {
        const int32_t p = program.to[int64_t{slice} * kLanes + lane];
        if (p >= 0) semiring.put(p, sum, (program.flags[slice] & layout::kKeeps) != 0);
      });
}

// The values that a phase leads from and to, by slot. Phase 0 reads `from`, later ones what was
// written.
template <class Value>
struct PhaseValues {
  Span<Value> source, to;
  Span<Value> emission;  // by label, for what positions read; null where nothing is read
  Span<const int32_t> label;
  int32_t positions;

  GTNET_HD PhaseValues(const layout::TransitionPrograms& steps,
                       const layout::TransitionProgram& program, int32_t phase, Span<Value> from,
                       Span<Value> into, Span<Value> emissions)
      : source(phase == 0 ? from : into),
        to(into),
        emission(phase < program.reading ? emissions : Span<Value>(nullptr)),
        label(steps.label),
        positions(steps.positions) {}

  GTNET_HD GTNET_INLINE bool reads(int32_t p) const { return emission && p < positions; }
};

// Expected numbers of uses of arcs, summed over frames; `counts` are null where nobody asks.
template <class T>
struct ArcCounts {
  Span<double> counts;  // [entries, lanes] of a program, or by_arc [arcs]
  bool by_arc;
  Span<const ExtendedFloat<T>> near;  // what reached the position of a row by the frame at hand
  T inverse;                          // 1 / mantissa of the total
  Exponent<T> total;
  double scale;

  GTNET_HD GTNET_INLINE void add(int64_t entry, int32_t arc, int32_t owner,
                                 ExtendedFloat<T> term) const {
    const ExtendedFloat<T> use = ExtendedFloat<T>{near[owner].m * inverse, near[owner].e} * term;
    counts[by_arc ? arc : entry] += static_cast<double>(use.over(total)) * scale;
  }
};

// Sums over all paths; what goes wrong raises a flag.
template <class T, class Block>
struct SumSemiring {
  using Sum = ExtendedFloat<T>;
  PhaseValues<Sum> values;
  Span<const Sum> weight;  // of the program's entries
  Span<const int32_t> other, arc;
  ArcCounts<T> uses;
  Span<int32_t> flags;

  GTNET_HD GTNET_INLINE static Sum zero() { return Sum::zero(); }
  GTNET_HD GTNET_INLINE static Sum plus(const Sum& a, const Sum& b) { return a + b; }
  GTNET_HD GTNET_INLINE Sum kept(int32_t p) const { return values.to[p]; }

  GTNET_HD GTNET_INLINE void add(Sum& sum, int64_t entry, int32_t owner) const {
    const Sum term = weight[entry] * values.source[other[entry]];
    sum = sum + term;
    if (uses.counts && arc[entry] >= 0) uses.add(entry, arc[entry], owner, term);
  }
  GTNET_KERNEL void put(int32_t p, const Sum& sum, bool /*keeps*/) const {
    int32_t found = 0;
    const bool reads = values.reads(p);
    values.to[p] = (reads ? sum * values.emission[values.label[p]] : sum).settled(found);
    if (found) Block::raise(flags[0], found);
  }
};

// `weights` are those of all programs, made by WeighEntries.
template <class T, class Block>
GTNET_KERNEL void sum_phase(Block& block, const layout::TransitionPrograms& steps,
                            const layout::TransitionProgram& program,
                            Span<const ExtendedFloat<T>> weights, int32_t phase,
                            Span<ExtendedFloat<T>> from, Span<ExtendedFloat<T>> to,
                            Span<ExtendedFloat<T>> emission, ArcCounts<T> uses,
                            Span<int32_t> flags) {
  const Span<const ExtendedFloat<T>> own =
      weights.part(int64_t{program.weights_before} * kLanes, int64_t{program.entries} * kLanes);
  run_phase(block, program, phase,
            SumSemiring<T, Block>{{steps, program, phase, from, to, emission},
                                  own,
                                  program.other,
                                  program.arc,
                                  uses,
                                  flags});
}

// Plain sums: of shares of positions by label, whose entries have no weights.
template <class T>
struct ShareSemiring {
  using Sum = T;
  Span<T> source, to;
  Span<const int32_t> other, arc;

  GTNET_HD GTNET_INLINE static T zero() { return 0; }
  GTNET_HD GTNET_INLINE static T plus(T a, T b) { return a + b; }
  GTNET_HD GTNET_INLINE T kept(int32_t /*p*/) const { return 0; }

  GTNET_HD GTNET_INLINE void add(T& sum, int64_t entry, int32_t /*owner*/) const {
    if (arc[entry] != layout::kPadding) sum += source[other[entry]];
  }
  GTNET_HD GTNET_INLINE void put(int32_t p, T sum, bool /*keeps*/) const { to[p] = sum; }
};

template <class T, class Block>
GTNET_KERNEL void sum_by_label(Block& block, const layout::TransitionProgram& program,
                               int32_t phase, Span<T> shares, Span<T> totals) {
  run_phase(block, program, phase,
            ShareSemiring<T>{phase == 0 ? shares : totals, totals, program.other, program.arc});
}

// Scores of paths along entries.
template <class T>
struct EntryScores {
  Span<const T> weights;  // of the graph's arcs
  Span<const int32_t> other, arc;

  GTNET_HD GTNET_INLINE double along(Span<double> source, int64_t entry) const {
    const int32_t a = arc[entry];
    if (a == layout::kPadding) return kNegInf;
    return source[other[entry]] + (a < 0 ? 0 : static_cast<double>(weights[a]));
  }
};

// The score of the best path.
template <class T>
struct MaxSemiring {
  using Sum = double;
  PhaseValues<double> values;
  EntryScores<T> scores;

  GTNET_HD GTNET_INLINE static double zero() { return kNegInf; }
  GTNET_HD GTNET_INLINE static double plus(double a, double b) { return a > b ? a : b; }
  GTNET_HD GTNET_INLINE double kept(int32_t p) const { return values.to[p]; }

  GTNET_HD GTNET_INLINE void add(double& best, int64_t entry, int32_t /*owner*/) const {
    const double x = scores.along(values.source, entry);
    best = x > best ? x : best;
  }
  GTNET_HD GTNET_INLINE void put(int32_t p, double best, bool /*keeps*/) const {
    values.to[p] = values.reads(p) ? best + values.emission[values.label[p]] : best;
  }
};

constexpr int64_t kLastEntry = int64_t{1} << 31;

// A score and where it came from; of equal scores the first is better.
struct Candidate {
  double score;
  int64_t from;

  GTNET_HD static Candidate none() { return {kNegInf, kLastEntry}; }
  GTNET_HD static Candidate better(const Candidate& a, const Candidate& b) {
    return a.score > b.score || (a.score == b.score && a.from < b.from) ? a : b;
  }
};

// The best path (Viterbi 1967): its score, and the entry by which it came.
template <class T>
struct ViterbiSemiring {
  using Sum = Candidate;
  PhaseValues<double> values;
  EntryScores<T> scores;
  Span<int32_t> came;

  GTNET_HD GTNET_INLINE static Candidate zero() { return Candidate::none(); }
  GTNET_HD GTNET_INLINE static Candidate plus(const Candidate& a, const Candidate& b) {
    return Candidate::better(a, b);
  }
  GTNET_HD GTNET_INLINE Candidate kept(int32_t /*p*/) const { return Candidate::none(); }

  GTNET_HD GTNET_INLINE void add(Candidate& best, int64_t entry, int32_t /*owner*/) const {
    const double x = scores.along(values.source, entry);
    if (x > best.score) best = {x, entry};
  }
  GTNET_HD GTNET_INLINE void put(int32_t p, const Candidate& best, bool keeps) const {
    double& to = values.to[p];
    if (keeps) {
      // Equal scores: a start comes before an epsilon, an epsilon before a label.
      if (best.score < to || (came[p] == kNone && best.score == to)) return;
      if (best.score == kNegInf) return;
      to = best.score;
    } else {
      to = values.reads(p) ? best.score + values.emission[values.label[p]] : best.score;
    }
    came[p] = best.score > kNegInf ? static_cast<int32_t>(best.from) : kNone;
  }
};

}  // namespace gtnet::lattice
