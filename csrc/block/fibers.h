// CUDA's built-ins on a CPU, so that cuda.cuh itself runs there, barriers, shuffles and atomics:
// every GPU thread is a fiber, which runs until it waits for others.
//
// The thread sanitizer takes each fiber for a thread. What two of them do to one place without a
// barrier between is a race, whether or not a result shows it.
#pragma once

#include <ucontext.h>

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "block/emulation.h"
#include "core/platform.h"

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define GTNET_UNWATCHED __attribute__((no_sanitize("thread"), noinline))
#else
#define GTNET_UNWATCHED
#endif

#define __device__

namespace gtnet::block {

// What the sanitizer is told of who waited for whom.
#ifdef __SANITIZE_THREAD__
inline void seen_from_now_on(void* by) {
  __tsan_release(by);
}
inline void sees_what_was_done(void* before) {
  __tsan_acquire(before);
}
#else
inline void seen_from_now_on(void* /*by*/) {}
inline void sees_what_was_done(void* /*before*/) {}
#endif

struct Places {
  unsigned x = 0;
};

// Where threads wait until as many have come as are meant to.
struct Meeting {
  int come = 0;
  int64_t times = 0;
  char turns[2] = {};  // what the sanitizer knows a meeting by: those who leave one may be at the
                       // next before others have left
};

// The threads of the blocks that run at once.
class Fibers {
 public:
  static Fibers& all() {
    static Fibers fibers;
    return fibers;
  }

  // What the fiber at work sees.
  Places thread, block, threads, blocks;

  // body(slot) on `of_each` threads of each of the blocks `at_once`, of `count`, where slots number
  // the blocks that run at once; throws what one throws.
  void run(const std::vector<int64_t>& at_once, int of_each, int64_t count,
           const std::function<void(int64_t slot)>& body) {
    of_each_ = of_each;
    body_ = &body;
    threads.x = static_cast<unsigned>(of_each);
    blocks.x = static_cast<unsigned>(count);
    const auto size = static_cast<int64_t>(at_once.size());
    meetings_.reset(new Meeting[size * meetings_of_block()]);
    slots_.reset(new uint64_t[size * of_each]);
    while (static_cast<int64_t>(fibers_.size()) < size * of_each) {
      fibers_.push_back(std::make_unique<Fiber>());
    }
    for (int64_t i = 0; i < size * of_each; ++i) {
      begin(*fibers_[i], static_cast<unsigned>(at_once[i / of_each]));
    }
    const std::vector<int64_t> order = emulation().ordered(size * of_each);
    seen_from_now_on(&launched_);
    int idle = 0;  // rounds in which threads only looked whether others have moved
    for (bool going = true; going;) {
      going = moved_ = false;
      for (int64_t i : order) {
        if (fibers_[i]->done) continue;
        resume(*fibers_[i], i);
        if (failed_) std::rethrow_exception(std::exchange(failed_, nullptr));
        going = true;
      }
      idle = moved_ ? 0 : idle + 1;
      if (going && idle > kPatience) {
        throw std::logic_error("gtnet: threads of a kernel wait for others that have ended");
      }
    }
    sees_what_was_done(&ended_);
  }

  // Lets the others go on.
  GTNET_UNWATCHED void yield() { leave(); }

  // Waits for all threads of the block.
  GTNET_UNWATCHED void meet_block() {
    Meeting& at = meetings_of_this()[0];
    char* const turn = &at.turns[at.times % 2];
    seen_from_now_on(turn);
    wait(at, of_each_);
    sees_what_was_done(turn);
  }

  // The value of another lane; those of `mask` take part. Memory is not waited for.
  GTNET_UNWATCHED uint64_t exchange(unsigned mask, uint64_t value, unsigned from) {
    const int size = std::popcount(mask), first = std::countr_zero(mask);
    const unsigned warp = thread.x / kWarp;
    Meeting& at = meetings_of_this()[1 + warp * kGroups + kWarp / size + first / size];
    uint64_t* const slots = slots_.get() + now_ / of_each_ * of_each_ + warp * kWarp;
    slots[thread.x % kWarp] = value;
    wait(at, size);
    const uint64_t found = slots[from];
    wait(at, size);
    return found;
  }

  std::mutex one_at_a_time;

 private:
  static constexpr int kPatience = 100'000;
  static constexpr int64_t kStack = 256 << 10;
  static constexpr int kGroups = 2 * kWarp;  // of lanes side by side: 32 of one, ... 1 of 32

  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStack]};
    void* known = nullptr;  // to the sanitizer
    unsigned block = 0;
    bool done = true;
  };

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::unique_ptr<Meeting[]> meetings_;  // of each block, and of the groups of lanes of its warps
  std::unique_ptr<uint64_t[]> slots_;    // what lanes show one another
  Fiber* at_work_ = nullptr;
  ucontext_t outside_;
  void* outside_known_ = nullptr;
  const std::function<void(int64_t)>* body_ = nullptr;
  int of_each_ = 0;
  int64_t now_ = 0;
  bool moved_ = false;
  std::exception_ptr failed_;
  char launched_ = 0, ended_ = 0;

  GTNET_UNWATCHED int64_t meetings_of_block() const { return 1 + of_each_ / kWarp * kGroups; }
  GTNET_UNWATCHED Meeting* meetings_of_this() const {
    return meetings_.get() + now_ / of_each_ * meetings_of_block();
  }

  void begin(Fiber& fiber, unsigned block) {
#ifdef __SANITIZE_THREAD__
    if (!fiber.done) __tsan_destroy_fiber(std::exchange(fiber.known, nullptr));
    if (fiber.known == nullptr) fiber.known = __tsan_create_fiber(0);
#endif
    fiber.done = false;
    fiber.block = block;
    getcontext(&fiber.context);
    fiber.context.uc_stack = {fiber.stack.get(), 0, kStack};
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Fibers::enter, 0);
  }

  GTNET_UNWATCHED void resume(Fiber& fiber, int64_t i) {
    at_work_ = &fiber;
    now_ = i;
    thread.x = static_cast<unsigned>(i % of_each_);
    block.x = fiber.block;
#ifdef __SANITIZE_THREAD__
    outside_known_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber.known, __tsan_switch_to_fiber_no_sync);
#endif
    swapcontext(&outside_, &fiber.context);
  }

  GTNET_UNWATCHED void leave() {
    Fiber& fiber = *at_work_;
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(outside_known_, __tsan_switch_to_fiber_no_sync);
#endif
    swapcontext(&fiber.context, &outside_);
  }

  GTNET_UNWATCHED void wait(Meeting& at, int for_so_many) {
    moved_ = true;
    const int64_t times = at.times;
    if (++at.come == for_so_many) {
      at.come = 0;
      ++at.times;
      return;
    }
    while (at.times == times) leave();
    moved_ = true;
  }

  GTNET_UNWATCHED static void enter() {
    Fibers& here = all();
    here.moved_ = true;
    sees_what_was_done(&here.launched_);
    try {
      (*here.body_)(here.now_ / here.of_each_);
    } catch (...) {
      here.failed_ = std::current_exception();
    }
    seen_from_now_on(&here.ended_);
    here.moved_ = here.at_work_->done = true;
    here.leave();
  }
};

// What cuda.cuh has of its own for CUDA. Others may go on before it reads.
template <class T>
T changing(const T& place) {
  Fibers::all().yield();
  return std::atomic_ref(const_cast<T&>(place)).load(std::memory_order_relaxed);
}
inline void bring_near(const void* /*address*/) {}

}  // namespace gtnet::block

#define threadIdx (gtnet::block::Fibers::all().thread)
#define blockIdx (gtnet::block::Fibers::all().block)
#define blockDim (gtnet::block::Fibers::all().threads)
#define gridDim (gtnet::block::Fibers::all().blocks)

inline void __syncthreads() {
  gtnet::block::Fibers::all().meet_block();
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  const unsigned from = threadIdx.x % gtnet::kWarp ^ static_cast<unsigned>(distance);
  bits = gtnet::block::Fibers::all().exchange(mask, bits, from);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  const unsigned lane = threadIdx.x % gtnet::kWarp;
  bits = gtnet::block::Fibers::all().exchange(mask, bits, lane < distance ? lane : lane - distance);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// Atomic, and nothing more: what else was written before is not seen by it.
template <class T>
T atomicAdd(T* place, std::type_identity_t<T> value) {
  return std::atomic_ref(*place).fetch_add(value, std::memory_order_relaxed);
}
template <class T>
T atomicOr(T* place, std::type_identity_t<T> value) {
  return std::atomic_ref(*place).fetch_or(value, std::memory_order_relaxed);
}
template <class T>
T atomicCAS(T* place, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  std::atomic_ref(*place).compare_exchange_strong(expected, value, std::memory_order_relaxed);
  return expected;
}
template <class T>
T atomicMin(T* place, std::type_identity_t<T> value) {
  T before = std::atomic_ref(*place).load(std::memory_order_relaxed);
  while (value < before &&
         !std::atomic_ref(*place).compare_exchange_weak(before, value, std::memory_order_relaxed)) {
  }
  return before;
}
template <class T>
T atomicMax(T* place, std::type_identity_t<T> value) {
  T before = std::atomic_ref(*place).load(std::memory_order_relaxed);
  while (value > before &&
         !std::atomic_ref(*place).compare_exchange_weak(before, value, std::memory_order_relaxed)) {
  }
  return before;
}

inline void __threadfence() {
  static std::atomic<int> fences = 0;
  fences.fetch_add(1, std::memory_order_acq_rel);
}
