// Calls of the interpreter's loops for one vector: of what has no instructions, and of what seldom needs more than it
// has.
#pragma once
#include <functional>
#include <list>

#include "lowering.h"

namespace brasa::cpu::jit {

class Calls : public Lowering {
 public:
  using Lowering::Lowering;

 protected:
  void call(int32_t n, bool last) {
    const Node& c = node(n);
    std::vector<int32_t> operands;
    for (int32_t k = 0; k < c.imm; ++k) operands.push_back(in(c.x[k]));
    const int32_t to = apart(n);
    call_loop(c, operands, to, last, vectors_.occupied(), conditions_.occupied());
  }

  // The call is apart from the loop, and leaves every other register as it was.
  void guard(int32_t n, bool last) {
    const Node& c = node(n);
    const int32_t y = in(c.x[0]), condition = in(c.x[1]);
    std::vector<int32_t> operands;
    for (int32_t k = 0; k < c.imm; ++k) operands.push_back(in(c.x[2 + k]));
    const int32_t to = apart(n);
    vmovaps(v(to), v(y));
    const bool wide = is_wide(c.type);
    if (zmm_) {
      wide ? kortestb(Opmask(condition), Opmask(condition)) : kortestw(Opmask(condition), Opmask(condition));
    } else {
      wide ? vmovmskpd(ecx, Ymm(condition)) : vmovmskps(ecx, Ymm(condition));
      test(ecx, ecx);
    }
    apart_.emplace_back();
    Apart& a = apart_.back();
    jnz(a.seldom, T_NEAR);
    L(a.back);
    a.write = [this, &c, &a, operands, to, last, vectors = vectors_.occupied(), conditions = conditions_.occupied()] {
      L(a.seldom);
      call_loop(c, operands, to, last, vectors, conditions);
      jmp(a.back, T_NEAR);
    };
  }

  // Behind the code: what guards jump to.
  void calls_apart() {
    for (const Apart& a : apart_) a.write();
  }

 private:
  void call_loop(const Node& c, const std::vector<int32_t>& operands, int32_t to, bool last,
                 const std::vector<int32_t>& vectors, const std::vector<int32_t>& conditions) {
    if (area_ < 0) {
      area_ = frame_;
      frame_ += kArea;
    }
    const Reg64 kept[] = {rax, rdi, rsi, rdx, r8, r9, r10};
    const int32_t general = area_ + 32 * 64, masks = general + 64, out = masks + 64, in = out + 64;
    const int32_t sources = in + 3 * 64;
    const bool lanes = zmm_ && last;  // k1 and k2 tell which are left
    for (const int32_t r : vectors)
      if (r != to) vmovups(ptr[rsp + area_ + 64 * r], v(r));
    for (size_t k = 0; k < operands.size(); ++k) vmovups(ptr[rsp + in + 64 * int32_t(k)], v(operands[k]));
    for (int32_t i = 0; i < 7; ++i) mov(ptr[rsp + general + 8 * i], kept[i]);
    for (const int32_t k : conditions) kmovq(ptr[rsp + masks + 8 * k], Opmask(k));
    for (int32_t k = 1; lanes && k <= 2; ++k) kmovq(ptr[rsp + masks + 8 * k], Opmask(k));
    for (int32_t k = 0; k < 3; ++k) {
      lea(rcx, ptr[rsp + in + 64 * k]);
      mov(ptr[rsp + sources + 16 * k], rcx);
      mov(qword[rsp + sources + 16 * k + 8], -1);
    }
    count_elements(c, last);
    lea(rsi, ptr[rsp + out]);
    lea(rdx, ptr[rsp + sources]);
    lea(rcx, ptr[rsp + sources + 16]);
    lea(r8, ptr[rsp + sources + 32]);
    xor_(r9d, r9d);
    mov(rax, c.bits);
    Xbyak::CodeGenerator::call(rax);
    for (int32_t i = 0; i < 7; ++i) mov(kept[i], ptr[rsp + general + 8 * i]);
    for (const int32_t k : conditions) kmovq(Opmask(k), ptr[rsp + masks + 8 * k]);
    for (int32_t k = 1; lanes && k <= 2; ++k) kmovq(Opmask(k), ptr[rsp + masks + 8 * k]);
    for (const int32_t r : vectors)
      if (r != to) vmovups(v(r), ptr[rsp + area_ + 64 * r]);
    vmovups(v(to), ptr[rsp + out]);
  }
  // To rdi, of which there are elements left: those of the vector.
  void count_elements(const Node& c, bool last) {
    const int32_t lanes = bytes_ / (is_wide(c.type) ? 8 : 4);
    if (!last) {
      mov(edi, lanes);
      return;
    }
    sub(rdi, c.part * lanes);
    mov(ecx, lanes);
    cmp(rdi, rcx);
    cmovg(rdi, rcx);
    xor_(ecx, ecx);
    test(rdi, rdi);
    cmovs(rdi, rcx);
  }

  struct Apart {
    Label seldom, back;
    std::function<void()> write;
  };
  // In the frame: vectors, general registers, conditions, the result, three operands, their sources.
  static constexpr int32_t kArea = 32 * 64 + 64 + 64 + 64 + 3 * 64 + 64;
  int32_t area_ = -1;
  std::list<Apart> apart_;
};

}  // namespace brasa::cpu::jit
