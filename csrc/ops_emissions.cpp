// Operators on emissions composed with a graph that is never multiplied out.
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <optional>

#include "chain.h"
#include "chain_best.h"
#include "ctc.h"
#include "executor_cpu.h"
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

// A batch of chains [batch, frames, labels] and the graph, or graphs, that they meet.
template <class Score>
struct ChainBatch {
  int64_t size, frames, num_labels, num_graphs;
  const Score* scores;
  int64_t item_stride, row_stride;
  const int64_t *lengths, *word_offsets, *state_offsets, *arc_offsets;
  const int32_t* words;
  const Score *weights, *start, *accept;

  ChainBatch(const Tensor& scores_, const Tensor& lengths_, const Tensor& words_,
             const Tensor& word_offsets_, const Tensor& state_offsets_, const Tensor& arc_offsets_,
             const Tensor& weights_, const Tensor& start_, const Tensor& accept_)
      : size(scores_.size(0)),
        frames(scores_.size(1)),
        num_labels(scores_.size(2)),
        num_graphs(graphs(state_offsets_)),
        scores(static_cast<const Score*>(scores_.const_data_ptr())),
        item_stride(scores_.stride(0)),
        row_stride(scores_.stride(1)),
        lengths(input<int64_t>(lengths_)),
        word_offsets(input<int64_t>(word_offsets_)),
        state_offsets(input<int64_t>(state_offsets_)),
        arc_offsets(input<int64_t>(arc_offsets_)),
        words(input<int32_t>(words_)),
        weights(input<Score>(weights_)),
        start(input<Score>(start_)),
        accept(input<Score>(accept_)) {
    STD_TORCH_CHECK(num_labels <= 1 || scores_.stride(2) == 1,
                    "gtnet: the labels of a frame must be contiguous");
  }

  int64_t graph(int64_t item) const { return num_graphs == 1 ? 0 : item; }

  ChainItem<Score> item(int64_t b) const {
    const int64_t g = graph(b), s = state_offsets[g], a = arc_offsets[g];
    return {StepsReader(words + word_offsets[g]).read(),
            static_cast<int32_t>(state_offsets[g + 1] - s),
            static_cast<int32_t>(arc_offsets[g + 1] - a),
            weights + a,
            start + s,
            accept + s,
            scores + b * item_stride,
            row_stride,
            lengths[b],
            num_labels};
  }

  // Where the alphas of each item begin, [size + 1].
  std::vector<int64_t> alpha_offsets() const {
    std::vector<int64_t> offsets(size + 1, 0);
    for (int64_t b = 0; b < size; ++b) {
      const int64_t positions = words[word_offsets[graph(b)]];
      offsets[b + 1] = offsets[b] + (lengths[b] + 1) * positions + 2 * kMargin;
    }
    return offsets;
  }

  // functor(item) for every item, threads over items.
  template <class Functor>
  void for_each_item(const Functor& functor) const {
    int64_t most = 0;
    for (int64_t g = 0; g < num_graphs; ++g) {
      most = std::max(most, state_offsets[g + 1] - state_offsets[g]);
    }
    for_each_graph(size, size * frames * most, functor);
  }
};

// Runs `functor(graph numbers)` with those of the only graph, made once, or of the item's own.
template <class T, class Score>
class GraphsOf {
 public:
  GraphsOf(const ChainBatch<Score>& batch, Rows Steps::* reading, Rows Steps::* epsilon)
      : reading_(reading), epsilon_(epsilon) {
    if (batch.num_graphs == 1 && batch.size > 1) {
      const ChainItem<Score> item = batch.item(0);
      only_.emplace(item, item.steps.*reading_, item.steps.*epsilon_);
    }
  }

  template <class Functor>
  auto with(const ChainItem<Score>& item, const Functor& functor) const {
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
ChainScore score_item(const ChainItem<Score>& item, const GraphsOf<T, Score>& graphs,
                      std::optional<Numbers<T>> kept) {
  return graphs.with(item, [&](const GraphNumbers<T>& graph) {
    ChainPass<T, Score> pass(item);
    if (kept) return pass.forward(graph, *kept, true);
    const auto two = Array<T>::unwritten(2 * int64_t{item.steps.num_positions});
    return pass.forward(graph, two.begin(), false);
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> chain_score(
    const Tensor& scores, const Tensor& lengths, const Tensor& words, const Tensor& word_offsets,
    const Tensor& state_offsets, const Tensor& arc_offsets, const Tensor& weights,
    const Tensor& start, const Tensor& accept, bool keep) {
  return with_scores(scores, [&](auto zero) -> std::tuple<Tensor, Tensor, Tensor, Tensor> {
    using Score = decltype(zero);
    const ChainBatch<Score> batch(scores, lengths, words, word_offsets, state_offsets, arc_offsets,
                                  weights, start, accept);
    const std::vector<int64_t> offsets = batch.alpha_offsets();
    const int64_t most = std::max(kKeptPositions, scores.numel());
    const int64_t kept = keep && offsets.back() <= most ? offsets.back() : 0;
    Tensor score = empty<double>(scores, batch.size), trouble = zeros<int64_t>(scores, 1);
    Tensor alpha_m = empty<Score>(scores, kept), alpha_e = empty<Exponent<Score>>(scores, kept);
    expect_writes(alpha_m, kept * static_cast<int64_t>(sizeof(Score)));
    expect_writes(alpha_e, kept * static_cast<int64_t>(sizeof(Score)));
    std::vector<Trouble> troubles(batch.size, kNone_);
    const GraphsOf<Score, Score> graphs(batch, &Steps::entering, &Steps::epsilon_entering);
    batch.for_each_item([&](int64_t b) {
      const ChainItem<Score> item = batch.item(b);
      std::optional<Numbers<Score>> alpha;
      if (kept > 0) alpha = alphas<Score>(alpha_m, alpha_e, offsets[b], offsets[b + 1]);
      ChainScore result = score_item<Score, Score>(item, graphs, alpha);
      if constexpr (!std::is_same_v<Score, double>) {
        if (!result.fits && result.valid) {
          const ChainBatch<Score> one = batch;
          const GraphsOf<double, Score> exact(one, &Steps::entering, &Steps::epsilon_entering);
          result = score_item<double, Score>(item, exact, std::nullopt);
        }
      }
      output<double>(score)[b] = result.score;
      troubles[b] = !result.valid ? kNotANumber : !result.fits ? kTooWide : kNone_;
    });
    for (const Trouble found : troubles) {
      *output<int64_t>(trouble) = std::max<int64_t>(*output<int64_t>(trouble), found);
    }
    return {score, alpha_m, alpha_e, trouble};
  });
}

// Where the gradients of one item go; sums over items that share a graph are made afterwards.
template <class Score>
struct ItemGradients {
  Score* scores;
  int64_t row_stride;
  std::vector<double> weights, start, accept;

  ItemGradients(const ChainItem<Score>& item, Score* into, int64_t stride, bool counting)
      : scores(into),
        row_stride(stride),
        weights(counting ? item.num_arcs : 0),
        start(counting ? item.num_states : 0),
        accept(counting ? item.num_states : 0) {}
};

template <class T, class Score>
bool differentiate_item(const ChainItem<Score>& item, const GraphsOf<T, Score>& graphs,
                        Numbers<T> alpha, Score grad, bool counting, ItemGradients<Score>& out) {
  return graphs.with(item, [&](const GraphNumbers<T>& graph) {
    return ChainPass<T, Score>(item).backward(graph, alpha, grad, out.scores, out.row_stride,
                                              counting ? out.weights.data() : nullptr,
                                              out.start.data(), out.accept.data());
  });
}

// The same from the start, with alphas of its own.
template <class T, class Score>
bool differentiate_anew(const ChainItem<Score>& item, const GraphsOf<T, Score>& forth,
                        const GraphsOf<T, Score>& back, Score grad, bool counting,
                        ItemGradients<Score>& out) {
  const auto alpha = Array<T>::unwritten((item.frames + 1) * item.steps.num_positions);
  score_item<T, Score>(item, forth, alpha.begin());
  return differentiate_item<T, Score>(item, back, alpha.begin(), grad, counting, out);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> chain_score_backward(
    const Tensor& grad_score, const Tensor& alpha_m, const Tensor& alpha_e, const Tensor& scores,
    const Tensor& lengths, const Tensor& words, const Tensor& word_offsets,
    const Tensor& state_offsets, const Tensor& arc_offsets, const Tensor& weights,
    const Tensor& start, const Tensor& accept, bool counting) {
  return with_scores(scores, [&](auto zero) -> std::tuple<Tensor, Tensor, Tensor, Tensor> {
    using Score = decltype(zero);
    const ChainBatch<Score> batch(scores, lengths, words, word_offsets, state_offsets, arc_offsets,
                                  weights, start, accept);
    const std::vector<int64_t> offsets = batch.alpha_offsets();
    Tensor grad_scores = torch::stable::empty_like(scores);
    expect_writes(grad_scores, grad_scores.numel() * static_cast<int64_t>(sizeof(Score)));
    const GraphsOf<Score, Score> forth(batch, &Steps::entering, &Steps::epsilon_entering);
    const GraphsOf<Score, Score> back(batch, &Steps::leaving, &Steps::epsilon_leaving);
    const bool kept = alpha_m.numel() > 0;
    std::vector<std::optional<ItemGradients<Score>>> found(batch.size);
    batch.for_each_item([&](int64_t b) {
      const ChainItem<Score> item = batch.item(b);
      const int64_t stride = grad_scores.stride(1);
      Score* const into = output<Score>(grad_scores) + b * grad_scores.stride(0);
      ItemGradients<Score>& out = found[b].emplace(item, into, stride, counting);
      const auto grad = static_cast<Score>(input<double>(grad_score)[b]);
      bool exact = false;
      if (kept) {
        const Numbers<Score> alpha = alphas<Score>(alpha_m, alpha_e, offsets[b], offsets[b + 1]);
        exact = differentiate_item<Score, Score>(item, back, alpha, grad, counting, out);
      } else {
        exact = differentiate_anew<Score, Score>(item, forth, back, grad, counting, out);
      }
      if (!exact && !std::is_same_v<Score, double>) {
        const GraphsOf<double, Score> exact_forth(batch, &Steps::entering,
                                                  &Steps::epsilon_entering);
        const GraphsOf<double, Score> exact_back(batch, &Steps::leaving, &Steps::epsilon_leaving);
        out = ItemGradients<Score>(item, out.scores, out.row_stride, counting);
        differentiate_anew<double, Score>(item, exact_forth, exact_back, grad, counting, out);
      }
      for (int64_t t = item.frames; t < batch.frames; ++t) {
        std::fill_n(into + t * stride, batch.num_labels, Score{0});
      }
    });
    const auto collected = [&](const Tensor& like, const int64_t* begin, auto part) {
      Tensor total = empty<Score>(like, counting ? like.numel() : 0);
      if (!counting) return total;
      std::vector<double> sums(like.numel(), 0.0);
      for (int64_t b = 0; b < batch.size; ++b) {
        const std::vector<double>& own = (*found[b]).*part;
        double* const sum = sums.data() + begin[batch.graph(b)];
        for (size_t k = 0; k < own.size(); ++k) sum[k] += own[k];
      }
      std::transform(sums.begin(), sums.end(), output<Score>(total),
                     [](double x) { return static_cast<Score>(x); });
      return total;
    };
    return {grad_scores, collected(weights, batch.arc_offsets, &ItemGradients<Score>::weights),
            collected(start, batch.state_offsets, &ItemGradients<Score>::start),
            collected(accept, batch.state_offsets, &ItemGradients<Score>::accept)};
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> chain_best(
    const Tensor& scores, const Tensor& lengths, const Tensor& words, const Tensor& word_offsets,
    const Tensor& state_offsets, const Tensor& arc_offsets, const Tensor& weights,
    const Tensor& start, const Tensor& accept) {
  using Result = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
  return with_scores(scores, [&](auto zero) -> Result {
    using Score = decltype(zero);
    const ChainBatch<Score> batch(scores, lengths, words, word_offsets, state_offsets, arc_offsets,
                                  weights, start, accept);
    std::vector<ChainPath> paths(batch.size);
    batch.for_each_item([&](int64_t b) {
      const ChainItem<Score> item = batch.item(b);
      const int64_t positions = (item.frames + 1) * item.steps.num_positions + 2 * kMargin;
      const Tensor alpha = empty<double>(scores, positions);
      expect_writes(alpha, positions * static_cast<int64_t>(sizeof(double)));
      paths[b] = ChainBest<Score>(item, output<double>(alpha)).run();
    });
    Tensor score = empty<double>(scores, batch.size),
           offsets = empty<int64_t>(scores, batch.size + 1);
    Tensor first = empty<int32_t>(scores, batch.size), last = empty<int32_t>(scores, batch.size);
    int64_t* const begin = output<int64_t>(offsets);
    begin[0] = 0;
    for (int64_t b = 0; b < batch.size; ++b) {
      begin[b + 1] = begin[b] + static_cast<int64_t>(paths[b].arcs.size());
    }
    Tensor arcs = empty<int32_t>(scores, begin[batch.size]),
           frames = empty<int32_t>(scores, begin[batch.size]);
    for (int64_t b = 0; b < batch.size; ++b) {
      const ChainPath& path = paths[b];
      const auto state = static_cast<int32_t>(batch.state_offsets[batch.graph(b)]),
                 arc = static_cast<int32_t>(batch.arc_offsets[batch.graph(b)]);
      output<double>(score)[b] = path.score;
      output<int32_t>(first)[b] = path.first == kNone ? kNone : path.first + state;
      output<int32_t>(last)[b] = path.last == kNone ? kNone : path.last + state;
      std::copy(path.frames.begin(), path.frames.end(), output<int32_t>(frames) + begin[b]);
      std::transform(path.arcs.begin(), path.arcs.end(), output<int32_t>(arcs) + begin[b],
                     [arc](int32_t a) { return a + arc; });
    }
    return {score, offsets, arcs, frames, first, last};
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
      "chain_score(Tensor scores, Tensor lengths, Tensor words, Tensor word_offsets, "
      "Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept, "
      "bool keep) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "chain_score_backward(Tensor grad_score, Tensor alpha_m, Tensor alpha_e, Tensor scores, "
      "Tensor lengths, Tensor words, Tensor word_offsets, Tensor state_offsets, "
      "Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept, bool counting) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "chain_best(Tensor scores, Tensor lengths, Tensor words, Tensor word_offsets, "
      "Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("steps", TORCH_BOX(&steps));
  m.impl("ctc_arcs", TORCH_BOX(&ctc_arcs));
  m.impl("chain_score", TORCH_BOX(&chain_score));
  m.impl("chain_score_backward", TORCH_BOX(&chain_score_backward));
  m.impl("chain_best", TORCH_BOX(&chain_best));
}

}  // namespace gtnet
