// Long loops that end when the user asks. Ctrl-C arrives as a signal, and Python looks at it only
// between its own steps: an operator that runs for minutes has to look itself.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <exception>
#include <mutex>
#include <utility>

namespace gtnet {

// The operator gives up; gtnet/_ops/library.py looks for these words.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "gtnet: interrupted by a signal"; }
};

// Counts the signals that arrive while somebody watches; each still goes to whom it went before.
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
  Work() : seen_(Signals::count()), on_main_(is_main()) {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  ~Work() {
    if (watching_) Signals::leave();
  }

  // Does a part of the work on this thread and keeps what it throws.
  template <class Part>
  void run(const Part& part) noexcept {
    Work* const before = std::exchange(current(), this);
    try {
      if (!failed_) part();
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
    if (!watching_.exchange(true)) Signals::watch();
    if (Signals::count() != seen_) throw Interrupted{};
  }

  static Work*& current() {
    static thread_local Work* work = nullptr;
    return work;
  }

 private:
  static bool is_main() {
    static thread_local const bool main = getpid() == static_cast<pid_t>(syscall(SYS_gettid));
    return main;
  }

  const int64_t seen_;
  const bool on_main_;
  std::atomic<bool> watching_{false}, failed_{false};
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
