// Registers what runs on a GPU, by one of its emulations, for a dispatch key that no tensor has:
// tests call it with tensors on the CPU, by key, and compare. Built in place only, never part of a
// wheel.
#include "ops/gpu/beam.h"
#include "ops/gpu/compose.h"
#include "ops/gpu/distance.h"
#include "ops/gpu/lattice_paths.h"
#include "ops/gpu/lattice_sums.h"
#include "ops/gpu/paths.h"
#include "ops/gpu/rational.h"
#include "ops/gpu/topology.h"
#include "ops/gpu/transducer.h"

namespace gtnet::ops {
namespace {

void emulated_settings(int64_t order, int64_t shared_bytes) {
  block::emulation().order = static_cast<block::Order>(order);
  block::emulation().shared_bytes = shared_bytes;
}

// Kernels with one fault each, for a test of what is meant to find them.
struct Faulty {
  static constexpr int kThreads = 64;
  int64_t fault;
  Span<int64_t> out;

  void operator()(block::Block& block) const {
    const Span<int64_t> shared = block.shared<int64_t>(kThreads);
    if (fault == 0) block.each(out.size() + 1, [*this](int64_t i) { out[i] = i; });
    if (fault == 1) block.each(1, [*this](int64_t) { out[-1] = 0; });
    if (fault == 4) block.each(out.size(), [=, *this](int64_t i) { out[i] = shared[i]; });
    if (fault >= 2 && fault <= 3) {
      block.each(out.size(), [shared](int64_t i) { shared[i] = i; });
      if (fault == 3) block.sync();
      block.each(out.size(), [=, *this](int64_t i) { out[i] = shared[out.size() - 1 - i]; });
    }
  }
};

Tensor emulated_faulty(const Tensor& like, int64_t fault) {
  Tensor out = torch::stable::new_zeros(like, {32}, ScalarType::Long);
  launch(0, 1, Faulty::kThreads, Faulty::kThreads * 8, Faulty{fault, output<int64_t>(out)});
  return out;
}

// Keys sorted by a block, and the key of a rank among them.
struct Ordered {
  static constexpr int kThreads = 64;
  int64_t rank;
  Span<int64_t> keys, found;

  void operator()(block::Block& block) const {
    constexpr int64_t kBins = 16;
    const Span<int64_t> parts = block.shared<int64_t>(kWarp), ends = block.shared<int64_t>(2);
    const Span<int32_t> bins = block.shared<int32_t>(kBins);
    const Span<block::RankedBin> bin = block.shared<block::RankedBin>(1);
    block.each(2, [=](int64_t i) { ends[i] = i == 0 ? INT64_MAX : INT64_MIN; });
    block.sync();
    block.each(keys.size(), [=, *this](int64_t i) {
      block::Block::lower(ends[0], keys[i]);
      block::Block::lift(ends[1], keys[i]);
    });
    const int64_t lowest = block.seen(ends[0]), highest = block.seen(ends[1]);
    const block::RankedKey of =
        block::key_of_rank(block, keys.size(), rank, lowest, highest, bins, kBins, parts, bin,
                           [*this](int64_t i) { return keys[i]; });
    block.each(1, [=, *this](int64_t) { found[0] = of.key, found[1] = of.rank; });
    block::sort_keys(block, keys, keys.size());
  }
};

Tensor emulated_ordered(Tensor keys, int64_t rank) {
  Tensor found = empty<int64_t>(keys, 2);
  const Ordered kernel{rank, writable<int64_t>(keys), writable<int64_t>(found)};
  launch(0, 1, Ordered::kThreads, 1024, kernel);
  return found;
}

}  // namespace

STABLE_TORCH_LIBRARY(gtnet_emulated, m) {
  m.def("settings(int order, int shared_bytes) -> ()");
  m.def("faulty(Tensor like, int fault) -> Tensor");
  m.def("ordered(Tensor(a!) keys, int rank) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet_emulated, CompositeExplicitAutograd, m) {
  m.impl("settings", TORCH_BOX(&emulated_settings));
  m.impl("faulty", TORCH_BOX(&emulated_faulty));
  m.impl("ordered", TORCH_BOX(&emulated_ordered));
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, PrivateUse1, m) {
  register_walks(m);
  register_chains(m);
  register_beams(m);
  register_chain_paths(m);
  register_graphs(m);
  register_compose(m);
  register_paths(m);
  register_rewrites(m);
  register_transducers(m);
}

}  // namespace gtnet::ops
