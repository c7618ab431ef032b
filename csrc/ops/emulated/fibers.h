// The executor of the GPU whose threads are fibers: what CUDA's executor does, for cuda.cuh.
#pragma once

#include "block/cuda.cuh"
#include "ops/emulated/read_back.h"

namespace gtnet::ops {

// Few, so that tests take seconds; kernels take any number of warps.
constexpr int kMostThreads = 2 * kWarp;

inline int64_t shared_limit(int32_t /*device*/) {
  return block::emulation().shared_bytes;
}

// work(shared memory) on every thread of the blocks 0, ... blocks - 1, so many at once.
template <class Work>
void run_blocks(int64_t blocks, int64_t at_once, int threads, int64_t shared_bytes,
                const Work& work) {
  block::Fibers& fibers = block::Fibers::all();
  const std::scoped_lock alone(fibers.one_at_a_time);
  struct alignas(16) Chunk {
    char bytes[16];
  };
  const int64_t chunks = shared_bytes / static_cast<int64_t>(sizeof(Chunk)) + 1;
  const std::vector<int64_t> order = block::emulation().ordered(blocks);
  for (int64_t first = 0; first < blocks; first += at_once) {
    const int64_t here = std::min(at_once, blocks - first);
    std::vector<Chunk> shared(chunks * here);
    block::emulation().spoil(shared.data(), shared.size() * sizeof(Chunk));
    fibers.run({order.begin() + first, order.begin() + first + here}, threads, blocks,
               [&](int64_t slot) { work(shared[slot * chunks].bytes); });
  }
}

template <class Kernel>
void launch(int32_t /*device*/, int64_t blocks, int threads, int64_t shared_bytes,
            const Kernel& kernel) {
  run_blocks(blocks, 3, std::min(threads, kMostThreads), shared_bytes, [&](char* shared) {
    block::Block block(shared);
    kernel(block);
  });
}

template <class Kernel>
int64_t blocks_at_once(int32_t /*device*/, int64_t /*bytes*/) {
  return 6;
}

template <class Kernel>
void launch_teams(int32_t /*device*/, int64_t teams, int64_t size, int64_t bytes, int32_t* arrived,
                  char* of_teams, int64_t shared_bytes, const Kernel& kernel) {
  run_blocks(teams * size, teams * size, std::min(Kernel::kThreads, kMostThreads),
             block::Team::kBytes + bytes, [&](char* shared) {
               block::Block block(shared);
               block::Team team(block, size, arrived, of_teams, shared_bytes);
               kernel(team);
             });
}

}  // namespace gtnet::ops
