// Operators on CTC topologies: their arcs, and their forward score over emissions in one call.
#include "ctc.h"
#include "ops_lattice.h"
#include "ops_steps.h"

namespace gtnet {
namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> ctc_arcs(const Tensor& targets,
                                                                    const Tensor& lengths,
                                                                    int64_t blank) {
  const int64_t num_graphs = lengths.numel();
  Tensor state_offsets = empty<int64_t>(lengths, num_graphs + 1),
         arc_offsets = empty<int64_t>(lengths, num_graphs + 1);
  const int64_t* const arcs = output<int64_t>(arc_offsets);
  const std::vector<CtcArcs> graphs =
      ctc_graphs(input<int32_t>(targets), input<int64_t>(lengths), num_graphs, blank,
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

// The forward scores of emissions and the topologies of targets, padded [batch, longest] or one
// after another, and what is wrong with the emissions; to `keep` for the gradient, how probable
// labels are and the layout. Nothing where lengths or labels are not those of a batch: the caller
// knows how to say it.
Tensors ctc_score(Tensor scores, Tensor lengths, Tensor targets, Tensor target_lengths,
                  int64_t blank, bool keep) {
  const int64_t size = scores.size(0), num_labels = scores.size(2);
  const bool is_padded = targets.dim() == 2;
  const int64_t width = is_padded ? targets.size(1) : 0;
  if (!are_lengths(lengths, size, scores.size(1))) return {};
  if (is_padded && targets.size(0) != size) return {};
  if (!are_lengths(target_lengths, size, is_padded ? width : targets.numel())) return {};
  const int64_t* const length = input<int64_t>(target_lengths);
  const CtcTargets given(input<int64_t>(targets), targets.numel(), width, length, size, num_labels,
                         blank);
  if (!given.valid) return {};
  Tensor state_offsets = empty<int64_t>(lengths, size + 1),
         arc_offsets = empty<int64_t>(lengths, size + 1);
  int64_t *const states = output<int64_t>(state_offsets), *const arcs =
                                                              output<int64_t>(arc_offsets);
  const std::vector<CtcArcs> graphs =
      ctc_graphs(given.labels.data(), length, size, blank, states, arcs);
  std::vector<int32_t> source(arcs[size]), to(arcs[size]), reads(arcs[size]), writes(arcs[size]);
  const LaidOut steps =
      lay_out(lengths, states, arcs, size, source.data(), to.data(), reads.data(), [&](int64_t g) {
        const int64_t a = arcs[g];
        graphs[g].write(source.data() + a, to.data() + a, reads.data() + a, writes.data() + a);
      });
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    Tensor weights = zeros<Score>(scores, arcs[size]), start = empty<Score>(scores, states[size]),
           accept = empty<Score>(scores, states[size]);
    Score *const starts = output<Score>(start), *const accepts = output<Score>(accept);
    std::fill_n(starts, states[size], static_cast<Score>(kNegInf));
    std::fill_n(accepts, states[size], static_cast<Score>(kNegInf));
    for (int64_t g = 0; g < size; ++g) {
      starts[states[g]] = 0;
      for (int64_t s = std::max(states[g], states[g + 1] - 2); s < states[g + 1]; ++s)
        accepts[s] = 0;
    }
    if (keep) {
      Tensors found = lattice_labels(scores, {lengths}, steps.words, steps.offsets, state_offsets,
                                     arc_offsets, weights, start, accept);
      found.insert(found.end(), {steps.words, steps.offsets});
      return found;
    }
    const Tensors found = lattice_score(scores, {lengths}, steps.words, steps.offsets,
                                        state_offsets, arc_offsets, weights, start, accept, false);
    return {found.front(), found.back()};
  });
}

Tensor ctc_score_backward(Tensor grad_score, Tensor labels, Tensor scores, Tensor lengths,
                          Tensor words, Tensor word_offsets) {
  return spread_labels(grad_score, labels, scores, lengths, words, word_offsets);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "ctc_arcs(Tensor targets, Tensor lengths, int blank) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "ctc_score(Tensor scores, Tensor lengths, Tensor targets, Tensor target_lengths, int blank, "
      "bool keep) -> Tensor[]");
  m.def(
      "ctc_score_backward(Tensor grad_score, Tensor labels, Tensor scores, Tensor lengths, "
      "Tensor words, Tensor word_offsets) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("ctc_arcs", TORCH_BOX(&ctc_arcs));
  m.impl("ctc_score", TORCH_BOX(&ctc_score));
  m.impl("ctc_score_backward", TORCH_BOX(&ctc_score_backward));
}

}  // namespace gtnet
