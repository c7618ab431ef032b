// What operators on chains of emissions composed with a graph share on a device of blocks. `words`
// and `word_offsets` are here what block_steps makes of a graph: its layout, and the sizes that
// launches need, on the CPU, so that nothing waits for the device.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "lattice/gpu/chain_forward_backward.h"
#include "ops/gpu/device.h"
#include "ops/lattice.h"
#include "paths/path_writer.h"

namespace gtnet::ops {
namespace {

template <class T>
Span<ExtendedFloat<T>> numbers(const Tensor& tensor) {
  return {static_cast<ExtendedFloat<T>*>(tensor.mutable_data_ptr()),
          tensor.numel() * static_cast<int64_t>(sizeof(T)) /
              static_cast<int64_t>(sizeof(ExtendedFloat<T>))};
}

// How many elements of a tensor such numbers take.
template <class T>
int64_t elements(int64_t numbers) {
  return numbers * static_cast<int64_t>(sizeof(ExtendedFloat<T>) / sizeof(T));
}

template <class T>
Tensor empty_numbers(const Tensor& like, int64_t count) {
  return empty<T>(like, elements<T>(count));
}

// The elements that a strided tensor reaches over.
inline int64_t extent(const Tensor& tensor) {
  if (tensor.numel() == 0) return 0;
  int64_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  return last + 1;
}

inline ScoreKind kind_of(const Tensor& scores) {
  switch (scores.scalar_type()) {
    case ScalarType::Float:
      return ScoreKind::kFloat;
    case ScalarType::Double:
      return ScoreKind::kDouble;
    case ScalarType::Half:
      return ScoreKind::kHalf;
    case ScalarType::BFloat16:
      return ScoreKind::kBfloat16;
    default:
      STD_TORCH_CHECK(false, "gtnet: emissions must be float16, bfloat16, float32 or float64");
  }
}

template <class Array, class Wide, class Single, class Short, class Pointer>
Array score_array(const Tensor& scores, Pointer* data) {
  STD_TORCH_CHECK(scores.size(-1) <= 1 || scores.stride(-1) == 1,
                  "gtnet: the labels of a frame or segment must be contiguous");
  const int64_t size = extent(scores);
  return {kind_of(scores),
          {static_cast<Wide*>(data), size},
          {static_cast<Single*>(data), size},
          {static_cast<Short*>(data), size}};
}

inline ScoreArray scores_of(const Tensor& scores) {
  return score_array<ScoreArray, const double, const float, const uint16_t>(
      scores, scores.const_data_ptr());
}

inline ScoreGradient gradient_of(const Tensor& scores) {
  return score_array<ScoreGradient, double, float, uint16_t>(scores, scores.mutable_data_ptr());
}

// Segmentations other than chains have no kernels.
inline const Tensor& lengths_of(const Tensors& cuts) {
  STD_TORCH_CHECK(cuts.size() == 1,
                  "gtnet: over a segmentation this is not done on a GPU: move emissions and graph "
                  "with .cpu()");
  return cuts[0];
}

template <class T>
lattice::ChainGrid<T> chain_grid(const LatticeTensors& given) {
  const Tensor& scores = given.scores;
  const int64_t phases = 1 + view<int64_t>(given.word_offsets)[layout::kMostPhases];
  const int64_t factors = 2 * (scores.size(1) + 1) * phases + 2;
  return {scores.size(0),
          scores.size(1),
          scores.size(2),
          graphs(given.state_offsets),
          scores_of(scores),
          scores.stride(0),
          scores.stride(1),
          view<int64_t>(lengths_of(given.cuts)),
          view<int64_t>(given.state_offsets),
          view<int64_t>(given.arc_offsets),
          view<int32_t>(given.words),
          view<T>(given.weights),
          view<T>(given.start),
          view<T>(given.accept),
          nullptr,
          nullptr,
          ExtendedFloat<T>::highest(factors)};
}

// The exponentiated weights of the entries, and which graphs have none.
struct Weighed {
  Tensor weights, flags;
};

template <class T>
Weighed weigh(lattice::ChainGrid<T>& grid, const Tensor& weights, int64_t entries) {
  Weighed made{empty_numbers<T>(weights, entries * layout::kLanes),
               zeros<int32_t>(weights, grid.num_graphs)};
  launch(weights.get_device_index(), grid.num_graphs * lattice::WeighEntries<T>::kBlocks,
         lattice::WeighEntries<T>::kThreads, 0,
         lattice::WeighEntries<T>{grid, numbers<T>(made.weights), writable<int32_t>(made.flags)});
  grid.entry_weights = numbers<T>(made.weights);
  grid.graph_flags = view<int32_t>(made.flags);
  return made;
}

// Threads of a block: a slice of the first phase is kLanes wide, and labels are read besides.
inline int threads_of(Span<const int64_t> sizes, int most) {
  const int64_t wanted = sizes[layout::kMostSlices] * layout::kLanes + sizes[layout::kMostLabels];
  const int64_t warps = std::clamp<int64_t>((wanted + kWarp - 1) / kWarp, 2, most / kWarp);
  return static_cast<int>(warps) * kWarp;
}

// Workspaces of blocks: in shared memory if they fit, else in `scratch`.
struct PlacedWorkspaces {
  block::Workspaces each;
  int64_t shared_bytes;
  Tensor scratch;
};

inline PlacedWorkspaces place(const Tensor& like, int64_t items, int64_t always, int64_t bytes) {
  const bool fits = always + bytes <= shared_limit(like.get_device_index());
  Tensor scratch = empty<int8_t>(like, fits ? 0 : items * bytes);
  const Span<int8_t> all = writable<int8_t>(scratch);
  return {{{reinterpret_cast<char*>(all.data()), scratch.numel()}, fits ? 0 : bytes},
          fits ? always + bytes : always,
          scratch};
}

// A team of blocks runs through a chain where each of them has so much of the graph to do in a
// frame that this takes longer than to wait for the others; for fewer blocks it does not pay.
#ifdef GTNET_EMULATED
constexpr int64_t kLanesOfBlock = 2 * layout::kLanes, kSmallestTeam = 2;
#else
constexpr int64_t kLanesOfBlock = 1 << 14, kSmallestTeam = 4;
#endif

// make(workspaces) on a block for each item, or on a team where items are few and graphs large.
template <class Kernel, class T, class Make>
void launch_chains(const lattice::ChainGrid<T>& grid, const Tensor& like, Span<const int64_t> sizes,
                   int64_t workspace_bytes, const Make& make) {
  const int32_t device = like.get_device_index();
  const int64_t graphs = std::max<int64_t>(grid.num_graphs, 1);
  const int64_t lanes = sizes[layout::kAllWeights] / (2 * graphs) * layout::kLanes;  // of one way
  const int64_t worth = std::min<int64_t>(lanes / kLanesOfBlock, kWarp);
  const int64_t size = team_size<Kernel>(device, grid.size, 0, worth, kSmallestTeam);
  if (size > 1) {
    const Tensor scratch = empty<int8_t>(like, grid.size * workspace_bytes);
    return by_teams(like, grid.size, size, 0, Kernel::shared_bytes(),
                    make(block::Workspaces{elements<char>(scratch), workspace_bytes}));
  }
  const PlacedWorkspaces placed = place(like, grid.size, Kernel::shared_bytes(), workspace_bytes);
  launch(device, grid.size, threads_of(sizes, Kernel::kThreads), placed.shared_bytes,
         make(placed.each));
}

// Every how many frames alphas are kept where not all are.
inline int64_t checkpoint_distance(int64_t frames) {
  return std::llround(std::sqrt(static_cast<double>(frames)));
}

// The same, or 1 where all alphas take no more bytes than GTNET_CHECKPOINT_BYTES, by default a GiB.
template <class T>
int64_t kept_every(const lattice::ChainGrid<T>& grid, Span<const int64_t> sizes) {
  constexpr int64_t kFewFrames = 8;
  const char* const given = std::getenv("GTNET_CHECKPOINT_BYTES");
  const int64_t most = given != nullptr ? std::atoll(given) : int64_t{1} << 30;
  const int64_t numbers = grid.size * (grid.frames + 1) * sizes[layout::kMostSlots];
  const bool fit = numbers * static_cast<int64_t>(sizeof(ExtendedFloat<T>)) <= most;
  return fit || grid.frames < kFewFrames ? 1 : checkpoint_distance(grid.frames);
}

// The forward scores of chains, and their alphas if they are kept, every so many frames.
struct ChainScores {
  Tensor score, alpha;
};

template <class T>
ChainScores score_chains(const lattice::ChainGrid<T>& grid, const Tensor& weights,
                         Span<const int64_t> sizes, bool keep, int64_t every) {
  using Kernel = lattice::ChainForward<T>;
  const int64_t slots = sizes[layout::kMostSlots], frames = grid.frames, items = grid.size;
  const int64_t rows = lattice::Alphas<T>::rows(frames, every);
  const ChainScores out{empty<double>(weights, items),
                        empty_numbers<T>(weights, keep ? items * rows * slots : 0)};
  launch_chains<Kernel>(grid, weights, sizes,
                        Kernel::workspace_bytes(slots, sizes[layout::kMostLabels]),
                        [&](const block::Workspaces& workspaces) {
                          return Kernel{grid,
                                        workspaces,
                                        {numbers<T>(out.alpha), frames, slots, every},
                                        keep,
                                        writable<double>(out.score)};
                        });
  return out;
}

// The gradient of the scores, and how often arcs, starts and ends are taken, where anybody asks.
struct ChainUses {
  Tensor scores, counts, starts, ends;
};

template <class T>
ChainUses differentiate_chains(const lattice::ChainGrid<T>& grid, const Tensor& alpha,
                               const Tensor& grad_score, const LatticeTensors& given,
                               Span<const int64_t> sizes, int64_t num_counts, int64_t num_states,
                               lattice::CountBy by, Span<const int64_t> counts_at) {
  using Kernel = lattice::ChainBackward<T>;
  const Tensor& weights = given.weights;
  const int64_t slots = sizes[layout::kMostSlots], items = grid.size;
  const bool all_there = alpha.numel() == elements<T>(items * (grid.frames + 1) * slots);
  const int64_t every = all_there ? 1 : checkpoint_distance(grid.frames);
  const Tensor between = empty_numbers<T>(weights, every == 1 ? 0 : items * every * slots);
  const ChainUses out{torch::stable::empty_like(given.scores), zeros<double>(weights, num_counts),
                      zeros<double>(weights, num_states), zeros<double>(weights, num_states)};
  Tensor grad_scores = out.scores;
  torch::stable::zero_(grad_scores);
  const bool counting = num_states > 0;
  const auto asked = [&](const Tensor& tensor) {
    return counting ? writable<double>(tensor) : nullptr;
  };
  const int64_t bytes =
      Kernel::workspace_bytes(slots, sizes[layout::kMostLabels], sizes[layout::kMostTotals]);
  launch_chains<Kernel>(grid, weights, sizes, bytes, [&](const block::Workspaces& workspaces) {
    return Kernel{grid,
                  workspaces,
                  {numbers<T>(alpha), grid.frames, slots, every, numbers<T>(between)},
                  view<double>(grad_score),
                  gradient_of(grad_scores),
                  grad_scores.stride(0),
                  grad_scores.stride(1),
                  asked(out.counts),
                  asked(out.starts),
                  asked(out.ends),
                  by,
                  counts_at};
  });
  return out;
}

// Running sums of sizes, by one thread, and their total, for which it waits.
inline int64_t sums_of(int32_t device, const Tensor& sizes, const Tensor& offsets) {
  const int64_t count = sizes.numel();
  for_each(device, 1, paths::Offsets{count, view<int64_t>(sizes), writable<int64_t>(offsets)});
  return read_back(device, view<int64_t>(offsets).data() + count);
}

// Numbers of items in the dtype of scores: NaN where the score is.
template <class T>
Tensor rounded_by_item(const Tensor& score, const Tensor& all, const Tensor& at) {
  const Tensor result = empty<T>(score, all.numel());
  launch(score.get_device_index(), score.numel(), lattice::Rounded<T>::kThreads, 0,
         lattice::Rounded<T>{view<double>(score), view<double>(all), view<int64_t>(at),
                             writable<T>(result)});
  return result;
}

}  // namespace
}  // namespace gtnet::ops
