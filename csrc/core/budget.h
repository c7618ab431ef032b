// A bound that the graphs of a batch share.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>

namespace gtnet {

// More was found than was asked to be kept; gtnet/_ops/library.py looks for these words.
struct OverBudget : std::exception {
  const char* what() const noexcept override { return "gtnet: over budget"; }
};

struct Budget {
  int64_t most;
  std::atomic<int64_t> used{0};

  // False where there is not so much left.
  bool charge(int64_t amount) { return used.fetch_add(amount) + amount <= most; }

  // Throws there.
  void spend(int64_t amount) {
    if (!charge(amount)) throw OverBudget{};
  }
};

}  // namespace gtnet
