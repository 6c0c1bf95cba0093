// Registers of straight-line code whose uses are all known: the value that is used last gives way. Vectors and
// conditions have a file each.
#pragma once
#include <functional>
#include <vector>

#include "trace.h"

namespace brasa::cpu::jit {

constexpr int32_t kNever = 1 << 30;

// What a step of the schedule does: computes a node or stores one.
struct Item {
  int32_t node, store;  // one of them; the other -1
};

// Nodes in order, stores as soon as nothing that may lie under them is loaded any more.
inline std::vector<Item> schedule(const Kernel& kernel, const Trace& trace) {
  std::vector<std::vector<int32_t>> after(trace.nodes.size());
  for (size_t k = 0; k < trace.stores.size(); ++k) {
    const Store& s = trace.stores[k];
    int32_t at = s.node;
    for (size_t i = at + 1; i < trace.nodes.size(); ++i) {
      const Node& n = trace.nodes[i];
      if (n.code == Code::kLoad && kernel.operands[n.imm].dtype == kernel.operands[s.operand].dtype) at = int32_t(i);
    }
    after[at].push_back(int32_t(k));
  }
  std::vector<Item> items;
  for (size_t i = 0; i < trace.nodes.size(); ++i) {
    const Code code = trace.nodes[i].code;
    if (code != Code::kConstant && code != Code::kCell) items.push_back({int32_t(i), -1});
    for (const int32_t k : after[i]) items.push_back({-1, k});
  }
  return items;
}

// Items that use each node, in order.
inline std::vector<std::vector<int32_t>> find_uses(const Trace& trace, const std::vector<Item>& items) {
  std::vector<std::vector<int32_t>> uses(trace.nodes.size());
  for (size_t at = 0; at < items.size(); ++at) {
    if (items[at].store >= 0) {
      uses[trace.stores[items[at].store].node].push_back(int32_t(at));
      continue;
    }
    for (const int32_t x : trace.nodes[items[at].node].x)
      if (x >= 0 && (uses[x].empty() || uses[x].back() != int32_t(at))) uses[x].push_back(int32_t(at));
  }
  return uses;
}

class RegisterFile {
 public:
  // Registers [first, first + count) of a file; save(node, reg): the value must be kept elsewhere.
  RegisterFile(int32_t first, int32_t count, const std::vector<std::vector<int32_t>>& uses,
               std::function<void(int32_t node, int32_t reg)> save)
      : first_(first),
        uses_(uses),
        save_(std::move(save)),
        holds_(count, kFree),
        pinned_(count, false),
        reg_(uses.size(), -1) {}

  int32_t of(int32_t node) const { return reg_[node]; }
  int32_t next_use(int32_t node, int32_t at) const {
    for (const int32_t use : uses_[node])
      if (use > at) return use;
    return kNever;
  }
  bool dies(int32_t node, int32_t at) const { return next_use(node, at) == kNever; }

  // A register for the node until its last use, or for the current item if node is kTemporary.
  int32_t take(int32_t node, int32_t at) {
    int32_t best = -1, furthest = -1;
    for (int32_t i = 0; i < int32_t(holds_.size()); ++i) {
      if (pinned_[i] || holds_[i] == kHeld) continue;
      const int32_t use = holds_[i] == kFree ? kNever + 1 : next_use(holds_[i], at - 1);
      if (use > furthest) {
        furthest = use;
        best = i;
      }
    }
    if (best < 0) return -1;
    if (holds_[best] >= 0) {
      save_(holds_[best], first_ + best);
      reg_[holds_[best]] = -1;
    }
    put(node, best);
    return first_ + best;
  }
  // For as long as the code runs.
  int32_t hold(int32_t node) {
    const int32_t r = take(node, 0);
    if (r >= 0) holds_[r - first_] = kHeld;
    return r;
  }
  bool is_held(int32_t reg) const { return holds_[reg - first_] == kHeld; }
  void pin(int32_t reg) { pinned_[reg - first_] = true; }
  // The register goes over to a node that is computed into it.
  void hand_over(int32_t from, int32_t to) {
    const int32_t i = reg_[from] - first_;
    reg_[from] = -1;
    put(to, i);
  }
  void drop(int32_t node) {
    if (reg_[node] < 0 || holds_[reg_[node] - first_] == kHeld) return;
    holds_[reg_[node] - first_] = kFree;
    pinned_[reg_[node] - first_] = false;
    reg_[node] = -1;
  }
  void end_item() {
    for (size_t i = 0; i < holds_.size(); ++i) {
      pinned_[i] = false;
      if (holds_[i] == kTemporary) holds_[i] = kFree;
    }
  }
  // All that a call must leave as they are.
  std::vector<int32_t> occupied() const {
    std::vector<int32_t> regs;
    for (int32_t i = 0; i < int32_t(holds_.size()); ++i)
      if (holds_[i] != kFree) regs.push_back(first_ + i);
    return regs;
  }
  // As before the first item: of the code, which is written twice.
  void restart() {
    for (size_t n = 0; n < reg_.size(); ++n) drop(int32_t(n));
    end_item();
  }

  static constexpr int32_t kTemporary = -2;

 private:
  static constexpr int32_t kFree = -1, kHeld = -3;
  void put(int32_t node, int32_t i) {
    holds_[i] = node;
    pinned_[i] = true;
    if (node >= 0) reg_[node] = first_ + i;
  }

  int32_t first_;
  const std::vector<std::vector<int32_t>>& uses_;
  std::function<void(int32_t, int32_t)> save_;
  std::vector<int32_t> holds_;
  std::vector<char> pinned_;
  std::vector<int32_t> reg_;
};

}  // namespace brasa::cpu::jit
