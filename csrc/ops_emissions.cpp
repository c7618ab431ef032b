// Operators on emissions composed with a graph that is never multiplied out.
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <optional>

#include "ctc.h"
#include "executor_cpu.h"
#include "lattice_k_best.h"
#include "lattice_prune.h"
#include "lattice_sample.h"
#include "lattice_score.h"
#include "ops.h"

namespace gtnet {
namespace {

std::tuple<Tensor, Tensor, Tensor> steps(const Tensor& state_offsets, const Tensor& arc_offsets,
                                         const Tensor& source, const Tensor& target,
                                         const Tensor& labels) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t *const states = input<int64_t>(state_offsets), *const arcs =
                                                                   input<int64_t>(arc_offsets);
  Tensor on_cycle = empty<int64_t>(state_offsets, num_graphs);
  Tensor offsets = empty<int64_t>(state_offsets, num_graphs + 1);
  std::vector<std::vector<int32_t>> laid_out(num_graphs);
  for_each_graph(num_graphs, source.numel(), [&](int64_t g) {
    const int64_t a = arcs[g];
    StepsBuilder builder(static_cast<int32_t>(states[g + 1] - states[g]),
                         static_cast<int32_t>(arcs[g + 1] - a), input<int32_t>(source) + a,
                         input<int32_t>(target) + a, input<int32_t>(labels) + a);
    output<int64_t>(on_cycle)[g] = builder.build(laid_out[g]);
  });
  int64_t* const begin = output<int64_t>(offsets);
  begin[0] = 0;
  for (int64_t g = 0; g < num_graphs; ++g) {
    begin[g + 1] = begin[g] + static_cast<int64_t>(laid_out[g].size());
  }
  Tensor words = empty<int32_t>(source, begin[num_graphs]);
  for_each_graph(num_graphs, words.numel(), [&](int64_t g) {
    std::copy(laid_out[g].begin(), laid_out[g].end(), output<int32_t>(words) + begin[g]);
  });
  return {words, offsets, on_cycle};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> ctc_arcs(const Tensor& targets,
                                                                    const Tensor& lengths,
                                                                    int64_t blank) {
  const int64_t num_graphs = lengths.numel();
  const int64_t* const length = input<int64_t>(lengths);
  const int32_t* target = input<int32_t>(targets);
  Tensor state_offsets = empty<int64_t>(lengths, num_graphs + 1),
         arc_offsets = empty<int64_t>(lengths, num_graphs + 1);
  int64_t *const states = output<int64_t>(state_offsets), *const arcs =
                                                              output<int64_t>(arc_offsets);
  std::vector<CtcArcs> graphs;
  states[0] = arcs[0] = 0;
  for (int64_t g = 0; g < num_graphs; target += length[g++]) {
    graphs.push_back({target, static_cast<int32_t>(length[g]), static_cast<int32_t>(blank)});
    states[g + 1] = states[g] + 2 * length[g] + 1;
    arcs[g + 1] = arcs[g] + graphs[g].count();
  }
  Tensor source = empty<int32_t>(targets, arcs[num_graphs]), to = torch::stable::empty_like(source),
         reads = torch::stable::empty_like(source), writes = torch::stable::empty_like(source);
  for_each_graph(num_graphs, arcs[num_graphs], [&](int64_t g) {
    const int64_t a = arcs[g];
    graphs[g].write(output<int32_t>(source) + a, output<int32_t>(to) + a,
                    output<int32_t>(reads) + a, output<int32_t>(writes) + a);
  });
  return {state_offsets, arc_offsets, source, to, reads, writes};
}

using Tensors = std::vector<Tensor>;

// A batch of chains [batch, frames, labels], or of segmentations [segments, labels], and the graph,
// or graphs, that they meet. `cuts` are the lengths of the chains, or of the segmentations
// state_offsets, arc_offsets, order, source, target, start and accept.
template <class Score>
struct LatticeBatch {
  bool is_chain;
  int64_t size, num_rows, num_labels, num_graphs;
  const Score* scores;
  int64_t item_stride, row_stride;
  const int64_t *lengths, *cut_offsets = nullptr, *row_offsets = nullptr;
  const int64_t *word_offsets, *state_offsets, *arc_offsets;
  const int32_t *order = nullptr, *source = nullptr, *target = nullptr;
  const Score *first = nullptr, *last = nullptr;
  const int32_t* words;
  const Score *weights, *start, *accept;

  LatticeBatch(const Tensor& scores_, const Tensors& cuts, const Tensor& words_,
               const Tensor& word_offsets_, const Tensor& state_offsets_,
               const Tensor& arc_offsets_, const Tensor& weights_, const Tensor& start_,
               const Tensor& accept_)
      : is_chain(cuts.size() == 1),
        size(is_chain ? cuts[0].numel() : graphs(cuts[0])),
        num_rows(scores_.size(is_chain ? 1 : 0)),
        num_labels(scores_.size(is_chain ? 2 : 1)),
        num_graphs(graphs(state_offsets_)),
        scores(static_cast<const Score*>(scores_.const_data_ptr())),
        item_stride(is_chain ? scores_.stride(0) : 0),
        row_stride(scores_.stride(is_chain ? 1 : 0)),
        lengths(input<int64_t>(cuts[0])),
        word_offsets(input<int64_t>(word_offsets_)),
        state_offsets(input<int64_t>(state_offsets_)),
        arc_offsets(input<int64_t>(arc_offsets_)),
        words(input<int32_t>(words_)),
        weights(input<Score>(weights_)),
        start(input<Score>(start_)),
        accept(input<Score>(accept_)) {
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
  int64_t num_positions(int64_t item) const { return words[word_offsets[graph(item)]]; }
  int64_t num_cuts(int64_t item) const {
    return is_chain ? lengths[item] + 1 : cut_offsets[item + 1] - cut_offsets[item];
  }

  Cuts cuts_of(int64_t b) const {
    if (is_chain) return Cuts::chain(lengths[b]);
    const int64_t s = cut_offsets[b], a = row_offsets[b];
    return Cuts::segmentation(static_cast<int32_t>(num_cuts(b)),
                              static_cast<int32_t>(row_offsets[b + 1] - a), order + s, s,
                              source + a, target + a, first + s, last + s);
  }

  // Where the rows of an item begin in an array laid out with these strides.
  template <class Pointer>
  Pointer rows_of(int64_t b, Pointer rows, int64_t item, int64_t row) const {
    return rows + (is_chain ? b * item : row_offsets[b] * row);
  }

  LatticeItem<Score> item(int64_t b) const {
    const int64_t g = graph(b), s = state_offsets[g], a = arc_offsets[g];
    return {StepsReader(words + word_offsets[g]).read(),
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

  std::vector<int64_t> alpha_offsets() const {
    return offsets([&](int64_t b) {
      return (is_chain ? 1 : 2) * num_cuts(b) * num_positions(b) + 2 * kMargin;
    });
  }
  std::vector<int64_t> all_cuts() const {
    return offsets([&](int64_t b) { return num_cuts(b); });
  }

  // functor(item) for every item, threads over items.
  template <class Functor>
  void for_each_item(const Functor& functor) const {
    int64_t work = 0;
    for (int64_t b = 0; b < size; ++b) work += num_cuts(b) * num_states(b);
    for_each_graph(size, work, functor);
  }
};

// Runs `functor(graph numbers)` with those of the only graph, made once, or of the item's own.
template <class T, class Score>
class GraphsOf {
 public:
  GraphsOf(const LatticeBatch<Score>& batch, Rows Steps::* reading, Rows Steps::* epsilon)
      : reading_(reading), epsilon_(epsilon) {
    if (batch.num_graphs == 1 && batch.size > 1) {
      const LatticeItem<Score> item = batch.item(0);
      only_.emplace(item, item.steps.*reading_, item.steps.*epsilon_);
    }
  }

  template <class Functor>
  auto with(const LatticeItem<Score>& item, const Functor& functor) const {
    if (only_) return functor(*only_);
    return functor(GraphNumbers<T>(item, item.steps.*reading_, item.steps.*epsilon_));
  }

 private:
  Rows Steps::* reading_;
  Rows Steps::* epsilon_;
  std::optional<GraphNumbers<T>> only_;
};

// The alphas of one item inside the tensors that hold those of all.
template <class T>
Numbers<T> alphas(const Tensor& m, const Tensor& e, int64_t begin, int64_t end) {
  const Numbers<T> numbers{output<T>(m) + begin + kMargin,
                           output<Exponent<T>>(e) + begin + kMargin};
  Array<T>::clear_margins(numbers, end - begin - 2 * kMargin);
  return numbers;
}

// Asks for large pages under a large tensor that is about to be written: fetching small ones
// takes longer than computing what goes there.
void expect_writes(const Tensor& tensor, int64_t bytes) {
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
// Elsewhere they are computed again, item by item in the cache: less memory, about the same time.
constexpr int64_t kKeptPositions = int64_t{1} << 18;

// Why an item has no score; the largest one of a batch is reported.
enum Trouble : int64_t { kNone_, kTooWide, kNotANumber };

template <class T, class Score>
LatticeScore score_item(const LatticeItem<Score>& item, const GraphsOf<T, Score>& graphs,
                        Numbers<T> alpha, double* offset, bool keep) {
  return graphs.with(item, [&](const GraphNumbers<T>& graph) {
    return LatticePass<T, Score>(item).forward(graph, alpha, offset, keep);
  });
}

// The same with alphas of its own; they are forgotten.
template <class T, class Score>
LatticeScore score_anew(const LatticeItem<Score>& item, const GraphsOf<T, Score>& graphs) {
  const auto alpha =
      Array<T>::unwritten(LatticePass<T, Score>::room(item.cuts, item.steps.num_positions, false));
  std::vector<double> offset(item.cuts.count);
  return score_item<T, Score>(item, graphs, alpha.begin(), offset.data(), false);
}

Tensors lattice_score(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                      Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                      Tensor accept, bool keep) {
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const LatticeBatch<Score> batch(scores, cuts, words, word_offsets, state_offsets, arc_offsets,
                                    weights, start, accept);
    const std::vector<int64_t> begin = batch.alpha_offsets(), first_cut = batch.all_cuts();
    const int64_t most = std::max(kKeptPositions, scores.numel());
    const int64_t kept = keep && begin.back() <= most ? begin.back() : 0;
    Tensor score = empty<double>(scores, batch.size), trouble = zeros<int64_t>(scores, 1);
    Tensor alpha_m = empty<Score>(scores, kept), alpha_e = empty<Exponent<Score>>(scores, kept);
    Tensor offset = empty<double>(scores, kept > 0 ? first_cut.back() : 0);
    expect_writes(alpha_m, kept * static_cast<int64_t>(sizeof(Score)));
    expect_writes(alpha_e, kept * static_cast<int64_t>(sizeof(Score)));
    std::vector<Trouble> troubles(batch.size, kNone_);
    const GraphsOf<Score, Score> graphs(batch, &Steps::entering, &Steps::epsilon_entering);
    batch.for_each_item([&](int64_t b) {
      const LatticeItem<Score> item = batch.item(b);
      LatticeScore result;
      if (kept > 0) {
        const Numbers<Score> alpha = alphas<Score>(alpha_m, alpha_e, begin[b], begin[b + 1]);
        double* const offsets = output<double>(offset) + first_cut[b];
        result = score_item<Score, Score>(item, graphs, alpha, offsets, true);
      } else {
        result = score_anew<Score, Score>(item, graphs);
      }
      if constexpr (!std::is_same_v<Score, double>) {
        if (!result.fits && result.valid) {
          const GraphsOf<double, Score> exact(batch, &Steps::entering, &Steps::epsilon_entering);
          result = score_anew<double, Score>(item, exact);
        }
      }
      output<double>(score)[b] = result.score;
      troubles[b] = !result.valid ? kNotANumber : !result.fits ? kTooWide : kNone_;
    });
    for (const Trouble found : troubles) {
      *output<int64_t>(trouble) = std::max<int64_t>(*output<int64_t>(trouble), found);
    }
    return {score, alpha_m, alpha_e, offset, trouble};
  });
}

// Gradients of all items, each in a place of its own; what is not asked for is empty.
struct ItemSums {
  std::vector<int64_t> arcs_at, states_at, cuts_at;
  std::vector<double> weights, start, accept, first, last;
  std::vector<char> failed;  // items beyond the arithmetic
};

template <class T, class Score>
bool differentiate_item(const LatticeItem<Score>& item, const GraphsOf<T, Score>& graphs,
                        Numbers<T> alpha, const double* offset, Score grad,
                        const ItemGradient<Score>& out) {
  return graphs.with(item, [&](const GraphNumbers<T>& graph) {
    return LatticePass<T, Score>(item).backward(graph, alpha, offset, grad, out);
  });
}

// The same from the start, with alphas of its own.
template <class T, class Score>
bool differentiate_anew(const LatticeItem<Score>& item, const GraphsOf<T, Score>& forth,
                        const GraphsOf<T, Score>& back, Score grad,
                        const ItemGradient<Score>& out) {
  const auto alpha =
      Array<T>::unwritten(LatticePass<T, Score>::room(item.cuts, item.steps.num_positions, true));
  std::vector<double> offset(item.cuts.count);
  score_item<T, Score>(item, forth, alpha.begin(), offset.data(), true);
  return differentiate_item<T, Score>(item, back, alpha.begin(), offset.data(), grad, out);
}

// Gradients of all items of a batch, into `grad_scores` and the sums returned.
template <class Score>
ItemSums differentiate(const LatticeBatch<Score>& batch, const double* grad_score,
                       const Tensor& alpha_m, const Tensor& alpha_e, const Tensor& offset,
                       const Tensor& grad_scores, bool counting, bool by_cut) {
  const std::vector<int64_t> begin = batch.alpha_offsets();
  ItemSums sums;
  sums.cuts_at = batch.all_cuts();
  sums.arcs_at = batch.offsets([&](int64_t b) {
    return counting ? batch.num_arcs(b) * (by_cut ? batch.num_cuts(b) : 1) : 0;
  });
  sums.states_at = batch.offsets([&](int64_t b) { return counting ? batch.num_states(b) : 0; });
  sums.weights.resize(sums.arcs_at.back());
  sums.start.resize(sums.states_at.back());
  sums.accept.resize(sums.states_at.back());
  const bool ends = counting && !batch.is_chain;
  sums.first.resize(ends ? sums.cuts_at.back() : 0);
  sums.last.resize(ends ? sums.cuts_at.back() : 0);
  sums.failed.resize(batch.size);
  const GraphsOf<Score, Score> forth(batch, &Steps::entering, &Steps::epsilon_entering);
  const GraphsOf<Score, Score> back(batch, &Steps::leaving, &Steps::epsilon_leaving);
  const int64_t stride = grad_scores.stride(batch.is_chain ? 1 : 0);
  const int64_t item_stride = batch.is_chain ? grad_scores.stride(0) : 0;
  batch.for_each_item([&](int64_t b) {
    const LatticeItem<Score> item = batch.item(b);
    const ItemGradient<Score> out{batch.rows_of(b, output<Score>(grad_scores), item_stride, stride),
                                  stride,
                                  counting ? sums.weights.data() + sums.arcs_at[b] : nullptr,
                                  counting ? sums.start.data() + sums.states_at[b] : nullptr,
                                  counting ? sums.accept.data() + sums.states_at[b] : nullptr,
                                  ends ? sums.first.data() + sums.cuts_at[b] : nullptr,
                                  ends ? sums.last.data() + sums.cuts_at[b] : nullptr,
                                  by_cut};
    const auto grad = static_cast<Score>(grad_score[b]);
    bool exact = false;
    if (alpha_m.numel() > 0) {
      const Numbers<Score> alpha = alphas<Score>(alpha_m, alpha_e, begin[b], begin[b + 1]);
      const double* const offsets = input<double>(offset) + sums.cuts_at[b];
      exact = differentiate_item<Score, Score>(item, back, alpha, offsets, grad, out);
    } else {
      exact = differentiate_anew<Score, Score>(item, forth, back, grad, out);
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
        const GraphsOf<double, Score> exact_forth(batch, &Steps::entering,
                                                  &Steps::epsilon_entering);
        const GraphsOf<double, Score> exact_back(batch, &Steps::leaving, &Steps::epsilon_leaving);
        exact = differentiate_anew<double, Score>(item, exact_forth, exact_back, grad, out);
      }
    }
    sums.failed[b] = !exact;
    const int64_t frames = batch.is_chain ? batch.num_rows : 0;
    for (int64_t t = item.cuts.num_segments(); t < frames; ++t) {
      std::fill_n(out.scores + t * stride, batch.num_labels, Score{0});
    }
  });
  return sums;
}

// Sums over the items that share a graph, in the dtype of the scores.
template <class Score>
Tensor collected(const LatticeBatch<Score>& batch, const Tensor& like,
                 const std::vector<double>& all, const std::vector<int64_t>& at,
                 const int64_t* graph_begin) {
  Tensor total = empty<Score>(like, all.empty() ? 0 : like.numel());
  std::vector<double> sums(total.numel(), 0.0);
  for (int64_t b = 0; b < batch.size && !all.empty(); ++b) {
    double* const sum = sums.data() + graph_begin[batch.graph(b)];
    for (int64_t k = at[b]; k < at[b + 1]; ++k) sum[k - at[b]] += all[k];
  }
  std::transform(sums.begin(), sums.end(), output<Score>(total),
                 [](double x) { return static_cast<Score>(x); });
  return total;
}

template <class Score>
Tensor as_scores(const Tensor& like, const std::vector<double>& values) {
  Tensor result = empty<Score>(like, static_cast<int64_t>(values.size()));
  std::transform(values.begin(), values.end(), output<Score>(result),
                 [](double x) { return static_cast<Score>(x); });
  return result;
}

Tensors lattice_score_backward(Tensor grad_score, Tensor alpha_m, Tensor alpha_e, Tensor offset,
                               Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                               Tensor state_offsets, Tensor arc_offsets, Tensor weights,
                               Tensor start, Tensor accept, bool counting) {
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const LatticeBatch<Score> batch(scores, cuts, words, word_offsets, state_offsets, arc_offsets,
                                    weights, start, accept);
    Tensor grad_scores = torch::stable::empty_like(scores);
    expect_writes(grad_scores, grad_scores.numel() * static_cast<int64_t>(sizeof(Score)));
    const ItemSums sums = differentiate(batch, input<double>(grad_score), alpha_m, alpha_e, offset,
                                        grad_scores, counting, false);
    return {grad_scores,
            collected(batch, weights, sums.weights, sums.arcs_at, batch.arc_offsets),
            collected(batch, start, sums.start, sums.states_at, batch.state_offsets),
            collected(batch, accept, sums.accept, sums.states_at, batch.state_offsets),
            as_scores<Score>(scores, sums.first),
            as_scores<Score>(scores, sums.last)};
  });
}

// Probabilities of the labels of each row, of the arcs of each item (for each cut, or in all), of
// beginning and ending in each state of each item and at each cut of a segmentation; whether any
// item was beyond the arithmetic.
Tensors lattice_posteriors(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                           Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                           Tensor accept, bool by_cut) {
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const LatticeBatch<Score> batch(scores, cuts, words, word_offsets, state_offsets, arc_offsets,
                                    weights, start, accept);
    Tensor labels = torch::stable::empty_like(scores);
    const Tensor none = empty<Score>(scores, 0);
    const std::vector<double> ones(batch.size, 1.0);
    const ItemSums sums = differentiate(batch, ones.data(), none, none, none, labels, true, by_cut);
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

// The paths of all items, one after another: how many each item has, then of the paths score,
// offsets, arcs, rows, the state and the cut in which each begins, and those in which it ends; all
// numbered through the batch, rows within the item.
template <class Score>
Tensors path_tensors(const LatticeBatch<Score>& batch, const Tensor& like,
                     const std::vector<std::vector<LatticePath>>& found) {
  int64_t count = 0, length = 0;
  for (const auto& paths : found) {
    count += static_cast<int64_t>(paths.size());
    for (const LatticePath& path : paths) length += static_cast<int64_t>(path.arcs.size());
  }
  Tensor score = empty<double>(like, count), offsets = empty<int64_t>(like, count + 1);
  Tensor arcs = empty<int32_t>(like, length), rows = empty<int32_t>(like, length);
  Tensor ends[4], counts = empty<int64_t>(like, batch.size);
  for (Tensor& end : ends) end = empty<int32_t>(like, count);
  output<int64_t>(offsets)[0] = 0;
  int64_t i = 0, at = 0;
  for (int64_t b = 0; b < batch.size; ++b) {
    const auto state = static_cast<int32_t>(batch.state_offsets[batch.graph(b)]),
               arc = static_cast<int32_t>(batch.arc_offsets[batch.graph(b)]),
               cut = static_cast<int32_t>(batch.is_chain ? 0 : batch.cut_offsets[b]);
    output<int64_t>(counts)[b] = static_cast<int64_t>(found[b].size());
    for (const LatticePath& path : found[b]) {
      output<double>(score)[i] = path.score;
      const int32_t where[4] = {path.first, path.first_cut, path.last, path.last_cut};
      for (int end = 0; end < 4; ++end) {
        output<int32_t>(ends[end])[i] =
            path.first == kNone ? kNone : where[end] + (end % 2 ? cut : state);
      }
      std::copy(path.rows.begin(), path.rows.end(), output<int32_t>(rows) + at);
      std::transform(path.arcs.begin(), path.arcs.end(), output<int32_t>(arcs) + at,
                     [arc](int32_t a) { return a + arc; });
      at += static_cast<int64_t>(path.arcs.size());
      output<int64_t>(offsets)[++i] = at;
    }
  }
  return {counts, score, offsets, arcs, rows, ends[0], ends[1], ends[2], ends[3]};
}

// Room for the best distances of an item.
template <class Score>
Tensor best_room(const LatticeItem<Score>& item, const Tensor& like) {
  const int64_t room = LatticeBest<Score>::room(item);
  Tensor alpha = empty<double>(like, room);
  expect_writes(alpha, room * static_cast<int64_t>(sizeof(double)));
  return alpha;
}

// The paths that functor(item number, item, best distances) takes from every item.
template <class Functor>
Tensors best_paths(const Tensor& scores, const Tensors& cuts, const Tensor& words,
                   const Tensor& word_offsets, const Tensor& state_offsets,
                   const Tensor& arc_offsets, const Tensor& weights, const Tensor& start,
                   const Tensor& accept, const Functor& functor) {
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const LatticeBatch<Score> batch(scores, cuts, words, word_offsets, state_offsets, arc_offsets,
                                    weights, start, accept);
    std::vector<std::vector<LatticePath>> paths(batch.size);
    batch.for_each_item([&](int64_t b) {
      const LatticeItem<Score> item = batch.item(b);
      const Tensor alpha = best_room(item, scores);
      LatticeBest<Score> best(item, output<double>(alpha));
      best.distances();
      paths[b] = functor(item, best);
    });
    return path_tensors(batch, scores, paths);
  });
}

Tensors lattice_best(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                     Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                     Tensor accept) {
  return best_paths(scores, cuts, words, word_offsets, state_offsets, arc_offsets, weights, start,
                    accept, [](const auto& item, const auto& best) {
                      return std::vector<LatticePath>{best.path(Ways(item))};
                    });
}

Tensors lattice_k_best(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                       Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                       Tensor accept, int64_t k) {
  return best_paths(
      scores, cuts, words, word_offsets, state_offsets, arc_offsets, weights, start, accept,
      [k](const auto& item, const auto& best) { return LatticeKBest(item, best).run(k); });
}

// `seeds` [items * n], in float64.
Tensors lattice_sample(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                       Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                       Tensor accept, Tensor seeds, int64_t n) {
  const LatticeBatch<double> batch(scores, cuts, words, word_offsets, state_offsets, arc_offsets,
                                   weights, start, accept);
  std::vector<std::vector<LatticePath>> paths(batch.size);
  const GraphsOf<double, double> forth(batch, &Steps::entering, &Steps::epsilon_entering);
  batch.for_each_item([&](int64_t b) {
    const LatticeItem<double> item = batch.item(b);
    const auto alpha = Array<double>::unwritten(
        LatticePass<double, double>::room(item.cuts, item.steps.num_positions, true));
    std::vector<double> offset(item.cuts.count);
    score_item<double, double>(item, forth, alpha.begin(), offset.data(), true);
    paths[b] = LatticeSampler<double>(item, alpha.begin(), offset.data())
                   .draw(input<int64_t>(seeds) + b * n, n);
  });
  return path_tensors(batch, scores, paths);
}

// Of all items one after another: arc_offsets [items + 1], then from, to, row, arc; start_offsets,
// start_cut, start_state; accept_offsets, accept_cut, accept_state; numbered within the item.
Tensors lattice_prune(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                      Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                      Tensor accept, double beam) {
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const LatticeBatch<Score> batch(scores, cuts, words, word_offsets, state_offsets, arc_offsets,
                                    weights, start, accept);
    std::vector<LatticeKept> kept(batch.size);
    batch.for_each_item([&](int64_t b) {
      const LatticeItem<Score> item = batch.item(b);
      const Tensor alpha = best_room(item, scores), beta = best_room(item, scores);
      LatticeBest<Score> before(item, output<double>(alpha)), after(item, output<double>(beta));
      before.distances();
      after.distances_to_end();
      kept[b] = LatticePrune<Score>(item, before, after).run(beam);
    });
    Tensors result;
    using Column = std::vector<int32_t> LatticeKept::*;
    const auto add = [&](std::vector<Column> columns) {
      const std::vector<int64_t> begin =
          batch.offsets([&](int64_t b) { return (kept[b].*columns[0]).size(); });
      result.push_back(empty<int64_t>(scores, batch.size + 1));
      std::copy(begin.begin(), begin.end(), output<int64_t>(result.back()));
      for (const Column column : columns) {
        result.push_back(empty<int32_t>(scores, begin.back()));
        int32_t* out = output<int32_t>(result.back());
        for (const LatticeKept& item : kept) {
          out = std::copy((item.*column).begin(), (item.*column).end(), out);
        }
      }
    };
    add({&LatticeKept::from, &LatticeKept::to, &LatticeKept::row, &LatticeKept::arc});
    add({&LatticeKept::start_cut, &LatticeKept::start_state});
    add({&LatticeKept::accept_cut, &LatticeKept::accept_state});
    return result;
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "steps(Tensor state_offsets, Tensor arc_offsets, Tensor source, Tensor target, "
      "Tensor labels) -> (Tensor, Tensor, Tensor)");
  m.def(
      "ctc_arcs(Tensor targets, Tensor lengths, int blank) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "lattice_score(Tensor scores, Tensor[] cuts, Tensor words, Tensor word_offsets, "
      "Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept, "
      "bool keep) -> Tensor[]");
  m.def(
      "lattice_score_backward(Tensor grad_score, Tensor alpha_m, Tensor alpha_e, Tensor offset, "
      "Tensor scores, Tensor[] cuts, Tensor words, Tensor word_offsets, Tensor state_offsets, "
      "Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept, bool counting) "
      "-> Tensor[]");
  m.def(
      "lattice_posteriors(Tensor scores, Tensor[] cuts, Tensor words, Tensor word_offsets, "
      "Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept, "
      "bool by_cut) -> Tensor[]");
  m.def(
      "lattice_best(Tensor scores, Tensor[] cuts, Tensor words, Tensor word_offsets, "
      "Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept) "
      "-> Tensor[]");
  m.def(
      "lattice_k_best(Tensor scores, Tensor[] cuts, Tensor words, Tensor word_offsets, "
      "Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept, "
      "int k) -> Tensor[]");
  m.def(
      "lattice_sample(Tensor scores, Tensor[] cuts, Tensor words, Tensor word_offsets, "
      "Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept, "
      "Tensor seeds, int n) -> Tensor[]");
  m.def(
      "lattice_prune(Tensor scores, Tensor[] cuts, Tensor words, Tensor word_offsets, "
      "Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept, "
      "float beam) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("steps", TORCH_BOX(&steps));
  m.impl("ctc_arcs", TORCH_BOX(&ctc_arcs));
  m.impl("lattice_score", TORCH_BOX(&lattice_score));
  m.impl("lattice_score_backward", TORCH_BOX(&lattice_score_backward));
  m.impl("lattice_posteriors", TORCH_BOX(&lattice_posteriors));
  m.impl("lattice_best", TORCH_BOX(&lattice_best));
  m.impl("lattice_k_best", TORCH_BOX(&lattice_k_best));
  m.impl("lattice_sample", TORCH_BOX(&lattice_sample));
  m.impl("lattice_prune", TORCH_BOX(&lattice_prune));
}

}  // namespace gtnet
