// The operator that prepares graphs for emissions: their layout.
#include "ops/cpu/layouts.h"

namespace gtnet {
namespace {

std::tuple<Tensor, Tensor, Tensor> steps(const Tensor& state_offsets, const Tensor& arc_offsets,
                                         const Tensor& source, const Tensor& target,
                                         const Tensor& labels) {
  const LaidOut found = lay_out(source, input<int64_t>(state_offsets), input<int64_t>(arc_offsets),
                                graphs(state_offsets), input<int32_t>(source),
                                input<int32_t>(target), input<int32_t>(labels), [](int64_t) {});
  Tensor on_cycle = empty<int64_t>(state_offsets, graphs(state_offsets));
  std::copy(found.on_cycle.begin(), found.on_cycle.end(), output<int64_t>(on_cycle));
  return {found.words, found.offsets, on_cycle};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "steps(Tensor state_offsets, Tensor arc_offsets, Tensor source, Tensor target, "
      "Tensor labels) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("steps", TORCH_BOX(&steps));
}

}  // namespace gtnet
