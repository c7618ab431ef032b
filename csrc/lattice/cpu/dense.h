// A graph of few states most of which follow each other (a hidden Markov model, a bigram, the tags
// of a CRF), with its arcs as a matrix: a step over a frame is a vector times that matrix,
//   value_t(to) = emission_t(to) * sum over states `from` of value_t-1(from) * weight(from, to),
// in the semiring of sums or of maxima. Without epsilons a state is entered by one label only.
#pragma once

#include <algorithm>
#include <vector>

#include "core/simd_dispatch.h"
#include "lattice/cpu/extended_array.h"
#include "layout/transition_rows.h"

namespace gtnet::lattice {

// The frames of one item.
template <class Score>
struct Frames {
  const Score* scores;  // [count, num_labels], rows so far apart
  int64_t count, row_stride, num_labels;

  const Score* row(int64_t t) const { return scores + t * row_stride; }
};

// Which arc leads from where to where, and by which label.
class DenseTopology {
 public:
  int32_t num_states, width;   // states, and those in whole vectors
  bool usable = true;          // no two arcs lead from one state to the same one
  std::vector<int32_t> arc;    // [states, states] (to, from), kNone for none
  std::vector<int32_t> label;  // [width] that leads to a state; of any other where none does

  // Whether this is worth it: rows of arcs take two to three times as long for an arc.
  static bool suits(const layout::TransitionRows& steps, int32_t num_states) {
    const int64_t pairs = int64_t{num_states} * num_states,
                  in_rows = int64_t{kLanes} * steps.entering.num_entries;
    return steps.epsilon_entering.num_slices == 0 && in_rows > 0 && num_states <= kMostStates &&
           pairs <= std::max<int64_t>(2 * in_rows, kLanes * kLanes);
  }

  DenseTopology(const layout::TransitionRows& steps, int32_t states)
      : num_states(states),
        width((states + 3) / 4 * 4),
        arc(int64_t{states} * states, kNone),
        label(width, kNone) {
    const layout::SlicedRows& rows = steps.entering;
    int32_t any = kNone;
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int32_t* const to = rows.to + int64_t{k} * kLanes;
      for (int64_t j = int64_t{rows.begin[k]} * kLanes; j < int64_t{rows.begin[k + 1]} * kLanes;
           ++j) {
        if (rows.arc[j] < 0) continue;
        const int32_t p = to[rows.kind[k] == layout::kLongRow ? 0 : j % kLanes];
        int32_t& here = arc[int64_t{p} * states + rows.other[j]];
        usable = usable && here == kNone;
        here = rows.arc[j];
        any = label[p] = steps.labels[steps.label[p]];
      }
    }
    std::replace(label.begin(), label.end(), kNone, any);
  }

  // visit(to, from, arc) for every arc.
  template <class Visit>
  void each_arc(const Visit& visit) const {
    for (int32_t p = 0; p < num_states; ++p) {
      for (int32_t q = 0; q < num_states; ++q) {
        const int32_t a = arc[int64_t{p} * num_states + q];
        if (a != kNone) visit(p, q, a);
      }
    }
  }

  // How many frames are worked on at once: what is known of them stays in the nearest cache.
  int32_t block() const { return std::clamp(2048 / width, 4, 64); }

 private:
  static constexpr int32_t kMostStates = 128;
};

// scores[t, p] = score of the label that leads to p, of frames in a row.
template <class Score>
struct ReadFrames {
  Frames<Score> frames;
  int64_t first;
  int32_t count, width;
  const int32_t* label;
  double* scores;

  GTNET_INLINE void operator()() const {
    int32_t begin = 0, end = 0;  // of labels that follow each other; most often all of them
    for (int32_t p = 1, from = 0; p <= width; ++p) {
      if (p < width && label[p] == label[p - 1] + 1) continue;
      if (p - from > end - begin) begin = from, end = p;
      from = p;
    }
    const bool all_there = *std::max_element(label, label + width) < frames.num_labels;
    if (all_there && end - begin == width && frames.row_stride == width) {
      const Score* const rows = frames.row(first) + label[0];
      GTNET_SIMD()
      for (int64_t k = 0; k < int64_t{count} * width; ++k) scores[k] = static_cast<double>(rows[k]);
      return;
    }
    for (int32_t t = 0; t < count; ++t) {
      const Score* const row = frames.row(first + t);
      double* const to = scores + int64_t{t} * width;
      if (all_there) {
        const Score* const run = row + label[begin];
        GTNET_SIMD()
        for (int32_t p = begin; p < end; ++p) to[p] = static_cast<double>(run[p - begin]);
        for (int32_t p = 0; p < begin; ++p) to[p] = static_cast<double>(row[label[p]]);
        for (int32_t p = end; p < width; ++p) to[p] = static_cast<double>(row[label[p]]);
      } else {
        for (int32_t p = 0; p < width; ++p) {
          to[p] = label[p] < frames.num_labels ? static_cast<double>(row[label[p]]) : kNegInf;
        }
      }
    }
  }
};

struct MaxPlus {
  static constexpr double kZero = kNegInf;
  static constexpr int kChains = 1;  // maxima wait a cycle for each other
  static GTNET_INLINE double plus(double a, double b) { return b > a ? b : a; }
  static GTNET_INLINE double times(double a, double b) { return a + b; }
};

struct PlusTimes {
  static constexpr double kZero = 0;
  static constexpr int kChains = 2;
  static GTNET_INLINE double plus(double a, double b) { return a + b; }
  static GTNET_INLINE double times(double a, double b) { return a * b; }
};

// values[t + 1] from values[t] for frames in a row.
template <class Semiring>
struct DenseSteps {
  int32_t width, count;
  const double *weights, *emission;  // [width, width] (from, to), [count, width]
  double* values;                    // [count + 1, width], the first row is there
  double zero = Semiring::kZero;     // read: of a known one GCC makes a comparison too many

  GTNET_INLINE void operator()() const {
    if (width == 4) return frames<4, 4>();
    if (width == 8) return frames<8, 2>();
    frames<0, 0>();
  }

 private:
  template <int W, int U>
  GTNET_INLINE void frames() const {
    const double *from = values, *factor = emission;
    for (int32_t t = 0; t < count; ++t, from += width, factor += width) {
      double* const to = values + int64_t{t + 1} * width;
      if constexpr (W > 0) {
        block<W, U, W>(from, 0, factor, to);
        continue;
      }
      int32_t p = 0;
      for (; p + 16 <= width; p += 16) block<16, Semiring::kChains, 0>(from, p, factor, to);
      if (width - p == 12) block<12, Semiring::kChains, 0>(from, p, factor, to);
      if (width - p == 8) block<8, 2, 0>(from, p, factor, to);
      if (width - p == 4) block<4, 4, 0>(from, p, factor, to);
    }
  }

  // W states beside each other, U sums for each that do not wait for one another; N: how many
  // states there are, 0 where it is not known.
  template <int W, int U, int N>
  GTNET_INLINE void block(const double* from, int32_t p, const double* factor, double* to) const {
    double sum[U][W];
    for (int u = 0; u < U; ++u) {
      GTNET_SIMD()
      for (int i = 0; i < W; ++i) sum[u][i] = zero;
    }
    const double* w = weights + p;
    for (int32_t q = 0; q < (N > 0 ? N : width); q += U) {
      for (int u = 0; u < U; ++u, w += N > 0 ? N : width) {
        const double x = from[q + u];
        GTNET_SIMD()
        for (int i = 0; i < W; ++i) {
          sum[u][i] = Semiring::plus(sum[u][i], Semiring::times(x, w[i]));
        }
      }
    }
    for (int step = 1; step < U; step *= 2) {
      for (int u = 0; u + step < U; u += 2 * step) {
        GTNET_SIMD()
        for (int i = 0; i < W; ++i) sum[u][i] = Semiring::plus(sum[u][i], sum[u + step][i]);
      }
    }
    GTNET_SIMD()
    for (int i = 0; i < W; ++i) to[p + i] = Semiring::times(sum[0][i], factor[p + i]);
  }
};

}  // namespace gtnet::lattice
