// Packed graphs (core/packed_graph.h) as tensors.
#pragma once

#include "core/packed_graph.h"
#include "ops/tensors.h"

namespace gtnet::ops {

struct PackedInput : PackedGraph {
  using Parts = PackedParts<const int32_t, const float>;

  const int32_t* words;

  explicit PackedInput(const Tensor& tensor) : words(input<int32_t>(tensor)) {
    STD_TORCH_CHECK(read(words, tensor.numel(), *this), "gtnet: these words are no packed graph");
  }
  Parts parts() const { return {*this, words}; }
  const float* weights(const Tensor& tensor) const {
    STD_TORCH_CHECK(tensor.numel() == num_arcs, "gtnet: a weight for each arc is needed");
    return input<float>(tensor);
  }
};

// A new packed graph, to be filled.
inline Tensor empty_words(const Tensor& like, const PackedGraph& graph) {
  Tensor words = empty<int32_t>(like, graph.size());
  graph.write_header(output<int32_t>(words));
  return words;
}

struct PackedOutput : PackedParts<int32_t, float> {
  PackedOutput(const Tensor& words, const PackedGraph& graph)
      : PackedParts(graph, output<int32_t>(words)) {}
};

}  // namespace gtnet::ops
