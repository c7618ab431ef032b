// What operators on segmentations composed with a graph share on a device of blocks; an executor is
// included before. `cuts` are there state_offsets, arc_offsets, order, source and target; the
// entering and the leaving segments of each cut as offsets, segments and cuts at the other end; the
// number of cuts of the longest item, on the CPU; start and accept.
#pragma once

#include "lattice/gpu/segmentation_forward_backward.h"
#include "ops/gpu/chains.h"

namespace gtnet::ops {
namespace {

enum CutArgument : size_t {
  kCutOffsets,
  kSegmentOffsets,
  kCutOrder,
  kCutSource,
  kCutTarget,
  kEntering,
  kLeaving = kEntering + 3,
  kMostCuts = kLeaving + 3,
  kCutStart,
  kCutAccept,
  kCutArguments,
};

template <class T>
lattice::CutGrid<T> cut_grid(const Tensor& scores, const Tensors& cuts, const Tensor& words,
                             const Tensor& word_offsets, const Tensor& state_offsets,
                             const Tensor& arc_offsets, const Tensor& weights, const Tensor& start,
                             const Tensor& accept) {
  STD_TORCH_CHECK(cuts.size() == kCutArguments && scores.dim() == 2,
                  "gtnet: on a GPU segmentations need the segments of every cut");
  const Span<const int64_t> sizes = view<int64_t>(word_offsets);
  // A path takes as many steps as there are cuts, each with an emission, and two ends of each kind.
  const int64_t steps = (view<int64_t>(cuts[kMostCuts])[0] + 2) * (1 + sizes[layout::kMostPhases]);
  const auto segments = [&](size_t at) {
    return lattice::Segments{view<int32_t>(cuts[at]), view<int32_t>(cuts[at + 1]),
                             view<int32_t>(cuts[at + 2])};
  };
  return {{graphs(cuts[kCutOffsets]), 0, scores.size(1), graphs(state_offsets), scores_of(scores),
           0, scores.stride(0), nullptr, view<int64_t>(state_offsets), view<int64_t>(arc_offsets),
           view<int32_t>(words), view<T>(weights), view<T>(start), view<T>(accept), nullptr,
           nullptr, ExtendedFloat<T>::highest(2 * steps + 2)},
          scores.size(0),
          view<int64_t>(cuts[kCutOffsets]),
          view<int64_t>(cuts[kSegmentOffsets]),
          view<int32_t>(cuts[kCutOrder]),
          segments(kEntering),
          segments(kLeaving),
          view<T>(cuts[kCutStart]),
          view<T>(cuts[kCutAccept]),
          sizes[layout::kMostSlots],
          sizes[layout::kMostLabels]};
}

// Blocks enough for all scores of all segments.
template <class Kernel, class T>
void read_segments(int32_t device, const lattice::CutGrid<T>& grid, const Kernel& kernel) {
  constexpr int64_t kMostBlocks = 65535;
  const int64_t count = grid.num_segments * grid.labels;
  const int64_t blocks = std::min((count + kernel.kThreads - 1) / kernel.kThreads, kMostBlocks);
  launch(device, blocks, kernel.kThreads, 0, kernel);
}

template <class T>
lattice::CutNumbers<T> cut_numbers(const lattice::CutGrid<T>& grid, const Tensor& alpha,
                                   const Tensor& factors) {
  const Span<ExtendedFloat<T>> all = numbers<T>(alpha);
  const int64_t half = alpha.numel() * static_cast<int64_t>(sizeof(T)) /
                       static_cast<int64_t>(2 * sizeof(ExtendedFloat<T>));
  return {{all.part(0, half), grid.slots},
          {all.part(half, half), grid.slots},
          {numbers<T>(factors), grid.labels}};
}

// The forward scores of segmentations, and their alphas.
struct CutScores {
  Tensor score, alpha;
};

template <class T>
CutScores score_cuts(const lattice::CutGrid<T>& grid, const Tensor& weights,
                     Span<const int64_t> sizes, int64_t num_cuts) {
  const int32_t device = weights.get_device_index();
  const int64_t items = grid.chain.size;
  const CutScores out{empty<double>(weights, items),
                      empty_numbers<T>(weights, 2 * num_cuts * grid.slots)};
  Tensor flags = zeros<int32_t>(weights, items),
         factors = empty_numbers<T>(weights, grid.num_segments * grid.labels);
  const lattice::CutNumbers<T> made = cut_numbers(grid, out.alpha, factors);
  read_segments(device, grid,
                lattice::ReadSegments<T>{grid, made.factors, writable<int32_t>(flags)});
  launch(device, items, threads_of(sizes, lattice::CutForward<T>::kThreads),
         lattice::CutForward<T>::shared_bytes(),
         lattice::CutForward<T>{grid, made, writable<int32_t>(flags), writable<double>(out.score)});
  return out;
}

// The gradient of the scores, and how often arcs, starts and ends are taken, where anybody asks;
// the gradients of beginning and ending at cuts.
struct CutUses {
  Tensor scores, counts, starts, ends, first, last;
};

template <class T>
CutUses differentiate_cuts(const lattice::CutGrid<T>& grid, const Tensor& alpha,
                           const Tensor& grad_score, const Tensor& scores, const Tensors& cuts,
                           const Tensor& weights, Span<const int64_t> sizes, bool counting,
                           int64_t num_counts, int64_t num_states, lattice::CountBy by,
                           Span<const int64_t> counts_at) {
  constexpr int64_t kMostBlocks = 2048;
  const int32_t device = weights.get_device_index();
  const int64_t items = grid.chain.size, num_cuts = cuts[kCutOrder].numel();
  const int64_t blocks = std::min(grid.num_segments, kMostBlocks);
  Tensor factors = empty_numbers<T>(weights, grid.num_segments * grid.labels),
         betas = empty_numbers<T>(weights, num_cuts * grid.slots),
         reads = empty_numbers<T>(weights, items * grid.slots),
         totals = empty_numbers<T>(weights, items);
  Tensor flags = zeros<int32_t>(weights, items);
  const CutUses out{
      torch::stable::empty_like(scores),          zeros<double>(weights, num_counts),
      zeros<double>(weights, num_states),         zeros<double>(weights, num_states),
      zeros<T>(weights, counting ? num_cuts : 0), zeros<T>(weights, counting ? num_cuts : 0)};
  Tensor grad_scores = out.scores;
  torch::stable::zero_(grad_scores);
  const lattice::CutNumbers<T> made = cut_numbers(grid, alpha, factors);
  const lattice::RowsOf<ExtendedFloat<T>> beta{numbers<T>(betas), grid.slots};
  read_segments(device, grid,
                lattice::ReadSegments<T>{grid, made.factors, writable<int32_t>(flags)});
  launch(device, items, threads_of(sizes, lattice::CutBackward<T>::kThreads),
         lattice::CutBackward<T>::shared_bytes(),
         lattice::CutBackward<T>{grid,
                                 made,
                                 beta,
                                 {numbers<T>(reads), grid.slots},
                                 numbers<T>(totals),
                                 writable<int32_t>(flags),
                                 counting ? writable<double>(out.counts) : nullptr,
                                 by,
                                 counts_at});
  Tensor gamma = empty<T>(weights, blocks * grid.slots),
         sums = empty<T>(weights, blocks * sizes[layout::kMostTotals]);
  launch(device, blocks, lattice::SegmentGradients<T>::kThreads, 0,
         lattice::SegmentGradients<T>{grid,
                                      made,
                                      beta,
                                      numbers<T>(totals),
                                      view<int32_t>(cuts[kCutSource]),
                                      view<int32_t>(cuts[kCutTarget]),
                                      view<double>(grad_score),
                                      gradient_of(grad_scores),
                                      grad_scores.stride(0),
                                      {writable<T>(gamma), grid.slots},
                                      {writable<T>(sums), sizes[layout::kMostTotals]}});
  if (!counting) return out;
  launch(device, items, lattice::CutEnds<T>::kThreads, 0,
         lattice::CutEnds<T>{grid, made.alpha, beta, numbers<T>(totals), view<double>(grad_score),
                             writable<double>(out.starts), writable<double>(out.ends),
                             writable<T>(out.first), writable<T>(out.last)});
  return out;
}

}  // namespace
}  // namespace gtnet::ops
