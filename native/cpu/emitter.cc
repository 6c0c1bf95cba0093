// Code of a trace: a loop over whole vectors, then once more the same for the elements that are left, by masks.
// Constants and numbers that every pass reads stay in registers as far as there are any, else they are memory operands.
#include "emitter.h"

#define XBYAK_NO_EXCEPTION
#define XBYAK_NO_OP_NAMES
#include <xbyak/xbyak.h>

#include <algorithm>
#include <memory>

#include "registers.h"

namespace brasa::cpu::jit {
namespace {

using namespace Xbyak;

constexpr size_t kMostCode = 1 << 17;
constexpr size_t kMostNodes = 1500;
constexpr int32_t kAhead = 2048;  // bytes, as prefetch_ahead in simd.h

// rdi: elements left, rsi: the operands, rax: elements done, rdx: the constants, rcx, rbx and r11 for a moment.
class Emitter : public CodeGenerator {
 public:
  Emitter(const Kernel& kernel, const Trace& trace, int32_t bytes, uint8_t* memory)
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

  bool generate() {
    Label loop, tail, done;
    size_t frame_at = prologue();
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
    constants();
    rewrite(frame_at, uint64_t(frame_), 4);
    ready();
    return good_ && GetError() == 0;
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
        const Xmm r = v(vectors_.hold(n));
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

  void constants() {
    align(64);
    L(pool_);
    for (const uint64_t value : pool_values_) dq(value);
  }

  // ---- values

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

  // ---- items

  void body(bool last) {
    fetch_ahead(last);
    for (at_ = 0; at_ < int32_t(items_.size()); ++at_) {
      const Item& item = items_[at_];
      if (item.store >= 0)
        store(trace_.stores[item.store], last);
      else
        compute(item.node, last);
      const int32_t none[3] = {-1, -1, -1};
      int32_t one[3] = {item.store >= 0 ? trace_.stores[item.store].node : -1, -1, -1};
      for (const int32_t x : item.store >= 0 ? one : item.node >= 0 ? node(item.node).x : none) finish(x);
      if (item.node >= 0) finish(item.node);
      vectors_.end_item();
      conditions_.end_item();
    }
  }
  // What is not used again gives its register and its place in memory back.
  void finish(int32_t n) {
    if (n < 0 || invariant(n) || !file(n).dies(n, at_)) return;
    file(n).drop(n);
    if (home_[n] >= 0) free_homes_.push_back(home_[n]);
    home_[n] = -1;
  }

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

  void compute(int32_t n, bool last) {
    const Node& c = node(n);
    switch (c.code) {
      case Code::kLoad:
        return load(n, last);
      case Code::kAdd:
      case Code::kSub:
      case Code::kMul:
      case Code::kDiv:
      case Code::kMin:
      case Code::kMax:
      case Code::kAnd:
      case Code::kOr:
      case Code::kXor:
      case Code::kScale:
      case Code::kShiftLeftBy:
      case Code::kShiftRightBy:
        return in_mask(n) ? mask_logic(n) : binary(n);
      case Code::kNot: {  // of a condition
        if (zmm_) {
          const Opmask x(in(c.x[0]));
          return knotq(Opmask(out(n)), x);
        }
        const Xmm x = vec(c.x[0]), to = v(apart(n));
        vpcmpeqd(to, to, to);
        return vxorps(to, to, x);
      }
      case Code::kFma:
        return fused(n);
      case Code::kCompare:
        return zmm_ ? compare_masks(n) : compare_lanes(n);
      case Code::kSelect:
        return choose(n);
      case Code::kLanes: {
        if (!zmm_) {
          const Xmm x = vec(c.x[0]);
          return vmovaps(v(out(n)), x);
        }
        const Opmask x(in(c.x[0]));
        return is_wide(c.type) ? vpmovm2q(v(out(n)), x) : vpmovm2d(v(out(n)), x);
      }
      case Code::kConvert:
        return convert(n);
      default:
        return unary(n);
    }
  }

  bool swaps(Code code) const {
    return code == Code::kAdd || code == Code::kMul || code == Code::kAnd || code == Code::kOr || code == Code::kXor;
  }

  void binary(int32_t n) {
    const Node& c = node(n);
    int32_t a = c.x[0], b = c.x[1];
    if (swaps(c.code) && in_memory(a) && !in_memory(b)) std::swap(a, b);
    const Xmm x = vec(a);
    const Either y = any(b);
    const Xmm d = v(out(n));
    const bool wide = is_wide(c.type);
#define FLOATS(name) return wide ? v##name##pd(d, x, y) : v##name##ps(d, x, y)
#define EITHER(name) return wide ? v##name##q(d, x, y) : v##name##d(d, x, y)
    if (is_float(c.type)) {
      switch (c.code) {
        case Code::kAdd:
          FLOATS(add);
        case Code::kSub:
          FLOATS(sub);
        case Code::kMul:
          FLOATS(mul);
        case Code::kDiv:
          FLOATS(div);
        case Code::kMin:
          FLOATS(min);
        case Code::kMax:
          FLOATS(max);
        case Code::kScale:
          FLOATS(scalef);
        default:
          break;
      }
    }
    switch (c.code) {
      case Code::kAdd:
        EITHER(padd);
      case Code::kSub:
        EITHER(psub);
      case Code::kMul:
        if (wide && zmm_) return vpmullq(d, x, y);
        if (!wide) return vpmulld(d, x, y);
        break;
      case Code::kAnd:
        if (!zmm_) return vpand(d, x, y);
        EITHER(pand);
      case Code::kOr:
        if (!zmm_) return vpor(d, x, y);
        EITHER(por);
      case Code::kXor:
        if (!zmm_) return vpxor(d, x, y);
        EITHER(pxor);
      case Code::kShiftLeftBy:
        EITHER(psllv);
      case Code::kShiftRightBy:
        if (!wide) return vpsravd(d, x, y);
        if (zmm_) return vpsravq(d, x, y);
        break;
      default:
        break;
    }
#undef FLOATS
#undef EITHER
    good_ = false;
  }

  void mask_logic(int32_t n) {
    const Node& c = node(n);
    const Opmask x(in(c.x[0])), y(in(c.x[1]));
    const Opmask d(out(n));
    if (c.code == Code::kAnd) return kandq(d, x, y);
    if (c.code == Code::kOr) return korq(d, x, y);
    kxorq(d, x, y);
  }

  void unary(int32_t n) {
    const Node& c = node(n);
    const bool wide = is_wide(c.type);
    const Xmm x = vec(c.x[0]);
    if (c.code == Code::kShiftRight && wide && !zmm_) return shift_right(n, x);
    const Xmm d = v(out(n));
    switch (c.code) {
      case Code::kSqrt:
        return wide ? vsqrtpd(d, x) : vsqrtps(d, x);
      case Code::kRound:
        if (!zmm_) return wide ? vroundpd(d, x, c.imm) : vroundps(d, x, c.imm);
        return wide ? vrndscalepd(d, x, c.imm) : vrndscaleps(d, x, c.imm);
      case Code::kExponent:
        return wide ? vgetexppd(d, x) : vgetexpps(d, x);
      case Code::kMantissa:
        return wide ? vgetmantpd(d, x, 12) : vgetmantps(d, x, 12);
      case Code::kRsqrt14:
        return wide ? vrsqrt14pd(d, x) : vrsqrt14ps(d, x);
      case Code::kShiftLeft:
        return wide ? vpsllq(d, x, c.imm) : vpslld(d, x, c.imm);
      case Code::kShiftRight:
        return wide ? vpsraq(d, x, c.imm) : vpsrad(d, x, c.imm);
      default:
        good_ = false;
    }
  }
  // Arithmetic, of 64 bits, without the instruction: the sign is put in.
  void shift_right(int32_t n, const Xmm& x) {
    const Xmm d = v(apart(n)), sign = v(temporary());
    vpxor(sign, sign, sign);
    vpcmpgtq(sign, sign, x);
    vpsllq(sign, sign, 64 - node(n).imm);
    vpsrlq(d, x, node(n).imm);
    vpor(d, d, sign);
  }

  void compare_masks(int32_t n) {
    const Node& c = node(n);
    const Xmm x = vec(c.x[0]);
    const Either y = any(c.x[1]);
    const Opmask d(out(n));
    switch (c.type) {
      case k_f32:
        return vcmpps(d, x, y, c.imm);
      case k_f64:
        return vcmppd(d, x, y, c.imm);
      case k_i32:
        return vpcmpd(d, x, y, c.imm & 7);
      default:
        return vpcmpq(d, x, y, c.imm & 7);
    }
  }
  void compare_lanes(int32_t n) {
    const Node& c = node(n);
    if (is_float(c.type)) {
      const Xmm x = vec(c.x[0]);
      const Either y = any(c.x[1]);
      const Xmm d = v(out(n));
      return c.type == k_f64 ? vcmppd(d, x, y, c.imm) : vcmpps(d, x, y, c.imm);
    }
    // There are "equal" and "greater".
    const bool equal = c.imm == kEqual || c.imm == kNotEqual;
    const bool turn = c.imm == kNotEqual || c.imm == kLessEqual || c.imm == kGreaterEqual;
    const bool swap = c.imm == kLess || c.imm == kGreaterEqual;
    const Xmm x = vec(c.x[swap ? 1 : 0]), y = vec(c.x[swap ? 0 : 1]), d = v(apart(n));
    if (equal)
      c.type == k_i64 ? vpcmpeqq(d, x, y) : vpcmpeqd(d, x, y);
    else
      c.type == k_i64 ? vpcmpgtq(d, x, y) : vpcmpgtd(d, x, y);
    if (!turn) return;
    const Xmm ones = v(temporary());
    vpcmpeqd(ones, ones, ones);
    vpxor(d, d, ones);
  }

  void choose(int32_t n) {
    const Node& c = node(n);
    const Xmm no = vec(c.x[2]);
    const Either yes = any(c.x[1]);
    if (!zmm_) {
      const Xmm mask = vec(c.x[0]);
      const Xmm d = v(out(n));
      return is_wide(c.type) ? vblendvpd(d, no, yes, mask) : vblendvps(d, no, yes, mask);
    }
    const Opmask k(in(c.x[0]));
    const Xmm d = v(out(n));
    is_wide(c.type) ? vblendmpd(d | k, no, yes) : vblendmps(d | k, no, yes);
  }

  // ---- x * y + z: the result takes the place of an operand

  void multiply_add(int32_t order, const Node& c, const Xmm& d, const Xmm& x, const Xbyak::Operand& y) {
#define FORMS(name)                                                                  \
  return order == 132   ? (wide ? v##name##132pd(d, x, y) : v##name##132ps(d, x, y)) \
         : order == 213 ? (wide ? v##name##213pd(d, x, y) : v##name##213ps(d, x, y)) \
                        : (wide ? v##name##231pd(d, x, y) : v##name##231ps(d, x, y))
    const bool wide = is_wide(c.type);
    switch (c.imm) {
      case 0:
        FORMS(fmadd);
      case kNegateProduct:
        FORMS(fnmadd);
      case kNegateAddend:
        FORMS(fmsub);
      default:
        FORMS(fnmsub);
    }
#undef FORMS
  }
  // In a register of its own that the item may overwrite.
  bool yields(int32_t n) { return !in_memory(n) && !vectors_.is_held(vectors_.of(n)) && vectors_.dies(n, at_); }
  void fused(int32_t n) {
    const Node& c = node(n);
    int32_t a = c.x[0], b = c.x[1];
    const int32_t z = c.x[2];
    for (const int32_t x : c.x)
      if (!in_memory(x)) vectors_.pin(vectors_.of(x));
    if (!yields(z) && (yields(a) || yields(b))) {
      if (!yields(a)) std::swap(a, b);
      // d = a: a * b + z, one of which may lie in memory.
      if (in_memory(b) && in_memory(z)) vec(b);
      if (in_memory(b)) {
        const Xmm x = vec(z);
        const Either y = any(b);
        const Xmm d = vec(a);
        vectors_.hand_over(a, n);
        return multiply_add(132, c, d, x, y);
      }
      const Xmm x = vec(b);
      const Either y = any(z);
      const Xmm d = vec(a);
      vectors_.hand_over(a, n);
      return multiply_add(213, c, d, x, y);
    }
    if (in_memory(a)) std::swap(a, b);
    const Xmm x = vec(a);
    if (yields(z)) {
      const Either y = any(b);
      const Xmm d = vec(z);
      vectors_.hand_over(z, n);
      return multiply_add(231, c, d, x, y);
    }
    const Either y = any(b);
    const Xmm d = v(apart(n));
    if (!in_memory(z))
      vmovaps(d, vec(z));
    else if (constant_[z] >= 0)
      load_constant(d, z);
    else
      vmovups(d, ptr[rsp + home_[z]]);
    multiply_add(231, c, d, x, y);
  }

  // ---- conversions

  void convert(int32_t n) {
    const Node& c = node(n);
    const int32_t from = c.imm, to = c.type;
    if (is_wide(from) == is_wide(to)) {
      const Xmm x = vec(c.x[0]);
      const Xmm d = v(out(n));
      if (from == k_f32) return vcvttps2dq(d, x);
      if (from == k_i32) return vcvtdq2ps(d, x);
      if (!zmm_) return fail();
      return from == k_f64 ? vcvttpd2qq(d, x) : vcvtqq2pd(d, x);
    }
    is_wide(to) ? to_wide(n) : to_narrow(n);
  }
  void to_wide(int32_t n) {
    const Node& c = node(n);
    int32_t x = in(c.x[0]);
    const int32_t d = apart(n);
    if (c.part) {
      zmm_ ? vextractf32x8(Ymm(d), Zmm(x), 1) : vextractf128(Xmm(d), Ymm(x), 1);
      x = d;
    }
    const Xmm half = zmm_ ? Xmm(Ymm(x)) : Xmm(x);
    if (c.imm == k_f32 && c.type == k_f64) return vcvtps2pd(v(d), half);
    if (c.imm == k_i32 && c.type == k_f64) return vcvtdq2pd(v(d), half);
    if (c.imm == k_i32) return vpmovsxdq(v(d), half);
    if (!zmm_) return fail();
    vcvttps2qq(v(d), half);
  }
  void to_narrow(int32_t n) {
    const Node& c = node(n);
    const int32_t lo = in(c.x[0]), hi = in(c.x[1]), d = apart(n);
    if (!zmm_ && c.imm == k_i64) {
      if (c.type != k_i32) return fail();
      vshufps(Ymm(d), Ymm(lo), Ymm(hi), 0x88);
      return vpermpd(Ymm(d), Ymm(d), 0xd8);
    }
    const int32_t t = temporary();
    for (const int32_t half : {0, 1}) {
      const int32_t to = half ? t : d, x = half ? hi : lo;
      if (!zmm_)
        c.type == k_f32 ? vcvtpd2ps(Xmm(to), Ymm(x)) : vcvttpd2dq(Xmm(to), Ymm(x));
      else if (c.imm == k_f64)
        c.type == k_f32 ? vcvtpd2ps(Ymm(to), Zmm(x)) : vcvttpd2dq(Ymm(to), Zmm(x));
      else
        c.type == k_f32 ? vcvtqq2ps(Ymm(to), Zmm(x)) : vpmovqd(Ymm(to), Zmm(x));
    }
    zmm_ ? vinsertf32x8(Zmm(d), Zmm(d), Ymm(t), 1) : vinsertf128(Ymm(d), Ymm(d), Xmm(t), 1);
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
  std::vector<Reg64> base_;  // of each operand; rcx: is loaded when it is asked for
  std::vector<int32_t> free_homes_;
  std::vector<uint64_t> pool_values_;
  Label pool_;
  int32_t lane_home_[3] = {}, narrow_home_ = 0, lanes_at_ = 0;
  int32_t frame_ = 0, at_ = 0;
  bool good_ = true;
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
