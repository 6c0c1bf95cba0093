// Code of a trace: a loop over whole vectors, then once more the same for the elements that are left, by masks.
// Constants and numbers that every pass reads stay in registers as far as there are any, else they are memory operands.
#include "emitter.h"

#include <memory>
#include <new>

#include "calls.h"

namespace brasa::cpu::jit {
namespace {

constexpr size_t kMostNodes = 1500;
constexpr int32_t kMostFrame = 1 << 15;  // bytes of stack
constexpr int32_t kAhead = 2048;         // bytes, as prefetch_ahead in simd.h

// rdi: elements left, rax: elements done; rcx, rbx and r11 for a moment.
class Emitter : public Calls {
 public:
  using Calls::Calls;

  bool generate() {
    Label loop, tail, done;
    const size_t frame_at = prologue();
    cmp(rdi, trace_.lanes);
    jl(tail, T_NEAR);
    align(32);
    L(loop);
    body(false);
    add(rax, trace_.lanes);
    sub(rdi, trace_.lanes);
    cmp(rdi, trace_.lanes);
    jge(loop, T_NEAR);
    L(tail);
    test(rdi, rdi);
    jle(done, T_NEAR);
    restart();
    last_lanes();
    restart();
    body(true);
    L(done);
    mov(rsp, rbp);
    for (const Reg64& r : {r15, r14, r13, r12, rbx, rbp}) pop(r);
    vzeroupper();
    ret();
    calls_apart();
    constants();
    rewrite(frame_at, uint64_t(frame_), 4);
    ready();
    return good_ && frame_ <= kMostFrame && GetError() == 0;
  }

 private:
  // ---- around the body

  size_t prologue() {
    for (const Reg64& r : {rbp, rbx, r12, r13, r14, r15}) push(r);
    mov(rbp, rsp);
    sub(rsp, 0x10000000);
    const size_t frame_at = getSize() - 4;
    and_(rsp, -64);
    const Reg64 bases[] = {r8, r9, r10, r12, r13, r14, r15};
    int32_t next = 0;
    for (int32_t i = 0; i < kernel_.noperands; ++i) {
      base_.push_back(rcx);
      if (kernel_.operands[i].role == kNumber || next == 7) continue;
      base_[i] = bases[next++];
      mov(base_[i], ptr[rsi + 8 * i]);
    }
    lea(rdx, ptr[rip + pool_]);
    place_invariants();
    xor_(eax, eax);
    return frame_at;
  }

  // Which lanes the last elements fill: k1, of the second vector k2; without such registers, masks in memory.
  void last_lanes() {
    if (zmm_) {
      mov(rcx, -1);
      bzhi(rcx, rcx, rdi);
      kmovq(k1, rcx);
      shr(rcx, 8);
      kmovq(k2, rcx);
      return;
    }
    // From a row of 8 ones and 8 zeros, as many ones as there are elements.
    lanes_at_ = int32_t(pool_values_.size()) * 8;
    pool_values_.insert(pool_values_.end(), 4, ~uint64_t(0));
    pool_values_.insert(pool_values_.end(), 6, 0);
    for (int32_t& home : lane_home_) home = new_home();
    narrow_home_ = new_home();
    const Reg64 from = rcx;
    lea(from, ptr[rdx + lanes_at_ + 32]);
    mov(rbx, rdi);
    neg(rbx);
    lea(from, ptr[from + rbx * 4]);
    const Ymm mask(temporary());
    vmovups(mask, ptr[from]);
    vmovups(ptr[rsp + lane_home_[0]], mask);
    for (int p = 0; p < 2; ++p) {
      vpmovsxdq(mask, ptr[from + 16 * p]);
      vmovups(ptr[rsp + lane_home_[1 + p]], mask);
    }
  }

  // ---- items

  void body(bool last) {
    fetch_ahead(last);
    for (at_ = 0; at_ < int32_t(items_.size()); ++at_) {
      const Item& item = items_[at_];
      if (item.store >= 0)
        store(trace_.stores[item.store], last);
      else if (node(item.node).code == Code::kLoad)
        load(item.node, last);
      else if (node(item.node).code == Code::kCall)
        call(item.node, last);
      else if (node(item.node).code == Code::kGuard)
        guard(item.node, last);
      else
        compute(item.node);
      if (item.store >= 0) finish(trace_.stores[item.store].node);
      for (int j = 0; item.node >= 0 && j < 4; ++j) finish(node(item.node).x[j]);
      if (item.node >= 0) finish(item.node);
      vectors_.end_item();
      conditions_.end_item();
    }
  }

  // ---- memory

  int32_t size_of(int32_t dtype) const {
    return dtype == k_f64 || dtype == k_i64    ? 8
           : dtype == k_f32 || dtype == k_i32  ? 4
           : dtype == k_f16 || dtype == k_bf16 ? 2
                                               : 1;
  }
  RegExp place(int32_t operand, int32_t part) {
    const int32_t size = size_of(kernel_.operands[operand].dtype);
    if (base_[operand].getIdx() == rcx.getIdx()) mov(rcx, ptr[rsi + 8 * operand]);
    return base_[operand] + rax * size + part * bytes_;
  }
  void fetch_ahead(bool last) {
    for (int32_t i = 0; !last && i < kernel_.noperands; ++i) {
      const jit::Operand& o = kernel_.operands[i];
      if (!o.far || o.role == kNumber) continue;
      const RegExp from = place(i, 0);
      for (int32_t b = 0; b < std::max(size_of(o.dtype) * trace_.lanes, 1); b += 64) prefetcht0(ptr[from + kAhead + b]);
    }
  }

  // Elements of 8 or 16 bits that are left, to or from memory of a whole vector.
  void move_elements(int32_t operand, bool out) {
    const int32_t size = size_of(kernel_.operands[operand].dtype);
    Label next;
    const RegExp from = place(operand, 0);
    lea(rcx, ptr[from]);
    mov(rbx, rdi);
    L(next);
    const RegExp memory = rcx + rbx * size - size, copy = rsp + rbx * size + (narrow_home_ - size);
    if (size == 2) {
      mov(r11w, ptr[out ? copy : memory]);
      mov(ptr[out ? memory : copy], r11w);
    } else {
      mov(r11b, ptr[out ? copy : memory]);
      mov(ptr[out ? memory : copy], r11b);
    }
    dec(rbx);
    jnz(next, T_NEAR);
  }

  void load(int32_t n, bool last) {
    const Node& l = node(n);
    const int32_t dtype = kernel_.operands[l.imm].dtype, size = size_of(dtype);
    const Xmm to = v(apart(n));
    Address from = ptr[rsp];
    Xmm masked = to;
    if (last && zmm_) {
      masked = to | (l.part ? k2 : k1) | T_z;
      from = ptr[place(l.imm, l.part)];
    } else if (last && size < 4) {
      move_elements(l.imm, false);
      from = ptr[rsp + narrow_home_];
    } else if (last) {
      vmovups(to, ptr[rsp + lane_home_[size == 8 ? 1 + l.part : 0]]);
      const RegExp at = place(l.imm, l.part);
      size == 8 ? vmaskmovpd(to, to, ptr[at]) : vmaskmovps(to, to, ptr[at]);
      return;
    } else {
      from = ptr[place(l.imm, l.part)];
    }
    switch (dtype) {
      case k_f64:
      case k_i64:
        return vmovupd(masked, from);
      case k_f16:
        return vcvtph2ps(masked, from);
      case k_bf16:
        return vpmovzxwd(masked, from);
      case k_i8:
        return vpmovsxbd(masked, from);
      case k_u8:
      case k_bool:
        return vpmovzxbd(masked, from);
      default:
        return vmovups(masked, from);
    }
  }

  void store(const Store& s, bool last) {
    const int32_t dtype = kernel_.operands[s.operand].dtype, size = size_of(dtype);
    const Xmm from = vec(s.node);
    if (last && !zmm_ && size >= 4) {
      const Xmm mask = v(temporary());
      vmovups(mask, ptr[rsp + lane_home_[size == 8 ? 1 + s.part : 0]]);
      const RegExp at = place(s.operand, s.part);
      return size == 8 ? vmaskmovpd(ptr[at], mask, from) : vmaskmovps(ptr[at], mask, from);
    }
    const bool through = last && !zmm_;
    Address to = through ? ptr[rsp + narrow_home_] : ptr[place(s.operand, s.part)];
    if (last && zmm_) to = to | (s.part ? k2 : k1);
    const int32_t r = from.getIdx();
    if (size == 8) return vmovupd(to, from);
    if (size == 4) return vmovups(to, from);
    if (dtype == k_f16) {
      zmm_ ? vcvtps2ph(to, Zmm(r), 0) : vcvtps2ph(to, Ymm(r), 0);
    } else if (zmm_) {
      size == 2 ? vpmovdw(to, Zmm(r)) : vpmovdb(to, Zmm(r));
    } else {
      const Ymm t(temporary());
      vpslld(t, from, size == 2 ? 16 : 24);
      vpsrld(t, t, size == 2 ? 16 : 24);
      vpackusdw(t, t, t);
      vpermq(t, t, 8);
      if (size == 1) vpackuswb(t, t, t);
      size == 2 ? vmovups(to, Xmm(t.getIdx())) : vmovq(to, Xmm(t.getIdx()));
    }
    if (through) move_elements(s.operand, true);
  }
  std::vector<Reg64> base_;  // of each operand; rcx: is loaded when it is asked for
  int32_t lane_home_[3] = {}, narrow_home_ = 0, lanes_at_ = 0;
};

}  // namespace

bool emit(const Kernel& kernel, const Trace& trace, int32_t simd_bytes, std::vector<uint8_t>* code) {
  if (trace.nodes.size() > kMostNodes) return false;
  static thread_local std::unique_ptr<uint8_t[]> memory(new (std::nothrow) uint8_t[kMostCode + 64]);
  if (!memory) return false;
  uint8_t* aligned = memory.get() + (64 - reinterpret_cast<uintptr_t>(memory.get()) % 64) % 64;
  ClearError();
  Emitter emitter(kernel, trace, simd_bytes, aligned);
  const bool good = emitter.generate();
  if (good) code->assign(aligned, aligned + emitter.getSize());
  ClearError();
  return good;
}

}  // namespace brasa::cpu::jit
