// The best path of a chain of frames, or of an acyclic segmentation, composed with a graph (Viterbi
// 1967), without building the product. Distances are doubles; no back pointers: the path is found
// again from the distances by asking, at its own positions only, which arc gave the maximum.
#pragma once

#include <algorithm>
#include <vector>

#include "frame.h"

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

// to[p] = max(to[p], from[p] + emission[label[p]]).
struct BestOf {
  int32_t num_positions;
  double* to;
  const double *from, *emission;
  const int32_t* label;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int32_t p = 0; p < num_positions; ++p) {
      const double x = from[p] + emission[label[p]];
      to[p] = x > to[p] ? x : to[p];
    }
  }
};

// Arcs of the operand along a path, and the row of scores that each reads, -1 for an epsilon; the
// state and the cut in which the path begins and ends.
struct LatticePath {
  double score = kNegInf;
  int32_t first = kNone, last = kNone, first_cut = kNone, last_cut = kNone;
  std::vector<int32_t> arcs, rows;

  void take(int32_t arc, int32_t row) {
    if (arc == kUnitArc) return;
    arcs.push_back(arc);
    rows.push_back(row);
  }

  void reverse() {
    std::reverse(arcs.begin(), arcs.end());
    std::reverse(rows.begin(), rows.end());
  }
};

// The scores of the arcs of a layout as doubles, put where the entries are.
template <class Score>
std::vector<double> entry_scores(const Rows& rows, const Score* scores) {
  std::vector<double> weights(int64_t{rows.num_entries} * kRowLanes);
  for (size_t k = 0; k < weights.size(); ++k) {
    const int32_t arc = rows.arc[k];
    weights[k] = arc >= 0 ? static_cast<double>(scores[arc]) : arc == kPadding ? kNegInf : 0.0;
  }
  return weights;
}

// Scores of a row for the local labels of a graph; 0 for reading nothing.
template <class Score>
void read_scores(const LatticeItem<Score>& item, int32_t segment, double* emission) {
  const Score* const row = item.row(segment);
  emission[kNoLabel] = 0;
  for (int32_t l = 1; l < item.steps.num_labels; ++l) {
    const int32_t label = item.steps.labels[l];
    emission[l] = label < item.num_labels ? static_cast<double>(row[label]) : kNegInf;
  }
}

// Where the entries of every position's row begin, their stride and number; 0 for no row.
struct RowPlace {
  int64_t begin = 0;
  int32_t stride = 0, count = 0;

  static std::vector<RowPlace> of(const Rows& rows, int32_t num_positions) {
    std::vector<RowPlace> found(num_positions);
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
};

template <class Score>
class LatticeBest {
 public:
  // `alpha` has room for room(...) positions.
  LatticeBest(const LatticeItem<Score>& item, double* alpha)
      : item_(item),
        cuts_(item.cuts),
        steps_(item.steps),
        alpha_(alpha + kMargin),
        reading_(entry_scores(steps_.entering, item.weights)),
        epsilon_(entry_scores(steps_.epsilon_entering, item.weights)),
        emission_(steps_.num_labels) {}

  static int64_t room(const LatticeItem<Score>& item) {
    return item.cuts.count * int64_t{item.steps.num_positions} + 2 * kMargin;
  }

  // The best score of a path to every position at every cut.
  void distances() {
    const int64_t size = steps_.num_positions;
    const std::vector<double> nothing(steps_.num_labels, 0.0);
    std::vector<double> led(cuts_.is_chain ? 0 : size);
    std::fill_n(alpha_ - kMargin, kMargin, kNegInf);
    std::fill_n(alpha_ + cuts_.count * size, kMargin, kNegInf);
    for (int32_t c = 0; c < cuts_.count; ++c) {
      if (!cuts_.alone[c]) std::fill_n(alpha_ + c * size, size, kNegInf);
    }
    for (int32_t c = 0; c < cuts_.count; ++c) {
      double* const here = alpha_ + c * size;
      if (cuts_.starts(c)) {
        for (int32_t s = 0; s < item_.num_states; ++s) here[s] = std::max(here[s], start(c, s));
      }
      epsilons(here);
      bool is_led = false;
      for (int32_t k = cuts_.begin[c]; k < cuts_.begin[c + 1]; ++k) {
        const int32_t d = cuts_.target[k];
        double* const to = alpha_ + d * size;
        read_scores(item_, k, emission_.data());
        if (cuts_.alone[d]) {
          vectorized(BestRows<false>{steps_.entering, reading_.data(), here, to, emission_.data(),
                                     steps_.label});
          continue;
        }
        if (!is_led) {
          vectorized(BestRows<false>{steps_.entering, reading_.data(), here, led.data(),
                                     nothing.data(), steps_.label});
          is_led = true;
        }
        vectorized(BestOf{steps_.num_positions, to, led.data(), emission_.data(), steps_.label});
      }
    }
  }

  LatticePath path() {
    LatticePath path;
    const int64_t size = steps_.num_positions;
    for (int32_t c = 0; c < cuts_.count; ++c) {
      if (!cuts_.accepts(c)) continue;
      for (int32_t s = 0; s < item_.num_states; ++s) {
        const double score =
            alpha_[c * size + s] + (static_cast<double>(item_.accept[s]) + cuts_.accept[c]);
        if (score > path.score) path.score = score, path.last = s, path.last_cut = c;
      }
    }
    if (path.last == kNone) return path;
    const Cuts::Entering entering = cuts_.entering();
    const auto reading = RowPlace::of(steps_.entering, steps_.num_positions),
               epsilon = RowPlace::of(steps_.epsilon_entering, steps_.num_positions);
    int32_t p = path.last, c = path.last_cut;
    for (;;) {
      const double* const alpha = alpha_ + c * size;
      if (cuts_.starts(c) && p < item_.num_states && alpha[p] == start(c, p)) break;
      int64_t k =
          came_through(steps_.epsilon_entering, epsilon[p], epsilon_.data(), alpha, 0, alpha[p]);
      if (k >= 0) {
        path.take(steps_.epsilon_entering.arc[k], kNone);
        p = steps_.epsilon_entering.other[k];
        continue;
      }
      for (int32_t i = entering.begin[c]; i < entering.begin[c + 1] && k < 0; ++i) {
        read_scores(item_, entering.segment[i], emission_.data());
        k = came_through(steps_.entering, reading[p], reading_.data(),
                         alpha_ + entering.source[i] * size, emission_[steps_.label[p]], alpha[p]);
        if (k < 0) continue;
        path.take(steps_.entering.arc[k], cuts_.row[entering.segment[i]]);
        c = entering.source[i];
      }
      if (k < 0) return {};  // only NaN, which is refused before, equals no candidate
      p = steps_.entering.other[k];
    }
    path.first = p;
    path.first_cut = cuts_.name[c];
    path.last_cut = cuts_.name[path.last_cut];
    path.reverse();
    return path;
  }

 private:
  const LatticeItem<Score>& item_;
  const Cuts& cuts_;
  const Steps& steps_;
  double* const alpha_;
  const std::vector<double> reading_, epsilon_;
  std::vector<double> emission_;

  double start(int32_t cut, int32_t state) const {
    return static_cast<double>(item_.start[state]) + cuts_.start[cut];
  }

  void epsilons(double* alpha) const {
    if (steps_.epsilon_entering.num_slices == 0) return;
    vectorized(BestRows<true>{steps_.epsilon_entering, epsilon_.data(), alpha, alpha, nullptr,
                              steps_.label});
  }

  // The entry through which `from` reaches `value`, or -1.
  static int64_t came_through(const Rows& rows, const RowPlace& place, const double* weights,
                              const double* from, double emission, double value) {
    for (int32_t j = 0; j < place.count; ++j) {
      const int64_t k = place.begin + int64_t{j} * place.stride;
      if (rows.arc[k] != kPadding && from[rows.other[k]] + weights[k] + emission == value) return k;
    }
    return -1;
  }
};

}  // namespace gtnet
