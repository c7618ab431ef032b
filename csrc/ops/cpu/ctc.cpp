// Operators on CTC topologies: their arcs, and the CTC loss in one call.
#include "core/drivers.h"
#include "ops/cpu/lattice.h"
#include "ops/cpu/layouts.h"
#include "rewrite/cpu/ctc_topology.h"

namespace gtnet::ops {
namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> ctc_arcs(const Tensor& targets,
                                                                    const Tensor& lengths,
                                                                    int64_t blank) {
  const int64_t num_graphs = lengths.numel();
  Tensor state_offsets = empty<int64_t>(lengths, num_graphs + 1),
         arc_offsets = empty<int64_t>(lengths, num_graphs + 1);
  const int64_t* const arcs = output<int64_t>(arc_offsets);
  const std::vector<rewrite::CtcArcs> graphs =
      rewrite::ctc_graphs(input<int32_t>(targets), input<int64_t>(lengths), num_graphs, blank,
                          output<int64_t>(state_offsets), output<int64_t>(arc_offsets));
  Tensor source = empty<int32_t>(targets, arcs[num_graphs]), to = torch::stable::empty_like(source),
         reads = torch::stable::empty_like(source), writes = torch::stable::empty_like(source);
  for_each_graph(num_graphs, arcs[num_graphs], [&](int64_t g) {
    const int64_t a = arcs[g];
    graphs[g].write(output<int32_t>(source) + a, output<int32_t>(to) + a,
                    output<int32_t>(reads) + a, output<int32_t>(writes) + a);
  });
  return {state_offsets, arc_offsets, source, to, reads, writes};
}

// Whether lengths can be those of rows with so many frames.
bool are_lengths(const Tensor& lengths, int64_t size, int64_t most) {
  const int64_t* const length = input<int64_t>(lengths);
  return lengths.dim() == 1 && lengths.numel() == size &&
         std::all_of(length, length + size, [&](int64_t n) { return 0 <= n && n <= most; });
}

// The topologies of a batch of targets, laid out, with scores of 0.
template <class Score>
struct CtcBatch {
  std::vector<int64_t> states, arcs;  // where those of each graph begin
  std::vector<Score> weights, start, accept;
  LaidOut steps;

  CtcBatch(const rewrite::CtcTargets& targets, const Tensor& lengths, int64_t blank)
      : states(lengths.numel() + 1), arcs(states.size()) {
    const int64_t size = lengths.numel();
    const std::vector<rewrite::CtcArcs> graphs = rewrite::ctc_graphs(
        targets.labels.data(), input<int64_t>(lengths), size, blank, states.data(), arcs.data());
    std::vector<int32_t> source(arcs[size]), to(arcs[size]), reads(arcs[size]), writes(arcs[size]);
    steps = lay_out(lengths, states.data(), arcs.data(), size, source.data(), to.data(),
                    reads.data(), [&](int64_t g) {
                      const int64_t a = arcs[g];
                      graphs[g].write(source.data() + a, to.data() + a, reads.data() + a,
                                      writes.data() + a);
                    });
    weights.assign(arcs[size], 0);
    start.assign(states[size], static_cast<Score>(kNegInf));
    accept = start;
    for (int64_t g = 0; g < size; ++g) {
      start[states[g]] = accept[states[g + 1] - 1] = 0;
      accept[std::max(states[g], states[g + 1] - 2)] = 0;
    }
  }

  LaidOutGraphs<Score> graphs() const {
    return {static_cast<int64_t>(states.size()) - 1,
            input<int32_t>(steps.words),
            input<int64_t>(steps.offsets),
            states.data(),
            arcs.data(),
            weights.data(),
            start.data(),
            accept.data()};
  }
};

// Where the sums by label of each item begin.
template <class Lanes>
std::vector<int64_t> label_offsets(const Tensor& lengths, const Lanes& lanes) {
  std::vector<int64_t> begin{0};
  const int64_t* const frames = input<int64_t>(lengths);
  for (int64_t b = 0; b < lengths.numel(); ++b) begin.push_back(begin[b] + frames[b] * lanes(b));
  return begin;
}

// The loss of one item in arithmetic T, and how probable labels are unless that is null.
template <class T, class Score>
lattice::LatticeScore lose(const lattice::LatticeItem<Score>& item,
                           const BothWays<T, Score>& graphs, Score* labels) {
  if (labels == nullptr) return score_anew<T>(item, graphs.forth);
  return differentiate_anew<T>(item, graphs, Score{1}, {nullptr, 0, labels});
}

// Minus the forward scores of emissions and the topologies of targets, padded [batch, longest] or
// one after another; to `keep` for the gradient, how probable labels are, as sums by label, and the
// layout. Everything of an item is done while its alphas are in the cache. Nothing where lengths,
// labels or scores are not what they should be: the caller knows how to go on.
Tensors ctc_loss(Tensor scores, Tensor lengths, Tensor targets, Tensor target_lengths,
                 int64_t blank, bool keep) {
  const int64_t size = scores.size(0), num_labels = scores.size(2);
  const bool is_padded = targets.dim() == 2;
  const int64_t width = is_padded ? targets.size(1) : 0;
  if (!are_lengths(lengths, size, scores.size(1))) return {};
  if (is_padded && targets.size(0) != size) return {};
  if (!are_lengths(target_lengths, size, is_padded ? width : targets.numel())) return {};
  const rewrite::CtcTargets given(input<int64_t>(targets), targets.numel(), width,
                                  input<int64_t>(target_lengths), size, num_labels, blank);
  if (!given.valid) return {};
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const CtcBatch<Score> met(given, target_lengths, blank);
    const LatticeBatch<Score> batch(scores, {lengths}, met.graphs());
    const std::vector<int64_t> begin = label_offsets(
        lengths, [&](int64_t b) { return lattice::label_lanes(batch.steps(b).by_label); });
    Tensor loss = empty<Score>(scores, size), labels = empty<Score>(scores, keep ? begin[size] : 0);
    expect_writes(labels, labels.numel() * static_cast<int64_t>(sizeof(Score)));
    Score *const losses = output<Score>(loss), *const sums = output<Score>(labels);
    std::vector<char> fits(size);
    const BothWays<Score, Score> graphs(batch);
    batch.for_each_item([&](int64_t b) {
      const lattice::LatticeItem<Score> item = batch.item(b);
      Score* const of_item = keep ? sums + begin[b] : nullptr;
      lattice::LatticeScore result = lose<Score>(item, graphs, of_item);
      if (!result.fits && result.valid && !std::is_same_v<Score, double>) {
        count(Driver::kDouble);
        result = lose<double>(item, BothWays<double, Score>(batch), of_item);
      }
      losses[b] = static_cast<Score>(-result.score);
      fits[b] = result.fits && result.valid;
    });
    if (!std::all_of(fits.begin(), fits.end(), [](char fit) { return fit; })) return {};
    count(Driver::kFusedCtc, size);
    return {loss, labels, met.steps.words, met.steps.offsets};
  });
}

Tensor ctc_loss_backward(Tensor grad_loss, Tensor labels, Tensor scores, Tensor lengths,
                         Tensor words, Tensor word_offsets) {
  Tensor grad_scores = torch::stable::empty_like(scores);
  with_scores(scores, [&](auto zero) {
    using Score = decltype(zero);
    const int64_t size = scores.size(0), num_rows = scores.size(1), num_labels = scores.size(2);
    const int64_t item_stride = grad_scores.stride(0), row_stride = grad_scores.stride(1);
    const int64_t *const frames = input<int64_t>(lengths), *const at = input<int64_t>(word_offsets);
    const auto steps = [&](int64_t b) {
      return layout::TransitionRowsReader(input<int32_t>(words) + at[b]).read();
    };
    const std::vector<int64_t> begin =
        label_offsets(lengths, [&](int64_t b) { return lattice::label_lanes(steps(b).by_label); });
    const Score *const grads = input<Score>(grad_loss), *const sums = input<Score>(labels);
    Score* const rows = output<Score>(grad_scores);
    expect_writes(grad_scores, grad_scores.numel() * static_cast<int64_t>(sizeof(Score)));
    for_each_graph(size, size * num_rows * num_labels / layout::kLanes, [&](int64_t b) {
      const layout::TransitionRows known = steps(b);
      const lattice::LabelColumns columns(known.by_label, known.labels, num_labels);
      const int64_t lanes = lattice::label_lanes(known.by_label);
      Score* row = rows + b * item_stride;
      for (int64_t t = 0; t < num_rows; ++t, row += row_stride) {
        poll(num_labels);
        if (t < frames[b]) {
          vectorized(lattice::SpreadLabels<Score>{known.by_label.num_slices, columns,
                                                  sums + begin[b] + t * lanes, -grads[b], row,
                                                  num_labels});
        } else {
          std::fill_n(row, num_labels, Score{0});
        }
      }
    });
    return 0;
  });
  return grad_scores;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "ctc_arcs(Tensor targets, Tensor lengths, int blank) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "ctc_loss(Tensor scores, Tensor lengths, Tensor targets, Tensor target_lengths, int blank, "
      "bool keep) -> Tensor[]");
  m.def(
      "ctc_loss_backward(Tensor grad_loss, Tensor labels, Tensor scores, Tensor lengths, "
      "Tensor words, Tensor word_offsets) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("ctc_arcs", GTNET_BOX("ctc_arcs", &ctc_arcs));
  m.impl("ctc_loss", GTNET_BOX("ctc_loss", &ctc_loss));
  m.impl("ctc_loss_backward", GTNET_BOX("ctc_loss_backward", &ctc_loss_backward));
}

}  // namespace gtnet::ops
