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

#include "arc_counter.h"

namespace gtnet {

struct LatticeScore {
  double score;
  bool fits;   // within the exponents of the arithmetic
  bool valid;  // no NaN or +inf among the scores read
};

// The gradients of one item; arcs, starts and accepts are null where they are not asked for.
template <class Score>
struct ItemGradient {
  Score* scores;
  int64_t row_stride;
  double *weights, *start, *accept;
  double *first, *last;  // of the cuts' own start and accept scores
  bool by_cut;           // weights are [cuts, arcs], by the cut in which an arc is taken

  // Where the arcs taken in a cut are counted, if cuts are told apart.
  double* of_cut(int32_t cut, int64_t num_arcs) const {
    return by_cut ? weights + cut * num_arcs : nullptr;
  }
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
    ArcCounter<T> reading(steps_.leaving, graph.reading, &graph.scaled, size, counting),
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
        for (ArcCounter<T>* counter : {&reading, &epsilon}) {
          counter->advance(out.of_cut(cuts_.name[c], item_.num_arcs), static_cast<double>(grad));
        }
      }
    }
    if (counting && !out.by_cut) {
      for (ArcCounter<T>* counter : {&reading, &epsilon}) {
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
