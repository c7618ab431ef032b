// An emulated GPU has done its work when a launch returns.
#pragma once

#include <cstdint>
#include <vector>

namespace gtnet::ops {

template <class T>
std::vector<T> read_back(int32_t /*device*/, const T* address, int64_t count) {
  return {address, address + count};
}

template <class T>
T read_back(int32_t /*device*/, const T* address) {
  return *address;
}

}  // namespace gtnet::ops
