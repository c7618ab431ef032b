// torch.ops.gtnet.best_answers
#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "ops/cpu/executor.h"
#include "ops/tensors.h"
#include "paths/cpu/best_strings.h"

namespace gtnet::ops {
namespace {

// Whether a graph took too many prefixes; answers per graph; their lengths; their labels.
std::tuple<Tensor, Tensor, Tensor, Tensor> best_answers(const Tensor& weights, const Tensor& start,
                                                        const Tensor& accept, const Tensor& order,
                                                        const std::optional<Tensor>& rest,
                                                        const Tensor& state_offsets,
                                                        const Tensor& offsets, const Tensor& arcs,
                                                        const Tensor& states, const Tensor& labels,
                                                        int64_t count, int64_t max_prefixes) {
  const int64_t num_graphs = graphs(state_offsets);
  const int64_t* const state = input<int64_t>(state_offsets);
  std::vector<paths::Answers> found(num_graphs);
  if (count > 0) {
    for_each_graph(num_graphs, arcs.numel(), [&](int64_t g) {
      const paths::Lattice graph{
          csr_of(offsets, arcs, states),  input<int32_t>(labels),
          input<double>(weights),         input<double>(start),
          input<double>(accept),          input<int32_t>(order),
          static_cast<int32_t>(state[g]), static_cast<int32_t>(state[g + 1])};
      std::vector<double> own;
      if (!rest) own = paths::best_rest(graph);
      paths::BestAnswers(graph, rest ? input<double>(*rest) + state[g] : own.data())
          .run(count, max_prefixes, found[g]);
    });
  }
  int64_t num_answers = 0, num_labels = 0;
  for (const paths::Answers& answers : found) {
    num_answers += static_cast<int64_t>(answers.lengths.size());
    num_labels += static_cast<int64_t>(answers.labels.size());
  }
  Tensor too_many = empty<bool>(start, num_graphs), counts = empty<int64_t>(start, num_graphs);
  Tensor lengths = empty<int64_t>(start, num_answers), spelt = empty<int32_t>(start, num_labels);
  int64_t* length = output<int64_t>(lengths);
  int32_t* label = output<int32_t>(spelt);
  for (int64_t g = 0; g < num_graphs; ++g) {
    output<bool>(too_many)[g] = found[g].too_many;
    output<int64_t>(counts)[g] = static_cast<int64_t>(found[g].lengths.size());
    length = std::copy(found[g].lengths.begin(), found[g].lengths.end(), length);
    label = std::copy(found[g].labels.begin(), found[g].labels.end(), label);
  }
  return {too_many, counts, lengths, spelt};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "best_answers(Tensor weights, Tensor start, Tensor accept, Tensor order, Tensor? rest, "
      "Tensor state_offsets, Tensor offsets, Tensor arcs, Tensor states, Tensor labels, int count, "
      "int max_prefixes) -> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("best_answers", GTNET_BOX("best_answers", &best_answers));
}

}  // namespace gtnet::ops
