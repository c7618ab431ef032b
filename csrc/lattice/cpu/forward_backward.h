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

#include "core/drivers.h"
#include "core/interrupt.h"
#include "lattice/cpu/band.h"
#include "lattice/cpu/expected_counts.h"
#include "lattice/cpu/label_sums.h"

namespace gtnet::lattice {

struct LatticeScore {
  double score;
  bool fits;   // within the exponents of the arithmetic
  bool valid;  // no NaN or +inf among the scores read
};

// The gradients of one item; what is not asked for is null.
template <class Score>
struct ItemGradient {
  Score* scores;  // rows of labels, so far apart
  int64_t row_stride;
  double *weights = nullptr, *start = nullptr, *accept = nullptr;
  double *first = nullptr, *last = nullptr;  // of the cuts' own start and accept scores
  bool by_cut = false;  // weights are [cuts, arcs], by the cut in which an arc is taken

  // Where the arcs taken in a cut are counted, if cuts are told apart.
  double* of_cut(int32_t cut, int64_t num_arcs) const {
    return by_cut ? weights + cut * num_arcs : nullptr;
  }
};

// What a pass forth leaves for the pass back: alphas and their offsets by cut, and rows.
template <class T>
struct ForwardTrace {
  Numbers<T> alpha;
  double* offset;
  KeptRows<T> rows;
};

// How much of it there is for an item; a pass forth alone keeps two cuts of a chain in turn, and
// segments that share their ends take alphas twice: as they are, and led on along the arcs.
struct TraceSize {
  int64_t alphas, factors, cuts, segments;

  TraceSize(bool is_chain, int64_t num_cuts, int64_t num_segments,
            const layout::TransitionRows& steps, bool keep)
      : alphas((!is_chain ? 2 * num_cuts
                : keep    ? num_cuts
                          : 2) *
               steps.num_positions),
        factors(keep ? num_segments * LabelArray::size(steps.num_labels) : 0),
        cuts(num_cuts),
        segments(keep ? num_segments : 0) {}
  explicit TraceSize(const Cuts& all, const layout::TransitionRows& steps, bool keep)
      : TraceSize(all.is_chain, all.count, all.num_segments(), steps, keep) {}

  int64_t doubles() const { return cuts + 2 * segments; }

  // Rows kept in these arrays.
  template <class T>
  KeptRows<T> rows(T* all_factors, double* all_doubles) const {
    double* const top = all_doubles + cuts;
    return {factors > 0 ? all_factors : nullptr, top, top + segments};
  }
};

// A trace of its own.
template <class T>
class OwnTrace {
 public:
  OwnTrace(const Cuts& cuts, const layout::TransitionRows& steps, bool keep)
      : size_(cuts, steps, keep),
        alpha_(Array<T>::unwritten(size_.alphas)),
        factors_(size_.factors, false),
        doubles_(size_.doubles()) {}

  ForwardTrace<T> get() {
    return {alpha_.begin(), doubles_.data(), size_.rows(factors_.begin(), doubles_.data())};
  }

 private:
  const TraceSize size_;
  const Array<T> alpha_;
  const Aligned<T> factors_;
  std::vector<double> doubles_;
};

// Forward and backward over one item in arithmetic T.
template <class T, class Score>
class LatticePass {
  using E = Exponent<T>;

 public:
  LatticePass(const LatticeItem<Score>& item, const ForwardTrace<T>& trace)
      : item_(item),
        cuts_(item.cuts),
        steps_(item.steps),
        trace_(trace),
        frame_(item, trace.rows),
        band_(item),
        scaled_(item.steps.num_positions) {}

  // Fills the trace; the alphas of all cuts of a chain only to `keep` them.
  LatticeScore forward(const GraphNumbers<T>& graph, bool keep) {
    const int64_t size = steps_.num_positions;
    const Numbers<T> alpha = trace_.alpha;
    double* const offset = trace_.offset;
    double spreads = 0;
    Total total;
    count(graph.scaled.usable ? Driver::kScaledRows : Driver::kExtendedRows);
    std::fill_n(offset, cuts_.count, kUnset);
    for (int32_t c = 0; c < cuts_.count; ++c) {
      if (!cuts_.alone[c]) Array<T>::clear(alpha + c * size, size);
    }
    if (!cuts_.is_chain) Array<T>::clear(alpha + cuts_.count * size, cuts_.count * size);
    for (int32_t c = 0; c < cuts_.count; ++c) {
      poll(8 * size);
      const Numbers<T> here = alpha + slot(c, keep) * size;
      if (cuts_.starts(c)) {
        add(here, graph.start.begin(), Scale<T>::exp(relative(offset[c], cuts_.start[c])));
      }
      const int32_t begin = cuts_.begin[c], end = cuts_.begin[c + 1];
      if (is_unset(offset[c])) {
        for (int32_t k = begin; k < end; ++k) {
          const int32_t d = cuts_.target[k];
          if (cuts_.alone[d]) Array<T>::clear(alpha + slot(d, keep) * size, size);
          frame_.leave_out(k);
        }
        continue;
      }
      for (int32_t k = begin; k < end; ++k) {
        // Vectors that reach over the end of `here` see what comes behind it in memory.
        const int32_t d = cuts_.target[k];
        if (d == c + 1 && cuts_.alone[d]) Array<T>::clear(alpha + slot(d, keep) * size, kMargin);
      }
      epsilons(steps_.epsilon_entering, graph.epsilon, here);
      if (cuts_.accepts(c)) total.add(*this, graph, here, offset[c] + cuts_.accept[c]);
      const Numbers<T> led = alpha + (cuts_.count + c) * size;
      bool is_led = false;
      for (int32_t k = begin; k < end; ++k) {
        const int32_t d = cuts_.target[k];
        const Numbers<T> to = alpha + slot(d, keep) * size;
        frame_.read(k, k + 1);
        spreads += frame_.spread + (cuts_.is_chain ? 0 : std::abs(frame_.top));
        if (!(spreads <= extended::Limits<T>::kLimit)) {  // exponents would run over
          trace_.rows.refuse(cuts_.num_segments());
          return {kNegInf, false, frame_.valid};
        }
        const double reached = offset[c] + frame_.top;
        if (cuts_.alone[d]) {
          offset[d] = reached;
          step<true>(graph, steps_.entering, here, to, band_.at(d));
          frame_.scale_wide(to);
          continue;
        }
        if (!is_led) {
          step<false>(graph, steps_.entering, here, led, {});
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
  bool backward(const GraphNumbers<T>& graph, Score grad, const ItemGradient<Score>& out) {
    const int64_t size = steps_.num_positions;
    const Numbers<T> alpha = trace_.alpha;
    const double* const offset = trace_.offset;
    Total total;
    count(graph.scaled.usable ? Driver::kScaledRows : Driver::kExtendedRows);
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
    const Aligned<T> gamma(size);
    const int64_t lanes = label_lanes(steps_.by_label);
    const Aligned<Score> all_sums(lanes);
    Score* const sums = all_sums.begin();
    const LabelColumns columns(steps_.by_label, steps_.labels, item_.num_labels);
    const auto spread = [&](int32_t k) {
      Score* const row = out.scores + cuts_.row[k] * out.row_stride;
      vectorized(
          SpreadLabels<Score>{steps_.by_label.num_slices, columns, sums, row, item_.num_labels});
    };
    ArcCounter<T> reading(steps_.leaving, graph.reading, &graph.scaled, size, counting),
        epsilon(steps_.epsilon_leaving, graph.epsilon, nullptr, size, counting);
    double spreads = 0;
    for (int32_t c = cuts_.count; c-- > 0;) {
      poll(16 * size);
      const Numbers<T> here = alpha + c * size;
      const Numbers<T> beta = betas.begin() + (cuts_.is_chain ? 0 : c * size);
      bool is_read = false;
      for (int32_t k = cuts_.begin[c]; k < cuts_.begin[c + 1]; ++k) {
        const int32_t d = cuts_.target[k];
        frame_.read_again(k, k - 1);
        spreads += frame_.spread + (cuts_.is_chain ? 0 : std::abs(frame_.top));
        if (!(spreads <= extended::Limits<T>::kLimit)) return false;
        if (total.m == 0 || is_unset(offset[c]) || is_unset(ahead[d])) {
          std::fill_n(sums, lanes, Score{0});
          spread(k);
          continue;
        }
        const Numbers<T> beyond = betas.begin() + (cuts_.is_chain ? 0 : d * size);
        const Numbers<T> into = is_read ? parts.begin() : read;
        T met = 0;
        if (cuts_.alone[d]) {
          vectorized(Meet<T>{steps_.num_positions, band_.at(d), steps_.label, frame_.factors(),
                             alpha + d * size, beyond, into, of_total(offset[d] + ahead[d]),
                             gamma.begin(), &met});
          frame_.scale_wide(into);
        } else {
          vectorized(MeetThrough<T>{steps_.num_positions, steps_.label, frame_.numbers(),
                                    alpha + (cuts_.count + c) * size, beyond, into,
                                    of_total(offset[c] + frame_.top + ahead[d]), gamma.begin(),
                                    &met});
        }
        const auto sum = static_cast<double>(met);
        // All paths go through the frames of a chain: there chances are made to add up to 1.
        const double share = cuts_.is_chain && sum > 0 ? 1 / sum : 1;
        vectorized(SumByLabel<T, Score>{steps_.by_label, gamma.begin(),
                                        static_cast<T>(static_cast<double>(grad) * share), sums});
        spread(k);
        flow[d] += sum;
        flow[c] -= sum;
        const double behind = relative(ahead[c], ahead[d] + frame_.top);
        if (is_read) add(read, into, Scale<T>::exp(behind));
        is_read = true;
      }
      if (total.m == 0 || is_unset(offset[c])) continue;
      if (is_read) {
        step<false>(graph, steps_.leaving, read, beta, band_.at(c), reading.room());
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
    E e = extended::Limits<T>::kZero;
    double offset = kUnset;

    void add(const LatticePass& pass, const GraphNumbers<T>& graph, Numbers<T> here, double at) {
      const Scale<T> scale = Scale<T>::exp(relative(offset, at));
      const Numbers<T> accept = graph.accept.begin();
      for (int32_t s = 0; s < pass.item_.num_states; ++s) {
        if (accept.m[s] == 0 || here.m[s] == 0) continue;
        extended::add(m, e, here.m[s] * accept.m[s] * scale.m, here.e[s] + accept.e[s] + scale.e);
      }
      extended::normalize(m, e);
    }

    double log() const {
      if (m == 0) return kNegInf;
      return std::log(static_cast<double>(m)) + static_cast<double>(e) * kLn2 + offset;
    }
  };

  const LatticeItem<Score>& item_;
  const Cuts& cuts_;
  const layout::TransitionRows& steps_;
  const ForwardTrace<T> trace_;
  FrameEmissions<T, Score> frame_;
  const ActiveBand band_;
  ScaledPositions<T> scaled_;

  // One step along the arcs that read, times the emission where it is asked for; `room`, if it is
  // not null, is where to scale `from` to.
  template <bool kReading>
  void step(const GraphNumbers<T>& graph, const layout::SlicedRows& rows, Numbers<T> from,
            Numbers<T> to, Window window, ScaledPositions<T>* room = nullptr) {
    const SpmvExtended<T, kReading, false> wide{
        rows,  graph.reading.begin(), from, to, kReading ? frame_.factors() : nullptr, steps_.label,
        window};
    if (graph.scaled.usable) {
      ScaledPositions<T>& scaled = room ? *room : scaled_;
      scaled.set(from);
      vectorized(SpmvScaled<T, kReading>{wide, graph.scaled, scaled});
    } else {
      vectorized(wide);
    }
  }

  int64_t slot(int32_t cut, bool keep) const { return cuts_.is_chain && !keep ? cut % 2 : cut; }

  void add(Numbers<T> to, Numbers<T> from, Scale<T> scale) const {
    vectorized(AddNumbers<T, false>{steps_.num_positions, to, from, scale, nullptr, {}});
  }

  void epsilons(const layout::SlicedRows& rows, const RowWeights<T>& weights,
                Numbers<T> numbers) const {
    if (rows.num_slices == 0) return;
    vectorized(SpmvExtended<T, false, true>{rows, weights.begin(), numbers, numbers, nullptr,
                                            steps_.label});
  }

  // The probabilities to begin or end in each state, times grad; returns their sum.
  double ends(Numbers<T> score, Numbers<T> reached, Scale<T> scale, Score grad,
              double* into) const {
    double sum = 0;
    for (int32_t s = 0; s < item_.num_states; ++s) {
      const T share = score.m[s] * reached.m[s] * scale.m;
      const T size =
          share == 0 ? T{0} : extended::power_of_two<T>(score.e[s] + reached.e[s] + scale.e);
      const auto chance = static_cast<double>(share * size);
      sum += chance;
      if (into) into[s] += static_cast<double>(grad) * chance;
    }
    return sum;
  }
};

}  // namespace gtnet::lattice
