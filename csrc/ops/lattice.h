// What every operator on lattices takes, on every device.
#pragma once

#include <type_traits>
#include <vector>

#include "ops/tensors.h"

namespace gtnet::ops {

using Tensors = std::vector<Tensor>;

// Emissions, chains [batch, frames, labels] or segmentations [segments, labels], and the graph, or
// graphs, that they meet. `cuts` are the lengths of chains; of segmentations what LatticeBatch
// (ops/cpu/lattice.h) or cut_grid (ops/gpu/segmentations.h) takes. `words` are a layout of the
// graphs, made by the device's operator, `word_offsets` what is known about it.
struct LatticeTensors {
  Tensor scores;
  Tensors cuts;
  Tensor words, word_offsets, state_offsets, arc_offsets, weights, start, accept;
};

// The same in a schema.
#define GTNET_LATTICE_SCHEMA                                          \
  "Tensor scores, Tensor[] cuts, Tensor words, Tensor word_offsets, " \
  "Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept"

// What a forward score leaves for its gradient: of items done alone their traces, of interleaved
// ones what their walks keep.
struct SavedForBackward {
  Tensor alpha_m, alpha_e, offset;
};

// nvcc tells specializations apart by the type of the function only, so that is a parameter too.
template <class Function, Function* Operator>
struct UnpackedFunction;

template <class... Rest, Tensors (*Operator)(const LatticeTensors&, Rest...)>
struct UnpackedFunction<Tensors(const LatticeTensors&, Rest...), Operator> {
  static Tensors call(Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                      Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                      Tensor accept, Rest... rest) {
    return Operator(
        {scores, cuts, words, word_offsets, state_offsets, arc_offsets, weights, start, accept},
        rest...);
  }
};

template <class... Rest, Tensors (*Operator)(const Tensor&, const SavedForBackward&,
                                             const LatticeTensors&, Rest...)>
struct UnpackedFunction<
    Tensors(const Tensor&, const SavedForBackward&, const LatticeTensors&, Rest...), Operator> {
  static Tensors call(Tensor grad_score, Tensor alpha_m, Tensor alpha_e, Tensor offset,
                      Tensor scores, Tensors cuts, Tensor words, Tensor word_offsets,
                      Tensor state_offsets, Tensor arc_offsets, Tensor weights, Tensor start,
                      Tensor accept, Rest... rest) {
    return Operator(
        grad_score, {alpha_m, alpha_e, offset},
        {scores, cuts, words, word_offsets, state_offsets, arc_offsets, weights, start, accept},
        rest...);
  }
};

// An operator as the dispatcher calls it, which knows no structs: TORCH_BOX(&Unpacked<&f>::call).
template <auto Operator>
using Unpacked = UnpackedFunction<std::remove_pointer_t<decltype(Operator)>, Operator>;

}  // namespace gtnet::ops
