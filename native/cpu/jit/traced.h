// The vector type of math.inl and of the expressions of ops.def that computes nothing: its operators write nodes into
// the trace of the thread. A mask is kept as the condition that it came from.
#pragma once
#include <string.h>

#include "../../compute.h"
#include "trace.h"

#define BRASA_VECTORS brasa::cpu::jit::BRASA_ISA
#define BRASA_INLINE inline
#define BRASA_FMA 1

namespace brasa::cpu::jit::BRASA_ISA {
namespace {

// Nodes of one instruction are shared as they are written; those of the whole program that have no operands, too.
class Recorder {
 public:
  Trace* trace = nullptr;
  int32_t begin = 0;     // of the instruction
  bool possible = true;  // all of the instruction has nodes
  int32_t rare = -1;     // the condition in whose lanes they do not give its result

  int32_t add(Code code, int32_t type, int32_t x = -1, int32_t y = -1, int32_t z = -1, int32_t imm = 0,
              int32_t part = 0, uint64_t bits = 0) {
    const bool of_condition = x >= 0 && trace->nodes[x].condition;
    const bool logic = code == Code::kAnd || code == Code::kOr || code == Code::kXor || code == Code::kNot;
    if ((code == Code::kAdd || code == Code::kMul) && x > y) {
      const int32_t other = x;
      x = y;
      y = other;
    }
    const Node node = {
        code, int8_t(type), code == Code::kCompare || (logic && of_condition), int8_t(part), imm, {x, y, z, -1}, bits};
    const int32_t count = int32_t(trace->nodes.size());
    for (int32_t i = count - 1, first = x < 0 ? 0 : begin; i >= first; --i)
      if (same(trace->nodes[i], node)) return i;
    trace->nodes.push_back(node);
    return count;
  }
  int32_t constant(int32_t type, uint64_t bits) {
    return add(Code::kConstant, is_wide(type) ? k_i64 : k_i32, -1, -1, -1, 0, 0, bits);
  }
  const uint64_t* value(int32_t node) const {
    const Node& n = trace->nodes[node];
    return n.code == Code::kConstant ? &n.bits : nullptr;
  }

 private:
  static bool same(const Node& a, const Node& b) {
    return a.code == b.code && a.type == b.type && a.part == b.part && a.imm == b.imm && a.x[0] == b.x[0] &&
           a.x[1] == b.x[1] && a.x[2] == b.x[2] && a.bits == b.bits;
  }
};

thread_local Recorder recorder;

template <class T>
constexpr int32_t kType = kDtypeOf<T>;

// AVX2 neither multiplies nor shifts 64-bit integers.
template <class T>
constexpr bool kLacking = BRASA_SIMD_BYTES == 32 && kType<T> == k_i64;

template <class T>
class Vec {
 public:
  using Elem = T;
  using Int = Vec<typename IntOf<T>::type>;
  int32_t id = -1;

  Vec() = default;
  explicit Vec(T s) {
    uint64_t bits = 0;
    memcpy(&bits, &s, sizeof s);
    id = recorder.constant(kType<T>, bits);
  }
  static Vec of(int32_t id) {
    Vec v;
    v.id = id;
    return v;
  }
  static Vec make(Code code, Vec a, Vec b = Vec(), Vec c = Vec(), int32_t imm = 0) {
    if (code == Code::kMul && kLacking<T>) recorder.possible = false;
    return of(recorder.add(code, kType<T>, a.id, b.id, c.id, imm));
  }
  bool is_condition() const { return recorder.trace->nodes[id].condition; }
  // As numbers: all ones or all zeros where it is a condition.
  Vec lanes() const { return is_condition() ? make(Code::kLanes, *this) : *this; }
  // As a condition: which lanes are not 0.
  Vec condition() const { return is_condition() ? *this : lanes() != Vec(T(0)); }
  bool value(T* out) const {
    const uint64_t* bits = recorder.value(id);
    if (bits) memcpy(out, bits, sizeof *out);
    return bits != nullptr;
  }

// Constants are folded, as when the interpreter is compiled: a product of two is never fused with a sum.
#define BRASA_FOLDED(op, name)                                                                     \
  friend Vec operator op(Vec a, Vec b) {                                                           \
    T p, q;                                                                                        \
    if (a.value(&p) && b.value(&q)) return Vec(T(static_cast<Exact>(p) op static_cast<Exact>(q))); \
    return make(Code::name, a.lanes(), b.lanes());                                                 \
  }                                                                                                \
  Vec& operator op##=(Vec b) { return *this = *this op b; }
  BRASA_FOLDED(+, kAdd)
  BRASA_FOLDED(-, kSub)
  BRASA_FOLDED(*, kMul)
#undef BRASA_FOLDED
  friend Vec operator/(Vec a, Vec b) {
    T p, q;
    if (a.value(&p) && b.value(&q)) return Vec(T(p / q));
    return make(Code::kDiv, a, b);
  }
#define BRASA_LOGIC(op, name)                                                \
  friend Vec operator op(Vec a, Vec b) {                                     \
    T p, q;                                                                  \
    if (a.value(&p) && b.value(&q)) return Vec(T(p op q));                   \
    if (a.is_condition() && b.is_condition()) return make(Code::name, a, b); \
    return make(Code::name, a.lanes(), b.lanes());                           \
  }
  BRASA_LOGIC(&, kAnd)
  BRASA_LOGIC(|, kOr)
  BRASA_LOGIC(^, kXor)
#undef BRASA_LOGIC
#define BRASA_COMPARE(op, name)                                                                   \
  friend Int operator op(Vec a, Vec b) {                                                          \
    return Int::of(recorder.add(Code::kCompare, kType<T>, a.lanes().id, b.lanes().id, -1, name)); \
  }
  BRASA_COMPARE(==, kEqual)
  BRASA_COMPARE(!=, kNotEqual)
  BRASA_COMPARE(<, kLess)
  BRASA_COMPARE(<=, kLessEqual)
  BRASA_COMPARE(>, kGreater)
  BRASA_COMPARE(>=, kGreaterEqual)
#undef BRASA_COMPARE
  friend Vec operator-(Vec a) {
    T p;
    if (a.value(&p)) return Vec(T(-static_cast<Exact>(p)));
    return make(Code::kNegate, a.lanes());
  }
  friend Vec operator~(Vec a) {
    T p;
    if constexpr (T(0.5) == T(0))
      if (a.value(&p)) return Vec(T(~p));
    return make(Code::kNot, a);
  }
  friend Vec operator<<(Vec a, int n) {
    T p;
    if constexpr (T(0.5) == T(0))
      if (a.value(&p)) return Vec(T(static_cast<Exact>(p) << n));
    return make(Code::kShiftLeft, a.lanes(), Vec(), Vec(), n);
  }
  friend Vec operator>>(Vec a, int n) {
    T p;
    if constexpr (T(0.5) == T(0))
      if (a.value(&p)) return Vec(T(p >> n));
    return make(Code::kShiftRight, a.lanes(), Vec(), Vec(), n);
  }

 private:
  // In which constants are computed: integers wrap.
  template <class S, class = void>
  struct ExactOf {
    using type = S;
  };
  template <class Unused>
  struct ExactOf<int32_t, Unused> {
    using type = uint32_t;
  };
  template <class Unused>
  struct ExactOf<int64_t, Unused> {
    using type = uint64_t;
  };
  using Exact = typename ExactOf<T>::type;
};

using F32 = Vec<float>;
using F64 = Vec<double>;
using I32 = Vec<int32_t>;
using I64 = Vec<int64_t>;

template <class T>
Vec<T> select(typename Vec<T>::Int mask, Vec<T> a, Vec<T> b) {
  return Vec<T>::of(recorder.add(Code::kSelect, kType<T>, mask.condition().id, a.lanes().id, b.lanes().id));
}
template <class T>
typename Vec<T>::Int bits(Vec<T> x) {
  return Vec<T>::Int::of(x.id);
}
template <class T>
Vec<T> from_bits(typename Vec<T>::Int x) {
  return Vec<T>::of(x.lanes().id);
}
// Two nodes, as in simd.h: contract() makes one of them where the compiler does.
template <class T>
Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return a * b + c;
}
inline F32 abs(F32 x) { return from_bits<float>(bits(x) & I32(0x7fffffff)); }
inline F64 abs(F64 x) { return from_bits<double>(bits(x) & I64(0x7fffffffffffffff)); }
inline I32 abs(I32 x) { return select(x < I32(0), -x, x); }
inline I64 abs(I64 x) { return select(x < I64(0), -x, x); }
template <class T>
Vec<T> copysign(Vec<T> x, Vec<T> y) {
  using I = typename Vec<T>::Int;
  const I sign = bits(Vec<T>(T(-0.0)));
  return from_bits<T>((bits(x) & ~sign) | (bits(y) & sign));
}
template <class T>
Vec<T> max(Vec<T> a, Vec<T> b) {
  if (is_float(kType<T>)) return Vec<T>::make(Code::kMax, a, b);
  return select(a > b, a, b);
}
template <class T>
Vec<T> min(Vec<T> a, Vec<T> b) {
  if (is_float(kType<T>)) return Vec<T>::make(Code::kMin, a, b);
  return select(a < b, a, b);
}
template <class T>
Vec<T> sqrt(Vec<T> x) {
  return Vec<T>::make(Code::kSqrt, x);
}
#define BRASA_ROUND(name, mode)                                     \
  template <class T>                                                \
  Vec<T> name(Vec<T> x) {                                           \
    return Vec<T>::make(Code::kRound, x, Vec<T>(), Vec<T>(), mode); \
  }
BRASA_ROUND(round, 8)
BRASA_ROUND(floor, 9)
BRASA_ROUND(ceil, 10)
BRASA_ROUND(trunc, 11)
#undef BRASA_ROUND
#if BRASA_SIMD_BYTES == 64
template <class T>
Vec<T> scalef(Vec<T> x, Vec<T> n) {
  return Vec<T>::make(Code::kScale, x, n);
}
template <class T>
Vec<T> exponent_of(Vec<T> x) {
  return Vec<T>::make(Code::kExponent, x);
}
template <class T>
Vec<T> mantissa_of(Vec<T> x) {
  return Vec<T>::make(Code::kMantissa, x);
}
inline F32 rsqrt14(F32 x) { return F32::make(Code::kRsqrt14, x); }
#endif

struct F64x2 {
  F64 lo, hi;
};
inline int32_t convert(int32_t from, int32_t to, int32_t x, int32_t y, int32_t part) {
  return recorder.add(Code::kConvert, to, x, y, -1, from, part);
}
inline F64x2 widen(F32 x) {
  return {F64::of(convert(k_f32, k_f64, x.id, -1, 0)), F64::of(convert(k_f32, k_f64, x.id, -1, 1))};
}
inline F32 narrow(F64 lo, F64 hi) { return F32::of(convert(k_f64, k_f32, lo.id, hi.id, 0)); }

// ---- what depends on the values of lanes, or has no vector form, is called

template <class T>
Vec<T> unrecorded(Vec<T> x) {
  recorder.possible = false;
  return x;
}
template <class T>
bool all(Vec<T>) {
  recorder.possible = false;
  return false;
}
template <class T, class F>
Vec<T> seldom(typename Vec<T>::Int mask, Vec<T> y, const F&) {
  using I = typename Vec<T>::Int;
  const I condition = mask.condition();
  recorder.rare = (recorder.rare < 0 ? condition : I::of(recorder.rare) | condition).id;
  return y;
}
template <class T>
Vec<T> divide(Vec<T> x, Vec<T>) {
  return unrecorded(x);
}
template <class T>
Vec<T> power(Vec<T> x, Vec<T>) {
  return unrecorded(x);
}
inline F64 far_sin(F64 x) { return unrecorded(x); }
inline F64 far_cos(F64 x) { return unrecorded(x); }
inline F64 far_tan(F64 x) { return unrecorded(x); }
template <class T>
Vec<T> far_fmod(Vec<T> x, Vec<T>) {
  return unrecorded(x);
}
inline F64 pow_of(F64 x, F64) { return unrecorded(x); }
template <class T>
Vec<T> shift_left_by(Vec<T> x, Vec<T> n) {
  return Vec<T>::make(Code::kShiftLeftBy, x, n);
}
template <class T>
Vec<T> shift_right_by(Vec<T> x, Vec<T> n) {
  if (kLacking<T>) return unrecorded(x);
  return Vec<T>::make(Code::kShiftRightBy, x, n);
}

}  // namespace
}  // namespace brasa::cpu::jit::BRASA_ISA

#include "../../math.inl"
