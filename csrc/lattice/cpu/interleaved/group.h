// Groups of items abreast, eight or sixteen of them, behind one face.
#pragma once

#include <memory>
#include <optional>

#include "lattice/cpu/interleaved/forward.h"
#include "lattice/cpu/interleaved/gradient.h"

namespace gtnet::lattice::interleaved {

// What a group does, in this order. Halves forth and back may run side by side.
template <class T>
class Group {
 public:
  virtual ~Group() = default;

  // Numbers kept between score and gradient, and what is to be known about them.
  virtual int64_t num_values() const = 0;
  virtual int64_t num_about() const = 0;
  virtual void keep(T* values, double* about) = 0;

  virtual void score(bool forth) const = 0;
  // scores[item of the batch], NaN for those to be done alone.
  virtual void join(double* scores) const = 0;

  // Of grad[item] * score, into rows[item] and, where counting, what is collected.
  virtual void aim(T* const* rows, int64_t row_stride, const double* grad, bool counting) = 0;
  virtual void differentiate(bool forth) = 0;
  // Also says which items are done.
  virtual void collect(const ArcGradient& sums, char* done) = 0;
};

template <class T, int L>
class GroupOf final : public Group<T> {
 public:
  GroupOf(const Graph<T>& graph, const Item<T>* items, const Items<T, L>& frames, bool keep_all)
      : graph_(graph),
        items_(frames),
        kept_{{items_.longest(), keep_all}, int64_t{graph.steps.num_positions} * L, {}, {}} {
    for (int i = 0; i < items_.count; ++i) number_[i] = items[i].number;
  }

  int64_t num_values() const override { return kept_.num_values(); }
  int64_t num_about() const override { return kept_.num_about(); }
  void keep(T* values, double* about) override { kept_.values = values, kept_.about = about; }

  void score(bool forth) const override { ForwardScore<T, L>(graph_, items_, kept_).half(forth); }

  void join(double* scores) const override {
    double found[L];
    ForwardScore<T, L>(graph_, items_, kept_).join(found);
    for (int i = 0; i < items_.count; ++i) scores[number_[i]] = found[i];
  }

  void aim(T* const* rows, int64_t row_stride, const double* grad, bool counting) override {
    out_ = {{}, row_stride, {}, {}};
    counting_ = counting;
    for (int i = 0; i < items_.count; ++i) {
      out_.scores[i] = rows[number_[i]];
      out_.active[i] = kept_.total_m()[i] > 0;
      out_.grad[i] = out_.active[i] ? static_cast<T>(grad[number_[i]]) : 0;
    }
  }

  void differentiate(bool forth) override {
    walks_[forth].emplace(graph_, items_, kept_, out_, forth, counting_).run();
  }

  void collect(const ArcGradient& sums, char* done) override {
    while (drop_failed()) differentiate(false), differentiate(true);
    for (int i = 0; i < items_.count; ++i) done[number_[i]] = out_.active[i];
    if (counting_) walks_[0]->collect(sums), walks_[1]->collect(sums);
  }

 private:
  const Graph<T>& graph_;
  const Items<T, L> items_;
  int64_t number_[L] = {};
  Kept<T, L> kept_;
  Output<T, L> out_;
  bool counting_ = false;
  std::optional<Gradient<T, L>> walks_[2];

  bool drop_failed() {
    bool any = false;
    for (int i = 0; i < items_.count; ++i) {
      if (!walks_[0]->failed(i) && !walks_[1]->failed(i)) continue;
      out_.active[i] = false;
      out_.grad[i] = 0;
      any = true;
    }
    return any;
  }
};

}  // namespace gtnet::lattice::interleaved
