// Operators that make new topologies on a device of blocks.
#pragma once

#include "ops/gpu/device.h"
#include "ops/rational.h"
#include "rewrite/gpu/rational.h"

namespace gtnet::ops {
namespace {

std::tuple<Tensor, Tensor> rational_sections(const Tensor& graph_of, const Tensor& state_offsets,
                                             const Tensor& arc_offsets, const Tensor& exits,
                                             const Tensor& entries, int64_t num_parts,
                                             int64_t kind) {
  const rewrite::Arrangement all =
      arrangement_of(graph_of, state_offsets, arc_offsets, exits, entries, num_parts, kind);
  const int64_t sections = num_sections(all, graph_of);
  Tensor state_begin = empty<int64_t>(graph_of, sections + 1),
         arc_begin = empty<int64_t>(graph_of, sections + 1);
  launch(graph_of.get_device_index(), 1, rewrite::SectionBegins::kThreads,
         rewrite::SectionBegins::kBytes,
         rewrite::SectionBegins{all, sections, output<int64_t>(state_begin),
                                output<int64_t>(arc_begin)});
  return {state_begin, arc_begin};
}

std::vector<Tensor> rational(const Tensor& graph_of, const Tensor& state_offsets,
                             const Tensor& arc_offsets, const Tensor& exits, const Tensor& entries,
                             int64_t num_parts, int64_t kind, const Tensor& state_begin,
                             const Tensor& arc_begin, const Tensor& source, const Tensor& target,
                             const Tensor& ilabels, const std::optional<Tensor>& olabels,
                             int64_t operand_states, int64_t num_states, int64_t num_arcs) {
  const rewrite::Arrangement all =
      arrangement_of(graph_of, state_offsets, arc_offsets, exits, entries, num_parts, kind);
  const Arranged made(all, state_begin, arc_begin, source, target, ilabels, olabels, operand_states,
                      num_states, num_arcs);
  const int32_t device = source.get_device_index();
  const int64_t sections = num_sections(all, graph_of);
  for_each(
      device, num_arcs,
      rewrite::BySection<rewrite::ArrangedArc>{made.arcs, input<int64_t>(arc_begin), sections});
  for_each(device, num_states,
           rewrite::BySection<rewrite::ArrangedState>{made.states, input<int64_t>(state_begin),
                                                      sections});
  return made.results;
}

void register_rewrites(torch::stable::detail::StableLibrary& m) {
  m.impl("rational_sections", TORCH_BOX(&rational_sections));
  m.impl("rational", TORCH_BOX(&rational));
}

}  // namespace
}  // namespace gtnet::ops
