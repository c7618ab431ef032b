// The forward score of a chain of frames, or of an acyclic segmentation, composed with a graph,
// without building the product (forward-backward, Baum 1972): alpha_c(p) sums the paths that reach
// position p of the graph at cut c,
//   alpha_d(p) = sum over segments k from c to d of emission_k(label p)
//                * sum over arcs into p of alpha_c(source) * weight,
// then epsilon arcs within the cut. Probabilities are numbers with an integer exponent of their
// own, relative to exp of an offset of each cut, so nothing underflows whatever the range of the
// scores; what an arithmetic in float loses is seen by comparing what flows into every cut with
// what flows out of it.
#pragma once

#include <limits>
#include <vector>

#include "frame.h"
#include "scaled_rows.h"

namespace gtnet {

struct LatticeScore {
  double score;
  bool fits;   // within the exponents of the arithmetic
  bool valid;  // no NaN or +inf among the scores read
};

// A number as a factor of many.
template <class T>
struct Scale {
  T m;
  Exponent<T> e;

  static Scale exp(double x) {
    Scale scale;
    exp_wide(x, scale.m, scale.e);
    return scale;
  }
};

// gamma = alpha * beta * scale; read = beta * emission.
template <class T>
struct Meet {
  int32_t num_positions;
  const int32_t* label;
  const T* factor;
  Numbers<T> alpha, beta, read;
  Scale<T> scale;
  T* gamma;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int32_t p = 0; p < num_positions; ++p) {
      gamma[p] =
          alpha.m[p] * beta.m[p] * scale.m * power_of_two<T>(alpha.e[p] + beta.e[p] + scale.e);
      T m = beta.m[p] * factor[label[p]];
      Exponent<T> e = beta.e[p];
      normalize(m, e);
      read.m[p] = m;
      read.e[p] = e;
    }
  }
};

// The same where other segments enter the cut as well: gamma = alpha * emission * beta * scale.
template <class T>
struct MeetThrough {
  int32_t num_positions;
  const int32_t* label;
  Numbers<T> emission, alpha, beta, read;
  Scale<T> scale;
  T* gamma;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int32_t p = 0; p < num_positions; ++p) {
      T m = beta.m[p] * emission.m[label[p]];
      Exponent<T> e = beta.e[p] + emission.e[label[p]];
      normalize(m, e);
      gamma[p] = alpha.m[p] * m * scale.m * power_of_two<T>(alpha.e[p] + e + scale.e);
      read.m[p] = m;
      read.e[p] = e;
    }
  }
};

// row[labels[l]] = totals[l] * grad, 0 elsewhere; normalized: times 1 / sum of the totals.
template <class T, class Score>
struct SpreadRow {
  int32_t num_labels;
  const int32_t* labels;
  const T* totals;
  bool normalized;
  Score grad;
  Score* row;
  int64_t row_size;
  double* sum;

  GTNET_INLINE void operator()() const {
    double total = 0;
    GTNET_SIMD(reduction(+ : total))
    for (int32_t l = 1; l < num_labels; ++l) total += static_cast<double>(totals[l]);
    *sum = total;
    const double share = normalized && total > 0 ? 1 / total : 1;
    const auto scale = static_cast<T>(static_cast<double>(grad) * share);
    const int32_t first = num_labels > 1 ? labels[1] : 0, last = labels[num_labels - 1];
    if (last < row_size && last - first == num_labels - 2) {
      std::fill_n(row, first, Score{0});
      GTNET_SIMD()
      for (int32_t l = 1; l < num_labels; ++l) {
        row[first + l - 1] = static_cast<Score>(totals[l] * scale);
      }
      std::fill_n(row + last + 1, row_size - last - 1, Score{0});
      return;
    }
    std::fill_n(row, row_size, Score{0});
    for (int32_t l = 1; l < num_labels && labels[l] < row_size; ++l) {
      row[labels[l]] = static_cast<Score>(totals[l] * scale);
    }
  }
};

// to += from * scale, and times the emission of its label where there is one.
template <class T, bool kEmitting>
struct AddNumbers {
  int32_t num_positions;
  Numbers<T> to, from;
  Scale<T> scale;
  const int32_t* label;
  Numbers<T> emission;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int32_t p = 0; p < num_positions; ++p) {
      T m = from.m[p] * scale.m;
      Exponent<T> e = from.e[p] + scale.e;
      if constexpr (kEmitting) {
        m *= emission.m[label[p]];
        e += emission.e[label[p]];
      }
      T sum = to.m[p];
      Exponent<T> top = to.e[p];
      add_wide(sum, top, m, e);
      normalize(sum, top);
      to.m[p] = sum;
      to.e[p] = top;
    }
  }
};

// The scores of a graph as numbers, laid out for one direction.
template <class T>
struct GraphNumbers {
  RowWeights<T> reading, epsilon;
  ScaledWeights<T> scaled;
  Array<T> start, accept;
  double largest = 0, largest_end = 0;  // of the finite |weights| and |start|, |accept|

  template <class Score>
  GraphNumbers(const LatticeItem<Score>& item, const Rows& reading_rows, const Rows& epsilon_rows)
      : reading(reading_rows, item.weights),
        epsilon(epsilon_rows, item.weights),
        scaled(reading_rows, reading.begin()),
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

  // A bound on the exponents of paths through so many cuts whose emissions spread so far in all.
  bool fits(const Steps& steps, int64_t cuts, double spread) const {
    const double per_frame = largest * (1.0 + steps.epsilon_entering.num_slices) + 64;
    const double bound = static_cast<double>(cuts) * per_frame + 2 * largest_end + spread;
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

// The gradients of one item; arcs, starts and accepts are null where they are not asked for.
template <class Score>
struct ItemGradient {
  Score* scores;
  int64_t row_stride;
  double *weights, *start, *accept;
  double *first, *last;  // of the cuts' own start and accept scores
  bool by_cut;           // weights are [cuts, arcs], by the cut in which an arc is taken
};

// Forward and backward over one item in arithmetic T.
template <class T, class Score>
class LatticePass {
  using E = Exponent<T>;

 public:
  explicit LatticePass(const LatticeItem<Score>& item)
      : item_(item),
        cuts_(item.cuts),
        steps_(item.steps),
        frame_(item.steps),
        scaled_(item.steps.num_positions) {}

  // Positions that alphas take: those of all cuts, of two in turn, or of all cuts twice: as they
  // are, and led on along the arcs, for segments that share their ends.
  static int64_t room(const Cuts& cuts, int64_t num_positions, bool keep) {
    const int64_t slots = !cuts.is_chain ? 2 * int64_t{cuts.count} : keep ? cuts.count : 2;
    return slots * num_positions;
  }

  // alphas and their offsets [cuts].
  LatticeScore forward(const GraphNumbers<T>& graph, Numbers<T> alpha, double* offset, bool keep) {
    const int64_t size = steps_.num_positions;
    double spreads = 0;
    Total total;
    std::fill_n(offset, cuts_.count, kUnset);
    for (int32_t c = 0; c < cuts_.count; ++c) {
      if (!cuts_.alone[c]) Array<T>::clear(alpha + c * size, size);
    }
    if (!cuts_.is_chain) Array<T>::clear(alpha + cuts_.count * size, cuts_.count * size);
    for (int32_t c = 0; c < cuts_.count; ++c) {
      const Numbers<T> here = alpha + slot(c, keep) * size;
      if (cuts_.starts(c)) {
        add(here, graph.start.begin(), Scale<T>::exp(relative(offset[c], cuts_.start[c])));
      }
      const int32_t begin = cuts_.begin[c], end = cuts_.begin[c + 1];
      if (is_unset(offset[c])) {
        for (int32_t k = begin; k < end; ++k) {
          if (cuts_.alone[cuts_.target[k]]) Array<T>::clear(alpha + cuts_.target[k] * size, size);
        }
        continue;
      }
      epsilons(steps_.epsilon_entering, graph.epsilon, here);
      if (cuts_.accepts(c)) total.add(*this, graph, here, offset[c] + cuts_.accept[c]);
      for (int32_t k = begin; k < end; ++k) {
        // Vectors that reach over the end of `here` see what comes behind it in memory.
        const int32_t d = cuts_.target[k];
        if (d == c + 1 && cuts_.alone[d]) Array<T>::clear(alpha + slot(d, keep) * size, kMargin);
      }
      const Numbers<T> led = alpha + (cuts_.count + c) * size;
      bool is_led = false;
      for (int32_t k = begin; k < end; ++k) {
        const int32_t d = cuts_.target[k];
        const Numbers<T> to = alpha + slot(d, keep) * size;
        frame_.read(item_.row(k), item_.num_labels,
                    k + 1 < cuts_.num_segments() ? item_.row(k + 1) : nullptr);
        spreads += frame_.spread + (cuts_.is_chain ? 0 : std::abs(frame_.top));
        const double reached = offset[c] + frame_.top;
        if (cuts_.alone[d]) {
          offset[d] = reached;
          step<true>(graph, steps_.entering, here, to);
          frame_.scale_wide(to);
          continue;
        }
        if (!is_led) {
          step<false>(graph, steps_.entering, here, led);
          is_led = true;
        }
        const Scale<T> scale = Scale<T>::exp(relative(offset[d], reached));
        vectorized(AddNumbers<T, true>{steps_.num_positions, to, led, scale, steps_.label,
                                       frame_.numbers()});
      }
    }
    return {total.log(), graph.fits(steps_, cuts_.count, spreads), frame_.valid};
  }

  // Gradients of grad * score, into arrays that hold 0. Whether the arithmetic was good enough.
  bool backward(const GraphNumbers<T>& graph, Numbers<T> alpha, const double* offset, Score grad,
                const ItemGradient<Score>& out) {
    const int64_t size = steps_.num_positions;
    Total total;
    for (int32_t c = 0; c < cuts_.count; ++c) {
      if (!is_unset(offset[c]) && cuts_.accepts(c)) {
        total.add(*this, graph, alpha + c * size, offset[c] + cuts_.accept[c]);
      }
    }
    const bool counting = out.weights != nullptr;
    const T inverse = T{1} / total.m;
    // The scale of a product of alpha and beta whose offsets add up to `sum`.
    const auto of_total = [&](double sum) {
      const Scale<T> scale = cuts_.is_chain ? Scale<T>{1, 0} : Scale<T>::exp(sum - total.offset);
      return Scale<T>{scale.m * inverse, scale.e - total.e};
    };
    const Array<T> betas(cuts_.is_chain ? size : cuts_.count * size), reads(size), parts(size);
    const Numbers<T> read = reads.begin();
    std::vector<double> ahead(cuts_.count, kUnset), flow(cuts_.count, 0.0);  // flow: in minus out
    std::vector<T> gamma(size + 2 * kMargin, T{0}), totals(steps_.num_labels);
    Counter reading(steps_.leaving, graph.reading, &graph.scaled, size, counting),
        epsilon(steps_.epsilon_leaving, graph.epsilon, nullptr, size, counting);
    double spreads = 0;
    for (int32_t c = cuts_.count; c-- > 0;) {
      const Numbers<T> here = alpha + c * size;
      const Numbers<T> beta = betas.begin() + (cuts_.is_chain ? 0 : c * size);
      bool is_read = false;
      for (int32_t k = cuts_.begin[c]; k < cuts_.begin[c + 1]; ++k) {
        const int32_t d = cuts_.target[k];
        Score* const row = out.scores + cuts_.row[k] * out.row_stride;
        frame_.read(item_.row(k), item_.num_labels, k > 0 ? item_.row(k - 1) : nullptr);
        spreads += frame_.spread + (cuts_.is_chain ? 0 : std::abs(frame_.top));
        if (total.m == 0 || is_unset(offset[c]) || is_unset(ahead[d])) {
          std::fill_n(row, item_.num_labels, Score{0});
          continue;
        }
        const Numbers<T> beyond = betas.begin() + (cuts_.is_chain ? 0 : d * size);
        const Numbers<T> into = is_read ? parts.begin() : read;
        if (cuts_.alone[d]) {
          vectorized(Meet<T>{steps_.num_positions, steps_.label, frame_.factors(), alpha + d * size,
                             beyond, into, of_total(offset[d] + ahead[d]), gamma.data() + kMargin});
          frame_.scale_wide(into);
        } else {
          vectorized(MeetThrough<T>{steps_.num_positions, steps_.label, frame_.numbers(),
                                    alpha + (cuts_.count + c) * size, beyond, into,
                                    of_total(offset[c] + frame_.top + ahead[d]),
                                    gamma.data() + kMargin});
        }
        vectorized(SumByLabel<T>{steps_.by_label, gamma.data() + kMargin, totals.data()});
        const double sum = spread_row(totals, grad, row);
        flow[d] += sum;
        flow[c] -= sum;
        const double behind = relative(ahead[c], ahead[d] + frame_.top);
        if (is_read) add(read, into, Scale<T>::exp(behind));
        is_read = true;
      }
      if (total.m == 0 || is_unset(offset[c])) continue;
      if (is_read) {
        step<false>(graph, steps_.leaving, read, beta, reading.room());
        if (counting) reading.add(here, read, of_total(offset[c] + ahead[c]));
      } else {
        Array<T>::clear(beta, size);
      }
      if (cuts_.accepts(c)) {
        const double behind = relative(ahead[c], cuts_.accept[c]);
        add(beta, graph.accept.begin(), Scale<T>::exp(behind));
        const double share = ends(graph.accept.begin(), here, of_total(offset[c] + cuts_.accept[c]),
                                  grad, out.accept);
        flow[c] -= share;
        if (out.last) out.last[cuts_.name[c]] += static_cast<double>(grad) * share;
      }
      if (is_unset(ahead[c])) continue;
      epsilons(steps_.epsilon_leaving, graph.epsilon, beta);
      if (cuts_.starts(c)) {
        const double share =
            ends(graph.start.begin(), beta, of_total(ahead[c] + cuts_.start[c]), grad, out.start);
        flow[c] += share;
        if (out.first) out.first[cuts_.name[c]] += static_cast<double>(grad) * share;
      }
      if (counting) {
        epsilon.add(here, beta, of_total(offset[c] + ahead[c]));
        for (Counter* counter : {&reading, &epsilon}) {
          counter->advance(out, static_cast<double>(grad), cuts_.name[c], item_.num_arcs);
        }
      }
    }
    if (counting && !out.by_cut) {
      for (Counter* counter : {&reading, &epsilon}) {
        counter->collect(static_cast<double>(grad), out.weights);
      }
    }
    double error = 0;
    for (double difference : flow) error = std::max(error, std::abs(difference));
    return error < kTolerance && graph.fits(steps_, cuts_.count, spreads);
  }

 private:
  static constexpr double kLn2 = 0.69314718055994530942;
  static constexpr double kTolerance = 1e-4;
  static constexpr double kUnset = kNegInf;

  static bool is_unset(double offset) { return offset == kUnset; }

  // What is at `value` as seen from an offset, which is set by what comes first.
  static double relative(double& offset, double value) {
    if (is_unset(offset)) offset = value;
    return value - offset;
  }

  // The sum of all paths: m * 2^e * exp(offset).
  struct Total {
    T m = 0;
    E e = Wide<T>::kZero;
    double offset = kUnset;

    void add(const LatticePass& pass, const GraphNumbers<T>& graph, Numbers<T> here, double at) {
      const Scale<T> scale = Scale<T>::exp(relative(offset, at));
      const Numbers<T> accept = graph.accept.begin();
      for (int32_t s = 0; s < pass.item_.num_states; ++s) {
        if (accept.m[s] == 0 || here.m[s] == 0) continue;
        add_wide(m, e, here.m[s] * accept.m[s] * scale.m, here.e[s] + accept.e[s] + scale.e);
      }
      normalize(m, e);
    }

    double log() const {
      if (m == 0) return kNegInf;
      return std::log(static_cast<double>(m)) + static_cast<double>(e) * kLn2 + offset;
    }
  };

  // Sums of probabilities of arcs over cuts: in T for a few, then in double.
  class Counter {
   public:
    Counter(const Rows& rows, const RowWeights<T>& weights, const ScaledWeights<T>* scaled,
            int64_t num_positions, bool counting)
        : rows_(rows),
          weights_(weights),
          scaled_(scaled && scaled->usable ? scaled : nullptr),
          size_(counting ? int64_t{rows.num_entries} * kRowLanes : 0),
          few_(size_),
          all_(size_, 0.0),
          few_scaled_(scaled_ ? size_ : 0) {
      for (int f = 0; f < kFrames && scaled_ && counting; ++f) {
        near_.emplace_back(num_positions);
        from_.emplace_back(num_positions);
      }
    }

    // Where the positions of the next frame may be scaled to, if they are to be.
    ScaledPositions<T>* room() { return near_.empty() ? nullptr : &from_[frames_]; }

    // `from` is in room() as well.
    void add(Numbers<T> near, Numbers<T> from, Scale<T> scale) {
      if (!near_.empty()) {
        near_[frames_].set(near);
        const E exponent = near_[frames_].top + from_[frames_].top + scale.e + scaled_->top;
        // What was lost of a factor must not matter in the product.
        if (exponent <= Scaled<T>::kWeights) {
          scale_[frames_] = scale.m * power_of_two<T>(exponent);
          if (++frames_ == kFrames) count_frames();
          return;
        }
      }
      few_used_ = true;
      vectorized(CountArcs<T>{rows_, weights_.begin(), near, from, scale.m, scale.e, few_.begin()});
    }

    void advance(const ItemGradient<Score>& out, double scale, int32_t cut, int64_t num_arcs) {
      if (out.by_cut) {
        collect(scale, out.weights + cut * num_arcs);
        std::fill(all_.begin(), all_.end(), 0.0);
      } else if (++cuts_ % 128 == 0) {
        flush();
      }
    }

    void collect(double scale, double* totals) {
      flush();
      for (size_t k = 0; k < all_.size(); ++k) {
        if (rows_.arc[k] >= 0) totals[rows_.arc[k]] += scale * all_[k];
      }
    }

   private:
    static constexpr int kFrames = CountScaled<T>::kFrames;
    const Rows& rows_;
    const RowWeights<T>& weights_;
    const ScaledWeights<T>* const scaled_;
    const int64_t size_;
    Aligned<T> few_;
    std::vector<double> all_;
    Aligned<T> few_scaled_;
    std::vector<ScaledPositions<T>> near_, from_;
    T scale_[kFrames];
    int frames_ = 0;
    bool few_used_ = false;
    int64_t cuts_ = 0;

    void count_frames() {
      if (frames_ == 0) return;
      CountScaled<T> count{rows_, *scaled_, {}, {}, {}, few_scaled_.begin()};
      for (int f = 0; f < kFrames; ++f) {
        count.scale[f] = f < frames_ ? scale_[f] : T{0};
        count.near[f] = near_[f].begin();
        count.from[f] = from_[f].begin();
      }
      vectorized(count);
      frames_ = 0;
    }

    // all += few * weight, few = 0.
    struct Flush {
      int64_t size;
      T* few;
      const T* weight;  // null: 1
      double* all;

      GTNET_INLINE void operator()() const {
        if (weight == nullptr) {
          GTNET_SIMD()
          for (int64_t k = 0; k < size; ++k) all[k] += static_cast<double>(few[k]);
        } else {
          GTNET_SIMD()
          for (int64_t k = 0; k < size; ++k) {
            all[k] += static_cast<double>(few[k]) * static_cast<double>(weight[k]);
          }
        }
        std::fill_n(few, size, T{0});
      }
    };

    void flush() {
      count_frames();
      if (few_used_) vectorized(Flush{size_, few_.begin(), nullptr, all_.data()});
      few_used_ = false;
      if (scaled_) vectorized(Flush{size_, few_scaled_.begin(), scaled_->begin(), all_.data()});
    }
  };

  const LatticeItem<Score>& item_;
  const Cuts& cuts_;
  const Steps& steps_;
  Frame<T, Score> frame_;
  ScaledPositions<T> scaled_;

  // One step along the arcs that read, times the emission where it is asked for; `room`, if it is
  // not null, is where to scale `from` to.
  template <bool kReading>
  void step(const GraphNumbers<T>& graph, const Rows& rows, Numbers<T> from, Numbers<T> to,
            ScaledPositions<T>* room = nullptr) {
    const RunRows<T, kReading, false> wide{
        rows, graph.reading.begin(), from, to, kReading ? frame_.factors() : nullptr, steps_.label};
    if (graph.scaled.usable) {
      ScaledPositions<T>& scaled = room ? *room : scaled_;
      scaled.set(from);
      vectorized(ScaledRows<T, kReading>{wide, graph.scaled, scaled});
    } else {
      vectorized(wide);
    }
  }

  int64_t slot(int32_t cut, bool keep) const { return cuts_.is_chain && !keep ? cut % 2 : cut; }

  void add(Numbers<T> to, Numbers<T> from, Scale<T> scale) const {
    vectorized(AddNumbers<T, false>{steps_.num_positions, to, from, scale, nullptr, {}});
  }

  void epsilons(const Rows& rows, const RowWeights<T>& weights, Numbers<T> numbers) const {
    if (rows.num_slices == 0) return;
    vectorized(
        RunRows<T, false, true>{rows, weights.begin(), numbers, numbers, nullptr, steps_.label});
  }

  // Probabilities of the labels of a segment times grad; returns their sum. All paths go through
  // the frames of a chain: there they are made to add up to 1.
  double spread_row(const std::vector<T>& totals, Score grad, Score* row) const {
    double sum = 0;
    vectorized(SpreadRow<T, Score>{steps_.num_labels, steps_.labels, totals.data(), cuts_.is_chain,
                                   grad, row, item_.num_labels, &sum});
    return sum;
  }

  // The probabilities to begin or end in each state, times grad; returns their sum.
  double ends(Numbers<T> score, Numbers<T> reached, Scale<T> scale, Score grad,
              double* into) const {
    double sum = 0;
    for (int32_t s = 0; s < item_.num_states; ++s) {
      const T share = score.m[s] * reached.m[s] * scale.m;
      const T size = share == 0 ? T{0} : power_of_two<T>(score.e[s] + reached.e[s] + scale.e);
      const auto chance = static_cast<double>(share * size);
      sum += chance;
      if (into) into[s] += static_cast<double>(grad) * chance;
    }
    return sum;
  }
};

}  // namespace gtnet
