// How often each driver was taken since the library was loaded.
#include "core/drivers.h"

#include "ops/tensors.h"

namespace gtnet::ops {
namespace {

Tensor drivers(const Tensor& like) {
  constexpr int kCount = static_cast<int>(Driver::kCount);
  Tensor counts = empty<int64_t>(like, kCount);
  for (int k = 0; k < kCount; ++k) {
    output<int64_t>(counts)[k] = driver_counts[k].load(std::memory_order_relaxed);
  }
  return counts;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def("drivers(Tensor like) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("drivers", GTNET_BOX("drivers", &drivers));
}

}  // namespace gtnet::ops
