// The best path of a chain of frames, or of an acyclic segmentation, composed with a graph (Viterbi
// 1967), without building the product. Distances are doubles; no back pointers: the path is found
// again from the distances by asking, at its own positions only, which arc gave the maximum.
#pragma once

#include <algorithm>
#include <vector>

#include "core/interrupt.h"
#include "lattice/cpu/best_rows.h"
#include "lattice/cpu/predecessors.h"

namespace gtnet::lattice {

// One step of the recursion: the best distances at a cut from those at a cut before it.
template <class Score>
class BestStep {
 public:
  explicit BestStep(const LatticeItem<Score>& item)
      : item_(item),
        steps_(item.steps),
        reading_(entry_scores(steps_.entering, item.weights)),
        epsilon_(entry_scores(steps_.epsilon_entering, item.weights)),
        emission_(steps_.num_labels),
        nothing_(steps_.num_labels, Score{0}) {}

  // to = from, then along segment k; only positions in the window are written.
  void along(int32_t k, const double* from, double* to, Window window = {}) {
    read_scores(item_, k, emission_.data());
    vectorized(BestRows<Score, false>{steps_.entering, reading_.data(), from, to, emission_.data(),
                                      steps_.label, window});
  }

  // The same in two parts, for a cut that several segments leave or enter: to = from, then along
  // any arc, and to = max(to, led, then reading segment k).
  void lead(const double* from, double* to) const {
    vectorized(BestRows<Score, false>{steps_.entering, reading_.data(), from, to, nothing_.data(),
                                      steps_.label});
  }
  void read(int32_t k, const double* led, double* to) {
    read_scores(item_, k, emission_.data());
    vectorized(BestOf<Score>{steps_.num_positions, to, led, emission_.data(), steps_.label});
  }

  // What begins at a cut, and what epsilons lead on to within it.
  void complete(int32_t cut, double* here) const {
    const Cuts& cuts = item_.cuts;
    if (cuts.starts(cut)) {
      for (int32_t s = 0; s < item_.num_states; ++s) {
        here[s] = std::max(here[s], static_cast<double>(item_.start[s]) + cuts.start[cut]);
      }
    }
    if (steps_.epsilon_entering.num_slices == 0) return;
    vectorized(BestRows<Score, true>{steps_.epsilon_entering, epsilon_.data(), here, here, nullptr,
                                     steps_.label});
  }

 private:
  const LatticeItem<Score>& item_;
  const layout::TransitionRows& steps_;
  const std::vector<Score> reading_, epsilon_;
  std::vector<Score> emission_;
  const std::vector<Score> nothing_;
};

// Takes the way back from a position at a cut into the path, an arc that gave the maximum each
// time: to where the path begins, or to the first cut whose distances are known. True if it begins.
template <class Score, class Distance>
bool trace_back(const Predecessors<Score>& ways, const Distance& distance, int32_t first_known,
                int32_t& cut, int32_t& position, LatticePath& path) {
  for (bool found = true; found;) {
    const double value = distance(cut, position);
    if (ways.start(cut, position) == value) {
      path.first = position;
      path.first_cut = cut;
      return true;
    }
    found = false;
    ways.each(cut, position, [&](const Way& way) {
      if (way.cut < first_known) return false;
      if (way.from(distance(way.cut, way.position)) != value) return false;
      path.take(way.arc, way.row);
      cut = way.cut;
      position = way.position;
      return found = true;
    });
  }
  return false;
}

template <class Score>
class LatticeBest {
 public:
  // `alpha` has room for room(item) doubles.
  LatticeBest(const LatticeItem<Score>& item, double* alpha)
      : item_(item), cuts_(item.cuts), steps_(item.steps), alpha_(alpha + kMargin) {}

  static int64_t room(const LatticeItem<Score>& item) {
    return item.cuts.count * int64_t{item.steps.num_positions} + 2 * kMargin;
  }

  // The best score of a path to every position at every cut.
  void distances() {
    const int64_t size = steps_.num_positions;
    BestStep<Score> step(item_);
    std::vector<double> led(cuts_.is_chain ? 0 : size);
    std::fill_n(alpha_ - kMargin, kMargin, kNegInf);
    std::fill_n(alpha_ + cuts_.count * size, kMargin, kNegInf);
    for (int32_t c = 0; c < cuts_.count; ++c) {
      if (!cuts_.alone[c]) std::fill_n(alpha_ + c * size, size, kNegInf);
    }
    for (int32_t c = 0; c < cuts_.count; ++c) {
      poll(8 * size);
      double* const here = alpha_ + c * size;
      step.complete(c, here);
      bool is_led = false;
      for (int32_t k = cuts_.begin[c]; k < cuts_.begin[c + 1]; ++k) {
        double* const to = alpha_ + cuts_.target[k] * size;
        if (cuts_.alone[cuts_.target[k]]) {
          step.along(k, here, to);
          continue;
        }
        if (!is_led) step.lead(here, led.data());
        is_led = true;
        step.read(k, led.data(), to);
      }
    }
  }

  // The best score of a path from every position at every cut to its end, where distances() puts
  // those from the start.
  void distances_to_end() {
    const int64_t size = steps_.num_positions;
    const auto leaving = entry_scores(steps_.leaving, item_.weights),
               epsilon = entry_scores(steps_.epsilon_leaving, item_.weights);
    const std::vector<Score> nothing(steps_.num_labels, Score{0});
    std::vector<Score> emission(steps_.num_labels);
    std::vector<double> margined(size + 2 * kMargin, kNegInf);
    double* const read = margined.data() + kMargin;
    std::fill_n(alpha_ - kMargin, room(item_), kNegInf);
    for (int32_t c = cuts_.count; c-- > 0;) {
      poll(8 * size);
      double* const here = alpha_ + c * size;
      std::fill_n(read, size, kNegInf);
      for (int32_t k = cuts_.begin[c]; k < cuts_.begin[c + 1]; ++k) {
        read_scores(item_, k, emission.data());
        vectorized(BestOf<Score>{steps_.num_positions, read, alpha_ + cuts_.target[k] * size,
                                 emission.data(), steps_.label});
      }
      vectorized(BestRows<Score, false>{steps_.leaving, leaving.data(), read, here, nothing.data(),
                                        steps_.label});
      for (int32_t s = 0; cuts_.accepts(c) && s < item_.num_states; ++s) {
        here[s] = std::max(here[s], static_cast<double>(item_.accept[s]) + cuts_.accept[c]);
      }
      if (steps_.epsilon_leaving.num_slices > 0) {
        vectorized(BestRows<Score, true>{steps_.epsilon_leaving, epsilon.data(), here, here,
                                         nullptr, steps_.label});
      }
    }
  }

  double operator()(int32_t cut, int32_t position) const {
    return alpha_[int64_t{cut} * steps_.num_positions + position];
  }

  // The best path, found from its end.
  LatticePath path(const Predecessors<Score>& ways) const {
    LatticePath path;
    each_end(item_, [&](int32_t c, int32_t s, double accept) {
      path.end_at(c, s, (*this)(c, s) + accept);
    });
    if (path.last == kNone) return path;
    int32_t cut = path.last_cut, position = path.last;
    if (!trace_back(ways, *this, 0, cut, position, path))
      return {};  // only NaN equals no candidate
    path.turn(cuts_);
    return path;
  }

 private:
  const LatticeItem<Score>& item_;
  const Cuts& cuts_;
  const layout::TransitionRows& steps_;
  double* const alpha_;
};

}  // namespace gtnet::lattice
