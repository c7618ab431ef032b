// Operators of transducer losses on a device of blocks. Nothing waits: scores of an item that are
// no numbers give NaN.
#pragma once

#include <vector>

#include "lattice/gpu/transducer_grid.h"
#include "lattice/gpu/transducer_steps.h"
#include "ops/gpu/device.h"

namespace gtnet::ops {
namespace {

template <class Score>
lattice::OutputGrid<Score> output_grid(const Tensor& outputs, const Tensor& labels,
                                       const Tensor& frames, int64_t blank) {
  return {outputs.size(0) * outputs.size(1) * outputs.size(2),
          outputs.size(1),
          outputs.size(2),
          outputs.size(3),
          blank,
          labels.size(1),
          view<Score>(outputs),
          view<int32_t>(labels),
          view<int64_t>(frames)};
}

template <class Kernel>
void by_rows(const Tensor& like, const Kernel& kernel) {
  launch(like.get_device_index(), (kernel.grid.rows + Kernel::kRows - 1) / Kernel::kRows,
         Kernel::kThreads, 0, kernel);
}

std::vector<Tensor> transducer_steps(Tensor outputs, Tensor labels, Tensor frames, int64_t blank,
                                     bool normalize) {
  return with_scores(outputs, [&](auto zero) -> std::vector<Tensor> {
    using Score = decltype(zero);
    const auto grid = output_grid<Score>(outputs, labels, frames, blank);
    const Tensor blanks = empty<Score>(outputs, grid.rows), next = empty<Score>(outputs, grid.rows),
                 norms = empty<Score>(outputs, normalize ? grid.rows : 0);
    by_rows(outputs,
            lattice::ReadSteps<Score>{{},
                                      grid,
                                      writable<Score>(blanks),
                                      writable<Score>(next),
                                      normalize ? writable<Score>(norms) : Span<Score>{nullptr}});
    return {blanks, next, norms};
  });
}

Tensor transducer_steps_backward(Tensor grad_blank, Tensor grad_label, Tensor outputs, Tensor norms,
                                 Tensor labels, Tensor frames, int64_t blank, bool normalize) {
  Tensor grads = torch::stable::empty_like(outputs);
  with_scores(outputs, [&](auto zero) {
    using Score = decltype(zero);
    by_rows(outputs,
            lattice::SpreadSteps<Score>{{},
                                        output_grid<Score>(outputs, labels, frames, blank),
                                        view<Score>(grad_blank),
                                        view<Score>(grad_label),
                                        normalize ? view<Score>(norms) : Span<const Score>{nullptr},
                                        writable<Score>(grads)});
    return 0;
  });
  return grads;
}

std::tuple<Tensor, Tensor, Tensor> transducer_score(Tensor blank, Tensor label, Tensor frames,
                                                    Tensor lengths, int64_t skew, bool keep) {
  return with_scores(blank, [&](auto zero) -> std::tuple<Tensor, Tensor, Tensor> {
    using Score = decltype(zero);
    using Kernel = lattice::TransducerSums<Score>;
    const int64_t batch = blank.size(0), most = blank.size(1), width = blank.size(2);
    const int64_t rows = Kernel::most_rows(most, width, skew) + 1;
    const Tensor score = empty<double>(blank, batch),
                 alpha = empty<double>(blank, batch * rows * width),
                 turns = empty<double>(blank, keep ? batch * 2 * (width + 1) : 0),
                 blanks = zeros<Score>(blank, keep ? blank.numel() : 0),
                 labels = zeros<Score>(blank, keep ? blank.numel() : 0);
    const auto asked = [&](const Tensor& tensor) {
      return keep ? writable<Score>(tensor) : Span<Score>{nullptr};
    };
    by_graph(
        blank.get_device_index(),
        Kernel{batch, most, width, skew, view<Score>(blank), view<Score>(label),
               view<int64_t>(frames), view<int64_t>(lengths), writable<double>(alpha),
               writable<double>(turns), writable<double>(score), asked(blanks), asked(labels)});
    return {score, blanks, labels};
  });
}

void register_transducers(torch::stable::detail::StableLibrary& m) {
  m.impl("transducer_steps", TORCH_BOX(&transducer_steps));
  m.impl("transducer_steps_backward", TORCH_BOX(&transducer_steps_backward));
  m.impl("transducer_score", TORCH_BOX(&transducer_score));
}

}  // namespace
}  // namespace gtnet::ops
