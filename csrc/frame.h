// The emissions of a frame or a segment, read for the labels of a graph.
#pragma once

#include <limits>
#include <vector>

#include "cuts.h"
#include "rows.h"

namespace gtnet {

// One item of a batch: its frames or segments and its graph, as the caller's arrays.
template <class Score>
struct LatticeItem {
  Steps steps;
  int32_t num_states, num_arcs;
  const Score *weights, *start, *accept;
  Cuts cuts;
  const Score* scores;  // [rows, num_labels], rows so far apart
  int64_t row_stride, num_labels;

  const Score* row(int32_t segment) const { return scores + cuts.row[segment] * row_stride; }
};

// factors[l] = exp(row[labels[l]] - top), and what is to be known about the row.
template <class T, class Score>
struct ReadRow {
  int32_t num_labels;
  const int32_t* labels;
  const Score* row;
  int64_t row_size;
  Score* x;
  Numbers<T> factor;
  double *top, *spread;
  bool* valid;

  // Whole vectors only: a scalar rest would cost more than all the others.
  static int32_t padded(int32_t labels) { return (labels + kRowLanes - 1) / kRowLanes * kRowLanes; }

  GTNET_INLINE void operator()() const {
    constexpr Score kInfinity = std::numeric_limits<Score>::infinity();
    const int32_t end = padded(num_labels);
    const int32_t last = labels[num_labels - 1];  // labels ascend
    if (last < row_size) {
      GTNET_SIMD()
      for (int32_t l = 1; l < num_labels; ++l) x[l] = row[labels[l]];
    } else {
      for (int32_t l = 1; l < num_labels; ++l)
        x[l] = labels[l] < row_size ? row[labels[l]] : -kInfinity;
    }
    x[kNoLabel] = -kInfinity;
    for (int32_t l = num_labels; l < end; ++l) x[l] = -kInfinity;
    Score best = -kInfinity, worst = kInfinity;
    int32_t wrong = 0;
    GTNET_SIMD(reduction(max : best) reduction(min : worst) reduction(+ : wrong))
    for (int32_t l = 0; l < end; ++l) {
      wrong += x[l] < kInfinity ? 0 : 1;  // NaN or +inf
      best = x[l] > best ? x[l] : best;
      const Score possible = x[l] == -kInfinity ? kInfinity : x[l];
      worst = possible < worst ? possible : worst;
    }
    const double shift = best == -kInfinity ? 0 : static_cast<double>(best);
    const double range = worst == kInfinity ? 0 : shift - static_cast<double>(worst);
    if (range > Wide<T>::kNarrow) {
      for (int32_t l = 0; l < end; ++l) {
        exp_wide(static_cast<double>(x[l]) - shift, factor.m[l], factor.e[l]);
      }
    } else {
      GTNET_SIMD()
      for (int32_t l = 0; l < end; ++l) {
        factor.m[l] = exp_of<T>(static_cast<double>(x[l]) - shift);
      }
    }
    factor.m[kNoLabel] = 1;
    factor.e[kNoLabel] = 0;
    *top = shift;
    *spread = range;
    *valid = *valid && wrong == 0;
  }
};

// Emissions of one frame for the labels of a graph, relative to the best of them: factors where
// their range is narrow, numbers with exponents where it is wide.
template <class T, class Score>
class Frame {
 public:
  double top = 0, spread = 0;
  bool valid = true;

  explicit Frame(const Steps& steps)
      : steps_(steps),
        numbers_(steps.num_labels),
        x_(ReadRow<T, Score>::padded(steps.num_labels)),
        ones_(steps.num_labels, 1) {}

  void read(const Score* row, int64_t row_size) {
    vectorized(ReadRow<T, Score>{steps_.num_labels, steps_.labels, row, row_size, x_.data(),
                                 numbers_.begin(), &top, &spread, &valid});
  }

  // What to multiply by on the way, and after that.
  const T* factors() const { return wide() ? ones_.data() : numbers_.begin().m; }

  // All of it, as numbers.
  Numbers<T> numbers() const {
    const Numbers<T> emission = numbers_.begin();
    if (!wide()) std::fill_n(emission.e, steps_.num_labels, Exponent<T>{0});
    return emission;
  }

  void scale_wide(Numbers<T> numbers) const {
    if (!wide()) return;
    const Numbers<T> emission = numbers_.begin();
    for (int32_t p = 0; p < steps_.num_positions; ++p) {
      numbers.m[p] *= emission.m[steps_.label[p]];
      numbers.e[p] += emission.e[steps_.label[p]];
      normalize(numbers.m[p], numbers.e[p]);
    }
  }

 private:
  const Steps& steps_;
  Array<T> numbers_;
  std::vector<Score> x_;
  std::vector<T> ones_;

  bool wide() const { return spread > Wide<T>::kNarrow; }
};

}  // namespace gtnet
