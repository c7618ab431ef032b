// Composition on a device of blocks.
#pragma once

#include <bit>

#include "ops/gpu/device.h"
#include "rewrite/gpu/compose.h"

namespace gtnet::ops {
namespace {

// How many pairs an item is given room for at first, and up to how many places of a batch every
// pair has its own. The emulation has little, so that products grow and take both kinds of tables.
#ifdef GTNET_EMULATED
constexpr int64_t kFewestPairs = 4, kPairsAtFirst = 4, kDensePlaces = 64;
constexpr int64_t kNarrow = 2;
#else
constexpr int64_t kFewestPairs = 1 << 14, kPairsAtFirst = 1 << 22, kDensePlaces = 1 << 27;
constexpr int64_t kNarrow = rewrite::ExploreProducts::kThreads;
#endif
constexpr int64_t kMostNumbers = 0x7fffffff;  // of states and of arcs, in 32 bits

struct NothingSeen {
  Out<int32_t> values;
  Span<uint64_t> keys;

  GTNET_HD void operator()(int64_t i) const {
    values[i] = rewrite::PairNumbers::kUnseen;
    if (keys) keys[i] = rewrite::PairKey::kFree;
  }
};

// Products and the memory they are explored in.
struct ProductMemory {
  bool dense;
  int64_t places;
  Tensor pairs, arc_begin, values, keys;
  rewrite::Products products;

  // Room for `capacity` of at most `bound` pairs in each item.
  ProductMemory(const Tensor& like, const rewrite::Side& a, const rewrite::Side& b,
                int64_t num_graphs, int64_t bound, const Tensor& progress, int64_t capacity)
      : dense(bound <= kDensePlaces / std::max<int64_t>(num_graphs, 1)),
        places(dense ? bound : static_cast<int64_t>(std::bit_ceil<uint64_t>(2 * capacity))),
        pairs(empty_elements<uint64_t>(like, num_graphs * capacity)),
        arc_begin(empty<int32_t>(like, num_graphs * capacity)),
        values(empty<int32_t>(like, num_graphs * places)),
        keys(empty_elements<uint64_t>(like, dense ? 0 : num_graphs * places)),
        products{a,
                 b,
                 num_graphs,
                 capacity,
                 {places, output<int32_t>(values),
                  dense ? Span<uint64_t>{nullptr} : elements<uint64_t>(keys)},
                 elements<uint64_t>(pairs),
                 output<int32_t>(arc_begin),
                 elements<rewrite::Progress>(progress)} {
    for_each(like.get_device_index(), values.numel(),
             NothingSeen{products.numbers.values, products.numbers.keys});
  }
};

// What Survey finds out about an operand goes into `starts` and `facts`.
rewrite::Side survey(const Tensor& state_offsets, const Tensor& offsets, const Tensor& arcs,
                     const Tensor& states, const Tensor& labels, const Tensor& is_start,
                     const Tensor& starts, Out<int32_t> facts) {
  const int64_t num_graphs = graphs(state_offsets);
  by_graph(arcs.get_device_index(),
           rewrite::Survey{num_graphs, input<int64_t>(state_offsets), input<int32_t>(offsets),
                           input<int32_t>(labels), input<bool>(is_start), output<int32_t>(starts),
                           facts});
  return {num_graphs,
          input<int64_t>(state_offsets),
          csr_of(offsets, arcs, states),
          input<int32_t>(labels),
          output<int32_t>(starts),
          facts};
}

// How many pairs the largest product of a batch can have; `facts` are those of a, then of b.
int64_t most_pairs(const std::vector<int32_t>& facts, int64_t of_a, int64_t num_graphs) {
  const auto of_b = static_cast<int64_t>(facts.size()) / rewrite::Side::kFacts - of_a;
  int64_t most = 0;
  for (int64_t item = 0; item < num_graphs; ++item) {
    const int32_t* const a = facts.data() + rewrite::Side::kFacts * (of_a == 1 ? 0 : item);
    const int32_t* const b = facts.data() + rewrite::Side::kFacts * (of_a + (of_b == 1 ? 0 : item));
    constexpr int64_t kLargest = std::numeric_limits<int64_t>::max() / 4;
    const int64_t pairs = std::min(static_cast<int64_t>(a[0]) * b[0], kLargest);
    most = std::max(most, pairs * (a[2] != 0 && b[2] != 0 ? 3 : 1));
  }
  return most;
}

// By several blocks for each product where these are few and may be large.
void explore_once(const Tensor& like, int64_t bound, const rewrite::ExploreProducts& kernel) {
  using Kernel = rewrite::ExploreProductsByTeams;
  const int32_t device = like.get_device_index();
  const int64_t graphs = kernel.num_graphs;
  const int64_t worth = std::min<int64_t>(bound / (4 * kNarrow), kWarp);
  const int64_t size = team_size<Kernel>(device, graphs, Kernel::kBytes, worth);
  if (size == 1) return by_graph(device, kernel);
  by_teams(like, graphs, size, Kernel::kBytes, Kernel::bytes(size), Kernel{kernel, size, kNarrow});
}

// Explores the products, in larger places where they do not fit, until all are done or one is too
// large; returns how far they came.
std::vector<rewrite::Progress> explored(int32_t device, const Tensor& like, int64_t bound,
                                        int64_t most_arcs, const Tensor& progress,
                                        ProductMemory& memory) {
  const int64_t num_graphs = memory.products.num_graphs;
  const int64_t limit = std::min(bound, 2 * most_arcs);  // as many starts as arcs are allowed
  for (;;) {
    const int64_t capacity = memory.products.capacity;
    explore_once(like, bound, {num_graphs, memory.products, most_arcs, capacity >= limit});
    const auto* const address = static_cast<const rewrite::Progress*>(progress.const_data_ptr());
    std::vector<rewrite::Progress> found = read_back(device, address, num_graphs);
    bool full = false, too_large = false;
    for (rewrite::Progress& one : found) {
      if (capacity == kMostNumbers && one.state == rewrite::Progress::kFull)
        one.state = rewrite::Progress::kTooLarge;
      full = full || one.state == rewrite::Progress::kFull;
      too_large = too_large || one.state == rewrite::Progress::kTooLarge;
    }
    if (too_large || !full) return found;
    const int64_t larger = std::min({4 * capacity, limit, kMostNumbers});
    ProductMemory enlarged(like, memory.products.a, memory.products.b, num_graphs, bound, progress,
                           larger);
    launch(device, std::min<int64_t>((num_graphs * capacity + 255) / 256, 1 << 16),
           rewrite::EnlargeProducts::kThreads, 0,
           rewrite::EnlargeProducts{memory.products, enlarged.products});
    memory = enlarged;
  }
}

// Reads back what is known of the operands and how large the products are: two synchronisations,
// and one for each time that pairs outgrow their places.
std::vector<Tensor> explore(const Tensor& a_state_offsets, const Tensor& a_offsets,
                            const Tensor& a_arcs, const Tensor& a_states, const Tensor& a_labels,
                            const Tensor& a_start, const Tensor& b_state_offsets,
                            const Tensor& b_offsets, const Tensor& b_arcs, const Tensor& b_states,
                            const Tensor& b_labels, const Tensor& b_start, int64_t num_graphs,
                            int64_t max_arcs) {
  const int32_t device = a_arcs.get_device_index();
  const Tensor& like = a_arcs;
  const int64_t of_a = graphs(a_state_offsets), of_b = graphs(b_state_offsets);
  Tensor facts = zeros<int32_t>(like, rewrite::Side::kFacts * (of_a + of_b));
  Tensor a_starts = empty<int32_t>(like, a_start.numel());
  Tensor b_starts = empty<int32_t>(like, b_start.numel());
  const Out<int32_t> known = output<int32_t>(facts);
  const rewrite::Side a = survey(a_state_offsets, a_offsets, a_arcs, a_states, a_labels, a_start,
                                 a_starts, part_of(known, 0, rewrite::Side::kFacts * of_a));
  const rewrite::Side b =
      survey(b_state_offsets, b_offsets, b_arcs, b_states, b_labels, b_start, b_starts,
             part_of(known, rewrite::Side::kFacts * of_a, rewrite::Side::kFacts * of_b));

  const auto* const facts_there = static_cast<const int32_t*>(facts.const_data_ptr());
  const int64_t bound = most_pairs(read_back(device, facts_there, facts.numel()), of_a, num_graphs);
  const int64_t at_first = std::max(kFewestPairs, kPairsAtFirst / std::max<int64_t>(num_graphs, 1));
  Tensor progress =
      zeros<int8_t>(like, num_graphs * static_cast<int64_t>(sizeof(rewrite::Progress)));
  ProductMemory memory(like, a, b, num_graphs, bound, progress, std::min(bound, at_first));
  const std::vector<rewrite::Progress> found =
      explored(device, like, bound, std::min(max_arcs, kMostNumbers), progress, memory);

  int64_t num_states = 0, num_arcs = 0, most_states = 0;
  bool fits = true;
  for (const rewrite::Progress& one : found) {
    num_states += one.states;
    num_arcs += one.arcs;
    most_states = std::max(most_states, one.states);
    fits = fits && one.state == rewrite::Progress::kDone;
  }
  fits = fits && num_states <= kMostNumbers && num_arcs <= std::min(max_arcs, kMostNumbers);
  if (!fits) num_states = num_arcs = most_states = 0;

  Tensor too_large = zeros<bool>(like, 1);
  if (!fits) torch::stable::fill_(too_large, 1);
  Tensor state_offsets = empty<int64_t>(like, num_graphs + 1);
  Tensor arc_offsets = empty<int64_t>(like, num_graphs + 1);
  launch(device, 1, rewrite::ProductOffsets::kThreads, rewrite::ProductOffsets::kBytes,
         rewrite::ProductOffsets{num_graphs, elements<rewrite::Progress>(progress),
                                 output<int64_t>(state_offsets), output<int64_t>(arc_offsets)});
  Tensor source = empty<int32_t>(like, num_arcs), target = empty<int32_t>(like, num_arcs);
  Tensor arc_a = empty<int32_t>(like, num_arcs), arc_b = empty<int32_t>(like, num_arcs);
  Tensor state_a = empty<int32_t>(like, num_states), state_b = empty<int32_t>(like, num_states);
  Tensor filter = empty<int8_t>(like, num_states);
  const int64_t groups =
      (most_states + rewrite::WriteProducts::kThreads - 1) / rewrite::WriteProducts::kThreads;
  launch(device, num_graphs * std::min(groups, 1 + (1 << 16) / std::max<int64_t>(num_graphs, 1)),
         rewrite::WriteProducts::kThreads, rewrite::WriteProducts::kBytes,
         rewrite::WriteProducts{memory.products, input<int64_t>(state_offsets),
                                input<int64_t>(arc_offsets), output<int32_t>(source),
                                output<int32_t>(target), output<int32_t>(arc_a),
                                output<int32_t>(arc_b), output<int32_t>(state_a),
                                output<int32_t>(state_b), output<int8_t>(filter)});
  return {too_large, state_offsets, arc_offsets, source,  target,
          arc_a,     arc_b,         state_a,     state_b, filter};
}

void register_compose(torch::stable::detail::StableLibrary& m) {
  m.impl("explore", TORCH_BOX(&explore));
}

}  // namespace
}  // namespace gtnet::ops
