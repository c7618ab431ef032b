// Operators of transducer losses: the scores that alignments read, and the sums over alignments.
#include "lattice/cpu/transducer_grid.h"
#include "lattice/cpu/transducer_steps.h"
#include "ops/cpu/lattice.h"

namespace gtnet::ops {
namespace {

// Outputs [batch, frames, places, labels] of a network; the label of each place [batch, 1 or
// frames, places]; the frames of each item.
template <class Score>
class Outputs {
 public:
  Outputs(const Tensor& outputs, const Tensor& labels, const Tensor& frames, int64_t blank)
      : batch_(outputs.size(0)),
        frames_(outputs.size(1)),
        places_(outputs.size(2)),
        size_(outputs.size(3)),
        blank_(blank),
        rows_(labels.size(1)),
        label_(input<int32_t>(labels)),
        read_(input<int64_t>(frames)),
        none_(places_, lattice::kUnread) {}

  int64_t places() const { return batch_ * frames_ * places_; }

  // body(rows of a frame, its first place, its first score) for all frames.
  template <class Body>
  void for_each_frame(const Body& body) const {
    const int64_t scores = places() * size_;
    for_each_graph(batch_ * frames_, scores / 8, [&](int64_t at) {
      const int64_t item = at / frames_, t = at % frames_, row = rows_ == 1 ? 0 : t;
      const int32_t* const label =
          t < read_[item] ? label_ + (item * rows_ + row) * places_ : none_.data();
      poll(places_ * size_);
      body(lattice::OutputRows<Score>{places_, size_, blank_, label}, at * places_,
           at * places_ * size_);
    });
  }

 private:
  const int64_t batch_, frames_, places_, size_, blank_, rows_;
  const int32_t* const label_;
  const int64_t* const read_;
  const std::vector<int32_t> none_;
};

// The scores of the blank and of the next label at each place, and the logs of the rows' sums;
// nothing where outputs that are read are NaN or +inf, or all -inf.
Tensors transducer_steps(Tensor outputs, Tensor labels, Tensor frames, int64_t blank,
                         bool normalize) {
  return with_scores(outputs, [&](auto zero) -> Tensors {
    using Score = decltype(zero);
    const Outputs<Score> all(outputs, labels, frames, blank);
    Tensor blanks = empty<Score>(outputs, all.places()), next = empty<Score>(outputs, all.places()),
           norms = empty<Score>(outputs, normalize ? all.places() : 0);
    const Score* const from = input<Score>(outputs);
    Score *const to_blank = output<Score>(blanks), *const to_next = output<Score>(next),
                 *const to_norm = output<Score>(norms);
    std::atomic<bool> all_valid{true};
    all.for_each_frame([&](const lattice::OutputRows<Score>& rows, int64_t place, int64_t score) {
      bool valid = true;
      vectorized(lattice::ReadSteps<Score>{rows, from + score, to_blank + place, to_next + place,
                                           normalize ? to_norm + place : nullptr, valid});
      if (!valid) all_valid = false;
    });
    if (!all_valid) return {};
    return {blanks, next, norms};
  });
}

Tensor transducer_steps_backward(Tensor grad_blank, Tensor grad_label, Tensor outputs, Tensor norms,
                                 Tensor labels, Tensor frames, int64_t blank, bool normalize) {
  Tensor grads = torch::stable::empty_like(outputs);
  with_scores(outputs, [&](auto zero) {
    using Score = decltype(zero);
    const Outputs<Score> all(outputs, labels, frames, blank);
    const Score *const from = input<Score>(outputs), *const blanks = input<Score>(grad_blank),
                       *const next = input<Score>(grad_label), *const norm = input<Score>(norms);
    Score* const to = output<Score>(grads);
    expect_writes(grads, grads.numel() * static_cast<int64_t>(sizeof(Score)));
    all.for_each_frame([&](const lattice::OutputRows<Score>& rows, int64_t place, int64_t score) {
      vectorized(lattice::SpreadSteps<Score>{rows, from + score, blanks + place, next + place,
                                             normalize ? norm + place : nullptr, to + score});
    });
    return 0;
  });
  return grads;
}

// The log of the sum over the alignments of each item, float64, and to `keep` how probable each
// step is; NaN for an item whose scores are NaN, +inf or too large.
std::tuple<Tensor, Tensor, Tensor> transducer_score(Tensor blank, Tensor label, Tensor frames,
                                                    Tensor lengths, int64_t skew, bool keep) {
  return with_scores(blank, [&](auto zero) -> std::tuple<Tensor, Tensor, Tensor> {
    using Score = decltype(zero);
    const int64_t batch = blank.size(0), most = blank.size(1), width = blank.size(2);
    Tensor score = empty<double>(blank, batch),
           blanks = empty<Score>(blank, keep ? blank.numel() : 0),
           labels = empty<Score>(blank, keep ? blank.numel() : 0);
    const Score *const from_blank = input<Score>(blank), *const from_label = input<Score>(label);
    const int64_t *const read = input<int64_t>(frames), *const wrote = input<int64_t>(lengths);
    Score *const to_blank = output<Score>(blanks), *const to_label = output<Score>(labels);
    double* const scores = output<double>(score);
    for_each_graph(batch, blank.numel(), [&](int64_t b) {
      const int64_t at = b * most * width, rest = (most - read[b]) * width;
      lattice::TransducerGrid<Score> grid(
          {from_blank + at, from_label + at, {read[b], wrote[b], width, skew}});
      scores[b] = grid.score();
      if (!keep) return;
      grid.posteriors(to_blank + at, to_label + at);
      std::fill_n(to_blank + at + read[b] * width, rest, Score{0});
      std::fill_n(to_label + at + read[b] * width, rest, Score{0});
    });
    return {score, blanks, labels};
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "transducer_steps(Tensor outputs, Tensor labels, Tensor frames, int blank, bool normalize) "
      "-> Tensor[]");
  m.def(
      "transducer_steps_backward(Tensor grad_blank, Tensor grad_label, Tensor outputs, "
      "Tensor norms, Tensor labels, Tensor frames, int blank, bool normalize) -> Tensor");
  m.def(
      "transducer_score(Tensor blank, Tensor label, Tensor frames, Tensor lengths, int skew, "
      "bool keep) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("transducer_steps", GTNET_BOX("transducer_loss", &transducer_steps));
  m.impl("transducer_steps_backward", GTNET_BOX("transducer_loss", &transducer_steps_backward));
  m.impl("transducer_score", GTNET_BOX("transducer_loss", &transducer_score));
}

}  // namespace gtnet::ops
