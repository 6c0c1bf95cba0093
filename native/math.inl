// The intrinsics that expressions in ops.def use, on vectors: f32 to 2 ULP (silu and gelu, products of one, to 3), f64
// to 4. f32 has forms of its own, except for asinh and acosh; a few last steps are taken in f64. What no formula covers
// the vector type answers. Polynomials are minimax fits, or those of fdlibm and Cephes.
#pragma once
#include "math_angle.inl"

namespace BRASA_VECTORS {
namespace {

// ---- hyperbolic functions

BRASA_INLINE F64 sinh(F64 x) {
  const F64 a = abs(x), t = expm1(a), h = exp(a * F64(0.5));
  return copysign(select(a > F64(40.), F64(0.5) * h * h, F64(0.5) * (t + t / (t + F64(1.)))), x);
}
BRASA_INLINE F64 cosh(F64 x) {
  const F64 a = abs(x), h = exp(a * F64(0.5)), e = exp(a);
  return select(a > F64(40.), F64(0.5) * h * h, F64(0.5) * e + F64(0.5) / e);
}
// e^a / 2 for a >= 0, to infinity.
BRASA_INLINE F32 half_exp(F32 a) {
  const Reduced<float> r = reduce_exp(min(F32(90.f), a));
  return scale(F32(1.f) + r.e, r.n - F32(1.f));
}
BRASA_INLINE F32 sinh(F32 x) {
  const F32 a = abs(x), z = a * a, h = half_exp(a);
  const F32 near = fma(a * z, poly(z, 2.81695122e-6f, 1.98361598e-4f, 8.33335006e-3f, 0.166666665f), a);
  return copysign(select(a < F32(1.f), near, h - F32(0.25f) / h), x);
}
BRASA_INLINE F32 cosh(F32 x) {
  const F32 h = half_exp(abs(x));
  return h + F32(0.25f) / h;
}
BRASA_INLINE F64 tanh(F64 x) {
  const F64 t = expm1(F64(2.) * min(F64(20.), abs(x)));
  return copysign(t / (t + F64(2.)), x);
}
BRASA_INLINE F32 tanh(F32 x) {  // a polynomial; then t / (t + 2), t = e^2a - 1
  const F32 a = min(F32(10.f), abs(x)), z = a * a;
  const F32 near = fma(a * z, poly(z, -5.51516376e-3f, 0.0204694197f, -0.0536880232f, 0.133308306f, -0.333332598f), a);
  const Reduced<float> r = reduce_exp(a + a);
  const F32 p = power_of_two(r.n), t = fma(p, r.e, p - F32(1.f));
  return copysign(select(a < F32(0.6f), near, t / (t + F32(2.f))), x);
}
// 1 / (1 + e^-x), small ones too to the last places.
template <class T>
BRASA_INLINE Vec<T> sigmoid(Vec<T> x) {
  const Vec<T> one(T(1)), e = exp(-abs(x)), q = e / (one + e);
  return select(x < Vec<T>(T(0)), fma(-e, q, e), one - q);
}
template <class T>
BRASA_INLINE Vec<T> asinh(Vec<T> x) {
  const Vec<T> a = abs(x), one(T(1)), z = a * a;
  const Vec<T> near = log1p(a + z / (one + sqrt(z + one))), far = log(a) + Vec<T>(T(0.69314718055994531));
  return copysign(select(a > Vec<T>(T(1e9)), far, near), x);
}
template <class T>
BRASA_INLINE Vec<T> acosh(Vec<T> x) {
  const Vec<T> one(T(1)), t = x - one, near = log1p(t + sqrt(t * (t + Vec<T>(T(2)))));
  const Vec<T> far = log(x) + Vec<T>(T(0.69314718055994531));
  return select(x >= one, select(x > Vec<T>(T(1e9)), far, near), Vec<T>(T(__builtin_nan(""))));
}
BRASA_INLINE F64 atanh(F64 x) {
  const F64 a = abs(x);
  return copysign(F64(0.5) * log1p((a + a) / (F64(1.) - a)), x);
}
BRASA_INLINE F32 atanh(F32 x) {
  const F32 a = abs(x), z = a * a, one(1.f), half(0.5f);
  const F32 near =
      fma(a * z, poly(z, 0.176691188f, 0.0513582448f, 0.118237297f, 0.142227622f, 0.200025183f, 0.333333001f), a);
  return copysign(select(a < half, near, half * log((one + a) / (one - a))), x);
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
  const F32 t = min(F32(4.f), abs(x)), s = t * t, one(1.f);
  const F32 near =
      t * poly(s, -5.96761703e-4f, 4.99119423e-3f, -2.67681349e-2f, 1.12819925e-1f, -3.76125336e-1f, 1.28379166e-1f);
  const F32 r = fma(s * s, fma(s, F32(-1.72853470e-5f), poly(t, 3.83197126e-4f, -3.88396438e-3f)),
                    fma(s, poly(t, 2.42546219e-2f, -1.06777877e-1f), poly(t, -6.34846687e-1f, -1.28717512e-1f)));
  const Reduced<float> e = reduce_exp(fma(r, t, -t));
  const F32 p = power_of_two(e.n), far = (one - p) - p * e.e;
  return copysign(select(t > F32(0.927734375f), far, t + near), x);
}
BRASA_INLINE F32 erfc_near(F32 x) {
  return fma(-x,
             poly(x * x, -7.69285309e-4f, 5.20030831e-3f, -2.68631489e-2f, 0.112837738f, -0.376126385f, 1.12837917f),
             F32(1.f));
}
BRASA_INLINE F32 erfc_weight(F32 t) {
  return poly(t, -4.68900166e-4f, 1.87178281e-3f, 2.34938591e-3f, -2.37852656e-2f, 6.83482488e-2f, -0.119269664f,
              0.129641618f, -4.75625454e-2f, -0.135621018f);
}
BRASA_INLINE F32 erfc_of(F32 x, F32 far) {  // far: erfc(|x|) where |x| >= 0.4
  return select(abs(x) < F32(0.4f), erfc_near(x), select(x < F32(0.f), F32(2.f) - far, far));
}
// As for f64: for a >= 0.4 a polynomial in (a - 3) / (a + 3), over 1 + 2a, times e^-a^2. The square and the last steps
// are taken in f64: their roundings would add up.
BRASA_INLINE F32 erfc(F32 x) {
  const F32 a = min(F32(10.2f), abs(x)), t = (a - F32(3.f)) / (a + F32(3.f)), w = erfc_weight(t);
  BRASA_WITHOUT_F64(erfc_of(x, narrow_erfc(a, t, w)))
  const F32 magic(Format<float>::magic), n = fma(a * a, F32(-1.44269504f), magic) - magic;
  const F64x2 wa = widen(a), wn = widen(n), wt = widen(t), ww = widen(w);
  const auto power = [](F64 a, F64 n) { return -a * a - n * F64(0.69314718055994531); };
  const F64x2 we = widen(exp_rest(narrow(power(wa.lo, wn.lo), power(wa.hi, wn.hi))));
  const auto last = [](F64 a, F64 t, F64 w, F64 e) {
    return fma(t, w, F64(1.25300806)) * (F64(1.) + e) / fma(F64(2.), a, F64(1.));
  };
  const F32 far = scale(narrow(last(wa.lo, wt.lo, ww.lo, we.lo), last(wa.hi, wt.hi, ww.hi, we.hi)), n);
  return erfc_of(x, far);
}

BRASA_INLINE F64 gelu(F64 x) {
  const F64 half(0.5);
  return x * fma(half, erf(x * F64(0.7071067811865476)), half);
}
// x Phi(x), Phi(x) - 1/2 = x P(x^2) / Q(x^2), exactly 1/2 from 5.7 on.
BRASA_INLINE F32 gelu(F32 x) {
  const F32 end(5.75f), half(0.5f), t = min(end, max(-end, x)), z = t * t;
  const F32 p = poly(z, 2.2545451e-8f, 6.29227467e-6f, 1.67092899e-4f, 4.66636738e-3f, 3.37332981e-2f, 0.398942273f);
  const F32 q = poly(z, 1.18709231e-6f, 7.28356261e-5f, 1.87500536e-3f, 2.85681759e-2f, 0.2512232f, 1.f);
  return x * (half + min(half, max(-half, t * p / q)));
}

#define BRASA_VIA_F64(name)                           \
  BRASA_INLINE F32 name(F32 x) {                      \
    BRASA_WITHOUT_F64(name<float>(x))                 \
    return via_f64(x, [](F64 v) { return name(v); }); \
  }
BRASA_VIA_F64(asinh)
BRASA_VIA_F64(acosh)
#undef BRASA_VIA_F64

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

BRASA_INLINE F64 fmod(F64 x, F64 y) { return far_fmod(x, y); }
BRASA_INLINE F32 fmod(F32 x, F32 y) {
  BRASA_WITHOUT_F64(narrow_fmod(x, y))
  const F32 inf(__builtin_inff()), q = abs(x / y);
  // Quotients below 2^28 in f64: q * y is exact there, and so is the difference.
  const I32 hard = ~(q < F32(0x1p28f)) & (x == x) & (y == y) & (abs(x) < inf) & (y != F32(0.f)) & (abs(y) < inf);
  F32 r = via_f64(x, y, [](F64 a, F64 b) {
    const F64 d = abs(b), n = abs(a), rest = n - trunc(n / d) * d;
    return copysign(select(rest < F64(0.), rest + d, select(rest >= d, rest - d, rest)), a);
  });
  r = select((abs(y) == inf) & (abs(x) < inf), x, r);
  return seldom(hard, r, [&] { return far_fmod(x, y); });
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
  return pow_of(x, y);
}
BRASA_INLINE F32 pow(F32 x, F32 y) {
  BRASA_WITHOUT_F64(pow_of(x, y))
  if (all(y == F32(2.f))) return x * x;
  const F32 one(1.f), zero(0.f), inf(__builtin_inff()), a = abs(x);
  // 2^(y log2 a) in f64, to 1e-10: f32 has no bits to spare for a product that large.
  F32 r = via_f64(a, y, [](F64 a, F64 b) {
    const Split<double> p = split_log(a);
    const F64 s = p.f / (F64(2.) + p.f);
    const F64 exponent = fma(s,
                             poly(s * s, 0.34072975168258286, 0.41167273727551641, 0.57708358467710566,
                                  0.96179667334320798, 2.8853900817900851),
                             p.k);
    const F64 e = min(F64(300.), max(F64(-300.), b * split_domain(a, exponent))), n = round(e);
    return power_of_two(n) * poly(e - n, 1.5201924248838622e-5, 1.5469291407534769e-4, 1.333392255491749e-3,
                                  9.618027252690619e-3, 5.5504103534569272e-2, 0.24022651198167253, 0.69314718072843843,
                                  0.99999999996167934);
  });
  const F32 half = y * F32(0.5f);
  const I32 whole = floor(y) == y, odd = whole & (floor(half) != half) & (abs(y) < inf);
  r = select(odd, copysign(r, x), r);
  r = select((x < zero) & (a < inf) & ~whole, F32(__builtin_nanf("")), r);
  return select((y == zero) | (x == one) | ((x == -one) & (abs(y) == inf)), one, r);
}
// By squaring; a negative power is 0, except of 1 and -1.
template <class T>
BRASA_INLINE Vec<T> pow(Vec<T> x, Vec<T> y) {
  const Vec<T> zero(T(0)), one(T(1)), r = power(x, max(y, zero));
  const Vec<T> sign = select((y & one) != zero, x, one);
  return select(y < zero, select((x == one) | (x == -one), sign, zero), r);
}
template <class T>
BRASA_INLINE Vec<T> shift_left(Vec<T> x, Vec<T> y) {
  constexpr T kBits = sizeof(T) * 8;
  const auto inside = (y >= Vec<T>(T(0))) & (y < Vec<T>(kBits));
  return shift_left_by(x, y & Vec<T>(kBits - 1)) & inside;
}
template <class T>
BRASA_INLINE Vec<T> shift_right(Vec<T> x, Vec<T> y) {
  constexpr T kBits = sizeof(T) * 8;
  const auto inside = (y >= Vec<T>(T(0))) & (y < Vec<T>(kBits));
  return shift_right_by(x, select(inside, y, Vec<T>(T(kBits - 1))));
}

}  // namespace
}  // namespace BRASA_VECTORS
