// Gradients through a chain of functions on packed graphs in one call: no node of a tape takes as
// long as a tensor takes to be made.
#include "ops/cpu/packed.h"
#include "rewrite/gather_scores.h"

namespace gtnet::ops {
namespace {

// How the gradient of a result becomes that of its inputs.
enum class Adjoint : int64_t {
  kMaps,    // the arcs that the maps of the packed result name: a map for each input, or one into
            // the arcs of all inputs end to end
  kScaled,  // the result has one arc: its gradient times a number for each arc of the input
  kSigned,  // arc by arc, under a sign for each input
};

// Gradients of graphs by their slots; a graph gets a tensor when its gradient is first added to.
class Gradients {
 public:
  Gradients(const Tensor& seed, int64_t slots) : like_(seed), grads_(slots) { grads_[0] = seed; }

  const float* of(int64_t slot) const { return input<float>(grads_[slot]); }
  int64_t size(int64_t slot) const { return grads_[slot].numel(); }

  // add(i) for every arc of a graph.
  template <class Add>
  void add(int64_t slot, int64_t size, const Add& add) {
    if (slot == kNone) return;
    Tensor& grad = grads_[slot];
    const bool first = !grad.defined();
    if (first) grad = empty<float>(like_, size);
    float* const to = output<float>(grad);
    for (int64_t i = 0; i < size; ++i) to[i] = first ? add(i) : to[i] + add(i);
  }

  std::vector<Tensor> others() const { return {grads_.begin() + 1, grads_.end()}; }

 private:
  const Tensor& like_;
  std::vector<Tensor> grads_;
};

struct Input {
  int64_t slot, size, sign;  // kNone for one whose gradient nobody wants
};

void add_by_maps(const Tensor& tensor, int64_t result, const std::vector<Input>& inputs,
                 Gradients& grads) {
  const PackedInput graph(tensor);
  STD_TORCH_CHECK(graph.num_arcs == grads.size(result), "gtnet: a gradient of another graph");
  const int32_t* const maps = graph.parts().maps;
  const bool apart = graph.num_maps == static_cast<int64_t>(inputs.size());
  int64_t all = 0;
  for (const Input& one : inputs) all += one.size;
  std::vector<double> sums;
  int64_t first = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (apart && inputs[i].slot == kNone) continue;
    if (apart || i == 0) {
      sums.assign(apart ? inputs[i].size : all, 0);
      rewrite::add_by(maps + (apart ? i * graph.num_arcs : 0), grads.of(result), graph.num_arcs,
                      sums.data());
    }
    const double* const own = sums.data() + (apart ? 0 : first);
    grads.add(inputs[i].slot, inputs[i].size,
              [&](int64_t k) { return static_cast<float>(own[k]); });
    first += inputs[i].size;
  }
}

// `plan` has for each step, results before what they were made of: an Adjoint, the place of its
// tensor, the slot of the result, how many inputs there are; and for each of them slot, size and
// sign. Slot 0 has the gradient `seed`; those of the others are returned.
std::vector<Tensor> backward(const std::vector<Tensor>& tensors, const Tensor& seed,
                             const std::vector<int64_t>& plan, int64_t slots) {
  Gradients grads(seed, slots);
  std::vector<Input> inputs;
  for (size_t at = 0; at < plan.size();) {
    const auto kind = static_cast<Adjoint>(plan[at]);
    const int64_t tensor = plan[at + 1], result = plan[at + 2], count = plan[at + 3];
    at += 4;
    inputs.clear();
    for (int64_t i = 0; i < count; ++i, at += 3) {
      inputs.push_back({plan[at], plan[at + 1], plan[at + 2]});
    }
    if (kind == Adjoint::kMaps) {
      add_by_maps(tensors[tensor], result, inputs, grads);
      continue;
    }
    const float* const grad = grads.of(result);
    for (const Input& one : inputs) {
      if (kind == Adjoint::kScaled) {
        const float* const scale = input<float>(tensors[tensor]);
        grads.add(one.slot, one.size, [&](int64_t i) { return grad[0] * scale[i]; });
      } else {
        const auto sign = static_cast<float>(one.sign);
        grads.add(one.slot, one.size, [&](int64_t i) { return sign * grad[i]; });
      }
    }
  }
  return grads.others();
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def("packed_backward(Tensor[] tensors, Tensor seed, int[] plan, int slots) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("packed_backward", GTNET_BOX("backward", &backward));
}

}  // namespace gtnet::ops
