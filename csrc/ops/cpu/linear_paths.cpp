// Paths found in lattices, as a batch of linear graphs.
#include "ops/cpu/executor.h"
#include "ops/tensors.h"

namespace gtnet::ops {
namespace {

// Paths as the operators on lattices give them: `counts` of them for each item, path i with arcs
// and rows [offsets[i], offsets[i + 1]). `first_rows` number the rows of emissions through the
// batch, or are none where all items share one.
//
// Gives offsets of states, source, target, labels (those written empty for acceptors), and for each
// arc that of the emissions that it reads, -1 for an epsilon; weights, and start and accept scores.
// Last, for gradients, where in `scores` each weight was read, -1 for nowhere, and the states whose
// start and accept scores were taken, as many as there are for -inf; empty unless learning.
std::vector<Tensor> lattice_path_graphs(const Tensor& counts, const Tensor& offsets,
                                        const Tensor& arcs, const Tensor& rows, const Tensor& first,
                                        const Tensor& last, const Tensor& scores,
                                        const std::optional<Tensor>& first_rows,
                                        const Tensor& weights, const Tensor& start,
                                        const Tensor& accept, const Tensor& ilabels,
                                        const std::optional<Tensor>& olabels, bool learning) {
  const int64_t num_items = counts.numel(), num_paths = first.numel(), num_arcs = arcs.numel();
  const int64_t *const count = input<int64_t>(counts), *const arc = input<int64_t>(offsets);
  const int32_t *const begin = input<int32_t>(first), *const end = input<int32_t>(last);
  Tensor state_offsets = empty<int64_t>(offsets, num_paths + 1);
  int64_t* const state = output<int64_t>(state_offsets);
  state[0] = 0;
  for (int64_t i = 0; i < num_paths; ++i) {
    state[i + 1] = state[i] + arc[i + 1] - arc[i] + (begin[i] == kNone ? 0 : 1);
  }
  const int64_t num_states = state[num_paths];
  std::vector<Tensor> made{state_offsets};
  const auto add = [&](int64_t size) -> int32_t* {
    made.push_back(empty<int32_t>(arcs, size));
    return output<int32_t>(made.back());
  };
  int32_t *const source = add(num_arcs), *const target = add(num_arcs),
                 *const reads = add(num_arcs), *const writes = add(olabels ? num_arcs : 0),
                 *const read = add(num_arcs);
  for (const int64_t size : {num_arcs, num_states, num_states}) {
    with_scores(weights, [&](auto zero) { made.push_back(empty<decltype(zero)>(weights, size)); });
  }
  int32_t *const places = add(learning ? num_arcs : 0),
                 *const starts = add(learning ? num_states : 0),
                 *const accepts = add(learning ? num_states : 0);
  const bool is_chain = scores.dim() == 3;
  const int64_t num_labels = scores.size(is_chain ? 2 : 1), height = is_chain ? scores.size(1) : 0;
  const int64_t item_stride = is_chain ? scores.stride(0) : 0,
                row_stride = scores.stride(is_chain ? 1 : 0);
  const int32_t *const taken = input<int32_t>(arcs), *const row = input<int32_t>(rows),
                       *const label = input<int32_t>(ilabels),
                       *const written = olabels ? input<int32_t>(*olabels) : nullptr;
  const int64_t* const first_row = first_rows ? input<int64_t>(*first_rows) : nullptr;
  const auto none = static_cast<int32_t>(start.numel());
  with_scores(weights, [&](auto zero) {
    using T = decltype(zero);
    const T *const weight = input<T>(weights), *const begins = input<T>(start),
                   *const ends = input<T>(accept),
                   *const score = static_cast<const T*>(scores.const_data_ptr());
    T *const path_weight = output<T>(made[6]), *const path_start = output<T>(made[7]),
             *const path_accept = output<T>(made[8]);
    std::fill_n(path_start, num_states, static_cast<T>(kNegInf));
    std::fill_n(path_accept, num_states, static_cast<T>(kNegInf));
    std::fill_n(starts, learning ? num_states : 0, none);
    std::fill_n(accepts, learning ? num_states : 0, none);
    for (int64_t item = 0, i = 0; item < num_items; ++item) {
      const int64_t numbered = first_row ? first_row[item] : 0,
                    stored = is_chain ? item * height : numbered;
      const T* const own = score + (is_chain ? item * item_stride : numbered * row_stride);
      for (const int64_t all = i + count[item]; i < all; ++i) {
        for (int64_t k = arc[i]; k < arc[i + 1]; ++k) {
          const int32_t a = taken[k], reading = label[a];
          source[k] = static_cast<int32_t>(k - arc[i]);
          target[k] = source[k] + 1;
          reads[k] = reading;
          if (written) writes[k] = written[a];
          const bool known = row[k] >= 0 && reading < num_labels;
          path_weight[k] = known ? weight[a] + own[row[k] * row_stride + reading] : weight[a];
          read[k] =
              row[k] < 0 ? kNone : static_cast<int32_t>((numbered + row[k]) * num_labels + reading);
          if (learning) {
            places[k] =
                known ? static_cast<int32_t>((stored + row[k]) * num_labels + reading) : kNone;
          }
        }
        if (begin[i] == kNone) continue;
        const int64_t head = state[i], tail = state[i + 1] - 1;
        path_start[head] = begins[begin[i]];
        path_accept[tail] = ends[end[i]];
        if (learning) starts[head] = begin[i], accepts[tail] = end[i];
      }
    }
  });
  return made;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "lattice_path_graphs(Tensor counts, Tensor offsets, Tensor arcs, Tensor rows, Tensor first, "
      "Tensor last, Tensor scores, Tensor? first_rows, Tensor weights, Tensor start, "
      "Tensor accept, Tensor ilabels, Tensor? olabels, bool learning) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("lattice_path_graphs", GTNET_BOX("lattice_path_graphs", &lattice_path_graphs));
}

}  // namespace gtnet::ops
