// Work of uneven size shared out evenly over a block: the arcs of some states, say.
#pragma once

#include "core/span.h"

namespace gtnet::block {

// The last of the ascending begin[0] = 0, ... begin[count - 1] that is not above `at`.
template <class T>
GTNET_HD GTNET_INLINE int64_t owner_of(Span<T> begin, int64_t count, int64_t at) {
  int64_t low = 0, high = count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (begin[middle] <= at) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// What spread() works in: `kMost` things at once.
template <int kMost>
struct Spread {
  static constexpr int64_t kBytes = (kMost + kWarp) * sizeof(int64_t) + 32;
  Span<int64_t> begin, parts;

  template <class Block>
  GTNET_KERNEL static Spread in(Block& block) {
    return {block.template shared<int64_t>(kMost), block.template shared<int64_t>(kWarp)};
  }

  // body(i, j) for 0 <= i < count and 0 <= j < size(i), one thread each; synchronizes.
  template <class Block, class Size, class Body>
  GTNET_KERNEL void operator()(Block& block, int64_t count, const Size& size,
                               const Body& body) const {
    const Span<int64_t> begins = begin;
    for (int64_t first = 0; first < count; first += kMost) {
      const int64_t here = count - first < kMost ? count - first : kMost;
      const int64_t total = block.prefix_sums(
          here, parts, [=](int64_t i) { return static_cast<int64_t>(size(first + i)); },
          [=](int64_t i, int64_t before) { begins[i] = before; });
      block.each(total, [=](int64_t k) {
        const int64_t i = owner_of(begins, here, k);
        body(first + i, k - begins[i]);
      });
      block.sync();
    }
  }
};

}  // namespace gtnet::block
