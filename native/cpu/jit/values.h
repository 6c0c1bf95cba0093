// Where the values of a trace are while its code is written: in registers, in the frame, or among the constants behind
// the code.
#pragma once
#define XBYAK_NO_EXCEPTION
#define XBYAK_NO_OP_NAMES
#include <xbyak/xbyak.h>

#include <algorithm>

#include "registers.h"

namespace brasa::cpu::jit {

using namespace Xbyak;

constexpr size_t kMostCode = 1 << 17;

// rsi: the operands, rdx: the constants, rsp: the frame.
class Values : public CodeGenerator {
 public:
  Values(const Kernel& kernel, const Trace& trace, int32_t bytes, uint8_t* memory)
      : CodeGenerator(kMostCode, memory),
        kernel_(kernel),
        trace_(trace),
        bytes_(bytes),
        zmm_(bytes == 64),
        items_(schedule(kernel, trace)),
        uses_(find_uses(trace, items_)),
        home_(trace.nodes.size(), -1),
        constant_(trace.nodes.size(), -1),
        vectors_(0, bytes == 64 ? 32 : 16, uses_, [this](int32_t node, int32_t reg) { save(node, reg); }),
        // k1 and k2 are the lanes of the last elements.
        conditions_(3, 5, uses_, [this](int32_t node, int32_t reg) { save(node, reg); }) {}

 protected:
  // Constants and numbers: the most used ones in registers that the body does not need.
  void place_invariants() {
    std::vector<int32_t> order;
    for (int32_t n = 0; n < count(); ++n)
      if (invariant(n) && !uses_[n].empty()) order.push_back(n);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return uses_[a].size() > uses_[b].size(); });
    int32_t spare = (zmm_ ? 32 : 16) - most_alive() - 4;
    for (const int32_t n : order) {
      if (node(n).code == Code::kConstant) {
        constant_[n] = int32_t(pool_values_.size()) * 8;
        const int32_t words = zmm_ ? 1 : 4;
        const uint64_t bits = is_wide(node(n).type) ? node(n).bits : node(n).bits << 32 | (node(n).bits & 0xffffffffu);
        pool_values_.insert(pool_values_.end(), words, bits);
      } else if (spare <= 0) {
        home_[n] = new_home();
      }
      if (node(n).code == Code::kCell) mov(rcx, ptr[rsi + 8 * node(n).imm]);
      if (spare-- > 0) {
        const Xmm r = v(taken(vectors_.hold(n)));
        if (node(n).code == Code::kCell)
          vmovups(r, ptr[rcx]);
        else
          load_constant(r, n);
      } else if (node(n).code == Code::kCell) {
        const Xmm r = v(temporary());
        vmovups(r, ptr[rcx]);
        vmovups(ptr[rsp + home_[n]], r);
        vectors_.end_item();
      }
    }
  }

  // Vectors that are alive at once.
  int32_t most_alive() const {
    std::vector<int32_t> change(items_.size() + 1, 0);
    for (size_t at = 0; at < items_.size(); ++at) {
      const int32_t n = items_[at].node;
      if (n < 0 || in_mask(n)) continue;
      ++change[at];
      --change[uses_[n].empty() ? at + 1 : uses_[n].back()];
    }
    int32_t alive = 0, most = 0;
    for (const int32_t c : change) most = std::max(most, alive += c);
    return most;
  }

  void restart() {
    vectors_.restart();
    conditions_.restart();
    for (int32_t n = 0; n < count(); ++n)
      if (!invariant(n)) home_[n] = -1;
    at_ = 0;
  }

  void constants() {
    align(64);
    L(pool_);
    for (const uint64_t value : pool_values_) dq(value);
  }

  int32_t count() const { return int32_t(trace_.nodes.size()); }
  const Node& node(int32_t n) const { return trace_.nodes[n]; }
  bool invariant(int32_t n) const { return node(n).code == Code::kConstant || node(n).code == Code::kCell; }
  bool in_mask(int32_t n) const { return zmm_ && node(n).condition; }
  RegisterFile& file(int32_t n) { return in_mask(n) ? conditions_ : vectors_; }
  Xmm v(int32_t r) const { return zmm_ ? Xmm(Zmm(r)) : Xmm(Ymm(r)); }
  int32_t new_home() {
    if (!free_homes_.empty()) {
      const int32_t home = free_homes_.back();
      free_homes_.pop_back();
      return home;
    }
    frame_ += 64;
    return frame_ - 64;
  }
  void save(int32_t n, int32_t reg) {
    if (home_[n] >= 0 || constant_[n] >= 0) return;
    home_[n] = new_home();
    if (in_mask(n))
      kmovq(ptr[rsp + home_[n]], Opmask(reg));
    else
      vmovups(ptr[rsp + home_[n]], v(reg));
  }
  void load_constant(const Xmm& to, int32_t n) {
    if (!zmm_)
      vmovups(to, ptr[rdx + constant_[n]]);
    else if (is_wide(node(n).type))
      vbroadcastsd(Zmm(to.getIdx()), ptr[rdx + constant_[n]]);
    else
      vbroadcastss(to, ptr[rdx + constant_[n]]);
  }

  int32_t taken(int32_t r) {
    if (r >= 0) return r;
    good_ = false;
    return 3;
  }
  int32_t temporary() { return taken(vectors_.take(RegisterFile::kTemporary, at_)); }
  int32_t temporary_mask() { return taken(conditions_.take(RegisterFile::kTemporary, at_)); }
  // The register that holds the node.
  int32_t in(int32_t n) {
    RegisterFile& f = file(n);
    if (f.of(n) < 0) {
      const int32_t r = taken(f.take(n, at_));
      if (in_mask(n))
        kmovq(Opmask(r), ptr[rsp + home_[n]]);
      else if (constant_[n] >= 0)
        load_constant(v(r), n);
      else
        vmovups(v(r), ptr[rsp + home_[n]]);
    }
    f.pin(f.of(n));
    return f.of(n);
  }
  Xmm vec(int32_t n) { return v(in(n)); }
  bool in_memory(int32_t n) { return vectors_.of(n) < 0; }
  // The node as a last operand: of memory if it lies there.
  struct Either {
    Xmm reg;
    Address memory;
    bool is_memory;
    operator const Xbyak::Operand&() const { return is_memory ? static_cast<const Xbyak::Operand&>(memory) : reg; }
  };
  Either any(int32_t n) {
    if (!in_memory(n)) return {vec(n), ptr[rsp], false};
    if (constant_[n] < 0) return {Xmm(0), ptr[rsp + home_[n]], true};
    return {Xmm(0), zmm_ ? ptr_b[rdx + constant_[n]] : ptr[rdx + constant_[n]], true};
  }
  // After the operands were named: the register of the result, which may be one of theirs that is not used again.
  int32_t out(int32_t n) {
    for (const int32_t x : node(n).x)
      if (x >= 0 && file(x).of(x) >= 0 && file(x).dies(x, at_)) file(x).drop(x);
    return taken(file(n).take(n, at_));
  }
  int32_t apart(int32_t n) { return taken(file(n).take(n, at_)); }  // one that is none of theirs
  // What is not used again gives its register and its place in memory back.
  void finish(int32_t n) {
    if (n < 0 || invariant(n) || !file(n).dies(n, at_)) return;
    file(n).drop(n);
    if (home_[n] >= 0) free_homes_.push_back(home_[n]);
    home_[n] = -1;
  }
  void fail() { good_ = false; }

  const Kernel& kernel_;
  const Trace& trace_;
  const int32_t bytes_;
  const bool zmm_;
  const std::vector<Item> items_;
  const std::vector<std::vector<int32_t>> uses_;
  std::vector<int32_t> home_, constant_;  // of each node, in the frame and among the constants: bytes; -1: nowhere
  RegisterFile vectors_, conditions_;
  std::vector<int32_t> free_homes_;
  std::vector<uint64_t> pool_values_;
  Label pool_;
  int32_t frame_ = 0, at_ = 0;  // bytes; the item that is being written
  bool good_ = true;
};

}  // namespace brasa::cpu::jit
