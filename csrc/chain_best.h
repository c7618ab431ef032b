// The best path of a chain of frames composed with a graph (Viterbi 1967), without building the
// product. Distances are doubles; no back pointers: the path is found again from the distances by
// asking, at its own positions only, which arc gave the maximum.
#pragma once

#include <algorithm>
#include <vector>

#include "chain.h"

namespace gtnet {

// out[p] = emission[label[p]] + max over the entries k of row p of from[other[k]] + weight[k];
// kAdding: the value that out[p] held is one more candidate, and there is no emission.
template <bool kAdding>
struct BestRows {
  Rows rows;
  const double *weight, *from;
  double* out;
  const double* emission;
  const int32_t* label;

  GTNET_INLINE void operator()() const {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      double best[kRowLanes];
      for (int i = 0; i < kRowLanes; ++i) best[i] = kNegInf;
      for (int32_t j = rows.begin[k]; j < rows.begin[k + 1]; ++j) {
        const int64_t at = int64_t{j} * kRowLanes;
        const int32_t* const other = rows.other + at;
        const double* const w = weight + at;
        GTNET_SIMD()
        for (int i = 0; i < kRowLanes; ++i) {
          const double x = from[other[i]] + w[i];
          best[i] = x > best[i] ? x : best[i];
        }
      }
      const int32_t* const to = rows.to + int64_t{k} * kRowLanes;
      if (rows.kind[k] == kLongRow) {
        for (int i = 1; i < kRowLanes; ++i) best[0] = best[i] > best[0] ? best[i] : best[0];
        write(to[0], best[0]);
      } else if (rows.kind[k] == kInOrder && !kAdding) {
        const int32_t first = to[0];
        GTNET_SIMD()
        for (int i = 0; i < kRowLanes; ++i) out[first + i] = best[i] + emission[label[first + i]];
      } else {
        for (int i = 0; i < kRowLanes; ++i) {
          if (to[i] >= 0) write(to[i], best[i]);
        }
      }
    }
  }

 private:
  GTNET_INLINE void write(int32_t p, double best) const {
    if constexpr (kAdding) {
      out[p] = best > out[p] ? best : out[p];
    } else {
      out[p] = best + emission[label[p]];
    }
  }
};

// Arcs of the operand along a path, and the frame that each reads, -1 for an epsilon.
struct ChainPath {
  double score = kNegInf;
  int32_t first = kNone, last = kNone;
  std::vector<int32_t> arcs, frames;
};

template <class Score>
class ChainBest {
 public:
  // `alpha` has room for frames + 1 times num_positions and kMargin on both sides.
  ChainBest(const ChainItem<Score>& item, double* alpha)
      : item_(item),
        steps_(item.steps),
        alpha_(alpha + kMargin),
        reading_(entry_weights(steps_.entering)),
        epsilon_(entry_weights(steps_.epsilon_entering)),
        emission_(steps_.num_labels) {}

  ChainPath run() {
    const int64_t size = steps_.num_positions;
    std::fill_n(alpha_ - kMargin, size + 2 * kMargin, kNegInf);
    std::copy_n(item_.start, item_.num_states, alpha_);
    epsilons(alpha_);
    for (int64_t t = 0; t < item_.frames; ++t) {
      double* const to = alpha_ + (t + 1) * size;
      std::fill_n(to + size, kMargin, kNegInf);  // the margin, or the next frame's beginning
      std::fill_n(to, std::min<int64_t>(size, kMargin), kNegInf);
      read(t);
      vectorized(BestRows<false>{steps_.entering, reading_.data(), to - size, to, emission_.data(),
                                 steps_.label});
      epsilons(to);
    }
    return trace();
  }

 private:
  const ChainItem<Score>& item_;
  const Steps& steps_;
  double* const alpha_;
  const std::vector<double> reading_, epsilon_;
  std::vector<double> emission_;

  std::vector<double> entry_weights(const Rows& rows) const {
    std::vector<double> weights(int64_t{rows.num_entries} * kRowLanes);
    for (size_t k = 0; k < weights.size(); ++k) {
      const int32_t arc = rows.arc[k];
      weights[k] = arc >= 0          ? static_cast<double>(item_.weights[arc])
                   : arc == kPadding ? kNegInf
                                     : 0.0;
    }
    return weights;
  }

  void read(int64_t t) {
    const Score* const row = item_.scores + t * item_.row_stride;
    emission_[kNoLabel] = 0;
    for (int32_t l = 1; l < steps_.num_labels; ++l) {
      const int32_t label = steps_.labels[l];
      emission_[l] = label < item_.num_labels ? static_cast<double>(row[label]) : kNegInf;
    }
  }

  void epsilons(double* alpha) const {
    if (steps_.epsilon_entering.num_slices == 0) return;
    vectorized(BestRows<true>{steps_.epsilon_entering, epsilon_.data(), alpha, alpha, nullptr,
                              steps_.label});
  }

  // Where the entries of every position's row begin, their stride and number; 0 for no row.
  struct Place {
    int64_t begin = 0;
    int32_t stride = 0, count = 0;
  };

  std::vector<Place> places(const Rows& rows) const {
    std::vector<Place> found(steps_.num_positions);
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      const int64_t begin = int64_t{rows.begin[k]} * kRowLanes;
      const int32_t entries = rows.begin[k + 1] - rows.begin[k];
      const int32_t* const to = rows.to + int64_t{k} * kRowLanes;
      if (rows.kind[k] == kLongRow) {
        found[to[0]] = {begin, 1, entries * kRowLanes};
        continue;
      }
      for (int i = 0; i < kRowLanes; ++i) {
        if (to[i] >= 0) found[to[i]] = {begin + i, kRowLanes, entries};
      }
    }
    return found;
  }

  // The entry through which `from` reaches `value`, or -1.
  static int64_t came_through(const Rows& rows, const Place& place, const double* weights,
                              const double* from, double emission, double value) {
    for (int32_t j = 0; j < place.count; ++j) {
      const int64_t k = place.begin + int64_t{j} * place.stride;
      if (rows.arc[k] != kPadding && from[rows.other[k]] + weights[k] + emission == value) return k;
    }
    return -1;
  }

  ChainPath trace() {
    ChainPath path;
    const int64_t size = steps_.num_positions;
    const double* alpha = alpha_ + item_.frames * size;
    for (int32_t s = 0; s < item_.num_states; ++s) {
      const double score = alpha[s] + static_cast<double>(item_.accept[s]);
      if (score > path.score) path.score = score, path.last = s;
    }
    if (path.last == kNone) return path;
    const std::vector<Place> reading = places(steps_.entering),
                             epsilon = places(steps_.epsilon_entering);
    int32_t p = path.last;
    for (int64_t t = item_.frames;;) {
      alpha = alpha_ + t * size;
      const bool starts =
          t == 0 && p < item_.num_states && alpha[p] == static_cast<double>(item_.start[p]);
      if (starts) break;
      int64_t k =
          came_through(steps_.epsilon_entering, epsilon[p], epsilon_.data(), alpha, 0, alpha[p]);
      if (k >= 0) {
        take(path, steps_.epsilon_entering.arc[k], kNone);
        p = steps_.epsilon_entering.other[k];
        continue;
      }
      if (t == 0) return {};  // only NaN, which is refused before, equals no candidate
      read(--t);
      k = came_through(steps_.entering, reading[p], reading_.data(), alpha - size,
                       emission_[steps_.label[p]], alpha[p]);
      if (k < 0) return {};
      take(path, steps_.entering.arc[k], static_cast<int32_t>(t));
      p = steps_.entering.other[k];
    }
    path.first = p;
    std::reverse(path.arcs.begin(), path.arcs.end());
    std::reverse(path.frames.begin(), path.frames.end());
    return path;
  }

  static void take(ChainPath& path, int32_t arc, int32_t frame) {
    if (arc == kUnitArc) return;
    path.arcs.push_back(arc);
    path.frames.push_back(frame);
  }
};

}  // namespace gtnet
