// The intrinsics that expressions in ops.def use, on vectors: f32 to 2 ULP, f64 to 4. What f32 networks run often is
// written for f32 (exp, log, tanh, erf, sin, cos); the rest of f32 goes through the f64 forms. Lanes that no formula
// covers ask libm. Polynomials are Chebyshev fits, or those of fdlibm and Cephes.
#pragma once
#include "simd.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

template <class T>
constexpr bool kFloating = T(0.5) != T(0);

// Horner's rule, highest power first.
template <class T>
BRASA_INLINE Vec<T> horner(Vec<T>, Vec<T> sum) {
  return sum;
}
template <class T, class... C>
BRASA_INLINE Vec<T> horner(Vec<T> x, Vec<T> sum, T c, C... rest) {
  return horner(x, fma(sum, x, Vec<T>(c)), rest...);
}
template <class T, class... C>
BRASA_INLINE Vec<T> poly(Vec<T> x, T first, C... rest) {
  return horner(x, Vec<T>(first), rest...);
}

// f32 through the f64 form of the same function.
template <class F>
BRASA_INLINE F32 via_f64(F32 x, const F& f) {
  const F64x2 w = widen(x);
  return narrow(f(w.lo), f(w.hi));
}
template <class F>
BRASA_INLINE F32 via_f64(F32 x, F32 y, const F& f) {
  const F64x2 a = widen(x), b = widen(y);
  return narrow(f(a.lo, b.lo), f(a.hi, b.hi));
}

// ---- numbers as bits

template <class T>
struct Format;
template <>
struct Format<float> {
  using Int = int32_t;
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float magic = 0x1.8p23f, tiny = 0x1p-126f;  // x + magic rounds x to an integer, kept in the low bits
  static constexpr float ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
  static constexpr float exp_low = -104.f, exp_high = 89.f;
};
template <>
struct Format<double> {
  using Int = int64_t;
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double magic = 0x1.8p52, tiny = 0x1p-1022;
  static constexpr double ln2_hi = 6.93147180369123816490e-01, ln2_lo = 1.90821492927058770002e-10;
  static constexpr double exp_low = -746, exp_high = 710;
};

// Integers of small magnitude as floats and back.
template <class T>
BRASA_INLINE Vec<T> from_int(typename Vec<T>::Int n) {
  const Vec<T> magic(Format<T>::magic);
  return from_bits<T>(n + bits(magic)) - magic;
}
template <class T>
BRASA_INLINE typename Vec<T>::Int to_int(Vec<T> n) {
  const Vec<T> magic(Format<T>::magic);
  return bits(n + magic) - bits(magic);
}
// 2^n for exponents of normal numbers.
template <class T>
BRASA_INLINE Vec<T> power_of_two(typename Vec<T>::Int n) {
  using I = typename Vec<T>::Int;
  return from_bits<T>((n + I(Format<T>::bias)) << Format<T>::mantissa);
}
// x * 2^n for any whole n, through denormals and to infinity.
template <class T>
BRASA_INLINE Vec<T> scale(Vec<T> x, Vec<T> n) {
#if BRASA_SIMD_BYTES == 64
  if constexpr (sizeof(T) == 4)
    return Vec<T>((typename Vec<T>::Raw)_mm512_scalef_ps((__m512)x.v, (__m512)n.v));
  else
    return Vec<T>((typename Vec<T>::Raw)_mm512_scalef_pd((__m512d)x.v, (__m512d)n.v));
#else
  const typename Vec<T>::Int i = to_int(n), half = i >> 1;
  return x * power_of_two<T>(half) * power_of_two<T>(i - half);
#endif
}

// ---- exp

// x = n ln 2 + r; answers r and n, and exp(r) - 1 in e.
template <class T>
struct Reduced {
  Vec<T> n, e;
};
template <class T>
BRASA_INLINE Reduced<T> reduce_exp(Vec<T> x) {
  using F = Format<T>;
  const Vec<T> n = round(x * Vec<T>(T(1.4426950408889634)));
  const Vec<T> r = x - n * Vec<T>(F::ln2_hi) - n * Vec<T>(F::ln2_lo);
  Vec<T> q;
  if constexpr (sizeof(T) == 4)
    q = poly(r, 0.00139261836f, 0.00836317905f, 0.0416665546f, 0.16666577f, 0.5f);
  else
    q = poly(r, 2.5100385495510319e-8, 2.7620088445409748e-7, 2.7557268459997065e-6, 2.4801521295954375e-5,
             0.00019841269863053617, 0.0013888888917213717, 0.0083333333333300618, 0.041666666666624128,
             0.16666666666666667, 0.5000000000000001);
  return {n, fma(r * r, q, r)};
}

template <class T>
BRASA_INLINE Vec<T> exp(Vec<T> x) {
  using F = Format<T>;
  const Reduced<T> r = reduce_exp(min(Vec<T>(F::exp_high), max(Vec<T>(F::exp_low), x)));  // NaN passes
  return scale(Vec<T>(T(1)) + r.e, r.n);
}

template <class T>
BRASA_INLINE Vec<T> expm1(Vec<T> x) {
  const Vec<T> one(T(1));
  const Reduced<T> r = reduce_exp(min(Vec<T>(Format<T>::exp_high), max(Vec<T>(T(-40)), x)));
  const Vec<T> small = power_of_two<T>(to_int(max(-r.n, Vec<T>(T(1 - Format<T>::bias)))));
  return select(x == Vec<T>(T(0)), x, scale(r.e + (one - small), r.n));
}

// ---- log

// x = 2^k m with m in [sqrt(1/2), sqrt(2)); log_of is log(m), from f = m - 1.
template <class T>
struct Split {
  Vec<T> k, f;
};
template <class T>
BRASA_INLINE Split<T> split_log(Vec<T> x) {
  using I = typename Vec<T>::Int;
  using F = Format<T>;
  constexpr int M = F::mantissa;
  const I denormal = x < Vec<T>(F::tiny);
  x = select(denormal, x * power_of_two<T>(I(M)), x);
  const I root = bits(Vec<T>(T(0.70710678118654752))), b = bits(x) - root;
  const Vec<T> m = from_bits<T>((b & I((typename F::Int(1) << M) - 1)) + root);
  return {from_int<T>((b >> M) - (denormal & I(M))), m - Vec<T>(T(1))};
}
// log(1 + f) + tail
template <class T>
BRASA_INLINE Vec<T> log_of(Vec<T> f, Vec<T> tail) {
  const Vec<T> s = f / (Vec<T>(T(2)) + f), z = s * s, half = Vec<T>(T(0.5)) * f * f;
  Vec<T> r;
  if constexpr (sizeof(T) == 4)
    r = z * poly(z, 0.24279078841f, 0.28498786688f, 0.40000972152f, 0.66666662693f);
  else
    r = z * poly(z, 1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
                 2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
                 6.666666666666735130e-01);
  return f - (half - (s * (half + r) + tail));
}
// The answer y of a logarithm where x is positive and finite; -inf, NaN and inf elsewhere.
template <class T>
BRASA_INLINE Vec<T> log_domain(Vec<T> x, Vec<T> y) {
  const Vec<T> inf{T(__builtin_inf())}, zero{T(0)};
  y = select(x == zero, -inf, y);
  return select((x < inf) & (x >= zero), y, select(x == inf, x, Vec<T>(T(__builtin_nan("")))));
}

template <class T>
BRASA_INLINE Vec<T> log(Vec<T> x) {
  using F = Format<T>;
  const Split<T> p = split_log(x);
  return log_domain(x, fma(p.k, Vec<T>(F::ln2_hi), log_of(p.f, p.k * Vec<T>(F::ln2_lo))));
}
template <class T>
BRASA_INLINE Vec<T> log1p(Vec<T> x) {
  using F = Format<T>;
  const Vec<T> one(T(1)), u = one + x;
  const Vec<T> lost = select(u >= Vec<T>(T(2)), one - (u - x), x - (u - one)) / u;  // of x, when 1 was added
  const Split<T> p = split_log(u);
  const Vec<T> y = fma(p.k, Vec<T>(F::ln2_hi), log_of(p.f, fma(p.k, Vec<T>(F::ln2_lo), lost)));
  return select(x == Vec<T>(T(0)), x, log_domain(u, y));
}
BRASA_INLINE F64 log2(F64 x) {
  const Split<double> p = split_log(x);
  return log_domain(x, fma(log_of(p.f, F64(0.)), F64(1.4426950408889634), p.k));
}
BRASA_INLINE F64 log10(F64 x) {
  const Split<double> p = split_log(x);
  const F64 low = fma(p.k, F64(3.69423907715893078616e-13), log_of(p.f, F64(0.)) * F64(0.43429448190325182));
  return log_domain(x, fma(p.k, F64(3.01029995663611771306e-01), low));
}

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
BRASA_INLINE F32 small_sin(F32 r) {  // |r| <= pi/4
  const F32 z = r * r;
  return fma(r * z, poly(z, -1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f), r);
}
BRASA_INLINE F32 small_cos(F32 r) {
  const F32 z = r * r;
  return fma(z * z, poly(z, 2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f),
             fma(z, F32(-0.5f), F32(1.f)));
}
// sin(r + n pi/2), given both.
template <class T>
BRASA_INLINE Vec<T> turn(typename Vec<T>::Int n, Vec<T> s, Vec<T> c) {
  using I = typename Vec<T>::Int;
  const Vec<T> y = select((n & I(1)) != I(0), c, s);
  return select((n & I(2)) != I(0), -y, y);
}
BRASA_INLINE F64 sin_turned(F64 x, int quarter) {
  const Angle a = reduce_angle(x);
  return turn(to_int(a.n) + I64(quarter), sin_of(a.r, a.tail), cos_of(a.r, a.tail));
}
BRASA_INLINE F32 sin_turned(F32 x, int quarter) {
  const F64x2 w = widen(x);
  const F64 turns(0.63661977236758134), hi(1.57079632673412561417e+00), lo(6.07710050650619224932e-11);
  const F64 m = round(w.lo * turns), n = round(w.hi * turns);
  const F32 r = narrow(w.lo - m * hi - m * lo, w.hi - n * hi - n * lo);
  return turn(to_int(narrow(m, n)) + I32(quarter), small_sin(r), small_cos(r));
}
template <class T>
BRASA_INLINE Vec<T> tan_fast(Vec<T> x) {
  const auto f = [](F64 v) {
    const Angle a = reduce_angle(v);
    const F64 s = sin_of(a.r, a.tail), c = cos_of(a.r, a.tail);
    const I64 odd = (to_int(a.n) & I64(1)) != I64(0);
    return select(odd, -c, s) / select(odd, s, c);
  };
  if constexpr (sizeof(T) == 4)
    return via_f64(x, f);
  else
    return f(x);
}
#define BRASA_ANGLE(name, fast, at_zero)                                                \
  template <class T>                                                                    \
  BRASA_INLINE Vec<T> name(Vec<T> x) {                                                  \
    const Vec<T> a = abs(x);                                                            \
    const auto large = (a > Vec<T>(T(kLargeAngle))) & (a < Vec<T>(T(__builtin_inf()))); \
    Vec<T> y = select(a == Vec<T>(T(0)), at_zero, fast);                                \
    if (__builtin_expect(any(large), 0))                                                \
      y = select(large, map(x, [](T s) { return T(__builtin_##name(double(s))); }), y); \
    return y;                                                                           \
  }
BRASA_ANGLE(sin, sin_turned(x, 0), x)
BRASA_ANGLE(cos, sin_turned(x, 1), Vec<T>(T(1)))
BRASA_ANGLE(tan, tan_fast(x), x)
#undef BRASA_ANGLE

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
BRASA_INLINE F64 atan2(F64 y, F64 x) {
  const F64 ay = abs(y), ax = abs(x), inf(__builtin_inf());
  F64 ratio = select((ay == inf) & (ax == inf), F64(1.), ay / ax);
  ratio = select((ay == F64(0.)) & (ax == F64(0.)), F64(0.), ratio);
  const F64 angle = atan(ratio);
  return copysign(select(bits(x) < I64(0), F64(3.141592653589793) - angle, angle), y);
}

// ---- hyperbolic functions

BRASA_INLINE F64 sinh(F64 x) {
  const F64 a = abs(x), t = expm1(a), h = exp(a * F64(0.5));
  return copysign(select(a > F64(40.), F64(0.5) * h * h, F64(0.5) * (t + t / (t + F64(1.)))), x);
}
BRASA_INLINE F64 cosh(F64 x) {
  const F64 a = abs(x), h = exp(a * F64(0.5)), e = exp(a);
  return select(a > F64(40.), F64(0.5) * h * h, F64(0.5) * e + F64(0.5) / e);
}
BRASA_INLINE F64 tanh(F64 x) {
  const F64 t = expm1(F64(2.) * min(F64(20.), abs(x)));
  return copysign(t / (t + F64(2.)), x);
}
BRASA_INLINE F32 tanh(F32 x) {
  const F32 a = abs(x), z = a * a, one(1.f);
  const F32 small =
      fma(a * z,
          poly(z, -5.70498872745e-3f, 2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f, -3.33332819422e-1f), a);
  const F32 large = one - F32(2.f) / (exp(a + a) + one);
  return copysign(select(a < F32(0.625f), small, large), x);
}
BRASA_INLINE F64 asinh(F64 x) {
  const F64 a = abs(x), one(1.), z = a * a;
  const F64 near = log1p(a + z / (one + sqrt(z + one))), far = log(a) + F64(0.69314718055994531);
  return copysign(select(a > F64(1e9), far, near), x);
}
BRASA_INLINE F64 acosh(F64 x) {
  const F64 t = x - F64(1.), near = log1p(t + sqrt(t * (t + F64(2.)))), far = log(x) + F64(0.69314718055994531);
  return select(x >= F64(1.), select(x > F64(1e9), far, near), F64(__builtin_nan("")));
}
BRASA_INLINE F64 atanh(F64 x) {
  const F64 a = abs(x);
  return copysign(F64(0.5) * log1p((a + a) / (F64(1.) - a)), x);
}

// ---- the error function

// exp(x^2) erfc(x) for x >= 0.5: a polynomial in (x - 4) / (x + 4), over 1 + 2x.
BRASA_INLINE F64 erfcx(F64 x) {
  const F64 t = (x - F64(4.)) / (x + F64(4.));
  return poly(t, 1.9717656765049793e-9, -9.6522135210876047e-9, -1.8406671051403967e-8, 1.0325666907301499e-7,
              7.5404673501445855e-8, -8.1950850834595655e-7, 2.9313186423696089e-7, 5.7064947201462539e-6,
              -1.1221668942295944e-5, -2.4398057333996412e-5, 0.00015062155590137162, -0.00019925696553927865,
              -0.00075777326349731555, 0.0050319700185642596, -0.016197734061059108, 0.037167515533794725,
              -0.066330365811967959, 0.093732834998534339, -0.1010390660363143, 0.068097054254688446,
              0.0153796521026199, -0.13962111684056249, 1.2329951186255525) /
         fma(F64(2.), x, F64(1.));
}
// erf for |x| <= 1
BRASA_INLINE F64 erf_near(F64 x) {
  const F64 z = x * x;
  return x *
         poly(z, 9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
              5.55923013010394962768e4) /
         poly(z, 1., 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3,
              2.26290000613890934246e4, 4.92673942608635921086e4);
}
// erfc for x >= 0.5; the square is split, as its rounding would be magnified.
BRASA_INLINE F64 erfc_far(F64 x) {
  x = min(F64(28.), x);
  const F64 head = from_bits<double>(bits(x) & ~I64(0x7ffffff)), d = (head - x) * (head + x);
  return exp(-head * head) * poly(d, 1. / 6, 0.5, 1., 1.) * erfcx(x);
}
BRASA_INLINE F64 erf(F64 x) {
  const F64 a = abs(x);
  return copysign(select(a < F64(1.), erf_near(a), F64(1.) - erfc_far(a)), x);
}
BRASA_INLINE F64 erfc(F64 x) {
  const F64 a = abs(x), far = erfc_far(a);
  return select(a < F64(0.5), F64(1.) - erf_near(x), select(x < F64(0.), F64(2.) - far, far));
}
BRASA_INLINE F32 erf(F32 x) {
  const F32 t = abs(x), s = x * x;
  const F32 near = fma(
      poly(s, -5.96761703e-4f, 4.99119423e-3f, -2.67681349e-2f, 1.12819925e-1f, -3.76125336e-1f, 1.28379166e-1f), x, x);
  F32 r = fma(fma(F32(-1.72853470e-5f), t, F32(3.83197126e-4f)), s, fma(F32(-3.88396438e-3f), t, F32(2.42546219e-2f)));
  r = horner(t, r, -1.06777877e-1f, -6.34846687e-1f, -1.28717512e-1f);
  const F32 far = F32(1.f) - exp(fma(r, t, -t));
  return select(t > F32(0.927734375f), copysign(far, x), near);
}

#define BRASA_VIA_F64(name)                           \
  BRASA_INLINE F32 name(F32 x) {                      \
    return via_f64(x, [](F64 v) { return name(v); }); \
  }
BRASA_VIA_F64(log2)
BRASA_VIA_F64(log10)
BRASA_VIA_F64(asin)
BRASA_VIA_F64(acos)
BRASA_VIA_F64(atan)
BRASA_VIA_F64(sinh)
BRASA_VIA_F64(cosh)
BRASA_VIA_F64(asinh)
BRASA_VIA_F64(acosh)
BRASA_VIA_F64(atanh)
BRASA_VIA_F64(erfc)
#undef BRASA_VIA_F64
BRASA_INLINE F32 atan2(F32 y, F32 x) {
  return via_f64(y, x, [](F64 a, F64 b) { return atan2(a, b); });
}

// ---- comparisons and signs

template <class T>
BRASA_INLINE Vec<T> sign(Vec<T> x) {
  const Vec<T> zero(T(0));
  return select(x > zero, Vec<T>(T(1)), select(x < zero, Vec<T>(T(-1)), zero));  // 0 for NaN
}
template <class T>
BRASA_INLINE Vec<T> relu(Vec<T> x) {
  return max(Vec<T>(T(0)), x);
}
template <class T>
BRASA_INLINE Vec<T> maximum(Vec<T> x, Vec<T> y) {
  if constexpr (kFloating<T>)
    return select(x != x, x, max(x, y));
  else
    return max(x, y);
}
template <class T>
BRASA_INLINE Vec<T> minimum(Vec<T> x, Vec<T> y) {
  if constexpr (kFloating<T>)
    return select(x != x, x, min(x, y));
  else
    return min(x, y);
}

// ---- division with remainder: fmod takes the sign of x, remainder that of y; integers divided by 0 are 0

BRASA_INLINE F64 fmod(F64 x, F64 y) {
  return map(x, y, [](double a, double b) { return __builtin_fmod(a, b); });
}
BRASA_INLINE F32 fmod(F32 x, F32 y) {
  const F32 inf(__builtin_inff()), q = abs(x / y);
  // Quotients below 2^28 in f64: q * y is exact there, and so is the difference.
  const I32 hard = ~(q < F32(0x1p28f)) & (x == x) & (y == y) & (abs(x) < inf) & (y != F32(0.f)) & (abs(y) < inf);
  F32 r = via_f64(x, y, [](F64 a, F64 b) {
    const F64 d = abs(b), n = abs(a), rest = n - trunc(n / d) * d;
    return copysign(select(rest < F64(0.), rest + d, select(rest >= d, rest - d, rest)), a);
  });
  r = select((abs(y) == inf) & (abs(x) < inf), x, r);
  if (__builtin_expect(any(hard), 0))
    r = select(hard, map(x, y, [](float a, float b) { return float(__builtin_fmod(double(a), double(b))); }), r);
  return r;
}
BRASA_INLINE int64_t quotient(int64_t a, int64_t b) { return b == 0 ? 0 : b == -1 ? int64_t(0 - uint64_t(a)) : a / b; }
BRASA_INLINE int32_t quotient(int32_t a, int32_t b) { return b == 0 ? 0 : b == -1 ? int32_t(0 - uint32_t(a)) : a / b; }
template <class T>
BRASA_INLINE Vec<T> divide(Vec<T> x, Vec<T> y) {
  return map(x, y, [](T a, T b) { return quotient(a, b); });
}
template <class T>
BRASA_INLINE Vec<T> fmod(Vec<T> x, Vec<T> y) {
  return select(y == Vec<T>(T(0)), Vec<T>(T(0)), x - divide(x, y) * y);
}
template <class T>
BRASA_INLINE Vec<T> remainder(Vec<T> x, Vec<T> y) {
  const Vec<T> zero(T(0)), r = fmod(x, y);
  return select((r != zero) & ((r < zero) ^ (y < zero)), r + y, r);
}
template <class T>
BRASA_INLINE Vec<T> floor_divide(Vec<T> x, Vec<T> y) {
  const Vec<T> zero(T(0)), one(T(1));
  if constexpr (kFloating<T>) {  // as PyTorch and Python
    const Vec<T> r = fmod(x, y), quotient = x / y;
    Vec<T> q = (x - r) / y;
    q = select((r != zero) & ((r < zero) ^ (y < zero)), q - one, q);
    const Vec<T> whole = floor(q);
    q = select(q == zero, copysign(zero, quotient), select(q - whole > Vec<T>(T(0.5)), whole + one, whole));
    return select(y == zero, quotient, q);
  } else {
    const Vec<T> q = divide(x, y), r = x - q * y;
    return select((r != zero) & (y != zero) & ((r < zero) ^ (y < zero)), q - one, q);
  }
}

// ---- powers and shifts

BRASA_INLINE F64 pow(F64 x, F64 y) {
  if (all(y == F64(2.))) return x * x;
  return map(x, y, [](double a, double b) { return __builtin_pow(a, b); });
}
BRASA_INLINE F32 pow(F32 x, F32 y) {
  if (all(y == F32(2.f))) return x * x;
  return via_f64(x, y, [](F64 a, F64 b) {
    const F64 zero(0.), one(1.), inf(__builtin_inf()), half = b * F64(0.5);
    F64 r = exp(b * log(abs(a)));
    const I64 whole = floor(b) == b, odd = whole & (floor(half) != half) & (abs(b) < inf);
    r = select(odd, copysign(r, a), r);
    r = select((a < zero) & (a > -inf) & ~whole, F64(__builtin_nan("")), r);
    return select((b == zero) | (a == one) | ((a == -one) & (abs(b) == inf)), one, r);
  });
}
// By squaring; a negative power is 0, except of 1 and -1.
template <class T>
BRASA_INLINE Vec<T> pow(Vec<T> x, Vec<T> y) {
  const Vec<T> zero(T(0)), one(T(1));
  Vec<T> r = one, base = x, left = max(y, zero);
  while (any(left != zero)) {
    r = select((left & one) != zero, r * base, r);
    base *= base;
    left = left >> 1;
  }
  const Vec<T> sign = select((y & one) != zero, x, one);
  return select(y < zero, select((x == one) | (x == -one), sign, zero), r);
}
template <class T>
BRASA_INLINE Vec<T> shift_left(Vec<T> x, Vec<T> y) {
  constexpr T kBits = sizeof(T) * 8;
  const auto inside = (y >= Vec<T>(T(0))) & (y < Vec<T>(kBits));
  return Vec<T>(x.v << (y.v & (kBits - 1))) & inside;
}
template <class T>
BRASA_INLINE Vec<T> shift_right(Vec<T> x, Vec<T> y) {
  constexpr T kBits = sizeof(T) * 8;
  const auto inside = (y >= Vec<T>(T(0))) & (y < Vec<T>(kBits));
  return Vec<T>(x.v >> select(inside, y, Vec<T>(T(kBits - 1))).v);
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
