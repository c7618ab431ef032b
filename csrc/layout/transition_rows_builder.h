// Makes the layout of transition_rows.h from the arcs of a graph.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <vector>

#include "core/interrupt.h"
#include "layout/transition_rows.h"

namespace gtnet::layout {

// Lays out one graph. O(states + arcs log degree); states and arcs count within the graph.
class TransitionRowsBuilder {
 public:
  TransitionRowsBuilder(int32_t num_states, int32_t num_arcs, const int32_t* source,
                        const int32_t* target, const int32_t* label)
      : states_(num_states), arcs_(num_arcs), source_(source), target_(target), read_(label) {}

  // A state on an epsilon cycle, or -1; where there is one, `words` stays empty.
  int32_t build(std::vector<int32_t>& words) {
    split_states();
    number_labels();
    const Order forth = order(epsilon_, &Link::to, &Link::from);
    if (forth.on_cycle != kNone) return forth.on_cycle;
    const Order back = order(epsilon_, &Link::from, &Link::to);
    words.push_back(padded());
    words.push_back(static_cast<int32_t>(labels_.size()));
    push_span(words);
    words.insert(words.end(), labels_.begin(), labels_.end());
    words.insert(words.end(), label_.begin(), label_.end());
    const std::vector<int32_t> all(padded(), 0);
    write(words, group(reading_, &Link::to, &Link::from, padded(), true), all, true);
    write(words, group(reading_, &Link::from, &Link::to, padded(), false), all, true);
    write(words, group(epsilon_, &Link::to, &Link::from, padded(), true), forth.layer, false);
    write(words, group(epsilon_, &Link::from, &Link::to, padded(), false), back.layer, false);
    std::vector<Link> positions;
    for (int32_t p = 0; p < count_; ++p) {
      if (label_[p] != kNoLabel) positions.push_back({p, label_[p], kUnitArc});
    }
    const auto num_labels = static_cast<int32_t>(labels_.size());
    write(words, group(positions, &Link::to, &Link::from, num_labels, false),
          std::vector<int32_t>(num_labels, 0), true, -1);
    return kNone;
  }

 private:
  struct Link {
    int32_t from, to, arc;
  };
  struct Grouped {
    std::vector<int32_t> offsets;
    std::vector<Link> links;
    int32_t Link::* other;
  };
  struct Order {
    std::vector<int32_t> layer;  // 0: nothing enters (or leaves) by epsilon
    int32_t on_cycle;
  };

  const int32_t states_, arcs_;
  const int32_t *const source_, *const target_, *const read_;
  int32_t count_ = 0;  // positions before padding
  std::vector<int32_t> label_, labels_;
  std::vector<Link> reading_, epsilon_;

  int32_t padded() const { return (count_ + kLanes - 1) / kLanes * kLanes; }

  // Fills reading_, epsilon_ and, with labels of the graph (or -1), label_.
  void split_states() {
    constexpr int32_t kNothing = -1, kSeveral = -2;
    label_.assign(states_, kNothing);
    std::vector<char> by_epsilon(states_, 0);
    for (int32_t a = 0; a < arcs_; ++a) {
      int32_t& label = label_[target_[a]];
      if (read_[a] == kEpsilon) {
        by_epsilon[target_[a]] = 1;
      } else if (label == kNothing) {
        label = read_[a];
      } else if (label != read_[a]) {
        label = kSeveral;
      }
    }
    bool any = false;
    for (int32_t s = 0; s < states_; ++s) {
      if (label_[s] != kNothing && by_epsilon[s]) label_[s] = kSeveral;
      any = any || label_[s] == kSeveral;
    }
    count_ = states_;
    std::vector<int32_t> entry;  // the position that each arc leads to, where a state is split
    if (any) split(kSeveral, entry);
    reading_.reserve(arcs_);
    for (int32_t a = 0; a < arcs_; ++a) {
      if (read_[a] == kEpsilon) {
        epsilon_.push_back({source_[a], target_[a], a});
      } else {
        reading_.push_back({source_[a], any ? entry[a] : target_[a], a});
      }
    }
    label_.resize(padded(), kNothing);
  }

  void split(int32_t several, std::vector<int32_t>& entry) {
    entry.assign(target_, target_ + arcs_);
    std::vector<int32_t> chosen;
    for (int32_t a = 0; a < arcs_; ++a) {
      if (read_[a] != kEpsilon && label_[target_[a]] == several) chosen.push_back(a);
    }
    std::stable_sort(chosen.begin(), chosen.end(), [&](int32_t a, int32_t b) {
      return target_[a] != target_[b] ? target_[a] < target_[b] : read_[a] < read_[b];
    });
    for (size_t i = 0; i < chosen.size(); ++i) {
      const int32_t a = chosen[i], before = i ? chosen[i - 1] : a;
      if (i == 0 || target_[a] != target_[before] || read_[a] != read_[before]) {
        label_.push_back(read_[a]);
        epsilon_.push_back({count_++, target_[a], kUnitArc});
      }
      entry[a] = count_ - 1;
    }
    for (int32_t s = 0; s < states_; ++s) {
      if (label_[s] == several) label_[s] = -1;
    }
  }

  // From labels of the graph to local ones, in increasing order.
  void number_labels() {
    labels_.assign(label_.begin(), label_.end());
    labels_.push_back(kEpsilon);
    std::sort(labels_.begin(), labels_.end());
    labels_.erase(std::unique(labels_.begin(), labels_.end()), labels_.end());
    for (int32_t& label : label_) {
      label = static_cast<int32_t>(std::lower_bound(labels_.begin(), labels_.end(), label) -
                                   labels_.begin());
    }
  }

  // Longest way to each position along the links (Kahn 1962).
  Order order(const std::vector<Link>& links, int32_t Link::* to, int32_t Link::* from) const {
    Order result{std::vector<int32_t>(padded(), 0), kNone};
    if (links.empty()) return result;
    std::vector<int32_t> missing(padded(), 0), ready;
    for (const Link& link : links) ++missing[link.*to];
    const Grouped leaving = group(links, from, to, padded(), false);
    for (int32_t p = 0; p < padded(); ++p) {
      if (missing[p] == 0) ready.push_back(p);
    }
    for (size_t i = 0; i < ready.size(); ++i) {
      const int32_t p = ready[i];
      poll(8 * (leaving.offsets[p + 1] - leaving.offsets[p]));
      for (int32_t k = leaving.offsets[p]; k < leaving.offsets[p + 1]; ++k) {
        const int32_t next = leaving.links[k].*to;
        result.layer[next] = std::max(result.layer[next], result.layer[p] + 1);
        if (--missing[next] == 0) ready.push_back(next);
      }
    }
    if (ready.size() < missing.size()) result.on_cycle = on_cycle(links, to, from, missing);
    return result;
  }

  // Among positions that wait for ever, walk against the links until one comes twice.
  int32_t on_cycle(const std::vector<Link>& links, int32_t Link::* to, int32_t Link::* from,
                   const std::vector<int32_t>& missing) const {
    std::vector<int32_t> before(padded(), kNone);
    for (const Link& link : links) {
      if (missing[link.*to] > 0 && missing[link.*from] > 0) before[link.*to] = link.*from;
    }
    std::vector<char> seen(padded(), 0);
    auto p = static_cast<int32_t>(
        std::find_if(missing.begin(), missing.end(), [](int32_t n) { return n > 0; }) -
        missing.begin());
    for (; !seen[p]; p = before[p]) seen[p] = 1;
    return p;
  }

  void push_span(std::vector<int32_t>& words) const {
    int32_t up = 0, down = 0;
    for (const Link& link : reading_) {
      up = std::max(up, link.to - link.from);
      down = std::max(down, link.from - link.to);
    }
    words.push_back(up);
    words.push_back(down);
  }

  static Grouped group(const std::vector<Link>& links, int32_t Link::* row, int32_t Link::* other,
                       int32_t num_rows, bool descending) {
    Grouped grouped{std::vector<int32_t>(num_rows + 1, 0), std::vector<Link>(links.size()), other};
    std::vector<int32_t>& offsets = grouped.offsets;
    for (const Link& link : links) ++offsets[link.*row + 1];
    for (int32_t r = 0; r < num_rows; ++r) offsets[r + 1] += offsets[r];
    std::vector<int32_t> next(offsets.begin(), offsets.end() - 1);
    for (const Link& link : links) grouped.links[next[link.*row]++] = link;
    const auto before = [&](const Link& a, const Link& b) {
      return descending ? a.*other > b.*other : a.*other < b.*other;
    };
    for (int32_t r = 0; r < num_rows; ++r) {
      const auto begin = grouped.links.begin() + offsets[r],
                 end = grouped.links.begin() + offsets[r + 1];
      poll(16 * (end - begin));
      if (!std::is_sorted(begin, end, before)) std::stable_sort(begin, end, before);
    }
    return grouped;
  }

  // Rows order[begin, begin + count) of a plan. Rows of more than `most` arcs are empty here: they
  // are slices of their own.
  struct Slice {
    SliceKind kind;
    int32_t begin, count, most, entries;
  };
  struct Plan {
    std::vector<int32_t> order;
    std::vector<Slice> slices;
    int32_t entries = 0;

    void add(Slice slice) {
      slices.push_back(slice);
      entries += slice.entries;
    }
  };

  static constexpr int32_t kAlong = -2;  // padding stands wherever the others lead to

  // Rows of one layer after another; rows of layer 0 are left out unless `every`.
  static void write(std::vector<int32_t>& words, const Grouped& grouped,
                    const std::vector<int32_t>& layer, bool every, int32_t padding = kAlong) {
    const Plan plan = planned(grouped, layer, every);
    const size_t slices = plan.slices.size(), entries = plan.entries, at = words.size();
    words.resize(at + 2 + (slices + 1) + slices + slices * kLanes + entries + 2 * entries * kLanes);
    int32_t* begin = words.data() + at;
    *begin++ = static_cast<int32_t>(slices);
    *begin++ = static_cast<int32_t>(entries);
    int32_t *kind = begin + slices + 1, *to = kind + slices, *access = to + slices * kLanes,
            *other = access + entries, *arc = other + entries * kLanes;
    *begin = 0;
    for (const Slice& slice : plan.slices) {
      const int32_t* const rows = plan.order.data() + slice.begin;
      poll(int64_t{16} * kLanes * slice.entries);
      begin[1] = *begin + slice.entries;
      ++begin;
      *kind++ = slice.kind;
      to = std::fill_n(std::copy_n(rows, slice.count, to), kLanes - slice.count, -1);
      for (int32_t j = 0; j < slice.entries; ++j, other += kLanes, arc += kLanes) {
        fill(grouped, slice, rows, j, padding, other, arc);
        *access++ = padding == kAlong ? run_through(other, arc) : kGathered;
      }
    }
  }

  static Plan planned(const Grouped& grouped, const std::vector<int32_t>& layer, bool every) {
    const int32_t deepest = layer.empty() ? 0 : *std::max_element(layer.begin(), layer.end());
    const auto rows = static_cast<int32_t>(layer.size());
    Plan plan;
    plan.order.resize(rows);
    std::iota(plan.order.begin(), plan.order.end(), 0);
    if (deepest == 0) {
      if (every) cut(grouped, 0, rows, every, plan);
      return plan;
    }
    std::stable_sort(plan.order.begin(), plan.order.end(),
                     [&](int32_t a, int32_t b) { return layer[a] < layer[b]; });
    for (int32_t begin = 0, end = 0; begin < rows; begin = end) {
      const int32_t here = layer[plan.order[begin]];
      while (end < rows && layer[plan.order[end]] == here) ++end;
      if (every || here > 0) cut(grouped, begin, end, every, plan);
    }
    return plan;
  }

  // Slices of the rows [begin, end) of a layer. Long rows come last; where every row is to be
  // written, they stand among the others as well, empty, so that these stay in order.
  static void cut(const Grouped& grouped, int32_t begin, int32_t end, bool every, Plan& plan) {
    const auto length = [&](int32_t r) { return grouped.offsets[r + 1] - grouped.offsets[r]; };
    const auto rows = plan.order.begin();
    int64_t total = 0;
    for (int32_t i = begin; i < end; ++i) total += length(rows[i]);
    const int64_t usual = 4 * total / std::max(1, end - begin);
    const auto most = static_cast<int32_t>(std::max<int64_t>(kLanes, usual));
    const auto is_long = [&](int32_t r) { return length(r) > most; };
    std::vector<int32_t> long_rows;
    std::copy_if(rows + begin, rows + end, std::back_inserter(long_rows), is_long);
    if (!every)
      end = static_cast<int32_t>(std::remove_if(rows + begin, rows + end, is_long) - rows);
    const auto kept = [&](int32_t r) { return is_long(r) ? 0 : length(r); };
    const auto widest = [&](int32_t i) {
      int32_t result = 0;
      for (int32_t j = i; j < std::min(i + kLanes, end); ++j) {
        result = std::max(result, kept(rows[j]));
      }
      return result;
    };

    int64_t padded = 0, needed = 0;
    for (int32_t i = begin; i < end; i += kLanes) padded += int64_t{widest(i)} * kLanes;
    for (int32_t i = begin; i < end; ++i) needed += kept(rows[i]);
    if (2 * padded > 3 * needed + 16 * kLanes) {
      std::stable_sort(rows + begin, rows + end,
                       [&](int32_t a, int32_t b) { return kept(a) > kept(b); });
    }
    for (int32_t i = begin; i < end; i += kLanes) {
      const int32_t count = std::min(end - i, kLanes);
      bool in_order = count == kLanes;
      for (int32_t j = 1; j < count; ++j) in_order = in_order && rows[i + j] == rows[i] + j;
      plan.add({in_order ? kInOrder : kScattered, i, count, most, widest(i)});
    }
    for (const int32_t r : long_rows) {
      const int32_t entries = (length(r) + kLanes - 1) / kLanes;
      plan.add({kLongRow, static_cast<int32_t>(plan.order.size()), 1, length(r), entries});
      plan.order.push_back(r);
    }
  }

  // Entry j of a slice: the other ends and the arcs.
  static void fill(const Grouped& grouped, const Slice& slice, const int32_t* rows, int32_t j,
                   int32_t padding, int32_t* ends, int32_t* arcs) {
    const bool along = slice.kind == kLongRow;  // lanes are arcs of one row
    for (int32_t i = 0; i < kLanes; ++i) {
      const int32_t row = along ? 0 : i, at = along ? j * kLanes + i : j;
      const Link* link = nullptr;
      if (row < slice.count) {
        const int32_t first = grouped.offsets[rows[row]],
                      length = grouped.offsets[rows[row] + 1] - first;
        if (at < length && length <= slice.most) link = &grouped.links[first + at];
      }
      arcs[i] = link ? link->arc : kPadding;
      ends[i] = link ? link->*grouped.other : padding == kAlong ? 0 : padding;
    }
  }

  // How the other ends of an entry run; padding is made to run along. A contiguous run may begin
  // or end up to kLanes - 1 positions outside: arrays of positions have margins for that.
  static Access run_through(int32_t* ends, const int32_t* arcs) {
    int32_t first = 0;
    while (first < kLanes && arcs[first] == kPadding) ++first;
    if (first == kLanes) return kBroadcast;
    bool contiguous = true, broadcast = true;
    for (int32_t i = first + 1; i < kLanes; ++i) {
      if (arcs[i] == kPadding) continue;
      contiguous = contiguous && ends[i] - ends[first] == i - first;
      broadcast = broadcast && ends[i] == ends[first];
    }
    if (!contiguous && !broadcast) return kGathered;
    const int32_t base = ends[first];
    for (int32_t i = 0; i < kLanes; ++i) ends[i] = contiguous ? base + i - first : base;
    return contiguous ? kContiguous : kBroadcast;
  }
};

}  // namespace gtnet::layout
