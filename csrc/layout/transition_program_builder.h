// Makes the layout of layout/transition_program.h from that of layout/transition_rows.h. O(states +
// arcs log degree).
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "layout/transition_program.h"
#include "layout/transition_rows.h"

namespace gtnet::layout {

class TransitionProgramsBuilder {
 public:
  // Appends a graph; the first word of the result says how many graphs there are room for.
  static std::vector<int32_t> begin(int64_t num_graphs) {
    return std::vector<int32_t>(TransitionProgram::aligned(num_graphs), 0);
  }

  TransitionProgramsBuilder(std::vector<int32_t>& words, std::array<int64_t, kStepSizes>& sizes)
      : words_(words), sizes_(sizes) {}

  void add(int64_t graph, const TransitionRows& steps) {
    const auto at = static_cast<int64_t>(words_.size());
    words_[graph] = static_cast<int32_t>(at / kHeader);
    Layout forth(steps.num_positions), back(steps.num_positions), by_label(steps.num_labels);
    forth.add_reading(steps.entering);
    forth.add_epsilons(steps.epsilon_entering);
    back.add_reading(steps.leaving);
    back.add_epsilons(steps.epsilon_leaving);
    by_label.add_reading(steps.by_label);
    const int32_t slots = std::max(forth.slots(), back.slots());
    words_.resize(at + kHeader, 0);
    words_[at] = steps.num_positions;
    words_[at + 1] = slots;
    words_[at + 2] = steps.num_labels;
    words_[at + 3] = by_label.slots();
    append({steps.labels, steps.labels + steps.num_labels});
    std::vector<int32_t> label(steps.label, steps.label + steps.num_positions);
    label.resize(slots, kNoLabel);
    append(label);
    int i = 4;
    for (Layout* layout : {&forth, &back, &by_label}) {
      words_[at + i++] = static_cast<int32_t>(static_cast<int64_t>(words_.size()) - at);
      const bool weighted = layout != &by_label, counted = layout == &back;
      write(*layout, weighted, counted);
    }
    raise(kMostSlots, slots);
    raise(kMostTotals, by_label.slots());
    raise(kMostLabels, steps.num_labels);
  }

 private:
  static constexpr int32_t kMostAlone = 32;           // arcs of a row that a thread takes alone
  static constexpr int32_t kPartOfRow = 32 * kLanes;  // arcs of a row that a slice takes

  struct Link {
    int32_t other, arc;
  };
  struct Row {
    int32_t to, owner;
    bool keeps;
    std::vector<Link> links;
  };

  // The rows of a program by phase.
  class Layout {
   public:
    explicit Layout(int32_t targets) : next_(targets), ready_(targets, 0) {}

    int32_t slots() const { return next_; }
    int32_t reading() const { return reading_; }
    const std::vector<std::vector<Row>>& phases() const { return phases_; }

    // A row for every target, from arcs of what was before.
    void add_reading(const SlicedRows& rows) {
      std::vector<std::vector<Link>> links(next_);
      gather(rows, [&](int32_t to, Link link) { links[to].push_back(link); });
      const auto targets = static_cast<int32_t>(links.size());
      for (int32_t to = 0; to < targets; ++to) {
        add(0, {to, to, false, std::move(links[to])});
      }
      reading_ = std::max<int32_t>(1, static_cast<int32_t>(phases_.size()));
      std::fill(ready_.begin(), ready_.end(), reading_);
    }

    // Rows in an order that leads forward, on top of what their positions held.
    void add_epsilons(const SlicedRows& rows) {
      std::vector<std::vector<Link>> links(ready_.size());
      std::vector<int32_t> order;
      gather(rows, [&](int32_t to, Link link) {
        if (links[to].empty()) order.push_back(to);
        links[to].push_back(link);
      });
      for (int32_t to : order) {
        int32_t phase = reading_;
        for (const Link& link : links[to]) phase = std::max(phase, ready_[link.other]);
        ready_[to] = add(phase, {to, to, true, std::move(links[to])}) + 1;
      }
    }

   private:
    int32_t next_, reading_ = 0;
    std::vector<int32_t> ready_;  // the first phase that sees the last word of each position
    std::vector<std::vector<Row>> phases_;

    template <class Found>
    static void gather(const SlicedRows& rows, const Found& found) {
      for (int32_t k = 0; k < rows.num_slices; ++k) {
        for (int32_t j = rows.begin[k]; j < rows.begin[k + 1]; ++j) {
          for (int i = 0; i < kLanes; ++i) {
            const int64_t at = int64_t{j} * kLanes + i;
            const int32_t to = rows.to[int64_t{k} * kLanes + (rows.kind[k] == kLongRow ? 0 : i)];
            if (rows.arc[at] != kPadding) found(to, {rows.other[at], rows.arc[at]});
          }
        }
      }
    }

    // In parts where it is too long; the phase in which it is complete.
    int32_t add(int32_t phase, Row row) {
      const auto size = static_cast<int32_t>(row.links.size());
      if (size <= kPartOfRow) {
        at(phase).push_back(std::move(row));
        return phase;
      }
      Row whole{row.to, row.owner, row.keeps, {}};
      for (int32_t begin = 0; begin < size; begin += kPartOfRow) {
        const auto from = row.links.begin() + begin;
        const auto to = row.links.begin() + std::min(size, begin + kPartOfRow);
        whole.links.push_back({next_, kUnitArc});
        at(phase).push_back({next_++, row.owner, false, std::vector<Link>(from, to)});
      }
      return add(phase + 1, std::move(whole));
    }

    std::vector<Row>& at(int32_t phase) {
      if (static_cast<int32_t>(phases_.size()) <= phase) phases_.resize(phase + 1);
      return phases_[phase];
    }
  };

  // Side by side, or all lanes on one.
  struct Slice {
    int32_t flags;
    std::vector<const Row*> rows;
  };

  static std::vector<Slice> cut(const std::vector<Row>& rows) {
    std::vector<Slice> slices;
    for (const bool keeps : {false, true}) {
      std::vector<const Row*> few;
      for (const Row& row : rows) {
        if (row.keeps != keeps) continue;
        if (row.links.size() > kMostAlone) {
          slices.push_back({kTogether | (keeps ? kKeeps : 0), {&row}});
        } else {
          few.push_back(&row);
        }
      }
      if (wasteful(few)) {
        std::stable_sort(few.begin(), few.end(), [](const Row* a, const Row* b) {
          return a->links.size() > b->links.size();
        });
      }
      for (size_t i = 0; i < few.size(); i += kLanes) {
        const size_t end = std::min(i + kLanes, few.size());
        slices.push_back({keeps ? kKeeps : 0, {few.begin() + i, few.begin() + end}});
      }
    }
    return slices;
  }

  // Whether padding rows in this order to their longest neighbour adds more than half.
  static bool wasteful(const std::vector<const Row*>& rows) {
    size_t padded = 0, needed = 0, widest = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (i % kLanes == 0) widest = 0;
      padded -= widest * kLanes;
      widest = std::max(widest, rows[i]->links.size());
      padded += widest * kLanes;
      needed += rows[i]->links.size();
    }
    return 2 * padded > 3 * needed + 16 * kLanes;
  }

  void write(const Layout& layout, bool weighted, bool counted) {
    std::vector<int32_t> phase_begin{0}, slice_begin{0}, flags, to, owner, other, arc;
    for (const std::vector<Row>& rows : layout.phases()) {
      for (const Slice& slice : cut(rows)) {
        flags.push_back(slice.flags);
        for (const Row* row : slice.rows) {
          to.push_back(row->to);
          owner.push_back(row->owner);
        }
        to.resize(flags.size() * kLanes, -1);
        owner.resize(flags.size() * kLanes, 0);
        fill(slice, other, arc);
        slice_begin.push_back(static_cast<int32_t>(arc.size() / kLanes));
      }
      phase_begin.push_back(static_cast<int32_t>(flags.size()));
    }
    const auto at = words_.size();
    const auto entries = static_cast<int32_t>(arc.size() / kLanes);
    words_.resize(at + kHeader, 0);
    words_[at] = static_cast<int32_t>(phase_begin.size()) - 1;
    words_[at + 1] = layout.reading();
    words_[at + 2] = static_cast<int32_t>(flags.size());
    words_[at + 3] = entries;
    words_[at + 4] = static_cast<int32_t>(sizes_[kAllWeights]);
    words_[at + 5] = static_cast<int32_t>(sizes_[kAllCounts]);
    if (weighted) sizes_[kAllWeights] += entries;
    if (counted) sizes_[kAllCounts] += entries;
    raise(kMostPhases, words_[at]);
    raise(kMostSlices, phase_begin.size() > 1 ? phase_begin[1] : 0);
    for (const auto* part : {&phase_begin, &slice_begin, &flags, &to, &owner, &other, &arc}) {
      append(*part);
    }
  }

  static void fill(const Slice& slice, std::vector<int32_t>& other, std::vector<int32_t>& arc) {
    const bool together = slice.flags & kTogether;
    size_t widest = 0;
    for (const Row* row : slice.rows) widest = std::max(widest, row->links.size());
    const size_t entries = together ? (widest + kLanes - 1) / kLanes : widest;
    for (size_t j = 0; j < entries; ++j) {
      for (size_t i = 0; i < kLanes; ++i) {
        const size_t row = together ? 0 : i, at = together ? j * kLanes + i : j;
        const bool real = row < slice.rows.size() && at < slice.rows[row]->links.size();
        other.push_back(real ? slice.rows[row]->links[at].other : unread(slice, row));
        arc.push_back(real ? slice.rows[row]->links[at].arc : kPadding);
      }
    }
  }

  // What padding of a row may read, so that no thread reads what another writes meanwhile.
  static int32_t unread(const Slice& slice, size_t row) {
    const Row& like = *slice.rows[std::min(row, slice.rows.size() - 1)];
    return like.links.empty() ? 0 : like.links[0].other;
  }

  void append(const std::vector<int32_t>& part) {
    words_.insert(words_.end(), part.begin(), part.end());
    words_.resize(TransitionProgram::aligned(static_cast<int64_t>(words_.size())), 0);
  }

  void raise(StepSize size, int64_t value) { sizes_[size] = std::max(sizes_[size], value); }

  std::vector<int32_t>& words_;
  std::array<int64_t, kStepSizes>& sizes_;
};

}  // namespace gtnet::layout
