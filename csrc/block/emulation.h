// How a GPU is emulated: what both ways to do it can be asked for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

namespace gtnet::block {

// In which order the threads of a block, and the blocks of a launch, are run.
enum class Order : int64_t { kForward, kBackward, kShuffled };

struct EmulationSettings {
  Order order = Order::kForward;
  int64_t shared_bytes = 48 << 10;  // how much memory the threads of a block share

  std::vector<int64_t> ordered(int64_t count) const {
    std::vector<int64_t> places(count);
    std::iota(places.begin(), places.end(), 0);
    if (order == Order::kBackward) std::reverse(places.begin(), places.end());
    uint64_t seed = 0x9E3779B97F4A7C15ull;
    for (int64_t i = count; order == Order::kShuffled && i > 1; --i) {
      seed = seed * 6364136223846793005ull + 1442695040888963407ull;
      std::swap(places[i - 1], places[(seed >> 33) % i]);
    }
    return places;
  }

  void spoil(void* memory, size_t bytes) const {
    if (bytes > 0) std::memset(memory, 0x5B + 16 * static_cast<int>(order), bytes);
  }
};

inline EmulationSettings& emulation() {
  static EmulationSettings settings;
  return settings;
}

}  // namespace gtnet::block
