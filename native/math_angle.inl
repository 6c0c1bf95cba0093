// Circular functions and their inverses. f32 folds angles with three parts of pi/2, f64 as fdlibm does.
#pragma once
#include "math_exp.inl"

namespace BRASA_VECTORS {
namespace {

// ---- circular functions

// x = n pi/2 + r + tail with |r| <= pi/4. Good to 2^20 turns; beyond kLargeAngle callers ask libm.
constexpr double kLargeAngle = 1e6;
struct Angle {
  F64 n, r, tail;
};
BRASA_INLINE Angle reduce_angle(F64 x) {
  const F64 n = round(x * F64(0.63661977236758134));
  const F64 a = x - n * F64(1.57079632673412561417e+00), w = n * F64(6.07710050630396597660e-11);
  const F64 b = a - w, rest = ((a - b) - w) - n * F64(2.02226624879595063154e-21);
  const F64 r = b + rest;
  return {n, r, (b - r) + rest};
}
BRASA_INLINE F64 sin_of(F64 r, F64 tail) {
  const F64 z = r * r, cube = z * r;
  const F64 q = poly(z, 1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
                     -1.98412698298579493134e-04, 8.33333333332248946124e-03);
  return r - ((z * (F64(0.5) * tail - cube * q) - tail) - cube * F64(-1.66666666666666324348e-01));
}
BRASA_INLINE F64 cos_of(F64 r, F64 tail) {
  const F64 z = r * r, half = F64(0.5) * z, w = F64(1.) - half;
  const F64 q = poly(z, -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
                     2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02);
  return w + (((F64(1.) - w) - half) + (z * z * q - r * tail));
}
// sin(r + n pi/2), given both.
template <class T>
BRASA_INLINE Vec<T> turn(typename Vec<T>::Int n, Vec<T> s, Vec<T> c) {
  using I = typename Vec<T>::Int;
  const Vec<T> y = select((n & I(1)) != I(0), c, s);
  return from_bits<T>(bits(y) ^ ((n & I(2)) << (int(sizeof(T)) * 8 - 2)));
}
BRASA_INLINE F64 sin_turned(F64 x, int quarter) {
  const Angle a = reduce_angle(x);
  return turn(to_int(a.n) + I64(quarter), sin_of(a.r, a.tail), cos_of(a.r, a.tail));
}
BRASA_INLINE F64 tan_fast(F64 x) {
  const Angle a = reduce_angle(x);
  const F64 s = sin_of(a.r, a.tail), c = cos_of(a.r, a.tail);
  const I64 odd = (to_int(a.n) & I64(1)) != I64(0);
  return select(odd, -c, s) / select(odd, s, c);
}
#define BRASA_ANGLE(name, fast, at_zero)                                                      \
  BRASA_INLINE F64 name(F64 x) {                                                              \
    const F64 a = abs(x);                                                                     \
    const I64 large = (a > F64(kLargeAngle)) & (a < F64(__builtin_inf()));                    \
    return seldom(large, select(a == F64(0.), at_zero, fast), [&] { return far_##name(x); }); \
  }
BRASA_ANGLE(sin, sin_turned(x, 0), x)
BRASA_ANGLE(cos, sin_turned(x, 1), F64(1.))
BRASA_ANGLE(tan, tan_fast(x), x)
#undef BRASA_ANGLE

// The same for f32, of |x| up to kFarAngle: n in the low bits of an integer. With a fused multiply-add the first
// difference is exact and each further one rounds once; without, f64 has the bits.
constexpr float kFarAngle = 2e4f;
struct ShortAngle {
  I32 n;
  F32 r, tail;
};
BRASA_INLINE ShortAngle reduce_angle(F32 a) {
  const F32 magic(Format<float>::magic), t = fma(a, F32(0.636619772f), magic), n = t - magic;
#if BRASA_FMA
  // n times either of the first two parts of pi/2 is exact: no rounding is lost.
  const F32 middle(-0x1.78p-25f), first = a - n * F32(1.57079637f), b = first - n * middle;
  const F32 rest = ((first - b) - n * middle) - n * F32(6.07710051e-11f), r = b + rest;
  return {bits(t), r, (b - r) + rest};
#else
  const F64x2 x = widen(a), m = widen(n);
  const F64 hi(1.57079632673412561417e+00), lo(6.07710050650619224932e-11);
  return {bits(t), narrow(x.lo - m.lo * hi - m.lo * lo, x.hi - m.hi * hi - m.hi * lo), F32(0.f)};
#endif
}
BRASA_INLINE F32 small_sin(F32 r, F32 tail = F32(0.f)) {  // |r| <= pi/4
  const F32 z = r * r;
  return r + fma(r * z, poly(z, -1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f), tail);
}
BRASA_INLINE F32 small_cos(F32 r) {
  const F32 z = r * r;
  return fma(z * z, poly(z, 2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f),
             fma(z, F32(-0.5f), F32(1.f)));
}
BRASA_INLINE F32 sin_turned(const ShortAngle& p, int quarter) {  // sin(p + quarter pi/2)
  return turn(p.n + I32(quarter), small_sin(p.r, p.tail), small_cos(p.r));
}
BRASA_INLINE F32 tan_of(const ShortAngle& p) {
  const F32 r = p.r, z = r * r;
  const F32 t = r + fma(r * z,
                        poly(z, 4.48611608e-3f, -1.29248558e-4f, 1.10050981e-2f, 2.12182489e-2f, 5.40720133e-2f,
                             0.133325593f, 0.333333527f),
                        p.tail);
  const I32 odd = (p.n & I32(1)) != I32(0);
  return select(odd, F32(-1.f), t) / select(odd, t, F32(1.f));
}
template <class F>
BRASA_INLINE F32 near_angle(F32 x, F32 y, const F& far) {
  return seldom(~(abs(x) <= F32(kFarAngle)), y, [&] { return via_f64(x, far); });
}
BRASA_INLINE F32 with_sign_of(F32 x, F32 y) { return from_bits<float>(bits(y) ^ (bits(x) & I32(-0x7fffffff - 1))); }
BRASA_INLINE F32 sin(F32 x) {
  BRASA_WITHOUT_F64(narrow_sin(x))
  const F32 y = with_sign_of(x, sin_turned(reduce_angle(abs(x)), 0));
  return near_angle(x, y, [](F64 v) { return sin(v); });
}
BRASA_INLINE F32 cos(F32 x) {
  BRASA_WITHOUT_F64(narrow_cos(x))
  return near_angle(x, sin_turned(reduce_angle(abs(x)), 1), [](F64 v) { return cos(v); });
}
BRASA_INLINE F32 tan(F32 x) {
  BRASA_WITHOUT_F64(narrow_tan(x))
  const F32 y = with_sign_of(x, tan_of(reduce_angle(abs(x))));
  return near_angle(x, y, [](F64 v) { return tan(v); });
}

// cos and sin of t quarter turns
BRASA_INLINE void circle(F32 t, F32& c, F32& s) {
  const F32 n = round(t), r = (t - n) * F32(1.5707963267948966f);
  const F32 sin = small_sin(r), cos = small_cos(r);
  s = turn(to_int(n), sin, cos);
  c = turn(to_int(n) + I32(1), sin, cos);
}
BRASA_INLINE void circle(F64 t, F64& c, F64& s) {
  const F64 n = round(t), r = (t - n) * F64(1.5707963267948966), none(0.);
  const F64 sin = sin_of(r, none), cos = cos_of(r, none);
  s = turn(to_int(n), sin, cos);
  c = turn(to_int(n) + I64(1), sin, cos);
}

// ---- inverse circular functions

BRASA_INLINE F64 atan(F64 x) {
  const F64 a = abs(x), one(1.);
  const I64 steep = a > F64(2.414213562373095), middle = a > F64(0.66);
  const F64 t = select(steep, -one / a, select(middle, (a - one) / (a + one), a)), z = t * t;
  const F64 p = poly(z, -8.750608600031904122785e-1, -1.615753718733365076637e1, -7.500855792314704667340e1,
                     -1.228866684490136173410e2, -6.485021904942025371773e1);
  const F64 q = poly(z, 1., 2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2,
                     4.853903996359136964868e2, 1.945506571482613964425e2);
  const F64 zero(0.), base = select(steep, F64(1.5707963267948966), select(middle, F64(0.78539816339744831), zero));
  const F64 tail = select(steep, F64(6.123233995736765886e-17), select(middle, F64(3.061616997868383e-17), zero));
  return copysign(base + (fma(t * z, p / q, t) + tail), x);
}
BRASA_INLINE F64 asin(F64 x) { return atan(x / sqrt((F64(1.) - x) * (F64(1.) + x))); }
BRASA_INLINE F64 acos(F64 x) { return F64(2.) * atan(sqrt((F64(1.) - x) / (F64(1.) + x))); }
constexpr float kHalfPi = 1.57079637f, kHalfPiLow = -4.37113883e-8f;
// asin(x) - x for |x| <= 1/2, z = x^2
BRASA_INLINE F32 asin_rest(F32 x, F32 z) {
  return x * z * poly(z, 0.042166309f, 0.0241795141f, 0.0454703762f, 0.0749529764f, 0.166667525f);
}
// Above 1/2 by asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2)).
BRASA_INLINE F32 asin(F32 x) {
  const F32 a = abs(x), half(0.5f);
  const I32 steep = a > half;
  const F32 z = select(steep, half - half * a, a * a), s = select(steep, sqrt(z), a), rest = asin_rest(s, z);
  const F32 base(kHalfPi), far = base - (s + s), lost = (base - far) - (s + s);
  const F32 near = s + rest, whole = far + (lost + F32(kHalfPiLow) - (rest + rest));
  return copysign(select(steep, whole, near), x);
}
BRASA_INLINE F32 acos(F32 x) {
  const F32 a = abs(x), half(0.5f), zero(0.f);
  const I32 steep = a > half;
  const F32 z = select(steep, half - half * a, a * a), s = select(steep, sqrt(z), a);
  const F32 y = copysign(s + asin_rest(s, z), x);
  const F32 far = select(x < zero, F32(3.14159274f), zero) + (y + y);
  return select(steep, far, F32(kHalfPi) - y);
}
// atan(t) - t for |t| <= 1, plus a tail
BRASA_INLINE F32 atan_rest(F32 t, F32 tail) {
  const F32 z = t * t;
  return fma(t * z,
             poly(z, -1.79362299e-3f, 1.09146121e-2f, -3.11778588e-2f, 5.79576077e-2f, -8.40345121e-2f, 0.109521861f,
                  -0.142642417f, 0.199985483f, -0.333332991f),
             tail);
}
BRASA_INLINE F32 atan(F32 x) {
  const F32 a = abs(x), one(1.f), zero(0.f);
  const I32 steep = a > one;
  const F32 t = select(steep, -one, a) / select(steep, a, one);
  const F32 base = select(steep, F32(kHalfPi), zero), tail = select(steep, F32(kHalfPiLow), zero);
  return copysign(base + (t + atan_rest(t, tail)), x);
}
// The angle of (|x|, |y|), folded to t in [0, 1] and unfolded: from the y axis, from the negative x axis.
BRASA_INLINE F32 atan2(F32 y, F32 x) {
  const F32 ax = abs(x), ay = abs(y), zero(0.f), one(1.f);
  const I32 steep = ay > ax, behind = bits(x) < I32(0);
  const F32 high = select(steep, ay, ax), low = select(steep, ax, ay);
  F32 t = select(high == low, select(low == zero, zero, one), low / high);
  t = select(steep ^ behind, -t, t);
  const F32 turns = select(steep, one, select(behind, F32(2.f), zero));  // of pi/2
  return copysign(fma(turns, F32(kHalfPi), t + atan_rest(t, turns * F32(kHalfPiLow))), y);
}
BRASA_INLINE F64 atan2(F64 y, F64 x) {
  const F64 ay = abs(y), ax = abs(x), inf(__builtin_inf());
  F64 ratio = select((ay == inf) & (ax == inf), F64(1.), ay / ax);
  ratio = select((ay == F64(0.)) & (ax == F64(0.)), F64(0.), ratio);
  const F64 angle = atan(ratio);
  return copysign(select(bits(x) < I64(0), F64(3.141592653589793) - angle, angle), y);
}

}  // namespace
}  // namespace BRASA_VECTORS
