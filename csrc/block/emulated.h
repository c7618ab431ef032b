// A block of GPU threads (cuda.cuh) emulated: the same kernels on a CPU, thread by thread.
//
// Loops are kept until sync() and then run in an order that can be chosen: a kernel whose results
// depend on it lacks a barrier. Indices are checked (core/span.h), and memory that nobody has
// written holds other bytes in every order.
#pragma once

#ifndef GTNET_EMULATED
#error "kernels are emulated in files compiled with -DGTNET_EMULATED only: spans differ there"
#endif

#include <algorithm>
#include <functional>
#include <memory>

#include "block/emulation.h"
#include "core/span.h"

namespace gtnet::block {

class Block {
 public:
  Block(int64_t index, int64_t count, int threads, int64_t shared_bytes)
      : index_(index),
        count_(count),
        threads_(threads),
        parts_(std::min(threads / kWarp, kWarp)),
        shared_(shared_bytes / sizeof(Chunk)),
        left_(shared_.data(), shared_bytes / static_cast<int64_t>(sizeof(Chunk))) {
    emulation().spoil(shared_.data(), shared_.size() * sizeof(Chunk));
  }
  ~Block() noexcept(false) {
    if (!std::uncaught_exceptions()) sync();
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  int64_t index() const { return index_; }
  int64_t count() const { return count_; }

  template <class Body>
  void each(int64_t count, const Body& body) {
    defer(std::min<int64_t>(count, threads_), [count, body, this](int64_t thread) {
      for (int64_t i = thread; i < count; i += threads_) body(i);
    });
  }
  template <class Body>
  void each_last(int64_t count, const Body& body) {
    each(count, body);
  }
  template <class Body>
  void each_in_grid(int64_t count, const Body& body) {
    defer(threads_, [count, body, this](int64_t thread) {
      for (int64_t i = index_ * threads_ + thread; i < count; i += count_ * threads_) body(i);
    });
  }

  template <int Lanes, class Part, class Together, class Combine, class Finish>
  void rows(int32_t first, int32_t last, const Part& part, const Together& together,
            const Combine& combine, const Finish& finish) {
    const int32_t groups = threads_ / Lanes;
    defer(std::min(groups, last - first), [=](int64_t group) {
      for (auto row = static_cast<int32_t>(first + group); row < last; row += groups) {
        std::vector<decltype(part(row, 0))> sums;
        for (int lane = 0; lane < Lanes; ++lane) sums.push_back(part(row, lane));
        if (together(row)) along_tree(sums, combine);
        for (int lane = 0; lane < Lanes; ++lane) finish(row, lane, sums[lane]);
      }
    });
  }

  template <class Sum, class Term, class Combine>
  void partial(int64_t count, Sum zero, Span<Sum> parts, const Term& term, const Combine& combine) {
    defer(parts_, [=, this](int64_t warp) {
      std::vector<Sum> sums(kWarp, zero);
      for (int lane = 0; lane < kWarp; ++lane) {
        for (int64_t i = warp * kWarp + lane; i < count; i += parts_ * kWarp) {
          sums[lane] = combine(sums[lane], term(i));
        }
      }
      along_tree(sums, combine);
      parts[warp] = sums[0];
    });
  }
  template <class Sum, class Combine>
  Sum total(Span<Sum> parts, const Combine& combine) const {
    Sum sum = parts[0];
    for (int w = 1; w < parts_; ++w) sum = combine(sum, parts[w]);
    return sum;
  }
  template <class Sum, class Term, class Combine>
  Sum reduce(int64_t count, Sum zero, Span<Sum> parts, const Term& term, const Combine& combine) {
    partial(count, zero, parts, term, combine);
    sync();
    return total(parts, combine);
  }

  template <class Sum, class Term, class Put>
  Sum prefix_sums(int64_t count, Span<Sum> parts, const Term& term, const Put& put) {
    Sum before = 0;
    sync();
    for (int64_t first = 0; first < count; first += threads_) {
      const int64_t here = std::min<int64_t>(threads_, count - first);
      std::vector<Sum> terms(here), sums(here);
      for (int64_t i : emulation().ordered(here)) terms[i] = static_cast<Sum>(term(first + i));
      emulation().spoil(&parts[0], parts_ * sizeof(Sum));
      std::exclusive_scan(terms.begin(), terms.end(), sums.begin(), before);
      before = sums.back() + terms.back();
      for (int64_t i : emulation().ordered(here)) put(first + i, sums[i]);
    }
    return before;
  }

  void sync() {
    std::vector<std::pair<size_t, int64_t>> units;
    for (size_t loop = 0; loop < loops_.size(); ++loop) {
      for (int64_t unit = 0; unit < loops_[loop].units; ++unit) units.emplace_back(loop, unit);
    }
    for (int64_t i : emulation().ordered(static_cast<int64_t>(units.size()))) {
      loops_[units[i].first].body(units[i].second);
    }
    loops_.clear();
  }

  static void raise(int32_t& flags, int32_t bits) { flags |= bits; }
  static int32_t add(int32_t& place, int32_t value) { return std::exchange(place, place + value); }
  static int32_t lower(int32_t& place, int32_t value) {
    return std::exchange(place, std::min(place, value));
  }
  static uint64_t claim(uint64_t& place, uint64_t free, uint64_t value) {
    return std::exchange(place, place == free ? value : place);
  }
  static int64_t lower(int64_t& place, int64_t value) {
    return std::exchange(place, std::min(place, value));
  }
  static int64_t lift(int64_t& place, int64_t value) {
    return std::exchange(place, std::max(place, value));
  }
  static int32_t lift(int32_t& place, int32_t value) {
    return std::exchange(place, std::max(place, value));
  }
  template <class T>
  static T now(const T& place) {
    return place;
  }
  template <class T>
  T seen(const T& place) {
    sync();
    return place;
  }
  static void prefetch(const void* /*address*/) {}

  template <class T>
  Span<T> shared(int64_t count) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    const int64_t chunks = (bytes + 15) / static_cast<int64_t>(sizeof(Chunk));
    const Span<Chunk> taken = left_.part(0, chunks);
    left_ = left_.part(chunks, left_.size() - chunks);
    return {reinterpret_cast<T*>(taken.data()), count};
  }

 private:
  struct alignas(16) Chunk {
    char bytes[16];
  };
  struct Loop {
    int64_t units;
    std::function<void(int64_t)> body;
  };

  int64_t index_, count_;
  int threads_;
  int64_t parts_;  // of a sum: one for each warp, as far as there are so many places
  std::vector<Chunk> shared_;
  Span<Chunk> left_;
  std::vector<Loop> loops_;

  void defer(int64_t units, std::function<void(int64_t)> body) {
    if (units > 0) loops_.push_back({units, std::move(body)});
  }

  // As lanes of a warp exchange their sums: with those half, a quarter, ... as far away.
  template <class Sum, class Combine>
  static void along_tree(std::vector<Sum>& sums, const Combine& combine) {
    for (size_t d = sums.size() / 2; d > 0; d /= 2) {
      const std::vector<Sum> before = sums;
      for (size_t lane = 0; lane < sums.size(); ++lane) {
        sums[lane] = combine(before[lane], before[lane ^ d]);
      }
    }
  }
};

// Blocks that work together as one large block.
class Team : public Block {
 public:
  Team(int64_t index, int64_t count, int64_t size, int threads, int64_t shared_bytes,
       int64_t shared_by_one)
      : Block(index, count, static_cast<int>(size) * threads, shared_bytes),
        threads_of_one_(threads),
        shared_by_one_(shared_by_one) {}

  template <class Body>
  void lead(const Body& body) {
    Block block(0, 1, threads_of_one_, shared_by_one_);
    body(block);
  }

 private:
  int threads_of_one_;
  int64_t shared_by_one_;
};

}  // namespace gtnet::block
