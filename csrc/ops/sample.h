// What drawing paths at random takes on every device: running sums of chances, and the paths.
#pragma once

#include "ops/tensors.h"
#include "paths/sample.h"

namespace gtnet::ops {

struct Sampling {
  Csr leaving;
  In<int64_t> state_offsets, seeds;
  In<double> to_end;
  Tensor starts, stops, sums;

  Sampling(const Tensor& to_end, const Tensor& state_offsets, const Tensor& offsets,
           const Tensor& arcs, const Tensor& states, const Tensor& seeds, int64_t each)
      : leaving(csr_of(offsets, arcs, states)),
        state_offsets(input<int64_t>(state_offsets)),
        seeds(input<int64_t>(seeds)),
        to_end(input<double>(to_end)),
        starts(empty<double>(to_end, to_end.numel())),
        stops(empty<double>(to_end, to_end.numel())),
        sums(empty<double>(to_end, arcs.numel())) {
    STD_TORCH_CHECK(seeds.numel() == graphs(state_offsets) * each,
                    "gtnet: sample needs a seed per path");
  }

  template <class T>
  paths::StartChances<T> starting(const Tensor& start) const {
    return {state_offsets, input<T>(start), to_end, output<double>(starts)};
  }

  template <class T>
  paths::StepChances<T> going_on(const Tensor& weights, const Tensor& accept) const {
    return {leaving, input<T>(weights),     input<T>(accept),
            to_end,  output<double>(stops), output<double>(sums)};
  }

  paths::SampledPaths paths(int64_t each, int64_t max_length) const {
    return {leaving,
            state_offsets,
            seeds,
            input<double>(starts),
            input<double>(stops),
            input<double>(sums),
            each,
            max_length};
  }
};

}  // namespace gtnet::ops
