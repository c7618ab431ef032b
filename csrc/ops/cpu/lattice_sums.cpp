// Operators that sum over the paths of lattices without building them.
#include <atomic>

#include "core/drivers.h"
#include "ops/cpu/lattice_dense.h"
#include "ops/cpu/lattice_interleaved.h"

namespace gtnet::ops {
namespace {

// Why an item has no score; the largest one of a batch is reported.
enum Trouble : int64_t { kNone_, kTooWide, kNotANumber };

// Fills in the scores that are NaN so far.
template <class Score>
SavedForBackward score_alone(const LatticeBatch<Score>& batch, const Tensor& scores, bool keep,
                             double* score, const Tensor& trouble) {
  const Traces<Score> traces(batch);
  const bool kept = keep && traces.exponents() <= std::max(kKeptPositions, scores.numel());
  const SavedForBackward left{empty<Score>(scores, kept ? traces.mantissas() : 0),
                              empty<Exponent<Score>>(scores, kept ? traces.exponents() : 0),
                              empty<double>(scores, kept ? traces.doubles() : 0)};
  for (const Tensor& tensor : {left.alpha_m, left.alpha_e}) {
    expect_writes(tensor, tensor.numel() * static_cast<int64_t>(sizeof(Score)));
  }
  std::vector<Trouble> troubles(batch.size, kNone_);
  const GraphsOf<Score, Score> graphs(batch, &layout::TransitionRows::entering,
                                      &layout::TransitionRows::epsilon_entering);
  batch.for_each_item([&](int64_t b) {
    if (!std::isnan(score[b])) return;
    const lattice::LatticeItem<Score> item = batch.item(b);
    lattice::LatticeScore result;
    if (kept) {
      const lattice::ForwardTrace<Score> trace =
          traces.of(b, left.alpha_m, left.alpha_e, left.offset);
      result = score_item<Score, Score>(item, graphs, trace, true);
    } else {
      result = score_anew<Score, Score>(item, graphs);
    }
    if constexpr (!std::is_same_v<Score, double>) {
      if (!result.fits && result.valid) {
        const GraphsOf<double, Score> exact(batch, &layout::TransitionRows::entering,
                                            &layout::TransitionRows::epsilon_entering);
        count(Driver::kDouble);
        result = score_anew<double, Score>(item, exact);
      }
    }
    score[b] = result.score;
    troubles[b] = !result.valid ? kNotANumber : !result.fits ? kTooWide : kNone_;
  });
  for (const Trouble found : troubles) {
    *output<int64_t>(trouble) = std::max<int64_t>(*output<int64_t>(trouble), found);
  }
  return left;
}

// Fills in the scores of items whose graph is a matrix; whether there are any. NaN where scores are
// too far apart for that.
template <class Score>
bool score_dense(const LatticeBatch<Score>& batch, double* score) {
  const DenseGraphs<Score, lattice::DenseFactors> dense(batch);
  std::atomic<bool> any = false;
  batch.for_each_item([&](int64_t b) {
    const auto in_matrix = [&](const auto& graph, const lattice::Frames<Score>& frames) {
      score[b] = lattice::dense_score(graph, frames);
    };
    if (dense.with(b, in_matrix)) any = true;
  });
  return any;
}

Tensors lattice_score(const LatticeTensors& given, bool keep) {
  const Tensor& scores = given.scores;
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const LatticeBatch<Score> batch(given);
    const Tensor found = empty<double>(scores, batch.size), trouble = zeros<int64_t>(scores, 1);
    double* const score = output<double>(found);
    std::fill_n(score, batch.size, std::numeric_limits<double>::quiet_NaN());
    const bool in_matrices = !keep && score_dense(batch, score);
    const auto interleaved = in_matrices ? nullptr : InterleavedBatch<Score>::of(batch);
    if (!interleaved) {
      const SavedForBackward left = score_alone(batch, scores, keep, score, trouble);
      return {found, left.alpha_m, left.alpha_e, left.offset, trouble};
    }
    const SavedForBackward left = score_interleaved(*interleaved, scores, score);
    const int64_t alone =
        std::count_if(score, score + batch.size, [](double x) { return std::isnan(x); });
    count(Driver::kInterleaved, batch.size - alone);
    if (alone > 0) score_alone(batch, scores, false, score, trouble);
    if (keep) return {found, left.alpha_m, left.alpha_e, left.offset, trouble};
    return {found, empty<Score>(scores, 0), left.alpha_e, empty<double>(scores, 0), trouble};
  });
}

// Gradients of all items, each in a place of its own; what is not asked for is empty.
struct ItemSums {
  std::vector<int64_t> arcs_at, states_at, cuts_at;
  std::vector<double> weights, start, accept, first, last;
  std::vector<char> failed;  // items beyond the arithmetic
};

// Gradients of the items of a batch that are not done, into `grad_scores` and the sums returned.
template <class Score>
ItemSums differentiate(const LatticeBatch<Score>& batch, const double* grad_score,
                       const SavedForBackward& left, const Tensor& grad_scores, bool counting,
                       bool by_cut, const std::vector<char>& done) {
  ItemSums sums;
  sums.cuts_at = batch.all_cuts();
  sums.arcs_at = batch.offsets([&](int64_t b) {
    return counting && !done[b] ? batch.num_arcs(b) * (by_cut ? batch.num_cuts(b) : 1) : 0;
  });
  sums.states_at =
      batch.offsets([&](int64_t b) { return counting && !done[b] ? batch.num_states(b) : 0; });
  sums.weights.resize(sums.arcs_at.back());
  sums.start.resize(sums.states_at.back());
  sums.accept.resize(sums.states_at.back());
  const bool ends = counting && !batch.is_chain;
  sums.first.resize(ends ? sums.cuts_at.back() : 0);
  sums.last.resize(ends ? sums.cuts_at.back() : 0);
  sums.failed.resize(batch.size);
  if (std::count(done.begin(), done.end(), 0) == 0) return sums;
  const Traces<Score> traces(batch);
  const BothWays<Score, Score> graphs(batch);
  const int64_t stride = grad_scores.stride(batch.is_chain ? 1 : 0);
  const int64_t item_stride = batch.is_chain ? grad_scores.stride(0) : 0;
  batch.for_each_item([&](int64_t b) {
    if (done[b]) return;
    const lattice::LatticeItem<Score> item = batch.item(b);
    const lattice::ItemGradient<Score> out{
        batch.rows_of(b, output<Score>(grad_scores), item_stride, stride),
        stride,
        counting ? sums.weights.data() + sums.arcs_at[b] : nullptr,
        counting ? sums.start.data() + sums.states_at[b] : nullptr,
        counting ? sums.accept.data() + sums.states_at[b] : nullptr,
        ends ? sums.first.data() + sums.cuts_at[b] : nullptr,
        ends ? sums.last.data() + sums.cuts_at[b] : nullptr,
        by_cut};
    const auto grad = static_cast<Score>(grad_score[b]);
    bool exact = false;
    if (left.alpha_e.numel() > 0) {
      const lattice::ForwardTrace<Score> trace =
          traces.of(b, left.alpha_m, left.alpha_e, left.offset);
      exact = differentiate_item<Score, Score>(item, graphs.back, trace, grad, out);
    } else {
      exact = differentiate_anew<Score, Score>(item, graphs, grad, out).fits;
    }
    if constexpr (!std::is_same_v<Score, double>) {
      if (!exact) {
        const auto clear = [b](std::vector<double>& all, const std::vector<int64_t>& at) {
          if (!all.empty()) std::fill(all.begin() + at[b], all.begin() + at[b + 1], 0.0);
        };
        clear(sums.weights, sums.arcs_at);
        clear(sums.start, sums.states_at);
        clear(sums.accept, sums.states_at);
        clear(sums.first, sums.cuts_at);
        clear(sums.last, sums.cuts_at);
        count(Driver::kDouble);
        exact = differentiate_anew<double>(item, BothWays<double, Score>(batch), grad, out).fits;
      }
    }
    sums.failed[b] = !exact;
    clear_behind(batch, b, out.scores, stride);
  });
  return sums;
}

template <class Score>
Tensor as_scores(const Tensor& like, const std::vector<double>& values) {
  Tensor result = empty<Score>(like, static_cast<int64_t>(values.size()));
  std::transform(values.begin(), values.end(), output<Score>(result),
                 [](double x) { return static_cast<Score>(x); });
  return result;
}

// Sums over the items that share a graph, on top of `sums`, in the dtype of the scores.
template <class Score>
Tensor collected(const LatticeBatch<Score>& batch, const Tensor& like, std::vector<double> sums,
                 const std::vector<double>& all, const std::vector<int64_t>& at,
                 const int64_t* graph_begin, bool asked) {
  if (!asked) return empty<Score>(like, 0);
  sums.resize(like.numel(), 0.0);
  for (int64_t b = 0; b < batch.size; ++b) {
    double* const sum = sums.data() + graph_begin[batch.graph(b)];
    for (int64_t k = at[b]; k < at[b + 1]; ++k) sum[k - at[b]] += all[k];
  }
  return as_scores<Score>(like, sums);
}

Tensors lattice_score_backward(const Tensor& grad_score, const SavedForBackward& left,
                               const LatticeTensors& given, bool counting) {
  const Tensor& scores = given.scores;
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const LatticeBatch<Score> batch(given);
    Tensor grad_scores = torch::stable::empty_like(scores);
    expect_writes(grad_scores, grad_scores.numel() * static_cast<int64_t>(sizeof(Score)));
    const double* const grad = input<double>(grad_score);
    SharedSums shared{{}, {}, {}, std::vector<char>(batch.size, 0)};
    if (const auto interleaved = InterleavedBatch<Score>::of(batch)) {
      shared = differentiate_interleaved(*interleaved, batch, grad, left, grad_scores, counting);
      count(Driver::kInterleaved, std::count(shared.done.begin(), shared.done.end(), 1));
    }
    const ItemSums sums =
        differentiate(batch, grad, left, grad_scores, counting, false, shared.done);
    const int64_t *const arcs = batch.arc_offsets, *const states = batch.state_offsets;
    return {
        grad_scores,
        collected(batch, given.weights, shared.weights, sums.weights, sums.arcs_at, arcs, counting),
        collected(batch, given.start, shared.start, sums.start, sums.states_at, states, counting),
        collected(batch, given.accept, shared.accept, sums.accept, sums.states_at, states,
                  counting),
        as_scores<Score>(scores, sums.first),
        as_scores<Score>(scores, sums.last)};
  });
}

// Probabilities of the labels of each row, of the arcs of each item (for each cut, or in all), of
// beginning and ending in each state of each item and at each cut of a segmentation; whether any
// item was beyond the arithmetic.
Tensors lattice_posteriors(const LatticeTensors& given, bool by_cut) {
  const Tensor& scores = given.scores;
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const LatticeBatch<Score> batch(given);
    Tensor labels = torch::stable::empty_like(scores);
    const Tensor none = empty<Score>(scores, 0);
    const std::vector<double> ones(batch.size, 1.0);
    const std::vector<char> done(batch.size, 0);
    const ItemSums sums =
        differentiate(batch, ones.data(), {none, none, none}, labels, true, by_cut, done);
    Tensor trouble = zeros<int64_t>(scores, 1);
    for (const char failed : sums.failed) *output<int64_t>(trouble) += failed;
    return {labels,
            as_scores<Score>(scores, sums.weights),
            as_scores<Score>(scores, sums.start),
            as_scores<Score>(scores, sums.accept),
            as_scores<Score>(scores, sums.first),
            as_scores<Score>(scores, sums.last),
            trouble};
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def("lattice_score(" GTNET_LATTICE_SCHEMA ", bool keep) -> Tensor[]");
  m.def(
      "lattice_score_backward(Tensor grad_score, Tensor alpha_m, Tensor alpha_e, Tensor "
      "offset, " GTNET_LATTICE_SCHEMA ", bool counting) -> Tensor[]");
  m.def("lattice_posteriors(" GTNET_LATTICE_SCHEMA ", bool by_cut) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("lattice_score", GTNET_BOX("lattice_score", &Unpacked<&lattice_score>::call));
  m.impl("lattice_score_backward",
         GTNET_BOX("lattice_score_backward", &Unpacked<&lattice_score_backward>::call));
  m.impl("lattice_posteriors",
         GTNET_BOX("lattice_posteriors", &Unpacked<&lattice_posteriors>::call));
}

}  // namespace gtnet::ops
