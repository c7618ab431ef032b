// Union, concatenation and closure with the states and arcs that the package gtn gives them: every
// operand whole, and an epsilon for each pair of an end and a start that meet. Mohri 2009, section
// 2.3; rewrite/rational.h takes fewer epsilons.
#pragma once

#include <vector>

#include "core/math.h"
#include "core/packed_graph.h"

namespace gtnet::rewrite {

class JoinGraphs {
 public:
  using Parts = PackedParts<const int32_t, const float>;

  struct Operand {
    PackedGraph graph;
    Parts parts;
    const float* weights;
  };

  std::vector<float> start, accept, weights;
  std::vector<int32_t> source, target, ilabels, olabels;
  std::vector<int32_t> origin;  // of each arc among the arcs of all operands, kNone of new ones

  void unite(const std::vector<Operand>& operands) {
    for (const Operand& operand : operands) copy(operand, true, true);
  }

  // Epsilons into an operand follow its arcs.
  void concatenate(const std::vector<Operand>& operands) {
    int64_t before = 0;
    for (size_t i = 0; i < operands.size(); ++i) {
      const int64_t first = copy(operands[i], i == 0, i + 1 == operands.size());
      if (i > 0) {
        const Operand& left = operands[i - 1];
        for (int64_t s = 0; s < left.graph.num_states; ++s) {
          if (!(left.parts.accept[s] > kNegInf)) continue;
          for (int64_t t = 0; t < operands[i].graph.num_states; ++t) {
            const float score = operands[i].parts.start[t];
            if (score > kNegInf) epsilon(before + s, first + t, left.parts.accept[s] + score);
          }
        }
      }
      before = first;
    }
  }

  // A new state 0 starts and accepts: epsilons lead to the old starts, and from the old ends back.
  void close(const Operand& operand) {
    start.push_back(0);
    accept.push_back(0);
    copy(operand, false, false);
    const Parts& parts = operand.parts;
    for (int64_t s = 0; s < operand.graph.num_states; ++s) {
      if (parts.start[s] > kNegInf) epsilon(0, 1 + s, parts.start[s]);
    }
    for (int64_t s = 0; s < operand.graph.num_states; ++s) {
      if (parts.accept[s] > kNegInf) epsilon(1 + s, 0, parts.accept[s]);
    }
  }

 private:
  // Returns the first state of the copy.
  int64_t copy(const Operand& operand, bool starts, bool accepts) {
    const auto first = static_cast<int32_t>(start.size());
    const int64_t states = operand.graph.num_states, arcs = operand.graph.num_arcs;
    const Parts& parts = operand.parts;
    const auto scores = [&](std::vector<float>& to, const float* from, bool kept) {
      if (kept) {
        to.insert(to.end(), from, from + states);
      } else {
        to.resize(to.size() + states, static_cast<float>(kNegInf));
      }
    };
    scores(start, parts.start, starts);
    scores(accept, parts.accept, accepts);
    for (int64_t a = 0; a < arcs; ++a) {
      source.push_back(first + parts.source[a]);
      target.push_back(first + parts.target[a]);
      origin.push_back(num_origins_++);
    }
    ilabels.insert(ilabels.end(), parts.ilabels, parts.ilabels + arcs);
    olabels.insert(olabels.end(), parts.olabels, parts.olabels + arcs);
    weights.insert(weights.end(), operand.weights, operand.weights + arcs);
    return first;
  }

  void epsilon(int64_t from, int64_t to, float weight) {
    source.push_back(static_cast<int32_t>(from));
    target.push_back(static_cast<int32_t>(to));
    ilabels.push_back(kEpsilon);
    olabels.push_back(kEpsilon);
    weights.push_back(weight);
    origin.push_back(kNone);
  }

  int32_t num_origins_ = 0;
};

}  // namespace gtnet::rewrite
