// What an operator learns of signals: which thread handles them, and whether any have arrived.
#pragma once

#ifdef _WIN32

#include <cstdint>

namespace gtnet {

// No thread looks at signals there: Ctrl-C is handled when the operator is back.
struct Signals {
  static int64_t count() { return 0; }
  static void watch() {}
  static void leave() {}
};

inline bool is_main_thread() {
  return false;
}
inline bool handle_python_signals() {
  return false;
}

}  // namespace gtnet

#else

#ifdef __APPLE__
#include <pthread.h>
#else
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>

#include "core/python_signals.h"

namespace gtnet {

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

// The thread in which Python handles signals.
inline bool is_main_thread() {
#ifdef __APPLE__
  return pthread_main_np() != 0;
#else
  static thread_local const bool main = getpid() == static_cast<pid_t>(syscall(SYS_gettid));
  return main;
#endif
}

}  // namespace gtnet

#endif
