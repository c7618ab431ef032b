// How operators are registered: with their name in the error where memory runs out.
#pragma once

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <new>
#include <type_traits>
#include <utility>

namespace gtnet::ops {

// pybind11 makes a MemoryError with this message of it.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(const char* said) : said_(said) {}
  const char* what() const noexcept override { return said_; }

 private:
  const char* said_;
};

template <size_t size>
struct Text {
  char said[size]{};
  consteval Text(const char (&text)[size]) { std::copy_n(text, size, said); }
};

// The function, which names itself where memory runs out.
template <class Signature, Signature* function, Text text>
struct Named;

template <class Result, class... Arguments, Result (*function)(Arguments...), Text text>
struct Named<Result(Arguments...), function, text> {
  static Result call(Arguments... arguments) {
    try {
      return function(std::forward<Arguments>(arguments)...);
    } catch (const OutOfMemory&) {
      throw;
    } catch (const std::bad_alloc&) {
      throw OutOfMemory(text.said);
    }
  }
};

}  // namespace gtnet::ops

// TORCH_BOX of the function, under the name that users know it by.
#define GTNET_BOX(name, function)                                                      \
  TORCH_BOX((&::gtnet::ops::Named<std::remove_pointer_t<decltype(function)>, function, \
                                  name ": there is not enough memory">::call))
