// A block of GPU threads as kernels see it; emulated.h has the same on a CPU, and by fibers.h this
// file itself runs there.
//
// A kernel is a struct whose operator()(Block&) runs once per block. What stands in its body is
// uniform: every thread computes the same. Work is shared out by loops, whose bodies are lambdas
// that capture by value; loops between two calls of sync() run in any order, so they must not
// depend on one another. What a loop writes is seen after the next sync() only, and uniform code
// reads it through reduce() and prefix_sums() or not at all.
#pragma once

#include <cstring>

#include "core/span.h"

#ifndef __CUDACC__
#include "block/fibers.h"
#endif

namespace gtnet::block {

#ifdef __CUDACC__
// What a place holds while other threads may change it.
template <class T>
__device__ T changing(const T& place) {
  return *static_cast<const volatile T*>(&place);
}

__device__ inline void bring_near(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}
#endif

// What threads do alone, in a block or in a team.
struct Thread {
  // Sets bits that any number of threads may set.
  __device__ static void raise(int32_t& flags, int32_t bits) { atomicOr(&flags, bits); }

  // What threads may do to the same integer at once: the integer in the end does not depend on
  // their order, but what is returned, the one before, does.
  __device__ static int32_t add(int32_t& place, int32_t value) { return atomicAdd(&place, value); }
  __device__ static int32_t lower(int32_t& place, int32_t value) {
    return atomicMin(&place, value);
  }
  __device__ static uint64_t claim(uint64_t& place, uint64_t free, uint64_t value) {
    return atomicCAS(reinterpret_cast<unsigned long long*>(&place), free, value);
  }

  static_assert(sizeof(int64_t) == sizeof(long long));
  __device__ static int64_t lower(int64_t& place, int64_t value) {
    return atomicMin(reinterpret_cast<long long*>(&place), static_cast<long long>(value));
  }
  __device__ static int64_t lift(int64_t& place, int64_t value) {
    return atomicMax(reinterpret_cast<long long*>(&place), static_cast<long long>(value));
  }
  __device__ static int32_t lift(int32_t& place, int32_t value) { return atomicMax(&place, value); }

  // What a place holds while threads raise, lower or lift it: any of what it held meanwhile.
  template <class T>
  __device__ static T now(const T& place) {
    return changing(place);
  }

  // Says that *address is read soon.
  __device__ static void prefetch(const void* address) { bring_near(address); }

 protected:
  template <int Lanes, class Part, class Together, class Combine, class Finish>
  __device__ static void every_row(int32_t row, int32_t last, int32_t stride, const Part& part,
                                   const Together& together, const Combine& combine,
                                   const Finish& finish) {
    const int lane = threadIdx.x % Lanes;
    const unsigned mask = (~0u >> (kWarp - Lanes)) << (threadIdx.x % kWarp / Lanes * Lanes);
    for (; row < last; row += stride) {
      auto sum = part(row, lane);
      if (together(row)) {
        for (int d = Lanes / 2; d > 0; d /= 2) sum = combine(sum, from_lane(sum, d, mask));
      }
      finish(row, lane, sum);
    }
  }

  template <class T>
  __device__ static T from_lane(const T& value, int distance, unsigned mask) {
    static_assert(sizeof(T) % 4 == 0 && std::is_trivially_copyable_v<T>);
    uint32_t words[sizeof(T) / 4];
    memcpy(words, &value, sizeof(T));
    for (uint32_t& word : words) word = __shfl_xor_sync(mask, word, distance);
    T other;
    memcpy(&other, words, sizeof(T));
    return other;
  }
};

// What the threads of a block or of a team do together, made of what each of them has: partial(),
// total() and sync().
template <class Threads>
class Together : public Thread {
 public:
  __device__ explicit Together(char* shared) : shared_(shared) {}

  // partial() and total(), for uniform code: synchronizes twice.
  template <class Sum, class Term, class Combine>
  __device__ Sum reduce(int64_t count, Sum zero, Span<Sum> parts, const Term& term,
                        const Combine& combine) {
    all().partial(count, zero, parts, term, combine);
    all().sync();
    const Sum sum = all().total(parts, combine);
    all().sync();
    return sum;
  }

  // What all threads see in a place that loops have written, for uniform code: synchronizes twice.
  template <class T>
  __device__ T seen(const T& place) {
    all().sync();
    const T value = place;
    all().sync();
    return value;
  }

  // The next `count` elements of the memory that the threads share.
  template <class T>
  __device__ Span<T> shared(int64_t count) {
    T* const begin = reinterpret_cast<T*>(shared_);
    shared_ += (count * sizeof(T) + 15) / 16 * 16;
    return {begin, count};
  }

 private:
  char* shared_;

  __device__ Threads& all() { return static_cast<Threads&>(*this); }
};

class Block : public Together<Block> {
 public:
  using Together::Together;

  __device__ int64_t index() const { return blockIdx.x; }
  __device__ int64_t count() const { return gridDim.x; }

  // body(i) for 0 <= i < count, thread by thread; each_last begins with the last thread.
  template <class Body>
  __device__ void each(int64_t count, const Body& body) const {
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) body(i);
  }
  template <class Body>
  __device__ void each_last(int64_t count, const Body& body) const {
    for (int64_t i = blockDim.x - 1 - threadIdx.x; i < count; i += blockDim.x) body(i);
  }
  // The same shared out over all blocks.
  template <class Body>
  __device__ void each_in_grid(int64_t count, const Body& body) const {
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
         i += stride) {
      body(i);
    }
  }

  // For every row in [first, last), `Lanes` threads side by side: sum = part(row, lane), where
  // together(row) combined with those of the other lanes, then finish(row, lane, sum). Of rows
  // summed together only lane 0 has the sum.
  template <int Lanes, class Part, class Together, class Combine, class Finish>
  __device__ void rows(int32_t first, int32_t last, const Part& part, const Together& together,
                       const Combine& combine, const Finish& finish) const {
    every_row<Lanes>(first + static_cast<int32_t>(threadIdx.x / Lanes), last,
                     static_cast<int32_t>(blockDim.x / Lanes), part, together, combine, finish);
  }

  // term(0), term(1), ... combined: per thread, then along a tree in each warp, then warp by
  // warp. partial() leaves the warps' parts in `parts` [kWarp], for total() after a sync().
  template <class Sum, class Term, class Combine>
  __device__ void partial(int64_t count, Sum zero, Span<Sum> parts, const Term& term,
                          const Combine& combine) const {
    Sum sum = zero;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum = combine(sum, term(i));
    of_warps(sum, parts, combine);
  }
  // The sums of warps in `parts` [kWarp].
  template <class Sum, class Combine>
  __device__ void of_warps(Sum sum, Span<Sum> parts, const Combine& combine) const {
    for (int d = kWarp / 2; d > 0; d /= 2) sum = combine(sum, from_lane(sum, d, ~0u));
    if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = sum;
  }
  template <class Sum, class Combine>
  __device__ Sum total(Span<Sum> parts, const Combine& combine) const {
    Sum sum = parts[0];
    for (unsigned w = 1; w < blockDim.x / kWarp; ++w) sum = combine(sum, parts[w]);
    return sum;
  }

  // put(i, term(0) + ... + term(i - 1)) for 0 <= i < count, and the sum of all, for uniform code:
  // synchronizes before and after. The thread that calls put(i) has called term(i). `parts`
  // [kWarp].
  template <class Sum, class Term, class Put>
  __device__ Sum prefix_sums(int64_t count, Span<Sum> parts, const Term& term,
                             const Put& put) const {
    Sum before = 0;
    __syncthreads();
    for (int64_t first = 0; first < count; first += blockDim.x) {
      const int64_t i = first + threadIdx.x;
      Sum all = 0;
      const Sum here = scan(i < count ? static_cast<Sum>(term(i)) : Sum{0}, parts, all);
      if (i < count) put(i, before + here);
      before += all;
      __syncthreads();
    }
    return before;
  }

  // The sum of what the threads before have, and that of all; `parts` [kWarp] are free again after
  // a sync().
  template <class Sum>
  __device__ Sum scan(Sum own, Span<Sum> parts, Sum& all) const {
    const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    Sum sum = own;
    for (unsigned d = 1; d < kWarp; d *= 2) {
      const Sum lower = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += lower;
    }
    if (lane == kWarp - 1) parts[warp] = sum;
    __syncthreads();
    Sum before = sum - own;
    for (unsigned w = 0; w < blockDim.x / kWarp; ++w) {
      if (w < warp) before += parts[w];
      all += parts[w];
    }
    return before;
  }

  __device__ void sync() const { __syncthreads(); }
};

// Blocks of one launch that work together as one large block. All of them run at once. They have
// sums only where they are no more than kWarp.
class Team : public Together<Team> {
 public:
  // `arrived` [teams], 0 on entry; `shared` [teams, shared_bytes], for all threads of each team.
  __device__ Team(Block& block, int64_t size, int32_t* arrived, char* shared, int64_t shared_bytes)
      : Together(shared + blockIdx.x / size * shared_bytes),
        block_(block),
        own_(block.shared<char>(kBytes)),
        size_(size),
        arrived_(arrived + blockIdx.x / size) {}

  // What a team takes of the memory that the threads of each of its blocks share.
  static constexpr int64_t kBytes = 16 * kWarp;

  __device__ int64_t index() const { return blockIdx.x / size_; }
  __device__ int64_t count() const { return gridDim.x / size_; }

  template <class Body>
  __device__ void each(int64_t count, const Body& body) const {
    for (int64_t i = number(); i < count; i += threads()) body(i);
  }
  template <class Body>
  __device__ void each_last(int64_t count, const Body& body) const {
    for (int64_t i = threads() - 1 - number(); i < count; i += threads()) body(i);
  }

  // body(block) on one block of the team, while the others go on to the next sync().
  template <class Body>
  __device__ void lead(const Body& body) const {
    if (rank() > 0) return;
    Block block = block_;
    body(block);
  }

  // All the rest as a block has it. Of `parts` [kWarp] each block fills one.
  template <int Lanes, class Part, class Together, class Combine, class Finish>
  __device__ void rows(int32_t first, int32_t last, const Part& part, const Together& together,
                       const Combine& combine, const Finish& finish) const {
    every_row<Lanes>(first + static_cast<int32_t>(number() / Lanes), last,
                     static_cast<int32_t>(threads() / Lanes), part, together, combine, finish);
  }

  template <class Sum, class Term, class Combine>
  __device__ void partial(int64_t count, Sum zero, Span<Sum> parts, const Term& term,
                          const Combine& combine) const {
    const Span<Sum> of_warps = own<Sum>();
    Sum sum = zero;
    for (int64_t i = number(); i < count; i += threads()) sum = combine(sum, term(i));
    block_.of_warps(sum, of_warps, combine);
    __syncthreads();
    if (threadIdx.x == 0) parts[rank()] = block_.total(of_warps, combine);
    __syncthreads();
  }
  template <class Sum, class Combine>
  __device__ Sum total(Span<Sum> parts, const Combine& combine) const {
    Sum sum = parts[0];
    for (int64_t b = 1; b < size_; ++b) sum = combine(sum, parts[b]);
    return sum;
  }

  template <class Sum, class Term, class Put>
  __device__ Sum prefix_sums(int64_t count, Span<Sum> parts, const Term& term, const Put& put) {
    Sum before = 0;
    sync();
    for (int64_t first = 0; first < count; first += threads()) {
      const int64_t i = first + number();
      Sum all = 0;
      Sum here = block_.scan(i < count ? static_cast<Sum>(term(i)) : Sum{0}, own<Sum>(), all);
      if (threadIdx.x == 0) parts[rank()] = all;
      sync();
      here += before;
      for (int64_t b = 0; b < size_; ++b) {
        if (b < rank()) here += parts[b];
        before += parts[b];
      }
      if (i < count) put(i, here);
      sync();
    }
    return before;
  }

  // Waits for all threads of the team: much dearer than within a block.
  __device__ void sync() {
    due_ += static_cast<uint32_t>(size_);
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(arrived_, 1);
      while (static_cast<int32_t>(static_cast<uint32_t>(changing(*arrived_)) - due_) < 0) {
      }
      __threadfence();
    }
    __syncthreads();
  }

 private:
  Block& block_;
  Span<char> own_;
  int64_t size_;
  int32_t* arrived_;
  uint32_t due_ = 0;

  template <class Sum>
  __device__ Span<Sum> own() const {
    static_assert(sizeof(Sum) * kWarp <= kBytes);
    return {reinterpret_cast<Sum*>(own_.data()), kWarp};
  }
  __device__ int64_t rank() const { return blockIdx.x % size_; }
  __device__ int64_t number() const { return rank() * blockDim.x + threadIdx.x; }
  __device__ int64_t threads() const { return size_ * blockDim.x; }
};

}  // namespace gtnet::block
