// What the operators on lattices share: their arguments, item by item.
#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <optional>

#include "lattice/cpu/forward_backward.h"
#include "ops/cpu/executor.h"
#include "ops/lattice.h"

namespace gtnet::ops {

// Graphs as arrays, laid out by `steps`.
template <class Score>
struct LaidOutGraphs {
  int64_t num_graphs;
  const int32_t* words;
  const int64_t *word_offsets, *state_offsets, *arc_offsets;
  const Score *weights, *start, *accept;
};

// A batch of chains [batch, frames, labels], or of segmentations [segments, labels], and the graph,
// or graphs, that they meet. `cuts` are the lengths of the chains, or of the segmentations
// state_offsets, arc_offsets, order, source, target, start and accept.
template <class Score>
struct LatticeBatch : LaidOutGraphs<Score> {
  using Graphs = LaidOutGraphs<Score>;
  using Graphs::num_graphs, Graphs::words, Graphs::word_offsets, Graphs::state_offsets,
      Graphs::arc_offsets, Graphs::weights, Graphs::start, Graphs::accept;
  bool is_chain;
  int64_t size, num_rows, num_labels;
  const Score* scores;
  int64_t item_stride, row_stride;
  const int64_t *lengths, *cut_offsets = nullptr, *row_offsets = nullptr;
  const int32_t *order = nullptr, *source = nullptr, *target = nullptr;
  const Score *first = nullptr, *last = nullptr;

  explicit LatticeBatch(const LatticeTensors& given)
      : LatticeBatch(given.scores, given.cuts,
                     {graphs(given.state_offsets), input<int32_t>(given.words),
                      input<int64_t>(given.word_offsets), input<int64_t>(given.state_offsets),
                      input<int64_t>(given.arc_offsets), input<Score>(given.weights),
                      input<Score>(given.start), input<Score>(given.accept)}) {}

  LatticeBatch(const Tensor& scores_, const Tensors& cuts, const Graphs& graphs_)
      : Graphs(graphs_),
        is_chain(cuts.size() == 1),
        size(is_chain ? cuts[0].numel() : graphs(cuts[0])),
        num_rows(scores_.size(is_chain ? 1 : 0)),
        num_labels(scores_.size(is_chain ? 2 : 1)),
        scores(static_cast<const Score*>(scores_.const_data_ptr())),
        item_stride(is_chain ? scores_.stride(0) : 0),
        row_stride(scores_.stride(is_chain ? 1 : 0)),
        lengths(input<int64_t>(cuts[0])) {
    STD_TORCH_CHECK(num_labels <= 1 || scores_.stride(is_chain ? 2 : 1) == 1,
                    "gtnet: the labels of a frame must be contiguous");
    if (is_chain) return;
    cut_offsets = input<int64_t>(cuts[0]);
    row_offsets = input<int64_t>(cuts[1]);
    order = input<int32_t>(cuts[2]);
    source = input<int32_t>(cuts[3]);
    target = input<int32_t>(cuts[4]);
    first = input<Score>(cuts[5]);
    last = input<Score>(cuts[6]);
  }

  int64_t graph(int64_t item) const { return num_graphs == 1 ? 0 : item; }
  int64_t num_states(int64_t item) const {
    return state_offsets[graph(item) + 1] - state_offsets[graph(item)];
  }
  int64_t num_arcs(int64_t item) const {
    return arc_offsets[graph(item) + 1] - arc_offsets[graph(item)];
  }
  int64_t num_segments(int64_t item) const {
    return is_chain ? lengths[item] : row_offsets[item + 1] - row_offsets[item];
  }
  int64_t num_cuts(int64_t item) const {
    return is_chain ? lengths[item] + 1 : cut_offsets[item + 1] - cut_offsets[item];
  }

  layout::TransitionRows steps(int64_t item) const {
    return layout::TransitionRowsReader(words + word_offsets[graph(item)]).read();
  }

  lattice::Cuts cuts_of(int64_t b) const {
    if (is_chain) return lattice::Cuts::chain(lengths[b]);
    const int64_t s = cut_offsets[b], a = row_offsets[b];
    return lattice::Cuts::segmentation(static_cast<int32_t>(num_cuts(b)),
                                       static_cast<int32_t>(row_offsets[b + 1] - a), order + s, s,
                                       source + a, target + a, first + s, last + s);
  }

  // Where the rows of an item begin in an array laid out with these strides.
  template <class Pointer>
  Pointer rows_of(int64_t b, Pointer rows, int64_t item, int64_t row) const {
    return rows + (is_chain ? b * item : row_offsets[b] * row);
  }

  lattice::LatticeItem<Score> item(int64_t b) const {
    const int64_t g = graph(b), s = state_offsets[g], a = arc_offsets[g];
    return {steps(b),
            static_cast<int32_t>(num_states(b)),
            static_cast<int32_t>(num_arcs(b)),
            weights + a,
            start + s,
            accept + s,
            cuts_of(b),
            rows_of(b, scores, item_stride, row_stride),
            row_stride,
            num_labels};
  }

  // [size + 1]: running sums of functor(item).
  template <class Functor>
  std::vector<int64_t> offsets(const Functor& functor) const {
    std::vector<int64_t> sums(size + 1, 0);
    for (int64_t b = 0; b < size; ++b) sums[b + 1] = sums[b] + functor(b);
    return sums;
  }

  std::vector<int64_t> all_cuts() const {
    return offsets([&](int64_t b) { return num_cuts(b); });
  }

  // functor(item) for every item, threads over items.
  template <class Functor>
  void for_each_item(const Functor& functor) const {
    for_each_graph(size, work(), functor);
  }

  // Positions of all cuts.
  int64_t work() const {
    int64_t positions = 0;
    for (int64_t b = 0; b < size; ++b) positions += num_cuts(b) * num_states(b);
    return positions;
  }
};

// Runs `functor(graph numbers)` with those of the only graph, made once, or of the item's own.
template <class T, class Score>
class GraphsOf {
 public:
  GraphsOf(const LatticeBatch<Score>& batch, layout::SlicedRows layout::TransitionRows::* reading,
           layout::SlicedRows layout::TransitionRows::* epsilon)
      : reading_(reading), epsilon_(epsilon) {
    if (batch.num_graphs == 1 && batch.size > 1) {
      const lattice::LatticeItem<Score> item = batch.item(0);
      only_.emplace(item, item.steps.*reading_, item.steps.*epsilon_);
    }
  }

  template <class Functor>
  auto with(const lattice::LatticeItem<Score>& item, const Functor& functor) const {
    if (only_) return functor(*only_);
    return functor(lattice::GraphNumbers<T>(item, item.steps.*reading_, item.steps.*epsilon_));
  }

 private:
  layout::SlicedRows layout::TransitionRows::* reading_;
  layout::SlicedRows layout::TransitionRows::* epsilon_;
  std::optional<lattice::GraphNumbers<T>> only_;
};

// Where the traces of the items lie inside tensors that hold all: alphas with margins, behind their
// mantissas the factors of the rows; and offsets with what else is known of rows.
template <class T>
class Traces {
 public:
  template <class Score>
  explicit Traces(const LatticeBatch<Score>& batch) {
    for (int64_t b = 0; b < batch.size; ++b) {
      const int64_t segments = batch.num_segments(b);
      items_.push_back({{batch.is_chain, batch.num_cuts(b), segments, batch.steps(b), true},
                        alphas_,
                        factors_,
                        doubles_});
      alphas_ += items_[b].size.alphas + 2 * lattice::kMargin;
      factors_ += items_[b].size.factors;
      doubles_ += items_[b].size.doubles();
    }
  }

  int64_t mantissas() const { return alphas_ + factors_; }
  int64_t exponents() const { return alphas_; }
  int64_t doubles() const { return doubles_; }

  lattice::ForwardTrace<T> of(int64_t b, const Tensor& m, const Tensor& e,
                              const Tensor& doubles) const {
    const Item& item = items_[b];
    const lattice::Numbers<T> alpha{output<T>(m) + item.alphas + lattice::kMargin,
                                    output<Exponent<T>>(e) + item.alphas + lattice::kMargin};
    lattice::Array<T>::clear_margins(alpha, item.size.alphas);
    double* const known = output<double>(doubles) + item.doubles;
    return {alpha, known, item.size.rows(output<T>(m) + alphas_ + item.factors, known)};
  }

 private:
  struct Item {
    lattice::TraceSize size;
    int64_t alphas, factors, doubles;  // where they begin
  };
  std::vector<Item> items_;
  int64_t alphas_ = 0, factors_ = 0, doubles_ = 0;
};

// Asks for large pages under a large tensor that is about to be written: fetching small ones
// takes longer than computing what goes there.
inline void expect_writes([[maybe_unused]] const Tensor& tensor, [[maybe_unused]] int64_t bytes) {
#ifdef __linux__
  constexpr int64_t kPage = int64_t{1} << 21;
  if (bytes < 2 * kPage) return;
  const auto address = reinterpret_cast<uintptr_t>(tensor.mutable_data_ptr());
  const uintptr_t begin = (address + kPage - 1) / kPage * kPage;
  const uintptr_t end = (address + bytes) / kPage * kPage;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// Alphas are kept for the gradient where they are few or no more than the scores themselves.
// Elsewhere they are computed again, in the cache: less memory, about the same time.
constexpr int64_t kKeptPositions = int64_t{1} << 18;

template <class T, class Score>
lattice::LatticeScore score_item(const lattice::LatticeItem<Score>& item,
                                 const GraphsOf<T, Score>& graphs,
                                 const lattice::ForwardTrace<T>& trace, bool keep) {
  return graphs.with(item, [&](const lattice::GraphNumbers<T>& graph) {
    return lattice::LatticePass<T, Score>(item, trace).forward(graph, keep);
  });
}

// No gradient behind the last frame of a chain.
template <class Score>
void clear_behind(const LatticeBatch<Score>& batch, int64_t b, Score* rows, int64_t stride) {
  if (!batch.is_chain) return;
  for (int64_t t = batch.lengths[b]; t < batch.num_rows; ++t) {
    std::fill_n(rows + t * stride, batch.num_labels, Score{0});
  }
}

// The same with alphas of its own; they are forgotten.
template <class T, class Score>
lattice::LatticeScore score_anew(const lattice::LatticeItem<Score>& item,
                                 const GraphsOf<T, Score>& graphs) {
  lattice::OwnTrace<T> trace(item.cuts, item.steps, false);
  return score_item<T, Score>(item, graphs, trace.get(), false);
}

template <class T, class Score>
bool differentiate_item(const lattice::LatticeItem<Score>& item, const GraphsOf<T, Score>& graphs,
                        const lattice::ForwardTrace<T>& trace, Score grad,
                        const lattice::ItemGradient<Score>& out) {
  return graphs.with(item, [&](const lattice::GraphNumbers<T>& graph) {
    return lattice::LatticePass<T, Score>(item, trace).backward(graph, grad, out);
  });
}

// The graphs of a batch for both passes.
template <class T, class Score>
struct BothWays {
  GraphsOf<T, Score> forth, back;

  explicit BothWays(const LatticeBatch<Score>& batch)
      : forth(batch, &layout::TransitionRows::entering, &layout::TransitionRows::epsilon_entering),
        back(batch, &layout::TransitionRows::leaving, &layout::TransitionRows::epsilon_leaving) {}
};

// From the start, with alphas of its own; it fits only if both passes do.
template <class T, class Score>
lattice::LatticeScore differentiate_anew(const lattice::LatticeItem<Score>& item,
                                         const BothWays<T, Score>& graphs, Score grad,
                                         const lattice::ItemGradient<Score>& out) {
  lattice::OwnTrace<T> trace(item.cuts, item.steps, true);
  lattice::LatticeScore result = score_item<T, Score>(item, graphs.forth, trace.get(), true);
  result.fits =
      result.fits && differentiate_item<T, Score>(item, graphs.back, trace.get(), grad, out);
  return result;
}

}  // namespace gtnet::ops
