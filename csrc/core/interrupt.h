// Long loops that end when the user asks. Ctrl-C arrives as a signal, and Python looks at it only
// between its own steps: an operator that runs for minutes has to have it looked at.
#pragma once

#ifdef __APPLE__
#include <pthread.h>
#else
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>
#include <chrono>
#include <csignal>
#include <exception>
#include <mutex>
#include <utility>

#include "core/python_signals.h"

namespace gtnet {

// The operator gives up; gtnet/_ops/library.py looks for these words.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "gtnet: interrupted by a signal"; }
};

// Counts the signals that arrive while the main thread waits for others, and so can look at none;
// each still goes to whom it went before.
class Signals {
 public:
  static int64_t count() { return counted_.load(std::memory_order_relaxed); }

  static void watch() {
    const std::lock_guard lock(mutex_);
    if (watchers_++ > 0) return;
    for (int i = 0; i < kKinds; ++i) {
      struct sigaction ours{};
      sigaction(kSignals[i], nullptr, &before_[i]);
      if (!handled(before_[i])) continue;
      ours.sa_sigaction = &take;
      ours.sa_mask = before_[i].sa_mask;
      ours.sa_flags = before_[i].sa_flags | SA_SIGINFO;
      sigaction(kSignals[i], &ours, nullptr);
    }
  }

  static void leave() {
    const std::lock_guard lock(mutex_);
    if (--watchers_ > 0) return;
    for (int i = 0; i < kKinds; ++i) {
      struct sigaction now{};
      sigaction(kSignals[i], nullptr, &now);
      const bool still_ours = (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == &take;
      if (still_ours) sigaction(kSignals[i], &before_[i], nullptr);
    }
  }

 private:
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGALRM}, kKinds = 3;

  static bool handled(const struct sigaction& action) {
    if (action.sa_flags & SA_SIGINFO) return action.sa_sigaction != nullptr;
    return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
  }

  static void take(int signal, siginfo_t* info, void* context) {
    counted_.fetch_add(1, std::memory_order_relaxed);
    for (int i = 0; i < kKinds; ++i) {
      if (kSignals[i] != signal) continue;
      if (before_[i].sa_flags & SA_SIGINFO) {
        before_[i].sa_sigaction(signal, info, context);
      } else {
        before_[i].sa_handler(signal);
      }
    }
  }

  static inline std::atomic<int64_t> counted_{0};
  static inline std::mutex mutex_;
  static inline int watchers_ = 0;
  static inline struct sigaction before_[kKinds]{};
};

// What one call of an operator does, on all its threads: the first exception of any ends the work
// of all. Python handles signals in the main thread, so only what it has called is interrupted.
class Work {
 public:
  explicit Work(int64_t size) : size_(size), on_main_(is_main()) {}
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
      if (on_main_ && done_.load(std::memory_order_relaxed) < size_ && is_main()) wait();
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
    if (is_main()) {
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

  static bool is_main() {
#ifdef __APPLE__
    return pthread_main_np() != 0;
#else
    static thread_local const bool main = getpid() == static_cast<pid_t>(syscall(SYS_gettid));
    return main;
#endif
  }

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
