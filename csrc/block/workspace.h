// Memory that a kernel shares out, array after array.
#pragma once

#include "core/span.h"

namespace gtnet::block {

// Arrays begin at multiples of sixteen bytes.
struct Workspace {
  Span<char> memory;
  int64_t used = 0;

  // What an array of so many values takes.
  template <class Value>
  GTNET_HD static int64_t bytes(int64_t count) {
    return (count * static_cast<int64_t>(sizeof(Value)) + 15) / 16 * 16;
  }

  // The next so many values.
  template <class Value>
  GTNET_HD Span<Value> take(int64_t count) {
    const int64_t begin = used, size = bytes<Value>(count);
    used += size;
    return {reinterpret_cast<Value*>(memory.part(begin, size).data()), count};
  }
};

// Workspaces of all blocks of a launch: in the memory that the threads of a block share where they
// fit there, else parts of one tensor.
struct Workspaces {
  Span<char> memory;      // of all blocks
  int64_t bytes_of_each;  // 0 where shared memory serves

  template <class Block>
  GTNET_KERNEL Workspace of(Block& block, int64_t bytes) const {
    if (bytes_of_each == 0) return {block.template shared<char>(bytes)};
    return {memory.part(block.index() * bytes_of_each, bytes_of_each)};
  }
};

// One of two halves of an array, in turn.
template <class Value>
struct Turns {
  Span<Value> both;
  int64_t size;  // of a half

  GTNET_HD GTNET_INLINE Span<Value> operator[](int64_t t) const {
    return both.part(t % 2 * size, size);
  }
};

}  // namespace gtnet::block
