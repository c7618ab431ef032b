// Long loops that end when the user asks. Ctrl-C arrives as a signal, and Python looks at it only
// between its own steps: an operator that runs for minutes has to have it looked at.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <utility>

#include "core/signals.h"

namespace gtnet {

// The operator gives up; gtnet/_ops/library.py looks for these words.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "gtnet: interrupted by a signal"; }
};

// What one call of an operator does, on all its threads: the first exception of any ends the work
// of all. Python handles signals in the main thread, so only what it has called is interrupted.
class Work {
 public:
  explicit Work(int64_t size) : size_(size), on_main_(is_main_thread()) {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  ~Work() {
    if (waiting_) Signals::leave();
  }

  // Does the part [begin, end) of [0, size) on this thread and keeps what it throws.
  template <class Part>
  void run(int64_t begin, int64_t end, const Part& part) noexcept {
    Work* const before = std::exchange(current(), this);
    try {
      if (!failed_) part(begin, end);
      done_.fetch_add(end - begin, std::memory_order_relaxed);
      if (on_main_ && done_.load(std::memory_order_relaxed) < size_ && is_main_thread()) wait();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
    current() = before;
  }

  // To be called when all parts are done.
  void finish() const {
    if (error_) std::rethrow_exception(error_);
  }

  // Throws where there is no sense in going on.
  void look() {
    if (failed_) throw Interrupted{};
    if (!on_main_) return;
    if (is_main_thread()) {
      const auto now = std::chrono::steady_clock::now();
      if (next_.time_since_epoch().count() == 0) next_ = now + kBetween;
      if (now < next_) return;
      next_ = now + kBetween;
      if (handle_python_signals()) throw Interrupted{};
    } else if (waiting_ && Signals::count() != seen_) {
      throw Interrupted{};
    }
  }

  static Work*& current() {
    static thread_local Work* work = nullptr;
    return work;
  }

 private:
  // Python has a lock, which other threads give away every 5 ms: it is not asked for often.
  static constexpr std::chrono::milliseconds kBetween{200};

  // The main thread has done its part and others have not: it will wait where it looks at nothing.
  void wait() {
    if (waiting_) return;
    Signals::watch();
    seen_ = Signals::count();
    waiting_ = true;
    if (handle_python_signals()) throw Interrupted{};  // what came before
  }

  const int64_t size_;
  const bool on_main_;
  int64_t seen_ = 0;
  std::atomic<int64_t> done_{0};
  std::atomic<bool> waiting_{false}, failed_{false};
  std::chrono::steady_clock::time_point next_{};
  std::mutex mutex_;
  std::exception_ptr error_;
};

// Stands in every loop that can run long, with how many steps of some nanoseconds have been done.
inline void poll(int64_t steps = 1) {
  constexpr int64_t kBetweenLooks = 1 << 18;
  static thread_local int64_t done = 0;
  done += steps;
  if (done < kBetweenLooks) return;
  done = 0;
  if (Work* const work = Work::current()) work->look();
}

}  // namespace gtnet
