// arange, random and dropout. Random words are made 256 counters at a time, many counters in a vector; random.h says
// what each word means. Tensors of any strides are walked in row-major order.
#include "../random.h"
#include "convert.inl"
#include "math.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kCounters = 256, kTile = 4 * kCounters;  // elements
constexpr int64_t kGrain = 32 * kTile;

// Lane l of kCounters counters from the given one: words[l][i].
struct Words {
  alignas(64) uint32_t lane[4][kCounters];
};

BRASA_INLINE I64 product(I64 x, uint32_t y) {  // of the low 32 bits
#ifdef __x86_64__
#if BRASA_SIMD_BYTES == 64
  return I64((I64::Raw)_mm512_mul_epu32((__m512i)x.v, (__m512i)I64(y).v));
#elif BRASA_SIMD_BYTES == 32
  return I64((I64::Raw)_mm256_mul_epu32((__m256i)x.v, (__m256i)I64(y).v));
#else
  return I64((I64::Raw)_mm_mul_epu32((__m128i)x.v, (__m128i)I64(y).v));
#endif
#else
  typedef uint64_t Unsigned __attribute__((vector_size(BRASA_SIMD_BYTES)));
  return I64((I64::Raw)((Unsigned)(x & I64(0xffffffff)).v * uint64_t(y)));
#endif
}

void make_words(Words& w, uint64_t seed, uint64_t counter) {
  typedef uint32_t Half __attribute__((vector_size(BRASA_SIMD_BYTES / 2)));
  for (int64_t i = 0; i < kCounters; i += I64::N) {
    // Only the low half of each lane counts.
    I64 c0 = I64::iota() + I64(int64_t(counter + i)), c1 = c0 >> 32, c2(0), c3(0);
    uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
    for (int round = 0; round < kPhiloxRounds; ++round, k0 += kPhiloxW0, k1 += kPhiloxW1) {
      const I64 p = product(c0, kPhiloxM0), q = product(c2, kPhiloxM1);
      c0 = (q >> 32) ^ c1 ^ I64(k0);
      c2 = (p >> 32) ^ c3 ^ I64(k1);
      c1 = q;
      c3 = p;
    }
    const I64 lanes[4] = {c0, c1, c2, c3};
    for (int l = 0; l < 4; ++l) {
      const Half half = __builtin_convertvector(lanes[l].v, Half);
      __builtin_memcpy(w.lane[l] + i, &half, sizeof half);
    }
  }
}

// Planes of kCounters, one a lane -> the order of elements.
template <class T>
void interleave(T* to, const T (*lane)[kCounters]) {
  for (int64_t i = 0; i < kCounters; ++i)
    for (int l = 0; l < 4; ++l) to[4 * i + l] = lane[l][i];
}

// Numbers in [0, 1), of `digits` bits, for a tile.
template <class T>
void uniform(T* to, const uint32_t* words, int digits) {
  const int drop = 32 - digits;
  const T unit = T(1) / T(int64_t(1) << digits);
  for (int64_t i = 0; i < kTile; ++i) {
    if constexpr (sizeof(T) == 4)
      to[i] = T(int32_t(words[i] >> drop)) * unit;
    else
      to[i] = T(words[i] >> drop) * unit;
  }
}

template <class T>
void normal(T* to, const Words& w) {
  using V = Vec<T>;
  alignas(64) T plane[4][kCounters];
  for (int pair = 0; pair < 4; pair += 2) {
    T *even = plane[pair], *odd = plane[pair + 1];
    for (int64_t i = 0; i < kCounters; ++i) {
      even[i] = T(int32_t(w.lane[pair][i] >> 1)) * T(0x1p-31) + T(0x1p-32);
      odd[i] = T(int32_t(w.lane[pair + 1][i] >> 8)) * T(0x1p-22);
    }
    for (int64_t i = 0; i < kCounters; i += V::N) {
      const V radius = sqrt(V(T(-2)) * log(V::load(even + i)));
      V c, s;
      circle(V::load(odd + i), c, s);
      (radius * c).store(even + i);
      (radius * s).store(odd + i);
    }
  }
  interleave(to, plane);
}

// Elements first..first + n of a tensor in row-major order: f(offset in elements) for each.
template <class F>
void each_element(const Layout& x, int64_t first, int64_t n, const F& f) {
  int64_t at[kMaxDims], offset = 0;
  for (int32_t d = x.ndim - 1; d >= 0; --d) {
    at[d] = first % x.shape[d];
    first /= x.shape[d];
    offset += at[d] * x.strides[d];
  }
  for (int64_t i = 0; i < n; ++i) {
    f(i, offset);
    for (int32_t d = x.ndim - 1; d >= 0; --d) {
      offset += x.strides[d];
      if (++at[d] < x.shape[d]) break;
      offset -= at[d] * x.strides[d];
      at[d] = 0;
    }
  }
}

struct State {
  int64_t n;             // elements
  bool in_dense, dense;  // row-major
};

int64_t count(const Layout& x) {
  int64_t n = 1;
  for (int32_t d = 0; d < x.ndim; ++d) n *= x.shape[d];
  return n;
}
bool row_major(const Layout& x) {
  int64_t stride = 1;
  for (int32_t d = x.ndim - 1; d >= 0; --d) {
    if (x.shape[d] != 1 && x.strides[d] != stride) return false;
    stride *= x.shape[d];
  }
  return true;
}

template <class S>
void read_tile(const Layout& x, bool dense, const void* data, int64_t first, int64_t n, Compute<S>* to) {
  const S* from = static_cast<const S*>(data);
  if (dense) return load_row(to, from + first, n);
  S part[kTile];
  each_element(x, first, n, [&](int64_t i, int64_t offset) { part[i] = from[offset]; });
  load_row(to, part, n);
}
template <class S>
void write_tile(const Layout& y, bool dense, void* data, int64_t first, int64_t n, const Compute<S>* from) {
  S* to = static_cast<S*>(data);
  if (dense) return store_row(to + first, from, n);
  S part[kTile];
  store_row(part, from, n);
  each_element(y, first, n, [&](int64_t i, int64_t offset) { to[offset] = part[i]; });
}

// Calls f(first element, elements) for every tile of n elements, on all threads.
template <class F>
void each_tile(int64_t n, const F& f) {
  parallel(n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kTile) f(i, end - i < kTile ? end - i : kTile);
  });
}

Status keep_state(CpuPlan& plan, RunFn run) {
  State* state = static_cast<State*>(plan_alloc(plan, sizeof(State)));
  if (!state) return kOutOfMemory;
  const Call& call = plan.call;
  *state = {count(call.out[0]), call.nin > 0 && row_major(call.in[0]), row_major(call.out[0])};
  plan.state = state;
  plan.run = run;
  return kOk;
}

// ---- arange

template <class S>
Status run_arange(const CpuPlan& plan, const Args& args) {
  using T = Compute<S>;
  const State& state = *static_cast<const State*>(plan.state);
  const double start = args.scalars[0], step = args.scalars[1];
  each_tile(state.n, [&](int64_t first, int64_t n) {
    alignas(64) T tile[kTile];
    if constexpr (kFloating<T>) {
      for (int32_t i = 0; i < n; ++i) tile[i] = T(start + (double(first) + i) * step);
    } else {
      const uint64_t from = int64_t(start), by = int64_t(step);  // wraps
      for (int64_t i = 0; i < n; ++i) tile[i] = T(from + uint64_t(first + i) * by);
    }
    write_tile<S>(plan.call.out[0], state.dense, args.out[0], first, n, tile);
  });
  return kOk;
}

Status make_arange(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nin != 0 || call.nout != 1 || call.nscalars != 2) return kInvalid;
  return visit_dtype(call.out[0].dtype, [&](auto s) { return keep_state(plan, run_arange<decltype(s)>); });
}

// ---- random

enum Kind { kUniform, kNormal, kIntegers, kBernoulli };

template <class S>
constexpr int kDigits = kSame<S, half_t>       ? 11
                        : kSame<S, bfloat16_t> ? 8
                        : kSame<S, double>     ? 32
                                               : 24;

template <class S>
Status run_random(const CpuPlan& plan, const Args& args) {
  using T = Compute<S>;
  const State& state = *static_cast<const State*>(plan.state);
  const uint64_t seed = uint64_t(args.scalars[0]), offset = uint64_t(args.scalars[1]);
  const double low = args.scalars[2], high = args.scalars[3];
  const int kind = int(plan.call.params[0]);
  each_tile(state.n, [&](int64_t first, int64_t n) {
    Words words;
    alignas(64) uint32_t flat[kTile];
    alignas(64) T tile[kTile];
    make_words(words, seed, offset + first / 4);
    if (kind != kNormal) interleave(flat, words.lane);
    if (kind == kIntegers) {
      const int64_t base = int64_t(low);
      const uint64_t range = high > low ? uint64_t(high - low) : 1;
      if (range >> 32 == 0) {
        for (int64_t i = 0; i < kTile; ++i) tile[i] = T(base + int64_t(flat[i] * uint64_t(uint32_t(range)) >> 32));
      } else {
        for (int64_t i = 0; i < kTile; ++i)
          tile[i] = T(base + int64_t(static_cast<unsigned __int128>(flat[i]) * range >> 32));
      }
    } else if (kind == kBernoulli) {
      const int64_t bar = int64_t(__builtin_ceil(low * 0x1p24));
      for (int64_t i = 0; i < kTile; ++i) tile[i] = T(int32_t(flat[i] >> 8) < bar);
    } else if constexpr (kFloating<T>) {
      using V = Vec<T>;
      const V a{T(low)}, b{T(kind == kUniform ? high - low : high)}, top{T(high)};
      if (kind == kUniform)
        uniform(tile, flat, kDigits<S>);
      else
        normal(tile, words);
      for (int64_t i = 0; i < kTile; i += V::N) {
        V y = fma(V::load(tile + i), b, a);
        if (kind == kUniform) y = select(y >= top, a, y);  // where rounding reached high
        y.store(tile + i);
      }
    }
    write_tile<S>(plan.call.out[0], state.dense, args.out[0], first, n, tile);
  });
  return kOk;
}

Status make_random(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nin != 0 || call.nout != 1 || call.nparams != 1 || call.nscalars != 4) return kInvalid;
  const int kind = int(call.params[0]);
  if (kind < kUniform || kind > kBernoulli) return kInvalid;
  return visit_dtype(call.out[0].dtype, [&](auto s) {
    using S = decltype(s);
    if (!kFloating<Compute<S>> && kind <= kNormal) return kUnsupported;
    return keep_state(plan, run_random<S>);
  });
}

// ---- dropout

template <class S>
Status run_dropout(const CpuPlan& plan, const Args& args) {
  using T = Compute<S>;
  const State& state = *static_cast<const State*>(plan.state);
  const uint64_t seed = uint64_t(args.scalars[0]), offset = uint64_t(args.scalars[1]);
  const double p = args.scalars[2];
  const T scale = T(p < 1 ? 1 / (1 - p) : 0);
  const int32_t bar = int32_t(__builtin_ceil(p * 0x1p24));
  each_tile(state.n, [&](int64_t first, int64_t n) {
    Words words;
    alignas(64) uint32_t flat[kTile];
    alignas(64) T tile[kTile];
    make_words(words, seed, offset + first / 4);
    interleave(flat, words.lane);
    read_tile<S>(plan.call.in[0], state.in_dense, args.in[0], first, n, tile);
    for (int64_t i = 0; i < n; ++i) tile[i] = int32_t(flat[i] >> 8) >= bar ? tile[i] * scale : T(0);
    write_tile<S>(plan.call.out[0], state.dense, args.out[0], first, n, tile);
  });
  return kOk;
}

Status make_dropout(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nin != 1 || call.nout != 1 || call.nscalars != 3) return kInvalid;
  if (call.in[0].dtype != call.out[0].dtype) return kUnsupported;
  return visit_dtype(call.out[0].dtype, [&](auto s) {
    using S = decltype(s);
    if constexpr (kFloating<Compute<S>>)
      return keep_state(plan, run_dropout<S>);
    else
      return kUnsupported;
  });
}

}  // namespace

void register_random() {
  register_kernel("arange", make_arange, "tiles");
  register_kernel("random", make_random, "philox");
  register_kernel("dropout", make_dropout, "philox");
}

}  // namespace brasa::cpu::BRASA_ISA
