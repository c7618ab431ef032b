// Forward and backward over segmentations composed with a graph (lattice/gpu/segmentation.h):
//   alpha_d(p) = start + sum over segments k from c to d of emission_k(label p) * led_c(p),
//   led_c(p) = sum over arcs into p of alpha_c(source) * weight,
// epsilon arcs within a cut, and back likewise. A block owns a segmentation and takes cut after
// cut; each position sums its own segments and arcs, so results repeat bit for bit.
#pragma once

#include "lattice/gpu/chain_forward_backward.h"
#include "lattice/gpu/segmentation.h"

namespace gtnet::lattice {

// Exponentiated scores of the labels of all segments; flags [items], 0 on entry, say what went
// wrong.
template <class T>
struct ReadSegments {
  static constexpr int kThreads = 256;
  CutGrid<T> grid;
  RowsOf<ExtendedFloat<T>> factors;
  Span<int32_t> flags;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    each_score(block, grid, [=, this](int64_t item, int64_t segment, int64_t l, double score) {
      int32_t found = 0;
      const ExtendedFloat<T> factor = ExtendedFloat<T>::exp(score, grid.chain.highest, found);
      factors.at(segment, grid.labels)[l] = factor;
      if (found) Block::raise(flags[item], found);
    });
  }
};

// What passes over cuts share.
template <class T>
struct CutNumbers {
  RowsOf<ExtendedFloat<T>> alpha, led;  // [cuts, slots]
  RowsOf<ExtendedFloat<T>> factors;     // [segments, labels]
};

// The sum of all paths of an item, from what reached its cuts.
template <class T, class Block>
GTNET_KERNEL ExtendedFloat<T> total_of(Block& block, const CutGrid<T>& grid,
                                       const RowsOf<ExtendedFloat<T>>& alpha, int64_t item,
                                       Span<ExtendedFloat<T>> parts) {
  using N = ExtendedFloat<T>;
  const int64_t graph = grid.chain.graph(item), states = grid.chain.num_states(graph);
  const Span<const T> accept = grid.chain.states_of(graph, grid.chain.accept);
  int32_t none = 0;
  return block
      .reduce(
          grid.num_cuts(item) * states, N::zero(), parts,
          [=, &grid](int64_t i) {
            const int64_t s = i % states, cut = grid.cut(item, i / states);
            int32_t found = 0;
            if (!grid.accepts(cut)) return N::zero();
            return alpha.at(cut, states)[s] * grid.chain.number(accept[s], found) *
                   grid.chain.number(grid.last[cut], found);
          },
          [](const N& a, const N& b) { return a + b; })
      .settled(none);
}

template <class T>
struct CutForward {
  static constexpr int kThreads = 1024;
  CutGrid<T> grid;
  CutNumbers<T> numbers;
  Span<int32_t> flags;  // [items]
  Span<double> score;

  static int64_t shared_bytes() { return Room::sized<ExtendedFloat<T>>(kWarp); }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    using N = ExtendedFloat<T>;
    const int64_t item = block.index(), graph = grid.chain.graph(item);
    const layout::TransitionPrograms steps =
        layout::TransitionPrograms::read(grid.chain.words, graph);
    const Span<int32_t> flag = flags.part(item, 1);
    const Span<N> parts = block.template shared<N>(kWarp);
    const int64_t cuts = grid.num_cuts(item);
    block.each(1, [=, this](int64_t) {
      if (grid.chain.graph_flags[graph]) Block::raise(flag[0], grid.chain.graph_flags[graph]);
    });
    const int32_t reading = reading_phases(steps.forth);
    for (int64_t i = 0; i < cuts; ++i) {
      const int32_t c = grid.cut(item, i);
      const Span<N> here = numbers.alpha.at(c, steps.slots);
      enter(block, steps, graph, c, here, flag);
      block.sync();
      for (int32_t phase = steps.forth.reading; phase < steps.forth.phases; ++phase) {
        run_phase<T>(block, steps.forth, steps, grid.chain.entry_weights, phase, here, here,
                     nullptr, {}, flag);
        block.sync();
      }
      if (!grid.leads_on(c)) continue;
      for (int32_t phase = 0; phase < reading; ++phase) {
        run_phase<T>(block, steps.forth, steps, grid.chain.entry_weights, phase, here,
                     numbers.led.at(c, steps.slots), nullptr, {}, flag);
        block.sync();
      }
    }
    const N total = total_of(block, grid, numbers.alpha, item, parts);
    const int32_t found = block.seen(flag[0]);
    block.each(
        1, [=, this](int64_t) { score[item] = total.is_right(found) ? total.log() : kNotANumber; });
    // Where the score is no number nothing has a gradient.
    if (total.is_right(found)) return;
    for (int64_t i = 0; i < cuts; ++i) {
      const Span<N> here = numbers.alpha.at(grid.cut(item, i), steps.slots);
      block.each(steps.slots, [=](int64_t p) { here[p] = N::zero(); });
    }
  }

 private:
  template <class Block>
  GTNET_KERNEL void enter(Block& block, const layout::TransitionPrograms& steps, int64_t graph,
                          int32_t c, Span<ExtendedFloat<T>> here, Span<int32_t> flag) const {
    using N = ExtendedFloat<T>;
    const Span<const T> start = grid.chain.states_of(graph, grid.chain.start);
    const int64_t states = grid.chain.num_states(graph), positions = steps.positions;
    const Span<const int32_t> label = steps.label;
    const bool starts = grid.starts(c);
    block.each(steps.slots, [=, this](int64_t p) {
      int32_t found = 0;
      N sum = N::zero();
      if (starts && p < states) {
        sum = grid.chain.number(start[p], found) * grid.chain.number(grid.first[c], found);
      }
      const Segments& entering = grid.entering;
      const int32_t end = p < positions ? entering.begin[c + 1] : entering.begin[c];
      for (int32_t k = entering.begin[c]; k < end; ++k) {
        const N led = numbers.led.at(entering.other[k], positions)[p];
        sum = sum + led * numbers.factors.at(entering.segment[k], label[p] + 1)[label[p]];
      }
      here[p] = sum.settled(found);
      if (found) Block::raise(flag[0], found);
    });
  }
};

// How many numbers an item takes that has one for each arc, perhaps at each cut, or each state.
template <class T>
struct CutCountSizes {
  CutGrid<T> grid;
  CountBy by;
  Span<int64_t> arcs, states;

  GTNET_HD void operator()(int64_t item) const {
    const int64_t graph = grid.chain.graph(item);
    const int64_t rows = by == CountBy::kFrameAndArc ? grid.num_cuts(item) : 1;
    arcs[item] = rows * grid.chain.num_arcs(graph);
    states[item] = grid.chain.num_states(graph);
  }
};

// From the last cut to the first: what leads on from every position, and the uses of arcs.
template <class T>
struct CutBackward {
  static constexpr int kThreads = 1024;
  CutGrid<T> grid;
  CutNumbers<T> numbers;
  RowsOf<ExtendedFloat<T>> beta;  // [cuts, slots]
  RowsOf<ExtendedFloat<T>> read;  // [items, slots]
  Span<ExtendedFloat<T>> totals;  // [items]
  Span<int32_t> flags;            // [items], not looked at
  Span<double> counts;            // as `by` says, of all items, 0 on entry; may be null
  CountBy by;                     // kFrameAndArc: by the cut in which an arc is taken
  Span<const int64_t> counts_at;  // but by entry: where those of each item begin

  static int64_t shared_bytes() { return Room::sized<ExtendedFloat<T>>(kWarp); }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    using N = ExtendedFloat<T>;
    const int64_t item = block.index(), graph = grid.chain.graph(item);
    const layout::TransitionPrograms steps =
        layout::TransitionPrograms::read(grid.chain.words, graph);
    const Span<N> parts = block.template shared<N>(kWarp);
    const N total = total_of(block, grid, numbers.alpha, item, parts);
    block.each(1, [=, this](int64_t) { totals[item] = total; });
    if (total.m == 0) return;
    const Span<double> own = counts ? counts_of(item, steps) : nullptr;
    const int64_t num_arcs = grid.chain.num_arcs(graph);
    ArcCounts<T> uses{};
    uses.by_arc = by != CountBy::kEntry;
    uses.inverse = T{1} / total.m;
    uses.total = total.e;
    uses.scale = 1;
    const Span<N> from = read.at(item, steps.slots);
    const int32_t reading = reading_phases(steps.back);
    for (int64_t i = grid.num_cuts(item); i-- > 0;) {
      const int32_t c = grid.cut(item, i);
      const Span<N> here = beta.at(c, steps.slots);
      const auto run = [&](int32_t phase, Span<N> source) {
        uses.near = numbers.alpha.at(c, steps.slots);
        uses.counts = own;
        if (own && by == CountBy::kFrameAndArc) {
          uses.counts = own.part((c - grid.cut_offsets[item]) * num_arcs, num_arcs);
        }
        run_phase<T>(block, steps.back, steps, grid.chain.entry_weights, phase, source, here,
                     nullptr, uses, flags.part(item, 1));
        block.sync();
      };
      const bool leads_on = grid.leads_on(c);
      if (leads_on) {
        leave(block, steps, c, from);
        block.sync();
        for (int32_t phase = 0; phase < reading; ++phase) run(phase, from);
      }
      end(block, steps, graph, c, here, leads_on);
      block.sync();
      for (int32_t phase = steps.back.reading; phase < steps.back.phases; ++phase) run(phase, here);
    }
  }

 private:
  GTNET_HD Span<double> counts_of(int64_t item, const layout::TransitionPrograms& steps) const {
    if (by != CountBy::kEntry) {
      return counts.part(counts_at[item], counts_at[item + 1] - counts_at[item]);
    }
    const int64_t own = int64_t{steps.back.entries} * kLanes;
    const bool shared = grid.chain.num_graphs == 1;
    return counts.part(shared ? item * own : int64_t{steps.back.counts_before} * kLanes, own);
  }

  template <class Block>
  GTNET_KERNEL void leave(Block& block, const layout::TransitionPrograms& steps, int32_t c,
                          Span<ExtendedFloat<T>> from) const {
    using N = ExtendedFloat<T>;
    const int64_t positions = steps.positions;
    const Span<const int32_t> label = steps.label;
    block.each(steps.slots, [=, this](int64_t p) {
      int32_t found = 0;
      N sum = N::zero();
      const Segments& leaving = grid.leaving;
      const int32_t last = p < positions ? leaving.begin[c + 1] : leaving.begin[c];
      for (int32_t k = leaving.begin[c]; k < last; ++k) {
        const N ahead = beta.at(leaving.other[k], positions)[p];
        sum = sum + ahead * numbers.factors.at(leaving.segment[k], label[p] + 1)[label[p]];
      }
      from[p] = sum.settled(found);
    });
  }

  template <class Block>
  GTNET_KERNEL void end(Block& block, const layout::TransitionPrograms& steps, int64_t graph,
                        int32_t c, Span<ExtendedFloat<T>> here, bool leads_on) const {
    using N = ExtendedFloat<T>;
    const Span<const T> accept = grid.chain.states_of(graph, grid.chain.accept);
    const int64_t states = grid.chain.num_states(graph), positions = steps.positions;
    const bool accepts = grid.accepts(c);
    block.each(steps.slots, [=, this](int64_t p) {
      int32_t found = 0;
      N sum = leads_on && p < positions ? here[p] : N::zero();
      if (accepts && p < states) {
        sum = sum + grid.chain.number(accept[p], found) * grid.chain.number(grid.last[c], found);
      }
      here[p] = sum.settled(found);
    });
  }
};

// The gradients of the scores of segments, which do not depend on one another: a block per segment.
template <class T>
struct SegmentGradients {
  static constexpr int kThreads = 256;
  CutGrid<T> grid;
  CutNumbers<T> numbers;
  RowsOf<ExtendedFloat<T>> beta;
  Span<const ExtendedFloat<T>> totals;
  Span<const int32_t> source, target;  // [segments] cuts of its item
  Span<const double> grad_score;
  ScoreGradient grad_scores;  // 0 on entry
  int64_t grad_stride;
  RowsOf<T> gamma, sums;  // [blocks, slots] and [blocks, totals]

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    for (int64_t k = block.index(); k < grid.num_segments; k += block.count()) segment(block, k);
  }

 private:
  template <class Block>
  GTNET_KERNEL void segment(Block& block, int64_t k) const {
    using N = ExtendedFloat<T>;
    const int64_t item = grid.item_of(k), origin = grid.cut_offsets[item];
    const N total = totals[item];
    if (total.m == 0) return;
    const layout::TransitionPrograms steps =
        layout::TransitionPrograms::read(grid.chain.words, grid.chain.graph(item));
    const Span<const N> led = numbers.led.at(origin + source[k], steps.slots),
                        ahead = beta.at(origin + target[k], steps.slots),
                        factor = numbers.factors.at(k, steps.labels);
    const Span<T> share = gamma.at(block.index(), steps.slots),
                  by_label = sums.at(block.index(), steps.totals);
    const Span<const int32_t> label = steps.label, names = steps.names;
    const T inverse = T{1} / total.m;
    block.each(steps.positions, [=](int64_t p) {
      int32_t none = 0;
      const N met = (led[p] * ahead[p]).settled(none) * factor[label[p]];
      share[p] = label[p] == layout::kNoLabel ? T{0} : met.over(total.e) * inverse;
    });
    block.sync();
    for (int32_t phase = 0; phase < steps.by_label.phases; ++phase) {
      ChainBackward<T>::sum_by_label(block, steps.by_label, phase, share, by_label);
      block.sync();
    }
    block.each(steps.labels, [=, this](int64_t l) {
      if (l == layout::kNoLabel || names[l] >= grid.chain.num_labels) return;
      grad_scores.write(k * grad_stride + names[l],
                        static_cast<double>(by_label[l]) * grad_score[item]);
    });
    block.sync();
  }
};

// The probabilities to begin and to end in each state of an item's graph, and at each of its cuts.
template <class T>
struct CutEnds {
  static constexpr int kThreads = 256;
  CutGrid<T> grid;
  RowsOf<ExtendedFloat<T>> alpha, beta;
  Span<const ExtendedFloat<T>> totals;
  Span<const double> grad_score;
  Span<double> starts, ends;  // [states] of all items, 0 on entry
  Span<T> first, last;        // [cuts] times grad, 0 on entry

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    using N = ExtendedFloat<T>;
    const int64_t item = block.index(), graph = grid.chain.graph(item);
    const int64_t states = grid.chain.num_states(graph), cuts = grid.num_cuts(item);
    const int64_t before =
        grid.chain.num_graphs == 1 ? item * states : grid.chain.state_offsets[graph];
    const N total = totals[item];
    if (total.m == 0) return;
    const T inverse = T{1} / total.m;
    const auto of = [=, this](Span<const T> of_states, Span<const T> of_cuts,
                              const RowsOf<N>& reached, int64_t s, int64_t c) {
      int32_t none = 0;
      const T score = of_cuts[c];
      if (static_cast<double>(score) == kNegInf) return 0.0;
      const N path =
          (grid.chain.number(of_states[s], none) * reached.at(c, states)[s]).settled(none) *
          grid.chain.number(score, none);
      return static_cast<double>(path.over(total.e) * inverse);
    };
    const Span<const T> start = grid.chain.states_of(graph, grid.chain.start),
                        accept = grid.chain.states_of(graph, grid.chain.accept);
    block.each(states, [=, this](int64_t s) {
      double begun = 0, ended = 0;
      for (int64_t i = 0; i < cuts; ++i) {
        begun += of(start, grid.first, beta, s, grid.cut(item, i));
        ended += of(accept, grid.last, alpha, s, grid.cut(item, i));
      }
      starts[before + s] = begun;
      ends[before + s] = ended;
    });
    block.each(cuts, [=, this](int64_t i) {
      const int32_t c = grid.cut(item, i);
      double begun = 0, ended = 0;
      for (int64_t s = 0; s < states; ++s) {
        begun += of(start, grid.first, beta, s, c);
        ended += of(accept, grid.last, alpha, s, c);
      }
      first[c] = static_cast<T>(grad_score[item] * begun);
      last[c] = static_cast<T>(grad_score[item] * ended);
    });
  }
};

}  // namespace gtnet::lattice
