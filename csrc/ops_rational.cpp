// torch.ops.gtnet.rational: union, concatenation and closure of batches.
#include "executor_cpu.h"
#include "ops.h"
#include "rational.h"

namespace gtnet {
namespace {

using Tensors = std::vector<Tensor>;

std::vector<Part> parts_of(const Tensors& state_offsets, const Tensors& arc_offsets,
                           const Tensors& source, const Tensors& target, const Tensors& ilabels,
                           const Tensors& olabels, const Tensors& is_start,
                           const Tensors& is_accept) {
  std::vector<Part> parts;
  int64_t states = 0, arcs = 0;
  for (size_t k = 0; k < state_offsets.size(); ++k) {
    parts.push_back({graphs(state_offsets[k]), input<int64_t>(state_offsets[k]),
                     input<int64_t>(arc_offsets[k]), input<int32_t>(source[k]),
                     input<int32_t>(target[k]), input<int32_t>(ilabels[k]),
                     olabels.empty() ? nullptr : input<int32_t>(olabels[k]),
                     input<bool>(is_start[k]), input<bool>(is_accept[k]), states, arcs});
    states += is_start[k].numel();
    arcs += source[k].numel();
  }
  return parts;
}

// Results: state_offsets, arc_offsets, source, target, ilabels, olabels (empty for acceptors), arc,
// left, entered, start, accept, then the arc maps and the state maps of the operands. Where they
// would not be counted in 32 bits, only the offsets are filled.
Tensors rational(Tensors state_offsets, Tensors arc_offsets, Tensors source, Tensors target,
                 Tensors ilabels, Tensors olabels, Tensors is_start, Tensors is_accept,
                 int64_t num_graphs, int64_t kind) {
  const std::vector<Part> parts =
      parts_of(state_offsets, arc_offsets, source, target, ilabels, olabels, is_start, is_accept);
  const Arrangement arrangement(parts, static_cast<Rational>(kind));
  const Tensor& like = source[0];
  Tensors results{empty<int64_t>(like, num_graphs + 1), empty<int64_t>(like, num_graphs + 1)};
  int64_t* const states = output<int64_t>(results[0]);
  int64_t* const arcs = output<int64_t>(results[1]);
  states[0] = arcs[0] = 0;
  for (int64_t g = 0; g < num_graphs; ++g) {
    states[g + 1] = states[g] + arrangement.num_states(g);
    arcs[g + 1] = arcs[g] + arrangement.num_arcs(g);
  }
  const bool fits = std::max(states[num_graphs], arcs[num_graphs]) <= INT32_MAX;
  const int64_t num_states = fits ? states[num_graphs] : 0;
  const int64_t num_arcs = fits ? arcs[num_graphs] : 0;
  const auto add = [&](int64_t size) {
    results.push_back(empty<int32_t>(like, size));
    return output<int32_t>(results.back());
  };
  const auto add_map = [&](int64_t size) {
    int32_t* const map = add(size);
    std::fill_n(map, size, kNone);
    return map;
  };
  Arranged all{};
  for (int32_t** column : {&all.source, &all.target, &all.ilabels}) *column = add(num_arcs);
  int32_t* const written = add(olabels.empty() ? 0 : num_arcs);
  all.olabels = olabels.empty() ? nullptr : written;
  for (int32_t** column : {&all.arc, &all.left, &all.entered}) *column = add(num_arcs);
  for (int32_t** column : {&all.start, &all.accept}) *column = add(num_states);
  for (size_t k = 0; k < parts.size(); ++k) all.arc_maps.push_back(add_map(num_arcs));
  for (size_t k = 0; k < parts.size(); ++k) all.state_maps.push_back(add_map(num_states));
  if (!fits) return results;
  for_each_graph(num_graphs, num_states + num_arcs, [&](int64_t g) {
    Arranged one = all;
    for (int32_t** column :
         {&one.source, &one.target, &one.ilabels, &one.arc, &one.left, &one.entered}) {
      *column += arcs[g];
    }
    if (one.olabels) one.olabels += arcs[g];
    one.start += states[g];
    one.accept += states[g];
    for (int32_t*& map : one.arc_maps) map += arcs[g];
    for (int32_t*& map : one.state_maps) map += states[g];
    arrangement.write(g, one);
  });
  return results;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "rational(Tensor[] state_offsets, Tensor[] arc_offsets, Tensor[] source, Tensor[] target, "
      "Tensor[] ilabels, Tensor[] olabels, Tensor[] is_start, Tensor[] is_accept, "
      "int num_graphs, int kind) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("rational", TORCH_BOX(&rational));
}

}  // namespace gtnet
