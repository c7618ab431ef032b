// Strings of labels that share memory: the ways from the root of a tree to its nodes, and their
// ends. Appending a label and leaving out the first ones take no copy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "core/platform.h"

namespace gtnet::rewrite {

// The last `length` labels on the way from the root to a node.
struct LabelString {
  int32_t node = 0, length = 0;
};

class LabelTree {
 public:
  LabelTree() { add({0, 0, 0, kNone, 1}); }

  // The string and one label more.
  LabelString longer(LabelString string, int32_t label) {
    const uint64_t key = static_cast<uint64_t>(string.node) << 32 | static_cast<uint32_t>(label);
    const auto [place, fresh] = children_.try_emplace(key, size());
    if (fresh) {
      const Node& parent = nodes_[string.node];
      const Node& leapt = nodes_[parent.leap];
      // Leaps of lengths 1, 3, 7, ..., which together reach every ancestor (Myers 1983).
      const bool twice = parent.depth - leapt.depth == leapt.depth - nodes_[leapt.leap].depth;
      const int32_t leap = twice && string.node != 0 ? leapt.leap : string.node;
      add({string.node, leap, parent.depth + 1, label, parent.hash * kBase + mixed(label)});
    }
    return {place->second, string.length + 1};
  }

  // Without its first labels.
  static LabelString without_first(LabelString string, int32_t count) {
    const int32_t left = string.length - count;
    return {left == 0 ? 0 : string.node, left};
  }

  // Without its last labels. O(log length).
  LabelString without_last(LabelString string, int32_t count) const {
    const int32_t left = string.length - count;
    return {left == 0 ? 0 : ancestor(string.node, nodes_[string.node].depth - count), left};
  }

  // The label at a place, counted from the front. O(log length).
  int32_t at(LabelString string, int32_t place) const {
    return nodes_[without_last(string, string.length - place - 1).node].label;
  }

  // How many labels both have in common at the front, of at most so many; and at the end.
  int32_t common_front(LabelString a, LabelString b, int32_t most) const {
    most = std::min({most, a.length, b.length});
    if (a.node == b.node && a.length == b.length) return most;
    int32_t same = 0;
    while (same < most && at(a, same) == at(b, same)) ++same;
    return same;
  }
  int32_t common_end(LabelString a, LabelString b) const {
    const int32_t most = std::min(a.length, b.length);
    int32_t same = 0;
    for (int32_t x = a.node, y = b.node; same < most; ++same) {
      if (x == y) return most;
      if (nodes_[x].label != nodes_[y].label) break;
      x = nodes_[x].parent;
      y = nodes_[y].parent;
    }
    return same;
  }

  bool equal(LabelString a, LabelString b) const {
    return a.length == b.length && common_end(a, b) == a.length;
  }

  // Equal for equal strings.
  uint64_t hash(LabelString string) const {
    const Node& end = nodes_[string.node];
    const Node& begin = nodes_[ancestor(string.node, end.depth - string.length)];
    return end.hash - begin.hash * powers_[string.length];
  }

  // Writes the labels, front to end, before `end`.
  void write(LabelString string, int32_t* end) const {
    int32_t node = string.node;
    for (int32_t i = 0; i < string.length; ++i, node = nodes_[node].parent) {
      *--end = nodes_[node].label;
    }
  }
  // The same from the end to the front, from `begin` on.
  void write_reversed(LabelString string, int32_t* begin) const {
    int32_t node = string.node;
    for (int32_t i = 0; i < string.length; ++i, node = nodes_[node].parent) {
      *begin++ = nodes_[node].label;
    }
  }

 private:
  struct Node {
    int32_t parent, leap, depth, label;
    uint64_t hash;  // of the way from the root
  };
  static constexpr uint64_t kBase = 0x9E3779B97F4A7C15ull;

  static uint64_t mixed(int32_t label) {
    uint64_t x = (static_cast<uint64_t>(static_cast<uint32_t>(label)) + 1) * 0xBF58476D1CE4E5B9ull;
    return x ^ (x >> 29);
  }

  int32_t size() const { return static_cast<int32_t>(nodes_.size()); }

  void add(const Node& node) {
    nodes_.push_back(node);
    while (static_cast<int32_t>(powers_.size()) <= node.depth) {
      powers_.push_back(powers_.empty() ? 1 : powers_.back() * kBase);
    }
  }

  int32_t ancestor(int32_t node, int32_t depth) const {
    while (nodes_[node].depth > depth) {
      const int32_t leap = nodes_[node].leap;
      node = nodes_[leap].depth >= depth ? leap : nodes_[node].parent;
    }
    return node;
  }

  std::vector<Node> nodes_;
  std::vector<uint64_t> powers_;  // of kBase
  std::unordered_map<uint64_t, int32_t> children_;
};

}  // namespace gtnet::rewrite
