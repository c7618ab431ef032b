// The CPU executor: graphs of a batch side by side on threads, states of a graph in order. Loops
// run in the best instruction set of the machine, chosen at run time, so one binary serves all.
#pragma once

#include <torch/csrc/stable/ops.h>

#include "core/interrupt.h"
#include "core/simd_dispatch.h"
#include "core/topology.h"
#include "layout/state_slices.h"

namespace gtnet::ops {

constexpr int64_t kStatesPerThread = 4096;  // fewer states than this are not worth a thread

// How many graphs a thread takes at once so that it has enough states to do.
inline int64_t grain(int64_t num_graphs, int64_t num_states) {
  if (num_states <= kStatesPerThread) return num_graphs + 1;
  return 1 + kStatesPerThread * num_graphs / num_states;
}

// body(begin, end) for parts of [0, size), on threads; throws what a part has thrown.
template <class Body>
void in_parallel(int64_t size, int64_t grain, const Body& body) {
  Work work(size);
  torch::stable::parallel_for(0, size, grain,
                              [&](int64_t begin, int64_t end) { work.run(begin, end, body); });
  work.finish();
}

// functor(graph) for every graph.
template <class Functor>
void for_each_graph(int64_t num_graphs, int64_t num_states, const Functor& functor) {
  in_parallel(num_graphs, grain(num_graphs, num_states), [&](int64_t begin, int64_t end) {
    for (int64_t graph = begin; graph < end; ++graph) {
      poll(64);
      functor(graph);
    }
  });
}

// Polls for a loop over states, some of which take but nanoseconds.
class Pace {
 public:
  GTNET_INLINE void step(int64_t states) {
    if ((done_ += states) < kStates) return;
    poll(16 * done_);
    done_ = 0;
  }

 private:
  static constexpr int64_t kStates = 4096;
  int64_t done_ = 0;
};

// functor(graph, state) for every state of every graph, in the order of the walk.
template <class Functor>
void for_each_state(const Walk& walk, int64_t num_states, const Functor& functor) {
  for_each_graph(walk.num_graphs, num_states, [&](int64_t graph) {
    const int64_t begin = walk.state_offsets[graph], end = walk.state_offsets[graph + 1];
    const auto body = [&]() __attribute__((always_inline)) {
      Pace pace;
      if (walk.reverse) {
        for (int64_t i = end; i-- > begin; pace.step(1)) functor(graph, walk.order[i]);
      } else {
        for (int64_t i = begin; i < end; ++i, pace.step(1)) functor(graph, walk.order[i]);
      }
    };
    Vectorized<decltype(body)>::run(body);
  });
}

template <class Functor>
GTNET_INLINE void take_slice(const Functor& functor, int64_t graph,
                             const layout::StateSlice& slice) {
  if constexpr (requires { functor.slice(graph, slice); }) {
    functor.slice(graph, slice);
  } else {
    for (int32_t i = 0; i < slice.count; ++i) functor(graph, slice.states[i]);
  }
}

// The same along a plan: functor.slice or functor.run where the plan lays states or arcs side by
// side. Each state's result is the same bit for bit.
template <class Functor>
void for_each_slice(const layout::StateSliceWalk& walk, int64_t num_states,
                    const Functor& functor) {
  for_each_graph(walk.num_graphs, num_states, [&](int64_t graph) {
    const auto body = [&]() __attribute__((always_inline)) {
      Pace pace;
      for (const int32_t *at = walk.begin(graph), *const end = walk.begin(graph + 1); at < end;) {
        const int32_t kind = at[0], count = at[1];
        pace.step(count);
        if (kind == layout::kSlice) {
          take_slice(functor, graph, layout::StateSlice(at));
        } else if (kind == layout::kRun) {
          functor.run(graph, {at[2], at[3], at[4], count});
        } else {
          for (int32_t i = 0; i < count; ++i) functor(graph, at[layout::kLanes + i]);
        }
        at += layout::block_size(kind, count, kind == layout::kSlice && at[6] != 0);
      }
    };
    Vectorized<decltype(body)>::run(body);
  });
}

// functor(graph, state) for every state on no cycle and close(graph, component) for every
// component with one, in the order of the walk.
template <class Functor, class Close>
void for_each_component(const CyclicWalk& walk, int64_t num_states, const Functor& functor,
                        const Close& close) {
  for_each_graph(walk.num_graphs, num_states, [&](int64_t graph) {
    const int64_t begin = walk.state_offsets[graph], end = walk.state_offsets[graph + 1];
    const int64_t first = walk.component_offsets[graph], last = walk.component_offsets[graph + 1];
    const auto body = [&]() __attribute__((always_inline)) {
      Pace pace;
      if (walk.reverse) {
        int64_t c = last;
        for (int64_t i = end; i-- > begin; pace.step(1)) {
          if (c > first && walk.components[c - 1].end == i + 1) {
            close(graph, walk.components[--c]);
            i = walk.components[c].begin;
          } else {
            functor(graph, walk.order[i]);
          }
        }
      } else {
        int64_t c = first;
        for (int64_t i = begin; i < end; ++i, pace.step(1)) {
          if (c < last && walk.components[c].begin == i) {
            close(graph, walk.components[c]);
            i = walk.components[c++].end - 1;
          } else {
            functor(graph, walk.order[i]);
          }
        }
      }
    };
    Vectorized<decltype(body)>::run(body);
  });
}

}  // namespace gtnet::ops
