// Polynomials, numbers as bits, exponentials, logarithms and 1 / sqrt. Included where BRASA_VECTORS names the namespace
// of a vector type Vec<T>: cpu/math.inl, or vulkan/value.h, which records.
#pragma once

namespace BRASA_VECTORS {
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

// A vector type whose device may have no f64 defines this: then f32 is computed in f32, to 4 ULP (test/vulkan-types).
#ifndef BRASA_WITHOUT_F64
#define BRASA_WITHOUT_F64(y)
#endif

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
  static constexpr float ln2_hi = 0.693145751953125f, ln2_lo = 1.42860677e-6f;
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
// 2^n for whole n, exponents of normal numbers.
template <class T>
BRASA_INLINE Vec<T> power_of_two(Vec<T> n) {
  return power_of_two<T>(to_int(n));
}
// x * 2^n for any whole n, through denormals and to infinity.
template <class T>
BRASA_INLINE Vec<T> scale(Vec<T> x, Vec<T> n) {
#if BRASA_SIMD_BYTES == 64
  return scalef(x, n);
#else
  const typename Vec<T>::Int i = to_int(n), half = i >> 1;
  return x * power_of_two<T>(half) * power_of_two<T>(i - half);
#endif
}

// ---- exp

// e^r - 1 for |r| <= ln 2 / 2
BRASA_INLINE F32 exp_rest(F32 r) {
  const F32 z = r * r;
  return fma(z, fma(z, poly(r, 0.00139261836f, 0.00836317905f, 0.0416665546f), poly(r, 0.16666577f, 0.5f)), r);
}
BRASA_INLINE F64 exp_rest(F64 r) {
  const F64 q = poly(r, 2.5100385495510319e-8, 2.7620088445409748e-7, 2.7557268459997065e-6, 2.4801521295954375e-5,
                     0.00019841269863053617, 0.0013888888917213717, 0.0083333333333300618, 0.041666666666624128,
                     0.16666666666666667, 0.5000000000000001);
  return fma(r * r, q, r);
}
// x = n ln 2 + r; answers n and exp(r) - 1.
template <class T>
struct Reduced {
  Vec<T> n, e;
};
template <class T>
BRASA_INLINE Reduced<T> reduce_exp(Vec<T> x) {
  using F = Format<T>;
  const Vec<T> magic(F::magic), n = fma(x, Vec<T>(T(1.4426950408889634)), magic) - magic;
  return {n, exp_rest(x - n * Vec<T>(F::ln2_hi) - n * Vec<T>(F::ln2_lo))};
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

// ---- logarithms

// x = 2^k m with m in [sqrt(1/2), sqrt(2)), f = m - 1.
template <class T>
struct Split {
  Vec<T> k, f;
};
template <class T>
BRASA_INLINE Split<T> split_log(Vec<T> x) {
  const Vec<T> one(T(1));
#if BRASA_SIMD_BYTES == 64
  // k is -inf for 0 and inf for inf, m is 1 for both and NaN for what is negative.
  const Vec<T> k = exponent_of(x), m = mantissa_of(x);
  const auto high = m >= Vec<T>(T(1.4142135623730951));
  return {select(high, k + one, k), select(high, m * Vec<T>(T(0.5)), m) - one};
#else
  using I = typename Vec<T>::Int;
  using F = Format<T>;
  constexpr int M = F::mantissa;
  const I denormal = x < Vec<T>(F::tiny);
  x = select(denormal, x * power_of_two<T>(I(M)), x);
  const I root = bits(Vec<T>(T(0.70710678118654752))), b = bits(x) - root;
  const Vec<T> m = from_bits<T>((b & I((typename F::Int(1) << M) - 1)) + root);
  return {from_int<T>((b >> M) - (denormal & I(M))), m - one};
#endif
}
// The answer y of a logarithm where x is positive and finite; -inf, NaN and inf elsewhere.
template <class T>
BRASA_INLINE Vec<T> log_domain(Vec<T> x, Vec<T> y) {
  const Vec<T> inf{T(__builtin_inf())}, zero{T(0)};
  y = select(x == zero, -inf, y);
  return select((x < inf) & (x >= zero), y, select(x == inf, x, Vec<T>(T(__builtin_nan("")))));
}
// The same where y was computed from a Split, which with AVX-512 knows.
template <class T>
BRASA_INLINE Vec<T> split_domain(Vec<T> x, Vec<T> y) {
  return BRASA_SIMD_BYTES == 64 ? y : log_domain(x, y);
}
// log(1 + f) - f
template <class T>
BRASA_INLINE Vec<T> log_rest(Vec<T> f) {
  if constexpr (sizeof(T) == 4) {
    const Vec<T> z = f * f;
    return fma(z * f,
               poly(f, 6.74664687e-2f, -0.116756541f, 0.118881607f, -0.124055885f, 0.142195525f, -0.166679959f,
                    0.200021187f, -0.250000096f, 0.333333126f),
               z * Vec<T>(-0.5f));
  } else {
    const Vec<T> s = f / (Vec<T>(T(2)) + f), z = s * s, half = Vec<T>(T(0.5)) * f * f;
    const Vec<T> r = z * poly(z, 1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
                              2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
                              6.666666666666735130e-01);
    return s * (half + r) - half;
  }
}

template <class T>
BRASA_INLINE Vec<T> log(Vec<T> x) {
  using F = Format<T>;
  const Split<T> p = split_log(x);
  const Vec<T> rest = fma(p.k, Vec<T>(F::ln2_lo), log_rest(p.f));
  return split_domain(x, fma(p.k, Vec<T>(F::ln2_hi), p.f + rest));
}
template <class T>
BRASA_INLINE Vec<T> log1p(Vec<T> x) {
  using F = Format<T>;
  const Vec<T> one(T(1)), u = one + x;
  const Vec<T> lost = select(u >= Vec<T>(T(2)), one - (u - x), x - (u - one)) / u;  // of x, when 1 was added
  const Split<T> p = split_log(u);
  const Vec<T> rest = fma(p.k, Vec<T>(F::ln2_lo), lost) + log_rest(p.f);
  return select(x == Vec<T>(T(0)), x, log_domain(u, fma(p.k, Vec<T>(F::ln2_hi), p.f + rest)));
}
// log(1 + f) times `factor`, whose leading bits are `head`.
template <class T>
BRASA_INLINE Vec<T> log_times(Vec<T> f, double factor, T head) {
  return fma(f, Vec<T>(head), fma(log_rest(f), Vec<T>(T(factor)), f * Vec<T>(T(factor - double(head)))));
}
BRASA_INLINE F32 log2(F32 x) {
  const Split<float> p = split_log(x);
  return split_domain(x, p.k + log_times(p.f, 1.4426950408889634, 1.442695f));
}
BRASA_INLINE F32 log10(F32 x) {
  const Split<float> p = split_log(x);
  const F32 low = fma(p.k, F32(4.60503898e-6f), log_times(p.f, 0.43429448190325182, 0.43429447f));
  return split_domain(x, fma(p.k, F32(0.301025390625f), low));
}
BRASA_INLINE F64 log2(F64 x) {
  const Split<double> p = split_log(x);
  return split_domain(x, fma(p.f + log_rest(p.f), F64(1.4426950408889634), p.k));
}
BRASA_INLINE F64 log10(F64 x) {
  const Split<double> p = split_log(x);
  const F64 low = fma(p.k, F64(3.69423907715893078616e-13), (p.f + log_rest(p.f)) * F64(0.43429448190325182));
  return split_domain(x, fma(p.k, F64(3.01029995663611771306e-01), low));
}

// ---- 1 / sqrt(x)

template <class T>
BRASA_INLINE Vec<T> rsqrt(Vec<T> x) {
  return Vec<T>(T(1)) / sqrt(x);
}
#if BRASA_SIMD_BYTES == 64
BRASA_INLINE F32 rsqrt(F32 x) {  // one step of Newton's from 14 bits, where x is neither 0 nor infinite
  const F32 y = rsqrt14(x), error = F32(1.f) - (x * y) * y;
  return select(error == error, fma(y * F32(0.5f), error, y), y);
}
#endif

// sqrt(x) to 1 ULP where that is faster.
BRASA_INLINE F64 root(F64 x) { return sqrt(x); }
BRASA_INLINE F32 root(F32 x) {
  if (BRASA_SIMD_BYTES < 64) return sqrt(x);
  const F32 y = x * rsqrt(x);
  return select((x == F32(0.f)) | (x == F32(__builtin_inff())), x, y);
}

}  // namespace
}  // namespace BRASA_VECTORS
