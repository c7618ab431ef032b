// The forward score of a chain of frames composed with a graph, without building the product
// (forward-backward, Baum 1972): alpha_t(p) sums the paths that reach position p by frame t,
//   alpha_t(p) = emission_t(label p) * sum over arcs into p of alpha_{t-1}(source) * weight,
// then epsilon arcs within the frame. Probabilities are numbers with an integer exponent of their
// own, so nothing underflows whatever the range of the scores; what an arithmetic in float loses
// is seen by comparing the sums of forward and backward in every frame.
#pragma once

#include <limits>
#include <vector>

#include "rows.h"

namespace gtnet {

// One item of a batch: its frames and its graph, as the caller's arrays.
template <class Score>
struct ChainItem {
  Steps steps;
  int32_t num_states, num_arcs;
  const Score *weights, *start, *accept;
  const Score* scores;  // [frames, num_labels], rows so far apart
  int64_t row_stride, frames, num_labels;
};

struct ChainScore {
  double score;
  bool fits;   // within the exponents of the arithmetic
  bool valid;  // no NaN or +inf among the scores read
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

// gamma = alpha * beta / total, but for the mantissa of the total; read = beta * emission.
template <class T>
struct Meet {
  int32_t num_positions;
  const int32_t* label;
  const T* factor;
  Numbers<T> alpha, beta, read;
  Exponent<T> total;
  T* gamma;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int32_t p = 0; p < num_positions; ++p) {
      gamma[p] = alpha.m[p] * beta.m[p] * power_of_two<T>(alpha.e[p] + beta.e[p] - total);
      T m = beta.m[p] * factor[label[p]];
      Exponent<T> e = beta.e[p];
      normalize(m, e);
      read.m[p] = m;
      read.e[p] = e;
    }
  }
};

// The scores of a graph as numbers, laid out for one direction.
template <class T>
struct GraphNumbers {
  RowWeights<T> reading, epsilon;
  Array<T> start, accept;
  double largest = 0, largest_end = 0;  // of the finite |weights| and |start|, |accept|

  template <class Score>
  GraphNumbers(const ChainItem<Score>& item, const Rows& reading_rows, const Rows& epsilon_rows)
      : reading(reading_rows, item.weights),
        epsilon(epsilon_rows, item.weights),
        start(item.steps.num_positions),
        accept(item.steps.num_positions) {
    for (int32_t s = 0; s < item.num_states; ++s) {
      exp_wide(static_cast<double>(item.start[s]), start.begin().m[s], start.begin().e[s]);
      exp_wide(static_cast<double>(item.accept[s]), accept.begin().m[s], accept.begin().e[s]);
    }
    largest = magnitude(item.weights, item.num_arcs);
    largest_end =
        std::max(magnitude(item.start, item.num_states), magnitude(item.accept, item.num_states));
  }

  // A bound on the exponents of paths of so many frames whose emissions spread so far in all.
  bool fits(const Steps& steps, int64_t frames, double spread) const {
    const double per_frame = largest * (1.0 + steps.epsilon_entering.num_slices) + 64;
    const double bound = (static_cast<double>(frames) + 1) * per_frame + 2 * largest_end + spread;
    return bound * detail::kLog2e < Wide<T>::kLimit;
  }

 private:
  template <class Score>
  static double magnitude(const Score* scores, int32_t count) {
    double most = 0;
    GTNET_SIMD(reduction(max : most))
    for (int32_t k = 0; k < count; ++k) {
      const double size = scores[k] == kNegInf ? 0 : std::abs(static_cast<double>(scores[k]));
      most = size > most ? size : most;
    }
    return most;
  }
};

// Forward and backward over one item in arithmetic T.
template <class T, class Score>
class ChainPass {
  using E = Exponent<T>;

 public:
  explicit ChainPass(const ChainItem<Score>& item)
      : item_(item), steps_(item.steps), frame_(item.steps) {}

  // alpha_0 .. alpha_frames into `alpha`, one after another, or only two of them in turn.
  ChainScore forward(const GraphNumbers<T>& graph, Numbers<T> alpha, bool keep) {
    const int64_t size = steps_.num_positions;
    double tops = 0, spreads = 0;
    copy(graph.start.begin(), alpha);
    epsilons(steps_.epsilon_entering, graph.epsilon, alpha);
    Numbers<T> from = alpha;
    for (int64_t t = 0; t < item_.frames; ++t) {
      const Numbers<T> to = keep ? alpha + (t + 1) * size : alpha + ((t + 1) % 2) * size;
      frame_.read(item_.scores + t * item_.row_stride, item_.num_labels);
      Array<T>::clear(to, kMargin);  // the vectors that reach over the end of `from` see this
      tops += frame_.top;
      spreads += frame_.spread;
      vectorized(RunRows<T, true, false>{steps_.entering, graph.reading.begin(), from, to,
                                         frame_.factors(), steps_.label});
      frame_.scale_wide(to);
      epsilons(steps_.epsilon_entering, graph.epsilon, to);
      from = to;
    }
    finish(graph, from);
    const double score = total_m_ == 0 ? kNegInf
                                       : std::log(static_cast<double>(total_m_)) +
                                             static_cast<double>(total_e_) * kLn2 + tops;
    return {score, graph.fits(steps_, item_.frames, spreads), frame_.valid};
  }

  // The total from the last alpha.
  void finish(const GraphNumbers<T>& graph, Numbers<T> last) {
    const Numbers<T> accept = graph.accept.begin();
    total_m_ = 0;
    total_e_ = Wide<T>::kZero;
    for (int32_t s = 0; s < item_.num_states; ++s) {
      if (accept.m[s] == 0 || last.m[s] == 0) continue;
      add_wide(total_m_, total_e_, last.m[s] * accept.m[s], last.e[s] + accept.e[s]);
    }
    normalize(total_m_, total_e_);
  }

  // Gradients of grad * score; those that are null are not asked for. Whether the arithmetic was
  // good enough: in every frame the probabilities must add up to 1.
  bool backward(const GraphNumbers<T>& graph, Numbers<T> alpha, Score grad, Score* grad_scores,
                int64_t grad_stride, double* grad_weights, double* grad_start,
                double* grad_accept) {
    const int64_t size = steps_.num_positions;
    finish(graph, alpha + item_.frames * size);
    const bool counting = grad_start != nullptr;  // there may be no arcs
    if (total_m_ == 0) {
      double spreads = 0;
      for (int64_t t = 0; t < item_.frames; ++t) {
        frame_.read(item_.scores + t * item_.row_stride, item_.num_labels);
        spreads += frame_.spread;
        std::fill_n(grad_scores + t * grad_stride, item_.num_labels, Score{0});
      }
      return graph.fits(steps_, item_.frames, spreads);
    }
    Array<T> betas(size), next_read(size);
    const Numbers<T> beta = betas.begin(), read = next_read.begin();
    std::vector<T> gamma(size + 2 * kMargin, T{0}), totals(steps_.num_labels);
    Counter reading(counting ? steps_.leaving.num_entries : 0);
    Counter epsilon(counting ? steps_.epsilon_leaving.num_entries : 0);
    const T inverse = T{1} / total_m_;
    double spreads = 0, error = 0;
    copy(graph.accept.begin(), beta);
    epsilons(steps_.epsilon_leaving, graph.epsilon, beta);
    for (int64_t t = item_.frames; t-- > 0;) {
      const Numbers<T> after = alpha + (t + 1) * size, before = alpha + t * size;
      frame_.read(item_.scores + t * item_.row_stride, item_.num_labels);
      spreads += frame_.spread;
      vectorized(Meet<T>{steps_.num_positions, steps_.label, frame_.factors(), after, beta, read,
                         total_e_, gamma.data() + kMargin});
      frame_.scale_wide(read);
      vectorized(SumByLabel<T>{steps_.by_label, gamma.data() + kMargin, totals.data()});
      const double sum = spread_row(totals, grad, grad_scores + t * grad_stride);
      error = std::max(error, std::abs(sum * static_cast<double>(inverse) - 1));
      if (counting) {
        vectorized(CountArcs<T>{steps_.epsilon_leaving, graph.epsilon.begin(), after, beta, inverse,
                                total_e_, epsilon.current()});
        vectorized(CountArcs<T>{steps_.leaving, graph.reading.begin(), before, read, inverse,
                                total_e_, reading.current()});
        reading.advance();
        epsilon.advance();
      }
      vectorized(RunRows<T, false, false>{steps_.leaving, graph.reading.begin(), read, beta,
                                          nullptr, steps_.label});
      epsilons(steps_.epsilon_leaving, graph.epsilon, beta);
    }
    if (counting) {
      vectorized(CountArcs<T>{steps_.epsilon_leaving, graph.epsilon.begin(), alpha, beta, inverse,
                              total_e_, epsilon.current()});
      const auto scale = static_cast<double>(grad);
      reading.collect(steps_.leaving, scale, grad_weights);
      epsilon.collect(steps_.epsilon_leaving, scale, grad_weights);
      const Numbers<T> start = graph.start.begin();
      const Numbers<T> accept = graph.accept.begin();
      ends(start, beta, inverse, scale, grad_start);
      ends(accept, alpha + item_.frames * size, inverse, scale, grad_accept);
    }
    return error < kTolerance && graph.fits(steps_, item_.frames, spreads);
  }

 private:
  static constexpr double kLn2 = 0.69314718055994530942;
  static constexpr double kTolerance = 1e-4;

  // Sums of probabilities over frames: in T for a few frames, then in double.
  class Counter {
   public:
    explicit Counter(int32_t entries)
        : few_(int64_t{entries} * kRowLanes, T{0}), all_(few_.size(), 0.0) {}

    T* current() { return few_.data(); }

    void advance() {
      if (++frames_ % 64 == 0) flush();
    }

    void collect(const Rows& rows, double scale, double* totals) {
      flush();
      for (size_t k = 0; k < all_.size(); ++k) {
        if (rows.arc[k] >= 0) totals[rows.arc[k]] += scale * all_[k];
      }
    }

   private:
    std::vector<T> few_;
    std::vector<double> all_;
    int64_t frames_ = 0;

    void flush() {
      for (size_t k = 0; k < all_.size(); ++k) {
        all_[k] += static_cast<double>(few_[k]);
        few_[k] = 0;
      }
    }
  };

  const ChainItem<Score>& item_;
  const Steps& steps_;
  Frame<T, Score> frame_;
  T total_m_ = 0;
  E total_e_ = Wide<T>::kZero;

  void copy(Numbers<T> from, Numbers<T> to) const {
    std::copy_n(from.m, steps_.num_positions, to.m);
    std::copy_n(from.e, steps_.num_positions, to.e);
  }

  void epsilons(const Rows& rows, const RowWeights<T>& weights, Numbers<T> numbers) const {
    if (rows.num_slices == 0) return;
    vectorized(
        RunRows<T, false, true>{rows, weights.begin(), numbers, numbers, nullptr, steps_.label});
  }

  // Probabilities of the labels of a frame, made to add up to 1, times grad; returns their sum.
  double spread_row(const std::vector<T>& totals, Score grad, Score* row) const {
    double sum = 0;
    GTNET_SIMD(reduction(+ : sum))
    for (int32_t l = 1; l < steps_.num_labels; ++l) sum += static_cast<double>(totals[l]);
    const auto scale = static_cast<T>(sum > 0 ? static_cast<double>(grad) / sum : 0);
    std::fill_n(row, item_.num_labels, Score{0});
    for (int32_t l = 1; l < steps_.num_labels && steps_.labels[l] < item_.num_labels; ++l) {
      row[steps_.labels[l]] = static_cast<Score>(totals[l] * scale);
    }
    return sum;
  }

  void ends(Numbers<T> score, Numbers<T> reached, T inverse, double scale, double* grad) const {
    for (int32_t s = 0; s < item_.num_states; ++s) {
      const T share = score.m[s] * reached.m[s] * inverse;
      const T size = share == 0 ? T{0} : power_of_two<T>(score.e[s] + reached.e[s] - total_e_);
      grad[s] += scale * static_cast<double>(share * size);
    }
  }
};

}  // namespace gtnet
