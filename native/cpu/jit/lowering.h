// The instructions of each node.
#pragma once
#include "values.h"

namespace brasa::cpu::jit {

class Lowering : public Values {
 public:
  using Values::Values;

 protected:
  void compute(int32_t n) {
    const Node& c = node(n);
    switch (c.code) {
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
    for (const int32_t x : {a, b, z})
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
};

}  // namespace brasa::cpu::jit
