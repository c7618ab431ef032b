// Where the paths of a graph end: a block per graph goes through its states.
#pragma once

#include "paths/log_distance.h"
#include "paths/viterbi.h"

namespace gtnet::paths {

// LogTotal by the threads of a block.
template <class T>
struct LogTotals {
  static constexpr int kThreads = 512;
  static constexpr int64_t kBytes = kWarp * sizeof(double);
  int64_t num_graphs;
  LogTotal<T> of;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<double> parts = block.template shared<double>(kWarp);
    for (int64_t graph = block.index(); graph < num_graphs; graph += block.count()) {
      const int64_t begin = of.state_offsets[graph], count = of.state_offsets[graph + 1] - begin;
      const LogTotal<T> one = of;
      const double best = block.reduce(
          count, kNegInf, parts, [=](int64_t i) { return one.term(begin + i); },
          [](double a, double b) { return a < b ? b : a; });
      const double total = block.reduce(
          best == kNegInf ? 0 : count, 0.0, parts,
          [=](int64_t i) { return exp_of<double>(one.term(begin + i) - best); },
          [](double a, double b) { return a + b; });
      block.each(1, [=](int64_t) { one.finish(graph, best, total); });
      block.sync();
    }
  }
};

// BestEnd by the threads of a block.
template <class T>
struct BestEnds {
  static constexpr int kThreads = 512;
  using End = typename BestEnd<T>::End;
  static constexpr int64_t kBytes = kWarp * sizeof(End);
  int64_t num_graphs;
  BestEnd<T> of;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<End> parts = block.template shared<End>(kWarp);
    for (int64_t graph = block.index(); graph < num_graphs; graph += block.count()) {
      const int64_t begin = of.state_offsets[graph], count = of.state_offsets[graph + 1] - begin;
      const BestEnd<T> one = of;
      const End best = block.reduce(
          count, End{kNegInf, kNone}, parts, [=](int64_t i) { return one.term(begin + i); },
          [](const End& a, const End& b) { return BestEnd<T>::better(a, b); });
      block.each(1, [=](int64_t) { one.finish(graph, best); });
      block.sync();
    }
  }
};

}  // namespace gtnet::paths
