// Arrays that kernels work on. Emulated GPUs check every index; elsewhere they are
// pointers, and the sizes given cost nothing.
#pragma once

#include <cstddef>
#include <type_traits>

#ifdef GTNET_EMULATED
#include <stdexcept>
#include <string>
#endif

#include "core/platform.h"

namespace gtnet {

template <class T>
class Span {
 public:
  Span() = default;
  GTNET_HD Span(std::nullptr_t) {}
#ifdef GTNET_EMULATED
  Span(T* data, int64_t size) : data_(data), size_(size) {}
  template <class U>
    requires std::is_convertible_v<U (*)[], T (*)[]>
  Span(const Span<U>& other) : data_(other.data()), size_(other.size()) {}

  T& operator[](int64_t i) const {
    check(0 <= i && i < size_, i, 1);
    return data_[i];
  }
  Span part(int64_t begin, int64_t count) const {
    check(0 <= begin && 0 <= count && begin + count <= size_, begin, count);
    return {data_ + begin, count};
  }
  int64_t size() const { return size_; }
#else
  GTNET_HD GTNET_INLINE Span(T* data, int64_t /*size*/) : data_(data) {}
  template <class U>
    requires std::is_convertible_v<U (*)[], T (*)[]>
  GTNET_HD GTNET_INLINE Span(const Span<U>& other) : data_(other.data()) {}

  GTNET_HD GTNET_INLINE T& operator[](int64_t i) const { return data_[i]; }
  GTNET_HD GTNET_INLINE Span part(int64_t begin, int64_t /*count*/) const {
    return {data_ + begin, 0};
  }
#endif
  GTNET_HD GTNET_INLINE T* data() const { return data_; }
  GTNET_HD GTNET_INLINE explicit operator bool() const { return data_ != nullptr; }

 private:
  T* data_ = nullptr;
#ifdef GTNET_EMULATED
  int64_t size_ = 0;

  void check(bool inside, int64_t begin, int64_t count) const {
    if (inside) return;
    throw std::out_of_range("gtnet: a kernel reached for " + std::to_string(count) +
                            " element(s) from " + std::to_string(begin) + " of " +
                            std::to_string(size_));
  }
#endif
};

// What the functors of both executors read and write.
#ifdef GTNET_EMULATED
template <class T>
using In = Span<const T>;
template <class T>
using Out = Span<T>;
#else
template <class T>
using In = const T*;
template <class T>
using Out = T*;
#endif

template <class T>
GTNET_HD GTNET_INLINE T* part_of(T* array, int64_t begin, int64_t /*count*/) {
  return array + begin;
}

template <class T>
Span<T> part_of(const Span<T>& array, int64_t begin, int64_t count) {
  return array.part(begin, count);
}

}  // namespace gtnet
