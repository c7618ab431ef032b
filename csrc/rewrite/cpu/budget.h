// A bound that the graphs of a batch share.
#pragma once

#include <atomic>
#include <cstdint>

namespace gtnet::rewrite {

struct Budget {
  int64_t most;
  std::atomic<int64_t> used{0};

  // False where there is not so much left.
  bool charge(int64_t amount) { return used.fetch_add(amount) + amount <= most; }
};

}  // namespace gtnet::rewrite
