// What math.inl asks of its vector type: remainders, powers, angles of any size, and f32 in f32 alone for devices that
// have no f64. A number in two parts is a rounded one and what the rounding lost.
#pragma once
#include "value.h"

namespace brasa::vk {
namespace {

template <class T>
struct Parts {
  Vec<T> high, low;
};
// a + b (Knuth) and a * b (Dekker).
template <class T>
Parts<T> two_sum(Vec<T> a, Vec<T> b) {
  const Vec<T> high = a + b, part = high - a;
  return {high, (a - (high - part)) + (b - part)};
}
template <class T>
Parts<T> two_product(Vec<T> a, Vec<T> b) {
  const Vec<T> split(T(sizeof(T) == 4 ? 4097 : 134217729)), as = a * split, bs = b * split;
  const Vec<T> ah = as - (as - a), al = a - ah, bh = bs - (bs - b), bl = b - bh, high = a * b;
  return {high, ((ah * bh - high) + ah * bl + al * bh) + al * bl};
}

// ---- remainders

// n - trunc(n / d) d, exact while the quotient is below 2^53.
inline F64 rest_of(F64 n, F64 d) {
  const Parts<double> product = two_product(trunc(n / d), d);
  const F64 r = (n - product.high) - product.low;
  return select(r < F64(0.), r + d, select(r >= d, r - d, r));
}
// Each step takes 52 bits off the quotient; beyond what the steps take off, and of huge divisors, the rest is NaN.
inline F64 far_fmod(F64 x, F64 y) {
  const F64 n = abs(x), d = abs(y), inf(__builtin_inf());
  F64 r = n;
  for (int i = 0; i < 3; ++i) r = rest_of(r, d);
  r = select((n < inf) & (d > F64(0.)) & (d < inf), select(n < d, n, r), F64(__builtin_nan("")));
  return copysign(select((d == inf) & (n < inf), n, r), x);
}
inline F32 far_fmod(F32 x, F32 y) { return cast<float>(far_fmod(cast<double>(x), cast<double>(y))); }

// Exact: the mantissas as integers, up to 38 bits of the quotient a step.
inline F32 narrow_fmod(F32 x, F32 y) {
  const F32 n = abs(x), d = abs(y), inf(__builtin_inff());
  const I32 one(1), hidden(1 << 23), none(0);
  const auto exponent = [&](I32 b) { return max(b >> 23, one); };
  const auto mantissa = [&](I32 b) { return cast<int64_t>(select(b < hidden, b, (b & (hidden - one)) | hidden)); };
  const I32 a = bits(n), b = bits(d);
  const I64 m = mantissa(b);
  const auto rest = [&](I64 r) { return r - divide(r, m) * m; };
  I64 r = rest(mantissa(a));
  I32 left = max(exponent(a) - exponent(b), none);
  for (int i = 0; i < 7; ++i) {
    const I32 step = min(left, I32(38));
    r = rest(shift_left_by(r, cast<int64_t>(step)));
    left = left - step;
  }
  F32 y_ = scale(cast<float>(r), from_int<float>(exponent(b) - I32(150)));
  y_ = select((n < inf) & (d > F32(0.f)) & (d < inf), select(n < d, n, y_), F32(__builtin_nanf("")));
  return copysign(select((d == inf) & (n < inf), n, y_), x);
}

// ---- powers

// exp(y log |x|), the logarithm and the product in two parts: the error of one part would grow with the product, to
// hundreds of units in the last place. The series of log((1 + s) / (1 - s)) has its first term in two parts.
template <class T>
Vec<T> pow_of(Vec<T> x, Vec<T> y) {
  using V = Vec<T>;
  const V one(T(1)), zero(T(0)), two(T(2)), inf{T(__builtin_inf())}, a = abs(x);
  const Split<T> p = split_log(a);
  const Parts<T> d = two_sum(two, p.f);
  const V s = p.f / d.high;
  const Parts<T> back = two_product(s, d.high);
  const V s_low = (((p.f - back.high) - back.low) - s * d.low) / d.high, z = s * s;
  const V series = poly(z, T(1. / 21), T(1. / 19), T(1. / 17), T(1. / 15), T(1. / 13), T(1. / 11), T(1. / 9), T(1. / 7),
                        T(1. / 5), T(1. / 3));
  const V rest = two * (s_low + s * z * series);
  const V ln2(Format<T>::ln2_hi), ln2_low(Format<T>::ln2_lo);
  const Parts<T> sum = two_sum(p.k * ln2, two * s);  // k ln2 is exact: the constant ends in zeros
  const Parts<T> log = two_sum(sum.high, sum.low + (rest + p.k * ln2_low));
  const Parts<T> product = two_product(log.high, y);
  const V low = product.low + log.low * y, whole_power = exp(product.high);
  const V finite = whole_power + whole_power * low;
  // Where the parts overflow, the product alone decides.
  V r = select((abs(low) < one) & (whole_power < inf), finite, whole_power);
  r = select((a == zero) | (a == inf) | (abs(y) == inf) | (x != x) | (y != y), exp(y * brasa::vk::log(a)), r);
  const V half = y * V(T(0.5));
  const auto whole = floor(y) == y, odd = whole & (floor(half) != half) & (abs(y) < inf);
  r = select(odd, copysign(r, x), r);
  r = select((x < zero) & (a < inf) & ~whole, V(T(__builtin_nan(""))), r);
  return select((y == zero) | (x == one) | ((x == -one) & (abs(y) == inf)), one, r);
}

// ---- angles

// Angles beyond what reduce_angle() takes exactly lose bits as they grow.
inline F64 far_sin(F64 x) { return sin_turned(x, 0); }
inline F64 far_cos(F64 x) { return sin_turned(x, 1); }
inline F64 far_tan(F64 x) { return tan_fast(x); }

inline I64 low_half(I64 x) { return x & I64(0xffffffff); }
inline I64 high_half(I64 x) { return low_half(x >> 32); }

// n pi/2 + r of any a >= 0, exact (Payne and Hanek): the mantissa times those 96 bits of 2/pi that matter, of which the
// first two are n mod 4.
inline ShortAngle fold_angle(F32 a) {
  constexpr int64_t kBits[] = {0,          0x28be60db, 0x9391054a, 0x7f09d5f4,
                               0x7d4d3770, 0x36d8a566, 0x4f10e410, 0x7f9458ea};  // of 2/pi / 4
  const I32 b = bits(a), e = (b >> 23) - I32(126), first = e >> 5;
  const I64 shift = cast<int64_t>(e & I32(31)), m = cast<int64_t>((b & I32(0x7fffff)) | I32(1 << 23)) << 8;
  const auto word = [&](int i) {
    I64 w(kBits[i]);
    for (int k = 1; k <= 4 && i + k < 8; ++k) w = select(cast<int64_t>(first) == I64(k), I64(kBits[i + k]), w);
    return w;
  };
  const auto shifted = [&](I64 high, I64 low) { return high_half(shift_left_by((high << 32) | low, shift)); };
  const I64 w[4] = {word(0), word(1), word(2), word(3)};
  const I64 high = shifted(w[0], w[1]), middle = shifted(w[1], w[2]), low = shifted(w[2], w[3]);
  const I64 p = (low_half(m * high) << 32) + m * middle + high_half(m * low);
  const I64 r = (p << 2) >> 2;  // within 2^61 on either side of the next quarter turn
  const I32 n = cast<int32_t>(((p >> 62) & I64(3)) + ((p >> 61) & I64(1)));
  // r pi/2 2^-62, in two parts.
  const F32 head = cast<float>(r), rest = cast<float>(r - cast<int64_t>(head)), unit(0x1.921fb6p-62f);
  const Parts<float> product = two_product(head, unit);
  const F32 tail = product.low + (head * F32(-0x1.777a5cp-87f) + rest * unit);
  const I32 small = a <= F32(0.78539816f);
  return {select(small, I32(0), n), select(small, a, product.high), select(small, F32(0.f), tail)};
}
inline F32 narrow_angle(F32 x, F32 y) { return select(abs(x) < F32(__builtin_inff()), y, F32(__builtin_nanf(""))); }
inline F32 narrow_sin(F32 x) { return narrow_angle(x, with_sign_of(x, sin_turned(fold_angle(abs(x)), 0))); }
inline F32 narrow_cos(F32 x) { return narrow_angle(x, sin_turned(fold_angle(abs(x)), 1)); }
inline F32 narrow_tan(F32 x) { return narrow_angle(x, with_sign_of(x, tan_of(fold_angle(abs(x))))); }

// ---- erfc(a) for a >= 0.4; t, w: math.inl's

inline F32 narrow_erfc(F32 a, F32 t, F32 w) {
  const F32 one(1.f);
  const Parts<float> square = two_product(a, a);
  const Reduced<float> e = reduce_exp(-square.high);
  return scale((one + e.e) * (one - square.low) * (fma(t, w, F32(1.25300806f)) / (one + (a + a))), e.n);
}

}  // namespace
}  // namespace brasa::vk
