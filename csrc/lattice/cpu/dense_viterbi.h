// The best path of a chain of frames through a graph that is a matrix: as `ChainViterbi`, the same
// path where several are best.
#pragma once

#include "core/interrupt.h"
#include "lattice/cpu/dense.h"
#include "lattice/cpu/predecessors.h"

namespace gtnet::lattice {

// The scores of a graph as matrices.
template <class Score>
class DenseBest {
 public:
  const DenseTopology topology;
  const Score *const start, *const accept;

  DenseBest(DenseTopology given, const Score* weights, const Score* start_, const Score* accept_)
      : topology(std::move(given)),
        start(start_),
        accept(accept_),
        forth_(int64_t{topology.width} * topology.width),
        back_(int64_t{topology.num_states} * row()) {
    std::fill_n(forth_.begin(), int64_t{topology.width} * topology.width, kNegInf);
    std::fill_n(back_.begin(), int64_t{topology.num_states} * row(), kNegInf);
    topology.each_arc([&](int32_t to, int32_t from, int32_t arc) {
      const auto weight = static_cast<double>(weights[arc]);
      forth_.begin()[int64_t{from} * topology.width + to] = weight;
      back_.begin()[to * row() + from] = weight;
    });
  }

  static bool suits(const DenseTopology&) { return true; }
  bool usable() const { return true; }

  const double* forth() const { return forth_.begin(); }  // [width, width] (from, to)
  const double* back() const { return back_.begin(); }    // [states, row()] (to, from)
  int64_t row() const { return (topology.width + kLanes - 1) / kLanes * kLanes; }

 private:
  const Aligned<double> forth_, back_;
};

// The arcs of a path from its last state, of which the best distances at every cut are known: of
// several states that one may come from the last.
template <class Score>
struct DenseTrace {
  const DenseBest<Score>& graph;
  Frames<Score> frames;
  const double* alpha;  // [cuts, width]
  int32_t* arcs;        // [frames]
  int32_t* state;       // the last, and in the end the first; kNone where there is none

  GTNET_INLINE void operator()() const {
    const DenseTopology& topology = graph.topology;
    int32_t here = *state;
    for (int64_t t = frames.count; t-- > 0;) {
      const int32_t label = topology.label[here];
      const double emission =
          label < frames.num_labels ? static_cast<double>(frames.row(t)[label]) : kNegInf;
      const double *const from = alpha + t * topology.width,
                          *const weight = graph.back() + here * graph.row(),
                          value = from[topology.width + here];
      int32_t before = kNone;
      for (int64_t q = graph.row() - kLanes; q >= 0 && before == kNone; q -= kLanes) {
        before = last_of(q, from + q, weight + q, emission, value);
      }
      *state = before;
      if (before == kNone) return;  // only NaN equals no candidate
      arcs[t] = topology.arc[int64_t{here} * topology.num_states + before];
      here = before;
    }
  }

 private:
  static GTNET_INLINE int32_t last_of(int64_t first, const double* from, const double* weight,
                                      double emission, double value) {
    uint64_t which = 0;
    GTNET_SIMD(reduction(| : which))
    for (int q = 0; q < kLanes; ++q) {
      const double candidate = from[q] + weight[q] + emission;
      which |= candidate == value ? uint64_t{1} << q : 0;
    }
    return which == 0 ? kNone : static_cast<int32_t>(first + 63 - __builtin_clzll(which));
  }
};

// Steps between so few states that each waits for the one before: meanwhile it is found where a
// path to every state came from, as it would be on the way back.
template <int W>
struct DenseStepsBack {
  int32_t count;
  const double *weights, *emission;  // [W, W] (from, to), [count, W]
  double* alpha;                     // [W], at the cut before and in the end behind
  uint64_t* came;                    // [count] a byte for each state: the state before
  double zero = kNegInf;

  GTNET_INLINE void operator()() const {
    const double* from = alpha;
    for (int32_t t = 0; t < count; ++t) {
      const double* const factor = emission + int64_t{t} * W;
      double best[W], other_best[W];
      uint64_t before[W], other[W], word = 0;
      half<0>(from, factor, best, before);
      half<W / 2>(from, factor, other_best, other);
      GTNET_SIMD(reduction(| : word))
      for (int i = 0; i < W; ++i) {
        const double high = best[i], next = other_best[i];
        word |= next >= high ? other[i] : before[i];
        alpha[i] = next > high ? next : high;
      }
      came[t] = word;
    }
  }

 private:
  template <int kFirst>
  GTNET_INLINE void half(const double* from, const double* factor, double* best,
                         uint64_t* before) const {
    GTNET_SIMD()
    for (int i = 0; i < W; ++i) best[i] = zero, before[i] = 0;
    for (int q = kFirst; q < kFirst + W / 2; ++q) {
      const double x = from[q];
      const double* const weight = weights + q * W;
      GTNET_SIMD()
      for (int i = 0; i < W; ++i) {
        const double candidate = x + weight[i] + factor[i], high = best[i];
        const uint64_t byte = static_cast<uint64_t>(q) << (8 * i), was = before[i];
        before[i] = candidate >= high ? byte : was;
        best[i] = candidate > high ? candidate : high;
      }
    }
  }
};

template <class Score>
class DenseViterbi {
 public:
  // `numbers` has room for room(graph, frames) doubles.
  DenseViterbi(const DenseBest<Score>& graph, const Frames<Score>& frames, double* numbers)
      : graph_(graph), topology_(graph.topology), frames_(frames), alpha_(numbers) {}

  // Distances at every cut, and behind the last what is read with them; or those at one cut, and a
  // word for each frame.
  static int64_t room(const DenseBest<Score>& graph, const Frames<Score>& frames) {
    const int64_t width = graph.topology.width;
    if (width <= kFew) return width + frames.count;
    return (frames.count + 1) * width + 2 * kLanes;
  }

  LatticePath path() {
    const bool few = topology_.width <= kFew;
    const double* const last = few ? distances_back() : distances();
    LatticePath path;
    const auto frames = static_cast<int32_t>(frames_.count);
    for (int32_t s = 0; s < topology_.num_states; ++s) {
      path.end_at(frames, s, last[s] + static_cast<double>(graph_.accept[s]));
    }
    if (path.last == kNone) return path;
    path.arcs.resize(frames);
    path.rows.resize(frames);
    for (int32_t t = 0; t < frames; ++t) path.rows[t] = t;
    path.first_cut = 0;
    path.first = path.last;
    if (few) {
      follow(path);
    } else {
      vectorized(DenseTrace<Score>{graph_, frames_, alpha_, path.arcs.data(), &path.first});
    }
    return path.first == kNone ? LatticePath{} : path;
  }

 private:
  static constexpr int32_t kFew = 8;
  const DenseBest<Score>& graph_;
  const DenseTopology& topology_;
  const Frames<Score> frames_;
  double* const alpha_;

  // step(frame, count, emission) for blocks of frames, one after another.
  template <class Step>
  void each_block(const Step& step) {
    const int32_t width = topology_.width, block = topology_.block();
    std::fill_n(alpha_, width, kNegInf);
    for (int32_t s = 0; s < topology_.num_states; ++s) {
      alpha_[s] = std::max(kNegInf, static_cast<double>(graph_.start[s]));
    }
    const Aligned<double> emission(int64_t{block} * width);
    for (int64_t t = 0; t < frames_.count; t += block) {
      const auto count = static_cast<int32_t>(std::min<int64_t>(block, frames_.count - t));
      poll(int64_t{count} * width * width / 8);
      vectorized(
          ReadFrames<Score>{frames_, t, count, width, topology_.label.data(), emission.begin()});
      step(t, count, emission.begin());
    }
  }

  // The best scores of paths to all states at every cut, and where those at the last are.
  const double* distances() {
    const int32_t width = topology_.width;
    each_block([&](int64_t t, int32_t count, const double* emission) {
      vectorized(DenseSteps<MaxPlus>{width, count, graph_.forth(), emission, alpha_ + t * width});
    });
    return alpha_ + frames_.count * width;
  }

  // The same at the last cut, with words that say where paths came from.
  const double* distances_back() {
    each_block([&](int64_t t, int32_t count, const double* emission) {
      if (topology_.width == 4) {
        vectorized(DenseStepsBack<4>{count, graph_.forth(), emission, alpha_, came() + t});
      } else {
        vectorized(DenseStepsBack<8>{count, graph_.forth(), emission, alpha_, came() + t});
      }
    });
    return alpha_;
  }

  uint64_t* came() const { return reinterpret_cast<uint64_t*>(alpha_ + topology_.width); }

  void follow(LatticePath& path) const {
    for (int64_t t = frames_.count; t-- > 0;) {
      const auto before = static_cast<int32_t>(came()[t] >> (8 * path.first) & 0xff);
      path.arcs[t] = topology_.arc[path.first * topology_.num_states + before];
      path.first = before;
    }
  }
};

}  // namespace gtnet::lattice
