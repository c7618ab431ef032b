// The best path of a chain of frames, or of an acyclic segmentation, composed with a graph (Viterbi
// 1967), without building the product. Distances are doubles; no back pointers: the path is found
// again from the distances by asking, at its own positions only, which arc gave the maximum.
#pragma once

#include <algorithm>
#include <vector>

#include "core/interrupt.h"
#include "lattice/cpu/predecessors.h"

namespace gtnet::lattice {

// out[p] = emission[label[p]] + max over the entries k of row p of from[other[k]] + weight[k];
// kAdding: the value that out[p] held is one more candidate, and there is no emission.
template <bool kAdding>
struct BestRows {
  layout::SlicedRows rows;
  const double *weight, *from;
  double* out;
  const double* emission;
  const int32_t* label;

  GTNET_INLINE void operator()() const {
    for (int32_t k = 0; k < rows.num_slices; ++k) {
      double best[kLanes];
      for (int i = 0; i < kLanes; ++i) best[i] = kNegInf;
      for (int32_t j = rows.begin[k]; j < rows.begin[k + 1]; ++j) {
        const int64_t at = int64_t{j} * kLanes;
        const int32_t* const other = rows.other + at;
        const double* const w = weight + at;
        GTNET_SIMD()
        for (int i = 0; i < kLanes; ++i) {
          const double x = from[other[i]] + w[i];
          best[i] = x > best[i] ? x : best[i];
        }
      }
      const int32_t* const to = rows.to + int64_t{k} * kLanes;
      if (rows.kind[k] == kLongRow) {
        for (int i = 1; i < kLanes; ++i) best[0] = best[i] > best[0] ? best[i] : best[0];
        write(to[0], best[0]);
      } else if (rows.kind[k] == kInOrder && !kAdding) {
        const int32_t first = to[0];
        GTNET_SIMD()
        for (int i = 0; i < kLanes; ++i) out[first + i] = best[i] + emission[label[first + i]];
      } else {
        for (int i = 0; i < kLanes; ++i) {
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

// The scores of the arcs of a layout as doubles, put where the entries are.
template <class Score>
std::vector<double> entry_scores(const layout::SlicedRows& rows, const Score* scores) {
  std::vector<double> weights(int64_t{rows.num_entries} * kLanes);
  for (size_t k = 0; k < weights.size(); ++k) {
    const int32_t arc = rows.arc[k];
    weights[k] = arc >= 0                  ? static_cast<double>(scores[arc])
                 : arc == layout::kPadding ? kNegInf
                                           : 0.0;
  }
  return weights;
}

// Scores of a row for the local labels of a graph; 0 for reading nothing.
template <class Score>
void read_scores(const LatticeItem<Score>& item, int32_t segment, double* emission) {
  const Score* const row = item.row(segment);
  emission[layout::kNoLabel] = 0;
  for (int32_t l = 1; l < item.steps.num_labels; ++l) {
    const int32_t label = item.steps.labels[l];
    emission[l] = label < item.num_labels ? static_cast<double>(row[label]) : kNegInf;
  }
}

template <class Score>
class LatticeBest {
 public:
  // `alpha` has room for room(item) doubles.
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
      poll(8 * size);
      double* const here = alpha_ + c * size;
      if (cuts_.starts(c)) {
        for (int32_t s = 0; s < item_.num_states; ++s) {
          here[s] = std::max(here[s], static_cast<double>(item_.start[s]) + cuts_.start[c]);
        }
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

  // The best score of a path from every position at every cut to its end, where distances() puts
  // those from the start.
  void distances_to_end() {
    const int64_t size = steps_.num_positions;
    const auto leaving = entry_scores(steps_.leaving, item_.weights),
               epsilon = entry_scores(steps_.epsilon_leaving, item_.weights);
    const std::vector<double> nothing(steps_.num_labels, 0.0);
    std::vector<double> margined(size + 2 * kMargin, kNegInf), ahead(size);
    double* const read = margined.data() + kMargin;
    std::fill_n(alpha_ - kMargin, room(item_), kNegInf);
    for (int32_t c = cuts_.count; c-- > 0;) {
      poll(8 * size);
      double* const here = alpha_ + c * size;
      std::fill_n(read, size, kNegInf);
      for (int32_t k = cuts_.begin[c]; k < cuts_.begin[c + 1]; ++k) {
        read_scores(item_, k, emission_.data());
        vectorized(BestOf{steps_.num_positions, read, alpha_ + cuts_.target[k] * size,
                          emission_.data(), steps_.label});
      }
      vectorized(BestRows<false>{steps_.leaving, leaving.data(), read, here, nothing.data(),
                                 steps_.label});
      for (int32_t s = 0; cuts_.accepts(c) && s < item_.num_states; ++s) {
        here[s] = std::max(here[s], static_cast<double>(item_.accept[s]) + cuts_.accept[c]);
      }
      if (steps_.epsilon_leaving.num_slices > 0) {
        vectorized(BestRows<true>{steps_.epsilon_leaving, epsilon.data(), here, here, nullptr,
                                  steps_.label});
      }
    }
  }

  double operator()(int32_t cut, int32_t position) const {
    return alpha_[int64_t{cut} * steps_.num_positions + position];
  }

  // The best path; it goes back from the best end, by an arc that gave the maximum each time.
  LatticePath path(const Predecessors<Score>& ways) const {
    LatticePath path;
    each_end(item_, [&](int32_t c, int32_t s, double accept) {
      const double score = (*this)(c, s) + accept;
      if (score > path.score) path.score = score, path.last = s, path.last_cut = c;
    });
    if (path.last == kNone) return path;
    int32_t cut = path.last_cut, position = path.last;
    for (double value = (*this)(cut, position); ways.start(cut, position) != value;
         value = (*this)(cut, position)) {
      bool found = false;
      ways.each(cut, position, [&](const Way& way) {
        if (way.from((*this)(way.cut, way.position)) != value) return false;
        path.take(way.arc, way.row);
        cut = way.cut;
        position = way.position;
        return found = true;
      });
      if (!found) return {};  // only NaN, which is refused before, equals no candidate
    }
    path.first = position;
    path.first_cut = cut;
    path.turn(cuts_);
    return path;
  }

 private:
  const LatticeItem<Score>& item_;
  const Cuts& cuts_;
  const layout::TransitionRows& steps_;
  double* const alpha_;
  const std::vector<double> reading_, epsilon_;
  std::vector<double> emission_;

  void epsilons(double* alpha) const {
    if (steps_.epsilon_entering.num_slices == 0) return;
    vectorized(BestRows<true>{steps_.epsilon_entering, epsilon_.data(), alpha, alpha, nullptr,
                              steps_.label});
  }
};

}  // namespace gtnet::lattice
