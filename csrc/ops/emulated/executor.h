// The executor of the emulated GPU: blocks one after another on this thread.
#pragma once

#include "block/emulated.h"
#include "ops/emulated/read_back.h"

namespace gtnet::ops {

inline int64_t shared_limit(int32_t /*device*/) {
  return block::emulation().shared_bytes;
}

template <class Kernel>
void launch(int32_t /*device*/, int64_t blocks, int threads, int64_t shared_bytes,
            const Kernel& kernel) {
  for (int64_t index : block::emulation().ordered(blocks)) {
    block::Block block(index, blocks, threads, shared_bytes);
    kernel(block);
  }
}

template <class Kernel>
int64_t blocks_at_once(int32_t /*device*/, int64_t /*bytes*/) {
  return 6;
}

template <class Kernel>
void launch_teams(int32_t /*device*/, int64_t teams, int64_t size, int64_t bytes,
                  int32_t* /*arrived*/, char* /*of_teams*/, int64_t shared_bytes,
                  const Kernel& kernel) {
  for (int64_t index : block::emulation().ordered(teams)) {
    block::Team team(index, teams, size, Kernel::kThreads, shared_bytes, bytes);
    kernel(team);
  }
}

}  // namespace gtnet::ops
