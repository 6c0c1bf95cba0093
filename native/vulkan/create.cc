// arange, and random numbers: Philox as ../random.h has it, the same integers on every device.
#include "../random.h"
#include "shade.h"

namespace brasa::vk {
namespace {

// A word of 32 bits, held in 64.
I64 low_word(I64 x) { return x & I64(0xffffffff); }
I64 high_word(I64 x) { return low_word(x >> 32); }

// Lane i % 4 of the counter offset + i / 4.
struct Words {
  I64 lane[4];

  Words(I64 seed, I64 counter) {
    I64 c[4] = {low_word(counter), high_word(counter), I64(0), I64(0)};
    I64 k0 = low_word(seed), k1 = high_word(seed);
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const I64 p = c[0] * I64(kPhiloxM0), q = c[2] * I64(kPhiloxM1);
      const I64 first = high_word(q) ^ c[1] ^ k0, third = high_word(p) ^ c[3] ^ k1;
      c[0] = first, c[1] = low_word(q), c[2] = third, c[3] = low_word(p);
      k0 = low_word(k0 + I64(kPhiloxW0)), k1 = low_word(k1 + I64(kPhiloxW1));
    }
    for (int i = 0; i < 4; ++i) lane[i] = c[i];
  }
  I64 at(I64 i) const {
    const I64 odd = (i & I64(1)) != I64(0), upper = (i & I64(2)) != I64(0);
    return select(upper, select(odd, lane[3], lane[2]), select(odd, lane[1], lane[0]));
  }
};

I64 wide(U32 x) { return I64::of(recording->pure(spv::UConvert, Type::kU64, {x.id()})); }

enum Kind { kUniform, kNormal, kIntegers, kBernoulli };

int digits_of(int32_t dtype) { return dtype == k_f16 ? 11 : dtype == k_bf16 ? 8 : dtype == k_f64 ? 32 : 24; }

template <class T>
Vec<T> uniform(I64 w, int digits) {
  return cast<T>(w >> (32 - digits)) * Vec<T>(T(1) / T(int64_t(1) << digits));
}

// Box-Muller, over the pair of lanes that i belongs to.
template <class T>
Vec<T> normal(const Words& w, I64 i) {
  const I64 upper = (i & I64(2)) != I64(0), odd = (i & I64(1)) != I64(0);
  const I64 first = select(upper, w.lane[2], w.lane[0]), second = select(upper, w.lane[3], w.lane[1]);
  const Vec<T> u = cast<T>(first >> 1) * Vec<T>(T(0x1p-31)) + Vec<T>(T(0x1p-32));
  const Vec<T> radius = sqrt(Vec<T>(T(-2)) * log(u));
  Vec<T> c, s;
  circle(cast<T>(second >> 8) * Vec<T>(T(0x1p-22)), c, s);
  using I = typename Vec<T>::Int;
  return radius * select(I::mask(odd.condition()), s, c);
}

}  // namespace

Status make_arange(Maker& m) {
  if (m.call.nin != 0 || m.call.nout != 1 || m.call.nscalars != 2) return kInvalid;
  Shade s(m);
  Shade::Tensor y = s.out(0);
  const Layout& out = m.call.out[0];
  s.strides(y, out);
  const auto sizes = s.sizes(out);
  const int32_t compute = compute_dtype(out.dtype);
  const bool floats = compute == k_f32 || compute == k_f64, exact = m.gpu.features().target.float64;
  const auto number = [&](auto zero) {
    using T = decltype(zero);
    const Vec<T> start = s.scalar<T>(0), step = s.scalar<T>(1);
    s.each(count_of(out), [&](U32 i) {
      const Vec<T> value = start + cast<T>(wide(i)) * step;
      s.store(y, s.offset(y, s.unravel(i, sizes)), cast_value(kDtypeOf<T>, compute, value.id()));
    });
  };
  if (!floats)
    number(int64_t{});
  else if (exact)
    number(double{});
  else
    number(float{});
  return s.finish();
}

Status make_random(Maker& m) {
  const Call& call = m.call;
  if (call.nin != 0 || call.nout != 1 || call.nparams != 1 || call.nscalars != 4) return kInvalid;
  const int kind = static_cast<int>(call.params[0]);
  const Layout& out = call.out[0];
  const int32_t compute = compute_dtype(out.dtype);
  if (kind < kUniform || kind > kBernoulli) return kInvalid;
  if (compute != k_f32 && compute != k_f64 && kind <= kNormal) return kUnsupported;
  Shade s(m);
  Shade::Tensor y = s.out(0);
  s.strides(y, out);
  const auto sizes = s.sizes(out);
  const I64 seed = s.scalar<int64_t>(0), offset = s.scalar<int64_t>(1);
  // f(words, i) answers a value of the compute type.
  const auto each = [&](const auto& f) {
    s.each(count_of(out), [&](U32 at) {
      const I64 i = wide(at);
      s.store(y, s.offset(y, s.unravel(at, sizes)), f(Words(seed, offset + (i >> 2)), i));
    });
  };
  if (kind == kIntegers) {
    const I64 low = s.scalar<int64_t>(2), range = s.scalar<int64_t>(2, Of::kRange);
    each([&](const Words& w, I64 i) { return cast_value(k_i64, compute, (low + high_word(w.at(i) * range)).id()); });
  } else if (kind == kBernoulli) {
    const I64 bar = s.scalar<int64_t>(2, Of::kBar);
    each([&](const Words& w, I64 i) {
      return cast_value(k_i64, compute, select((w.at(i) >> 8) < bar, I64(1), I64(0)).id());
    });
  } else {
    const auto floats = [&](auto zero) {
      using T = decltype(zero);
      const Vec<T> low = s.scalar<T>(2), high = s.scalar<T>(3), range = s.scalar<T>(2, Of::kRange);
      const int digits = digits_of(out.dtype);
      each([&](const Words& w, I64 i) {
        if (kind == kNormal) return fma(normal<T>(w, i), high, low).id();
        const Vec<T> value = fma(uniform<T>(w.at(i), digits), range, low);
        return select(value >= high, low, value).id();  // where rounding reached high
      });
    };
    if (compute == k_f64)
      floats(double{});
    else
      floats(float{});
  }
  return s.finish();
}

Status make_dropout(Maker& m) {
  const Call& call = m.call;
  if (call.nin != 1 || call.nout != 1 || call.nscalars != 3) return kInvalid;
  const Layout &in = call.in[0], &out = call.out[0];
  const int32_t compute = compute_dtype(out.dtype);
  if (in.dtype != out.dtype || (compute != k_f32 && compute != k_f64)) return kUnsupported;
  Shade s(m);
  Shade::Tensor x = s.in(0), y = s.out(0);
  s.strides(x, in);
  s.strides(y, out);
  const auto sizes = s.sizes(out);
  const I64 seed = s.scalar<int64_t>(0), offset = s.scalar<int64_t>(1), bar = s.scalar<int64_t>(2, Of::kBar);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const Vec<T> scale = s.scalar<T>(2, Of::kScale);
    s.each(count_of(out), [&](U32 at) {
      const I64 i = wide(at);
      const auto along = s.unravel(at, sizes);
      const auto kept = (Words(seed, offset + (i >> 2)).at(i) >> 8) >= bar;
      const Vec<T> value = Vec<T>::of(s.load(x, s.offset(x, along)));
      s.store(y, s.offset(y, along), select(Vec<T>::Int::mask(kept.condition()), value * scale, Vec<T>(T(0))).id());
    });
  };
  if (compute == k_f64)
    run(double{});
  else
    run(float{});
  return s.finish();
}

}  // namespace brasa::vk
