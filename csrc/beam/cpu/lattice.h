// The lattice of what a beam search kept: its traces read back, and pruned once more (Povey et al.
// 2012, section 3).
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "core/platform.h"

namespace gtnet::beam {

// The trace of one item over one chunk of frames, read back from where it is kept.
struct TraceView {
  int64_t num_frames;              // of this item in this chunk
  const int64_t *cuts, *arc_cuts;  // [frames + 2], numbered through the chunk's batch
  const int32_t* states;
  const int32_t *sources, *targets, *arcs;  // [arcs] tokens count from cuts[0]
  const float* slacks;

  int64_t num_tokens() const { return cuts[num_frames + 1] - cuts[0]; }
  int64_t num_tokens(int64_t cut) const { return cuts[cut + 1] - cuts[cut]; }
};

// The arcs and states of the lattice of one item.
struct BeamLattice {
  std::vector<int32_t> source, target, arc, frame;  // by arc; frame -1 for an epsilon
  std::vector<int32_t> state, cut;                  // by state
  std::vector<int32_t> starts, accepts;             // states where paths begin and end
};

// The paths of a trace that are at most `lattice_beam` worse than the best that accepts (Povey et
// al. 2012, section 3). The best continuation of a token is `behind` the best path.
class LatticeBuilder {
 public:
  LatticeBuilder(std::vector<TraceView> chunks, double lattice_beam)
      : chunks_(std::move(chunks)), lattice_beam_(lattice_beam), behind_(chunks_.size()) {}

  // `start_slack` by token of the first cut: how much worse it is to start there than to come there
  // otherwise; `ends` by token of the last cut: the score of the best path that ends there.
  BeamLattice run(const double* start_slack, std::vector<double> ends) {
    BeamLattice lattice;
    const double best = ends.empty() ? kNegInf : *std::max_element(ends.begin(), ends.end());
    if (!(best > kNegInf)) return lattice;
    for (double& score : ends) score = best - score;
    go_back(ends);
    go_forth(lattice, start_slack, ends);
    return lattice;
  }

 private:
  const std::vector<TraceView> chunks_;
  const double lattice_beam_;
  std::vector<std::vector<double>> behind_;

  void go_back(std::vector<double> carried) {
    for (size_t c = chunks_.size(); c-- > 0;) {
      const TraceView& chunk = chunks_[c];
      std::vector<double>& behind = behind_[c];
      behind.assign(chunk.num_tokens(), -kNegInf);
      std::copy(carried.begin(), carried.end(), behind.end() - carried.size());
      for (int64_t k = chunk.arc_cuts[chunk.num_frames + 1]; k-- > chunk.arc_cuts[0];) {
        const double here = behind[chunk.targets[k]] + static_cast<double>(chunk.slacks[k]);
        if (here <= lattice_beam_ && here < behind[chunk.sources[k]]) {
          behind[chunk.sources[k]] = here;
        }
      }
      carried.assign(behind.begin(), behind.begin() + chunk.num_tokens(0));
    }
  }

  bool kept(double behind) const { return behind <= lattice_beam_ && behind < -kNegInf; }

  void go_forth(BeamLattice& lattice, const double* start_slack,
                const std::vector<double>& ends) const {
    std::vector<int32_t> number, carried;
    int64_t arcs = 0;
    for (const TraceView& chunk : chunks_) {
      arcs += chunk.arc_cuts[chunk.num_frames + 1] - chunk.arc_cuts[0];
    }
    for (auto* column : {&lattice.source, &lattice.target, &lattice.arc, &lattice.frame}) {
      column->reserve(arcs);  // most are kept
    }
    int32_t cut = 0;
    for (size_t c = 0; c < chunks_.size(); ++c) {
      const TraceView& chunk = chunks_[c];
      const std::vector<double>& behind = behind_[c];
      number.assign(chunk.num_tokens(), kNone);
      std::copy(carried.begin(), carried.end(), number.begin());
      for (int64_t f = 0; f <= chunk.num_frames; ++f, ++cut) {
        if (f > 0 || c == 0) add_states(lattice, chunk, behind, f, cut, number);
        add_arcs(lattice, chunk, behind, f, cut, number);
      }
      --cut;  // the next chunk begins where this one ends
      carried.assign(number.begin() + (chunk.cuts[chunk.num_frames] - chunk.cuts[0]), number.end());
      if (c > 0) continue;
      for (int64_t token = 0; token < chunk.num_tokens(0); ++token) {
        if (number[token] != kNone && kept(behind[token] + start_slack[token])) {
          lattice.starts.push_back(number[token]);
        }
      }
    }
    for (size_t i = 0; i < ends.size(); ++i) {
      if (carried[i] != kNone && kept(ends[i])) lattice.accepts.push_back(carried[i]);
    }
  }

  void add_states(BeamLattice& lattice, const TraceView& chunk, const std::vector<double>& behind,
                  int64_t f, int32_t cut, std::vector<int32_t>& number) const {
    for (int64_t k = chunk.cuts[f]; k < chunk.cuts[f + 1]; ++k) {
      const int64_t token = k - chunk.cuts[0];
      if (!kept(behind[token])) continue;
      number[token] = static_cast<int32_t>(lattice.state.size());
      lattice.state.push_back(chunk.states[k]);
      lattice.cut.push_back(cut);
    }
  }

  void add_arcs(BeamLattice& lattice, const TraceView& chunk, const std::vector<double>& behind,
                int64_t f, int32_t cut, const std::vector<int32_t>& number) const {
    const int64_t here = chunk.cuts[f] - chunk.cuts[0];
    for (int64_t k = chunk.arc_cuts[f]; k < chunk.arc_cuts[f + 1]; ++k) {
      const int32_t source = chunk.sources[k], target = chunk.targets[k];
      if (!kept(behind[target] + static_cast<double>(chunk.slacks[k]))) continue;
      lattice.source.push_back(number[source]);
      lattice.target.push_back(number[target]);
      lattice.arc.push_back(chunk.arcs[k]);
      lattice.frame.push_back(source < here ? cut - 1 : kNone);
    }
  }
};

}  // namespace gtnet::beam
