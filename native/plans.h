// The plans of one environment, by number, and how JavaScript describes a call: as one list of numbers.
#pragma once
#include <utility>
#include <vector>

#include "device.h"

namespace brasa {

// What a call may have; and what one that is run by itself may, for its operands pass through shared words.
constexpr int kMaxOperands = 4088, kMaxScalars = 64;
constexpr int kMaxOutAlone = 6, kMaxScalarsAlone = 32;

// How far an operand reaches from its offset.
struct Reach {
  int64_t elements = 0;
  int32_t item = 1;  // bytes
};

struct PlanEntry {
  Plan* plan = nullptr;
  int32_t device = 0;
  int32_t nin = 0, nout = 0, nscalars = 0;
  int32_t holders = 0;  // whoever made it, and programs
  int64_t out_bytes[kMaxOutAlone] = {};
  std::vector<Reach> reach;  // of the operands, inputs first
};

// A call as it is described:
//   op, nin, nout, nscalars, nparams, then each layout (inputs, outputs): dtype, ndim, shape, strides; then the params.
struct Description {
  Call call = {};
  std::vector<Layout> layouts;

  // The numbers must outlive the description. False when they make no sense.
  bool read(const double* text, const double* end) {
    if (end - text < 5) return false;
    call.op = static_cast<int32_t>(*text++);
    call.nin = static_cast<int32_t>(*text++);
    call.nout = static_cast<int32_t>(*text++);
    call.nscalars = static_cast<int32_t>(*text++);
    call.nparams = static_cast<int32_t>(*text++);
    const bool sane = call.nin >= 0 && call.nin <= kMaxOperands && call.nout > 0 && call.nout <= kMaxOperands &&
                      call.nscalars >= 0 && call.nscalars <= kMaxScalars && call.nparams >= 0;
    if (!sane) return false;
    layouts.assign(call.nin + call.nout, Layout{});
    for (Layout& layout : layouts) {
      if (end - text < 2) return false;
      layout.dtype = static_cast<int32_t>(*text++);
      layout.ndim = static_cast<int32_t>(*text++);
      if (layout.ndim < 0 || layout.ndim > kMaxDims || layout.dtype < 0 || layout.dtype >= kDTypeCount) return false;
      if (end - text < 2 * layout.ndim) return false;
      for (int i = 0; i < layout.ndim; ++i) layout.shape[i] = static_cast<int64_t>(*text++);
      for (int i = 0; i < layout.ndim; ++i) layout.strides[i] = static_cast<int64_t>(*text++);
    }
    if (end - text < call.nparams) return false;
    call.in = layouts.data();
    call.out = layouts.data() + call.nin;
    call.params = text;
    return true;
  }
};

class Plans {
 public:
  ~Plans() {
    for (PlanEntry& entry : entries_) {
      if (entry.plan) drop_on(entry.device, entry.plan);
    }
  }

  static Reach reach_of(const Layout& layout) {
    int64_t last = 0;
    for (int d = 0; d < layout.ndim; ++d) {
      if (layout.shape[d] == 0) return {0, item_bytes(layout.dtype)};
      last += (layout.shape[d] - 1) * layout.strides[d];
    }
    return {last + 1, item_bytes(layout.dtype)};
  }

  const PlanEntry* find(int32_t id) const {
    return id >= 0 && id < static_cast<int32_t>(entries_.size()) && entries_[id].plan ? &entries_[id] : nullptr;
  }

  // The number of a new plan, or -status.
  int32_t make(int32_t on, const Call& call) {
    PlanEntry entry;
    entry.device = on;
    entry.nin = call.nin;
    entry.nout = call.nout;
    entry.nscalars = call.nscalars;
    entry.holders = 1;
    for (int i = 0; i < call.nout; ++i) {
      const int64_t bytes = layout_bytes(call.out[i]);
      if (bytes < 0) return -kOutOfMemory;
      if (i < kMaxOutAlone) entry.out_bytes[i] = bytes;
    }
    for (int i = 0; i < call.nin; ++i) entry.reach.push_back(reach_of(call.in[i]));
    for (int i = 0; i < call.nout; ++i) entry.reach.push_back(reach_of(call.out[i]));
    const Status status = make_on(on, &call, &entry.plan);
    if (status != kOk) return -status;
    if (free_.empty()) {
      entries_.push_back(std::move(entry));
      return static_cast<int32_t>(entries_.size()) - 1;
    }
    const int32_t id = free_.back();
    free_.pop_back();
    entries_[id] = std::move(entry);
    return id;
  }

  void hold(int32_t id) { entries_[id].holders++; }

  void drop(int32_t id) {
    if (!find(id) || --entries_[id].holders > 0) return;
    drop_on(entries_[id].device, entries_[id].plan);
    entries_[id] = PlanEntry{};
    free_.push_back(id);
  }

 private:
  static Status make_on(int32_t on, const Call* call, Plan** out) {
    const Backend& backend = device(on)->backend;
    return backend.plan(backend.self, call, out);
  }
  static void drop_on(int32_t on, Plan* plan) {
    const Backend& backend = device(on)->backend;
    backend.drop(backend.self, plan);
  }

  std::vector<PlanEntry> entries_;
  std::vector<int32_t> free_;
};

}  // namespace brasa
