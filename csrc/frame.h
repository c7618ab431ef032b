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

// exp(x - top) for -kNarrow <= x - top <= 0, or x = -inf.
GTNET_INLINE float exp_below(float x, float top) {
  // The difference and what rounding took from it (Knuth 1969), so that large scores cancel.
  const float known = x == -std::numeric_limits<float>::infinity() ? top : x;
  const float d = known - top, back = d - known;
  const float lost = (known - (d - back)) - (top + back);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float k = (d * 1.44269504f + kRound) - kRound;
  const float r = (d - k * 0.693359375f) + (lost + k * 2.12194440e-4f);
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const float power = std::bit_cast<float>((static_cast<int32_t>(k) + 127) << 23);
  return x == known ? p * power : 0.0f;
}

GTNET_INLINE double exp_below(double x, double top) {
  return exp_of<double>(x - top);
}

// factors[l] = exp(row[labels[l]] - top), and what is to be known about the row.
template <class T, class Score>
struct ReadRow {
  int32_t num_labels;
  const int32_t* labels;
  const Score *row, *next;  // next: what will be read after it, or null
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
    gather();
    for (int32_t l = num_labels; l < end; ++l) x[l] = -kInfinity;
    x[kNoLabel] = -kInfinity;
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
    } else if constexpr (std::is_same_v<T, Score>) {
      const auto highest = static_cast<T>(shift);
      GTNET_SIMD()
      for (int32_t l = 0; l < end; ++l) factor.m[l] = exp_below(x[l], highest);
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

 private:
  static constexpr int64_t kFarApart = 256;  // a processor fetches the next of shorter rows itself

  GTNET_INLINE void gather() const {
    if (num_labels == 1) return;
    const int32_t first = labels[1], last = labels[num_labels - 1];  // labels ascend
    if (last >= row_size) {
      for (int32_t l = 1; l < num_labels; ++l) {
        x[l] = labels[l] < row_size ? row[labels[l]] : -std::numeric_limits<Score>::infinity();
      }
    } else if (last - first == num_labels - 2) {
      std::copy_n(row + first, num_labels - 1, x + 1);
    } else {
      GTNET_SIMD()
      for (int32_t l = 1; l < num_labels; ++l) x[l] = row[labels[l]];
      if (next == nullptr || row_size < kFarApart) return;
      for (int32_t l = 1; l < num_labels; ++l) __builtin_prefetch(next + labels[l]);
    }
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

  // `next` is fetched meanwhile, if it is not null.
  void read(const Score* row, int64_t row_size, const Score* next) {
    vectorized(ReadRow<T, Score>{steps_.num_labels, steps_.labels, row, next, row_size, x_.begin(),
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
  Aligned<Score> x_;
  std::vector<T> ones_;

  bool wide() const { return spread > Wide<T>::kNarrow; }
};

}  // namespace gtnet
