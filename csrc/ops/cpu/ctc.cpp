// Operators on CTC topologies: their arcs, and the CTC loss and the best alignment in one call.
#include <optional>

#include "core/drivers.h"
#include "lattice/cpu/ctc_striped.h"
#include "lattice/cpu/ctc_viterbi.h"
#include "ops/cpu/lattice.h"
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

// [items + 1]: where what is known of each item begins, of(item) numbers each.
template <class Functor>
std::vector<int64_t> offsets(int64_t size, const Functor& of) {
  std::vector<int64_t> begin{0};
  for (int64_t b = 0; b < size; ++b) begin.push_back(begin[b] + of(b));
  return begin;
}

// Scores [batch, frames, labels] and targets, padded [batch, longest] or one after another.
class CtcBatch {
 public:
  CtcBatch(const Tensor& scores, const Tensor& lengths, const Tensor& targets,
           const Tensor& target_lengths, int64_t blank)
      : scores_(scores), blank_(static_cast<int32_t>(blank)) {
    const int64_t num_labels = scores.size(2);
    const bool is_padded = targets.dim() == 2;
    const int64_t width = is_padded ? targets.size(1) : 0;
    if (blank < 0 || blank >= num_labels) return;
    if (!are_lengths(lengths, size(), scores.size(1))) return;
    if (is_padded && targets.size(0) != size()) return;
    if (!are_lengths(target_lengths, size(), is_padded ? width : targets.numel())) return;
    STD_TORCH_CHECK(num_labels <= 1 || scores.stride(2) == 1,
                    "gtnet: the labels of a frame must be contiguous");
    frames_ = input<int64_t>(lengths);
    length_ = input<int64_t>(target_lengths);
    targets_.emplace(input<int64_t>(targets), targets.numel(), width, length_, size(), num_labels,
                     blank);
    begin_ = offsets(size(), [&](int64_t b) { return length_[b]; });
  }

  // Whether lengths and labels are what they should be.
  bool valid() const { return targets_ && targets_->valid; }
  int64_t size() const { return scores_.size(0); }
  int64_t frames(int64_t b) const { return frames_[b]; }
  int64_t length(int64_t b) const { return length_[b]; }
  int64_t work() const {
    int64_t positions = 0;
    for (int64_t b = 0; b < size(); ++b) positions += frames_[b] * (2 * length_[b] + 1);
    return positions;
  }

  template <class Score>
  lattice::CtcItem<Score> item(int64_t b) const {
    return {targets_->labels.data() + begin_[b],
            static_cast<int32_t>(length_[b]),
            blank_,
            frames_[b],
            static_cast<const Score*>(scores_.const_data_ptr()) + b * scores_.stride(0),
            scores_.stride(1),
            scores_.size(2)};
  }

 private:
  const Tensor& scores_;
  const int32_t blank_;
  const int64_t *frames_ = nullptr, *length_ = nullptr;
  std::optional<rewrite::CtcTargets> targets_;
  std::vector<int64_t> begin_;
};

// What is wanted of one item besides its loss: how probable the label of each column is in every
// frame, unless that is null, and which labels these are.
template <class Score>
struct CtcShares {
  Score* shares;  // [frames, width]
  int32_t* columns;
  int64_t width;

  void label(const std::vector<int32_t>& labels, int32_t blank) const {
    std::fill(std::copy(labels.begin(), labels.end(), columns), columns + width, blank);
  }
};

// The loss of one item in arithmetic T.
template <class T, class Score>
lattice::LatticeScore lose(const lattice::CtcItem<Score>& item, const CtcShares<Score>& wanted) {
  lattice::CtcPass<T, Score> pass(item, wanted.shares != nullptr);
  lattice::LatticeScore result = pass.forward();
  wanted.label(pass.columns(item), item.blank);
  if (wanted.shares != nullptr) {
    result.fits = result.fits && pass.backward(wanted.shares, wanted.width);
  }
  return result;
}

// The same by the way that takes least time.
lattice::LatticeScore lose_fast(const lattice::CtcItem<float>& item,
                                const CtcShares<float>& wanted) {
  lattice::CtcStriped pass(item, wanted.shares != nullptr);
  lattice::LatticeScore result = pass.forward();
  wanted.label(pass.columns(), item.blank);
  if (wanted.shares != nullptr) result.fits = result.fits && pass.backward(wanted.shares);
  if (result.fits || !result.valid) return result;
  count(Driver::kCtcAgain);
  result = lose<float>(item, wanted);
  if (result.fits || !result.valid) return result;
  count(Driver::kDouble);
  return lose<double>(item, wanted);
}

lattice::LatticeScore lose_fast(const lattice::CtcItem<double>& item,
                                const CtcShares<double>& wanted) {
  return lose<double>(item, wanted);
}

// Minus the forward scores of emissions and the topologies of targets; to `keep` for the gradient,
// how probable the labels of each target and the blank are in each frame, and which these are.
// Everything of an item is done while its alphas are in the cache. Nothing where lengths, labels or
// scores are not what they should be: the caller knows how to go on.
Tensors ctc_loss(Tensor scores, Tensor lengths, Tensor targets, Tensor target_lengths,
                 int64_t blank, bool keep) {
  const CtcBatch batch(scores, lengths, targets, target_lengths, blank);
  if (!batch.valid()) return {};
  const int64_t size = batch.size();
  const auto width = [&](int64_t b) { return lattice::CtcStriped::width(batch.length(b)); };
  const std::vector<int64_t> columns_at = offsets(size, width),
                             kept = offsets(size, [&](int64_t b) {
                               return keep ? batch.frames(b) * width(b) : 0;
                             });
  return with_scores(scores, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    Tensor loss = empty<Score>(scores, size), shares = empty<Score>(scores, kept[size]),
           columns = empty<int32_t>(lengths, columns_at[size]),
           column_offsets = empty<int64_t>(lengths, size + 1);
    expect_writes(shares, shares.numel() * static_cast<int64_t>(sizeof(Score)));
    Score *const losses = output<Score>(loss), *const of_labels = output<Score>(shares);
    int32_t* const column = output<int32_t>(columns);
    std::copy(columns_at.begin(), columns_at.end(), output<int64_t>(column_offsets));
    std::vector<char> fits(size);
    for_each_graph(size, batch.work(), [&](int64_t b) {
      const lattice::LatticeScore result = lose_fast(
          batch.item<Score>(b), {keep ? of_labels + kept[b] : nullptr, column + columns_at[b],
                                 columns_at[b + 1] - columns_at[b]});
      losses[b] = static_cast<Score>(-result.score);
      fits[b] = result.fits && result.valid;
    });
    if (!std::all_of(fits.begin(), fits.end(), [](char fit) { return fit; })) return {};
    count(Driver::kFusedCtc, size);
    return {loss, shares, columns, column_offsets};
  });
}

Tensor ctc_loss_backward(Tensor grad_loss, Tensor shares, Tensor scores, Tensor lengths,
                         Tensor columns, Tensor column_offsets) {
  Tensor grad_scores = torch::stable::empty_like(scores);
  with_scores(scores, [&](auto zero) {
    using Score = decltype(zero);
    const int64_t size = scores.size(0), num_rows = scores.size(1), num_labels = scores.size(2);
    const int64_t item_stride = grad_scores.stride(0), row_stride = grad_scores.stride(1);
    const int64_t *const frames = input<int64_t>(lengths), *const begin =
                                                               input<int64_t>(column_offsets);
    const std::vector<int64_t> kept =
        offsets(size, [&](int64_t b) { return frames[b] * (begin[b + 1] - begin[b]); });
    const Score *const grads = input<Score>(grad_loss), *const of_labels = input<Score>(shares);
    Score* const rows = output<Score>(grad_scores);
    expect_writes(grad_scores, grad_scores.numel() * static_cast<int64_t>(sizeof(Score)));
    for_each_graph(size, size * num_rows * num_labels / layout::kLanes, [&](int64_t b) {
      const int32_t* const column = input<int32_t>(columns) + begin[b];
      const int64_t count = begin[b + 1] - begin[b];
      const Score *share = of_labels + kept[b], grad = grads[b];
      Score* row = rows + b * item_stride;
      for (int64_t t = 0; t < num_rows; ++t, row += row_stride) {
        poll(num_labels);
        std::fill_n(row, num_labels, Score{0});
        if (t >= frames[b]) continue;
        for (int64_t i = 0; i < count; ++i) row[column[i]] -= grad * share[i];
        share += count;
      }
    });
    return 0;
  });
  return grad_scores;
}

// The best alignment of each item: the state of every frame [batch, frames], 2i for the blank
// before label i and 2i + 1 for that label; -1 behind the last frame, and everywhere where there is
// no alignment.
Tensor ctc_align(Tensor scores, Tensor lengths, Tensor targets, Tensor target_lengths,
                 int64_t blank) {
  const CtcBatch batch(scores, lengths, targets, target_lengths, blank);
  STD_TORCH_CHECK(batch.valid(), "gtnet: lengths or labels are not those of the scores");
  const int64_t num_rows = scores.size(1);
  Tensor states = empty<int32_t>(lengths, batch.size() * num_rows);
  with_scores(scores, [&](auto zero) {
    using Score = decltype(zero);
    for_each_graph(batch.size(), batch.work(), [&](int64_t b) {
      int32_t* const state = output<int32_t>(states) + b * num_rows;
      const lattice::CtcItem<Score> item = batch.item<Score>(b);
      const int64_t found = lattice::CtcViterbi<Score>(item).path(state) ? item.frames : 0;
      std::fill(state + found, state + num_rows, kNone);
    });
    return 0;
  });
  return states;
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
      "ctc_loss_backward(Tensor grad_loss, Tensor shares, Tensor scores, Tensor lengths, "
      "Tensor columns, Tensor column_offsets) -> Tensor");
  m.def(
      "ctc_align(Tensor scores, Tensor lengths, Tensor targets, Tensor target_lengths, int blank) "
      "-> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("ctc_arcs", GTNET_BOX("ctc_arcs", &ctc_arcs));
  m.impl("ctc_loss", GTNET_BOX("ctc_loss", &ctc_loss));
  m.impl("ctc_loss_backward", GTNET_BOX("ctc_loss_backward", &ctc_loss_backward));
  m.impl("ctc_align", GTNET_BOX("forced_align", &ctc_align));
}

}  // namespace gtnet::ops
