// Forward and backward over chains of frames composed with a graph (lattice/gpu/chain.h):
//   alpha_t(p) = emission_t(label p) * sum over arcs into p of alpha_{t-1}(source) * weight,
//   beta_t(q) = sum over arcs out of q of weight * emission_{t+1}(label p) * beta_{t+1}(p),
// epsilon arcs within a frame. A block owns a chain, half a warp a slice of rows of the graph; each
// position sums its own arcs, so there are no atomics and results repeat bit for bit.
#pragma once

#include "lattice/gpu/chain.h"
#include "lattice/gpu/chain_phase.h"

namespace gtnet::lattice {

// The alphas of cuts, [items, rows, slots]: those of all, or of every so many and of the last
// (checkpoints, Griewank 1992). There is room to find those in between again, [items, every,
// slots].
template <class T>
struct Alphas {
  Span<ExtendedFloat<T>> kept;
  int64_t frames, slots, every = 1;
  Span<ExtendedFloat<T>> between = nullptr;

  GTNET_HD static int64_t rows(int64_t frames, int64_t every) {
    return every == 1 ? frames + 1 : frames / every + 2;
  }
  GTNET_HD bool keeps(int64_t t) const { return t % every == 0; }
  GTNET_HD Span<ExtendedFloat<T>> at(int64_t item, int64_t t, int32_t used) const {
    if (!keeps(t)) return between.part((item * every + t % every) * slots, used);
    return row(item, t / every, used);
  }
  GTNET_HD Span<ExtendedFloat<T>> last(int64_t item, int64_t length, int32_t used) const {
    return row(item, every == 1 ? length : frames / every + 1, used);
  }

 private:
  GTNET_HD Span<ExtendedFloat<T>> row(int64_t item, int64_t number, int32_t used) const {
    return kept.part((item * rows(frames, every) + number) * slots, used);
  }
};

template <class T>
struct ChainForward {
  static constexpr int kThreads = 1024;
  ChainGrid<T> grid;
  block::Workspaces workspaces;
  Alphas<T> alphas;
  bool keep;  // alphas, for the gradient
  Span<double> score;

  static int64_t shared_bytes() {
    return Chain<T>::shared_bytes() + block::Workspace::bytes<ExtendedFloat<T>>(kWarp);
  }
  GTNET_HD static int64_t workspace_bytes(int64_t slots, int64_t labels) {
    using block::Workspace;
    return Workspace::bytes<ExtendedFloat<T>>(2 * slots) +
           Workspace::bytes<ExtendedFloat<T>>(2 * labels);
  }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    using N = ExtendedFloat<T>;
    const Chain<T> chain(block, grid);
    const layout::TransitionPrograms& steps = chain.steps;
    const int64_t item = chain.item, frames = chain.frames, states = chain.states;
    const Span<const T> start = chain.start;
    const Span<int32_t> flags = chain.flags;
    const Span<N> parts = block.template shared<N>(kWarp);
    block::Workspace workspace = workspaces.of(block, workspace_bytes(steps.slots, steps.labels));
    const block::Turns<N> factor{workspace.take<N>(2 * steps.labels), steps.labels};
    const block::Turns<N> here{workspace.take<N>(2 * steps.slots), steps.slots};
    const Span<N> first = here[0];
    block.each(steps.slots, [=, this](int64_t p) {
      int32_t found = 0;
      first[p] = p < states ? grid.number(start[p], found) : N::zero();
      if (found) Block::raise(flags[0], found);
    });
    chain.walk(
        block, [&](int64_t t) { read_factors(block, grid, steps, item, t, factor[t], flags); },
        [&](int32_t phase, int64_t from, int64_t to) {
          if (keep && phase == 0 && from < to && alphas.keeps(from)) {
            copy(block, here[from], alphas.at(item, from, steps.slots), steps.slots);
          }
          sum_phase<T>(block, steps, steps.forth, grid.entry_weights, phase, here[from], here[to],
                       factor[from], {}, flags);
        });
    const Span<N> last = here[frames];
    const N total = grid.total(block, last, chain.accept, states, parts, flags);
    block.each(1, [=, this](int64_t) {
      score[item] = total.is_right(flags[0]) ? total.log() : kNotANumber;
    });
    if (!keep) return;
    // Where the score is no number nothing has a gradient.
    const Span<N> kept = alphas.last(item, frames, steps.slots);
    block.each(steps.slots,
               [=](int64_t p) { kept[p] = total.is_right(flags[0]) ? last[p] : N::zero(); });
  }

 private:
  template <class Block>
  GTNET_KERNEL static void copy(Block& block, Span<ExtendedFloat<T>> from,
                                Span<ExtendedFloat<T>> to, int64_t count) {
    block.each(count, [=](int64_t p) { to[p] = from[p]; });
  }
};

// Where uses of arcs are counted: by entry of the layout; or, told apart by item, by arc, and then
// in all frames together or in each.
enum class CountBy { kEntry, kArc, kFrameAndArc };

// How many numbers an item takes that has one for each arc, perhaps in each frame, or each state.
template <class T>
struct CountSizes {
  ChainGrid<T> grid;
  CountBy by;
  Span<int64_t> arcs, states;

  GTNET_HD void operator()(int64_t item) const {
    const int64_t graph = grid.graph(item);
    arcs[item] = (by == CountBy::kFrameAndArc ? grid.length(item) + 1 : 1) * grid.num_arcs(graph);
    states[item] = grid.num_states(graph);
  }
};

// Gradients of grad * score. Those of arcs, starts and accepts are per item, for ArcGradients and
// EndGradients to sum.
template <class T>
struct ChainBackward {
  static constexpr int kThreads = 1024;
  ChainGrid<T> grid;
  block::Workspaces workspaces;
  Alphas<T> alphas;
  Span<const double> grad_score;
  ScoreGradient grad_scores;  // 0 on entry
  int64_t grad_item_stride, grad_row_stride;
  Span<double> counts;        // as `by` says, of all items, 0 on entry; may be null
  Span<double> starts, ends;  // [states] of all items, 0 on entry; may be null
  CountBy by = CountBy::kEntry;
  Span<const int64_t> counts_at = nullptr;  // but by entry: where those of each item begin

  static int64_t shared_bytes() {
    using block::Workspace;
    return Chain<T>::shared_bytes() + Workspace::bytes<ExtendedFloat<T>>(kWarp) +
           Workspace::bytes<double>(2 * kWarp);
  }
  GTNET_HD static int64_t workspace_bytes(int64_t slots, int64_t labels, int64_t totals) {
    using block::Workspace;
    return Workspace::bytes<ExtendedFloat<T>>(2 * labels) +
           2 * Workspace::bytes<ExtendedFloat<T>>(slots) + Workspace::bytes<T>(slots) +
           Workspace::bytes<T>(totals);
  }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    using N = ExtendedFloat<T>;
    const Chain<T> chain(block, grid);
    const layout::TransitionPrograms& steps = chain.steps;
    const int64_t item = chain.item, graph = chain.graph, frames = chain.frames,
                  states = chain.states;
    const Span<const T> start = chain.start, accept = chain.accept;
    const Span<int32_t> flags = chain.flags;
    const Span<N> parts = block.template shared<N>(kWarp);
    const block::Turns<double> sums{block.template shared<double>(2 * kWarp), kWarp};
    block::Workspace workspace =
        workspaces.of(block, workspace_bytes(steps.slots, steps.labels, steps.totals));
    const block::Turns<N> factor{workspace.take<N>(2 * steps.labels), steps.labels};
    const Span<N> beta = workspace.take<N>(steps.slots), read = workspace.take<N>(steps.slots);
    const Span<T> gamma = workspace.take<T>(steps.slots), totals = workspace.take<T>(steps.totals);

    const Span<N> last = alphas.last(item, frames, steps.slots);
    const N total = grid.total(block, last, accept, states, parts, flags);
    if (total.m == 0) return;
    const T inverse = T{1} / total.m;
    const bool counting = static_cast<bool>(counts);
    const Span<double> own_counts = counting ? counts_of(item, steps) : nullptr;
    const int64_t num_arcs = grid.num_arcs(graph);

    block.each(steps.slots, [=, this](int64_t p) {
      int32_t found = 0;
      beta[p] = p < states ? grid.number(accept[p], found) : N::zero();
    });
    if (frames > 0) read_factors(block, grid, steps, item, frames - 1, factor[frames - 1], flags);
    block.sync();
    const auto run = [&](int32_t phase, Span<N> from, int64_t t, double scale) {
      const bool by_frame = counting && by == CountBy::kFrameAndArc;
      const Span<double> here = by_frame ? own_counts.part(t * num_arcs, num_arcs) : own_counts;
      const Span<const N> near = t == frames ? last : alphas.at(item, t, steps.slots);
      const ArcCounts<T> uses{here, by != CountBy::kEntry, near, inverse, total.e, scale};
      sum_phase<T>(block, steps, steps.back, grid.entry_weights, phase, from, beta, nullptr, uses,
                   flags);
    };
    for (int32_t phase = steps.back.reading; phase < steps.back.phases; ++phase) {
      run(phase, beta, frames, 1);
      block.sync();
    }
    const Span<const int32_t> label = steps.label;
    for (int64_t t = frames; t-- > 0;) {
      if (alphas.every > 1 && (t + 1 == frames || alphas.keeps(t + 1))) {
        find_again(block, steps, item, t / alphas.every * alphas.every, t, factor, flags);
        read_factors(block, grid, steps, item, t, factor[t], flags);
        block.sync();
      }
      const Span<const N> after = t + 1 == frames ? last : alphas.at(item, t + 1, steps.slots);
      const Span<N> emission = factor[t];
      if (t + 1 < frames) write_row(block, steps, item, t + 1, totals, sums[t + 1]);
      block.partial(
          steps.positions, 0.0, sums[t],
          [=](int64_t p) {
            int32_t found = 0;
            const N meeting = after[p] * beta[p];
            const T share = label[p] == layout::kNoLabel ? T{0} : meeting.over(total.e) * inverse;
            gamma[p] = share;
            read[p] = (beta[p] * emission[label[p]]).settled(found);
            return static_cast<double>(share);
          },
          [](double a, double b) { return a + b; });
      block.sync();
      if (t > 0) read_factors(block, grid, steps, item, t - 1, factor[t - 1], flags);
      double scale = 0;
      if (counting) {
        const double sum = block.total(sums[t], [](double a, double b) { return a + b; });
        scale = sum > 0 ? 1 / sum : 0;
      }
      const int32_t phases =
          steps.back.phases > steps.by_label.phases ? steps.back.phases : steps.by_label.phases;
      for (int32_t phase = 0; phase < phases; ++phase) {
        if (phase < steps.back.phases) run(phase, read, t, scale);
        if (phase < steps.by_label.phases)
          sum_by_label<T>(block, steps.by_label, phase, gamma, totals);
        block.sync();
      }
    }
    if (frames > 0) write_row(block, steps, item, 0, totals, sums[0]);
    if (!starts) return;
    const int64_t states_before = grid.num_graphs == 1 ? item * states : grid.state_offsets[graph];
    const Span<double> own_starts = starts.part(states_before, states),
                       own_ends = ends.part(states_before, states);
    block.each(states, [=, this](int64_t s) {
      int32_t found = 0;
      const N begun = grid.number(start[s], found) * beta[s];
      const N ended = grid.number(accept[s], found) * last[s];
      own_starts[s] = static_cast<double>(begun.over(total.e) * inverse);
      own_ends[s] = static_cast<double>(ended.over(total.e) * inverse);
    });
  }

 private:
  // The alphas of the cuts after `begin`, whose are there, up to `end`.
  template <class Block>
  GTNET_KERNEL void find_again(Block& block, const layout::TransitionPrograms& steps, int64_t item,
                               int64_t begin, int64_t end,
                               const block::Turns<ExtendedFloat<T>>& factor,
                               Span<int32_t> flags) const {
    for (int64_t t = begin; t < end; ++t) {
      read_factors(block, grid, steps, item, t, factor[t], flags);
      block.sync();
      for (int32_t phase = 0; phase < steps.forth.phases; ++phase) {
        sum_phase<T>(block, steps, steps.forth, grid.entry_weights, phase,
                     alphas.at(item, t, steps.slots), alphas.at(item, t + 1, steps.slots),
                     factor[t], {}, flags);
        block.sync();
      }
    }
  }

  GTNET_HD Span<double> counts_of(int64_t item, const layout::TransitionPrograms& steps) const {
    if (by != CountBy::kEntry) {
      return counts.part(counts_at[item], counts_at[item + 1] - counts_at[item]);
    }
    const int64_t own = int64_t{steps.back.entries} * kLanes;
    return counts.part(
        grid.num_graphs == 1 ? item * own : int64_t{steps.back.counts_before} * kLanes, own);
  }

  // The sums by label of a frame, made to add up to 1, times grad.
  template <class Block>
  GTNET_KERNEL void write_row(Block& block, const layout::TransitionPrograms& steps, int64_t item,
                              int64_t t, Span<T> totals, Span<double> sums) const {
    const Span<const int32_t> names = steps.names;
    const int64_t row = item * grad_item_stride + t * grad_row_stride;
    block.each_last(steps.labels, [=, this, &block](int64_t l) {
      if (l == layout::kNoLabel || names[l] >= grid.num_labels) return;
      const double sum = block.total(sums, [](double a, double b) { return a + b; });
      const double scale = sum > 0 ? grad_score[item] / sum : 0;
      grad_scores.write(row + names[l], static_cast<double>(totals[l]) * scale);
    });
  }
};

// Numbers of items in the dtype of scores: NaN where the score is.
template <class T>
struct Rounded {
  static constexpr int kThreads = 256;
  Span<const double> score, from;
  Span<const int64_t> from_at;  // [items + 1] where those of each item begin
  Span<T> to;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t item = block.index(), begin = from_at[item];
    const bool known = score[item] == score[item];
    block.each(from_at[item + 1] - begin, [=, this](int64_t i) {
      to[begin + i] = static_cast<T>(known ? from[begin + i] : kNotANumber);
    });
  }
};

// The gradients of arcs: counts of entries times grad, summed over the items that share a graph.
template <class T>
struct ArcGradients {
  static constexpr int kThreads = 256;
  ChainGrid<T> grid;
  Span<const double> grad_score, counts;
  Span<T> grad_weights;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t graph = block.index() / WeighEntries<T>::kBlocks;
    const int64_t chunk = block.index() % WeighEntries<T>::kBlocks;
    const layout::TransitionProgram program =
        layout::TransitionPrograms::read(grid.words, graph).back;
    const int64_t lanes = int64_t{program.entries} * kLanes;
    const int64_t share = (lanes + WeighEntries<T>::kBlocks - 1) / WeighEntries<T>::kBlocks;
    const int64_t begin = chunk * share, end = begin + share < lanes ? begin + share : lanes;
    if (begin >= end) return;
    const bool one = grid.num_graphs == 1;
    const int64_t items = one ? grid.size : 1, first_item = one ? 0 : graph;
    const int64_t before = one ? 0 : int64_t{program.counts_before} * kLanes;
    const int64_t first = grid.arc_offsets[graph];
    block.each(end - begin, [=, this](int64_t i) {
      const int32_t arc = program.arc[begin + i];
      if (arc < 0) return;
      double sum = 0;
      for (int64_t b = 0; b < items; ++b) {
        sum += grad_score[first_item + b] * counts[before + b * lanes + begin + i];
      }
      grad_weights[first + arc] = static_cast<T>(sum);
    });
  }
};

// Likewise of starts and accepts: one(s) for every state of the batch of graphs.
template <class T>
struct EndGradients {
  bool one_graph;
  int64_t size, num_graphs, num_states;
  Span<const int64_t> state_offsets;
  Span<const double> grad_score, ends;
  Span<T> grad;

  GTNET_HD void operator()(int64_t s) const {
    double sum = 0;
    if (one_graph) {
      for (int64_t b = 0; b < size; ++b) sum += grad_score[b] * ends[b * num_states + s];
    } else {
      int64_t low = 0, high = num_graphs - 1;  // the last graph that begins at or before s
      while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (state_offsets[middle] <= s) {
          low = middle;
        } else {
          high = middle - 1;
        }
      }
      sum = grad_score[low] * ends[s];
    }
    grad[s] = static_cast<T>(sum);
  }
};

}  // namespace gtnet::lattice
