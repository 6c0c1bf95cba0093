// The vector type of math.inl and of the expressions of ops.def that computes nothing: its operators write SPIR-V into
// the module that the thread records. One lane; a mask is kept as the condition that it came from.
#pragma once
#include <string.h>

#include "../compute.h"
#include "spirv.h"

#define BRASA_VECTORS brasa::vk
#define BRASA_SIMD_BYTES 4
#define BRASA_INLINE inline

namespace brasa::vk {
namespace {

thread_local Module* recording = nullptr;

template <class T>
constexpr Type kType = Type::kVoid;
template <>
constexpr Type kType<float> = Type::kF32;
template <>
constexpr Type kType<double> = Type::kF64;
template <>
constexpr Type kType<int32_t> = Type::kU32;
template <>
constexpr Type kType<int64_t> = Type::kU64;

// How T is computed with: F... for floats, integers are two's complement.
template <class T>
class Vec {
 public:
  using Elem = T;
  using Int = Vec<typename IntOf<T>::type>;

  Vec() = default;
  explicit Vec(T s) {
    uint64_t bits = 0;
    memcpy(&bits, &s, sizeof s);
    id_ = recording->constant(kType<T>, bits);
  }
  static Vec of(Id id) {
    Vec v;
    v.id_ = id;
    return v;
  }
  // All ones where the condition holds, else 0.
  static Vec mask(Id condition) {
    Vec v;
    v.condition_ = condition;
    return v;
  }

  Id id() const {
    return condition_ ? recording->pure(spv::Select, kType<T>, {condition_, Vec(T(-1)).id(), Vec(T(0)).id()}) : id_;
  }
  // Whether any bit is set.
  Id condition() const {
    return condition_ ? condition_ : recording->pure(spv::INotEqual, Type::kBool, {id_, Vec(T(0)).id()});
  }

#define BRASA_OPERATOR(op, name)                                                                         \
  friend Vec operator op(Vec a, Vec b) {                                                                 \
    return of(recording->pure(kIsFloat<T> ? spv::F##name : integer_##name, kType<T>, {a.id(), b.id()})); \
  }                                                                                                      \
  Vec& operator op##=(Vec b) { return *this = *this op b; }
  BRASA_OPERATOR(+, Add)
  BRASA_OPERATOR(-, Sub)
  BRASA_OPERATOR(*, Mul)
  friend Vec operator/(Vec a, Vec b) { return of(recording->pure(spv::FDiv, kType<T>, {a.id(), b.id()})); }
#undef BRASA_OPERATOR
#define BRASA_OPERATOR(op, of_bits, of_masks)                                                 \
  friend Vec operator op(Vec a, Vec b) {                                                      \
    if (a.condition_ && b.condition_)                                                         \
      return mask(recording->pure(spv::of_masks, Type::kBool, {a.condition_, b.condition_})); \
    return of(recording->pure(spv::of_bits, kType<T>, {a.id(), b.id()}));                     \
  }
  BRASA_OPERATOR(&, BitwiseAnd, LogicalAnd)
  BRASA_OPERATOR(|, BitwiseOr, LogicalOr)
  BRASA_OPERATOR(^, BitwiseXor, LogicalNotEqual)
#undef BRASA_OPERATOR
#define BRASA_COMPARE(op, float_name, integer_name)                                                         \
  friend Int operator op(Vec a, Vec b) {                                                                    \
    return Int::mask(                                                                                       \
        recording->pure(kIsFloat<T> ? spv::float_name : spv::integer_name, Type::kBool, {a.id(), b.id()})); \
  }
  BRASA_COMPARE(==, FOrdEqual, IEqual)
  BRASA_COMPARE(!=, FUnordNotEqual, INotEqual)
  BRASA_COMPARE(<, FOrdLessThan, SLessThan)
  BRASA_COMPARE(<=, FOrdLessThanEqual, SLessThanEqual)
  BRASA_COMPARE(>, FOrdGreaterThan, SGreaterThan)
  BRASA_COMPARE(>=, FOrdGreaterThanEqual, SGreaterThanEqual)
#undef BRASA_COMPARE
  friend Vec operator-(Vec a) {
    return of(recording->pure(kIsFloat<T> ? spv::FNegate : spv::SNegate, kType<T>, {a.id()}));
  }
  friend Vec operator~(Vec a) {
    if (a.condition_) return mask(recording->pure(spv::LogicalNot, Type::kBool, {a.condition_}));
    return of(recording->pure(spv::Not, kType<T>, {a.id()}));
  }
  friend Vec operator<<(Vec a, int n) { return a.shifted(spv::ShiftLeftLogical, n); }
  friend Vec operator>>(Vec a, int n) { return a.shifted(spv::ShiftRightArithmetic, n); }

 private:
  static constexpr spv::Op integer_Add = spv::IAdd, integer_Sub = spv::ISub, integer_Mul = spv::IMul;
  Vec shifted(spv::Op op, int n) const {
    return of(recording->pure(op, kType<T>, {id(), recording->constant(Type::kU32, static_cast<uint32_t>(n))}));
  }

  Id id_ = 0, condition_ = 0;  // one of them
};

using F32 = Vec<float>;
using F64 = Vec<double>;
using I32 = Vec<int32_t>;
using I64 = Vec<int64_t>;

template <class T>
Vec<T> select(typename Vec<T>::Int mask, Vec<T> a, Vec<T> b) {
  return Vec<T>::of(recording->pure(spv::Select, kType<T>, {mask.condition(), a.id(), b.id()}));
}
template <class T>
typename Vec<T>::Int bits(Vec<T> x) {
  using I = typename Vec<T>::Int;
  return I::of(recording->pure(spv::Bitcast, kType<typename I::Elem>, {x.id()}));
}
template <class T>
Vec<T> from_bits(typename Vec<T>::Int x) {
  return Vec<T>::of(recording->pure(spv::Bitcast, kType<T>, {x.id()}));
}

template <class T>
Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return Vec<T>::of(recording->std_call(spv::Fma, kType<T>, {a.id(), b.id(), c.id()}));
}
inline F32 abs(F32 x) { return from_bits<float>(bits(x) & I32(0x7fffffff)); }
inline F64 abs(F64 x) { return from_bits<double>(bits(x) & I64(0x7fffffffffffffff)); }
inline I32 abs(I32 x) { return select(x < I32(0), -x, x); }
inline I64 abs(I64 x) { return select(x < I64(0), -x, x); }
template <class T>
Vec<T> copysign(Vec<T> x, Vec<T> y) {
  using I = typename Vec<T>::Int;
  return select(bits(y) < I(0), -abs(x), abs(x));  // (llvmpipe moves the sign of a bf16 if it is cut out)
}
// b where either is NaN.
template <class T>
Vec<T> max(Vec<T> a, Vec<T> b) {
  return select(a > b, a, b);
}
template <class T>
Vec<T> min(Vec<T> a, Vec<T> b) {
  return select(a < b, a, b);
}
#define BRASA_STD(name, call)                                              \
  template <class T>                                                       \
  Vec<T> name(Vec<T> x) {                                                  \
    return Vec<T>::of(recording->std_call(spv::call, kType<T>, {x.id()})); \
  }
BRASA_STD(sqrt, Sqrt)
BRASA_STD(round, RoundEven)
BRASA_STD(floor, Floor)
BRASA_STD(ceil, Ceil)
BRASA_STD(trunc, Trunc)
#undef BRASA_STD
// Of f64 by the adder, which rounds to nearest even at 2^52: llvmpipe's own, where the processor lacks AVX-512, are
// wrong at halves, beyond 2^24 and in the sign of zero.
inline F64 round(F64 x) {
  const F64 whole(0x1p52);
  return select(abs(x) < whole, copysign(abs(x) + whole - whole, x), x);
}
inline F64 floor(F64 x) {
  const F64 near = round(x);
  return select(near > x, near - F64(1), near);
}
inline F64 ceil(F64 x) { return -floor(-x); }
inline F64 trunc(F64 x) { return copysign(floor(abs(x)), x); }

// From one compute type to another.
template <class To, class From>
Vec<To> cast(Vec<From> x) {
  if constexpr (kType<To> == kType<From>)
    return x;
  else
    return Vec<To>::of(recording->pure(kIsFloat<To> && kIsFloat<From> ? spv::FConvert
                                       : kIsFloat<To>                 ? spv::ConvertSToF
                                       : kIsFloat<From>               ? spv::ConvertFToS
                                                                      : spv::SConvert,
                                       kType<To>, {x.id()}));
}

// A vector of floats has its f64 in two; one lane is the same in both.
struct F64x2 {
  F64 lo, hi;
};
inline F64x2 widen(F32 x) {
  const F64 wide = cast<double>(x);
  return {wide, wide};
}
inline F32 narrow(F64 lo, F64) { return cast<float>(lo); }

// ---- what math.inl asks of a vector type beyond its operators

// Never: what is done only where all lanes agree is a short cut.
template <class T>
bool all(Vec<T>) {
  return false;
}
template <class T, class F>
Vec<T> seldom(typename Vec<T>::Int mask, Vec<T> y, const F& f) {
  return Vec<T>::of(recording->branch(mask.condition(), kType<T>, y.id(), [&] { return f().id(); }));
}

template <class T>
Vec<T> divide(Vec<T> x, Vec<T> y) {
  const Vec<T> zero(T(0)), one(T(1)), minus(T(-1));
  const auto hard = (y == zero) | (y == minus);
  const Vec<T> q = Vec<T>::of(recording->pure(spv::SDiv, kType<T>, {x.id(), select(hard, one, y).id()}));
  return select(y == zero, zero, select(y == minus, -x, q));
}
template <class T>
Vec<T> power(Vec<T> base, Vec<T> n) {
  const Vec<T> zero(T(0)), one(T(1));
  Vec<T> r = one;
  for (unsigned bit = 0; bit + 1 < 8 * sizeof(T); ++bit) {
    r = select((n & Vec<T>(T(T(1) << bit))) != zero, r * base, r);
    base *= base;
  }
  return r;
}
template <class T>
Vec<T> shift_left_by(Vec<T> x, Vec<T> n) {
  return Vec<T>::of(recording->pure(spv::ShiftLeftLogical, kType<T>, {x.id(), n.id()}));
}
template <class T>
Vec<T> shift_right_by(Vec<T> x, Vec<T> n) {
  return Vec<T>::of(recording->pure(spv::ShiftRightArithmetic, kType<T>, {x.id(), n.id()}));
}
// Beyond what formulas cover (far.h).
F64 far_fmod(F64 x, F64 y);
F32 far_fmod(F32 x, F32 y);
template <class T>
Vec<T> pow_of(Vec<T> x, Vec<T> y);
F64 far_sin(F64 x);
F64 far_cos(F64 x);
F64 far_tan(F64 x);
// f32 where the device has no f64.
#define BRASA_WITHOUT_F64(y) \
  if (!recording->target().float64) return y;
F32 narrow_sin(F32 x);
F32 narrow_cos(F32 x);
F32 narrow_tan(F32 x);
F32 narrow_erfc(F32 a, F32 t, F32 w);
F32 narrow_fmod(F32 x, F32 y);

}  // namespace
}  // namespace brasa::vk

#include "../math.inl"
#include "far.h"
