// What attention and its gradient share: the description of a call, which keys a query sees, rows in and out, the
// softmax of a row that is seen in parts. Not a family itself.
#pragma once
#include "gemm_kernel.inl"
#include "math.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kKeys = 256 / NR<float> * NR<float>;  // of a block: whole panels
constexpr int64_t kLd = kKeys + 16;                     // its rows lie in different sets of the cache
constexpr int64_t kFewQueries = 8;                      // so few rows read keys where they lie

struct Attention {
  int64_t batch, heads, group, queries, keys, depth, width;  // group: heads that share keys; depth of k, width of v
  double scale;
  int32_t causal;         // 0; 1: key j is seen by the queries from j on; 2: the same, counted from the last of both
  int32_t mask, lengths;  // which input, 0: none
  int64_t rows;           // queries of a block
  int64_t blocks;         // of a task
};

// Blocks of equal height, whole tiles of the macro-kernel.
inline int64_t block_rows(int64_t queries) {
  const int64_t parts = ceil_div(queries, MC);
  return parts ? round_up(ceil_div(queries, parts), MR) : MR;
}

// in: q (B,H,T,D), k (B,G,S,D), v (B,G,S,E), then what the flags say; from `first` on.
inline bool describe_attention(const Call& call, int first, Attention* p) {
  if (call.nparams < 4 || call.nin < first + 3 + (call.params[2] != 0) + (call.params[3] != 0)) return false;
  const Layout &q = call.in[first], &k = call.in[first + 1], &v = call.in[first + 2];
  if (q.ndim != 4 || k.ndim != 4 || v.ndim != 4 || k.dtype != q.dtype || v.dtype != q.dtype) return false;
  if (q.dtype != k_f32 && q.dtype != k_f64 && q.dtype != k_f16 && q.dtype != k_bf16) return false;
  *p = {q.shape[0],
        q.shape[1],
        0,
        q.shape[2],
        k.shape[2],
        q.shape[3],
        v.shape[3],
        call.params[0],
        int32_t(call.params[1]),
        0,
        0,
        block_rows(q.shape[2]),
        1};
  int next = first + 3;
  if (call.params[2] != 0) p->mask = next++;
  if (call.params[3] != 0) p->lengths = next++;
  if (k.shape[1] == 0 || p->heads % k.shape[1] != 0) return false;
  p->group = p->heads / k.shape[1];
  return true;
}

// f(a value of the storage type), of a float type.
template <class F>
RunFn visit_float(int32_t dtype, const F& f) {
  return dtype == k_f32 ? f(float{}) : dtype == k_f64 ? f(double{}) : dtype == k_f16 ? f(half_t{}) : f(bfloat16_t{});
}

// A row of n elements as the compute type: where it lies when that will do, else in the buffer.
template <class S>
const Compute<S>* row_of(const S* from, int64_t stride, int64_t n, Compute<S>* buffer) {
  if constexpr (kSame<S, Compute<S>>)
    if (stride == 1) return from;
  if (stride == 1)
    load_row(buffer, from, n);
  else
    for (int64_t i = 0; i < n; ++i) buffer[i] = load_one(from + i * stride);
  return buffer;
}
template <class S>
void put_row(S* to, int64_t stride, const Compute<S>* from, int64_t n) {
  if (stride == 1)
    store_row(to, from, n);
  else
    for (int64_t i = 0; i < n; ++i) store_one(to + i * stride, from[i]);
}

// f(j, n) for the vectors of a row; n is what is left of the last.
template <class C, class F>
BRASA_INLINE void each_vector(int64_t n, const F& f) {
  constexpr int N = Vec<C>::N;
  int64_t j = 0;
  for (; j + N <= n; j += N) f(j, Int<N>{});
  if (j < n) f(j, int(n - j));
}
template <class C>
BRASA_INLINE Vec<C> part_of(Vec<C> v, int n, C fill) {
  using I = typename Vec<C>::Int;
  return select(I::iota() < I(n), v, Vec<C>(fill));
}
template <class C>
BRASA_INLINE Vec<C> part_of(Vec<C> v, Int<Vec<C>::N>, C) {
  return v;
}

template <class C>
constexpr C kNone = -C(__builtin_inf());
inline int64_t most_of(int64_t a, int64_t b) { return a < b ? b : a; }

// What is subtracted before exp: the greatest score, but 0 where nothing is seen.
template <class C>
BRASA_INLINE C shift_of_peak(C peak) {
  return peak == kNone<C> ? C(0) : peak;
}
template <class C>
BRASA_INLINE C exp_one(C x) {
  return exp(Vec<C>(x))[0];
}

// One batch item's view of the call: which keys a query sees, and the mask.
struct Sight {
  const Attention& p;
  const Call& call;
  const Args& args;
  int64_t b, n;  // keys there are

  Sight(const Attention& p, const Call& call, const Args& args, int64_t b)
      : p(p), call(call), args(args), b(b), n(p.keys) {
    if (!p.lengths) return;
    const int64_t length = static_cast<const int32_t*>(args.in[p.lengths])[b * call.in[p.lengths].strides[0]];
    n = least(n, length < 0 ? 0 : length);
  }
  // Keys that query i sees: those before this one.
  int64_t end(int64_t i) const {
    if (p.causal == 0) return n;
    const int64_t last = i + 1 + (p.causal == 2 ? n - p.queries : 0);
    return least(n, last < 0 ? 0 : last);
  }
  // Adds the mask of query i, head h, at keys j.. to n scores.
  template <class C>
  void add_mask(C* score, int64_t h, int64_t i, int64_t j, int64_t count) const {
    if (!p.mask) return;
    const Layout& at = call.in[p.mask];
    const int64_t offset = b * at.strides[0] + h * at.strides[1] + i * at.strides[2] + j * at.strides[3];
    visit_dtype(at.dtype, [&](auto s) {
      using M = decltype(s);
      const M* const x = static_cast<const M*>(args.in[p.mask]) + offset;
      if constexpr (kSame<M, bool8_t>) {
        for (int64_t c = 0; c < count; ++c)
          if (!x[c * at.strides[3]].value) score[c] = kNone<C>;
      } else if constexpr (kSame<M, C>) {
        for (int64_t c = 0; c < count; ++c) score[c] += x[c * at.strides[3]];
      } else {
        for (int64_t c = 0; c < count; ++c) score[c] += C(load_one(x + c * at.strides[3]));
      }
    });
  }
};

// The softmax of a block of a row that was seen in parts before: score[0..n) becomes exp(score - peak), zeros follow up
// to `end`; answers the factor by which what was summed so far shrinks.
template <class C>
C soften(C* score, int64_t n, int64_t end, C* peak, C* sum) {
  using V = Vec<C>;
  V top(kNone<C>);
  each_vector<C>(n, [&](int64_t j, auto k) {
    if constexpr (kSame<decltype(k), int>)
      top = max(part_of(V::load(score + j, k), k, kNone<C>), top);
    else
      top = max(V::load(score + j), top);
  });
  const C most = hmax(top), next = most > *peak ? most : *peak, shift = shift_of_peak(next);
  const C factor = *peak == next ? C(1) : exp_one(*peak - shift);
  V total(C(0));
  each_vector<C>(n, [&](int64_t j, auto k) {
    if constexpr (kSame<decltype(k), int>) {
      const V e = part_of(exp(V::load(score + j, k) - V(shift)), k, C(0));
      e.store(score + j, k);
      total = total + e;
    } else {
      const V e = exp(V::load(score + j) - V(shift));
      e.store(score + j);
      total = total + e;
    }
  });
  for (int64_t j = n; j < end; ++j) score[j] = C(0);
  *sum = *sum * factor + hsum(total);
  *peak = next;
  return factor;
}

template <class C>
void scale_row(C* x, int64_t n, C by) {
  each_vector<C>(n, [&](int64_t j, auto k) {
    if constexpr (kSame<decltype(k), int>)
      (Vec<C>::load(x + j, k) * Vec<C>(by)).store(x + j, k);
    else
      (Vec<C>::load(x + j) * Vec<C>(by)).store(x + j);
  });
}

// Rows of an operand (b, h, i0..) as the compute type, times `by`, in `to` (rows,n).
template <class S>
void gather_rows(const S* data, const Layout& at, int64_t b, int64_t h, int64_t i0, int64_t rows, Compute<S> by,
                 Compute<S>* to, int64_t ld) {
  const int64_t n = at.shape[3];
  for (int64_t i = 0; i < rows; ++i) {
    Compute<S>* const row = to + i * ld;
    const Compute<S>* const x =
        row_of(data + b * at.strides[0] + h * at.strides[1] + (i0 + i) * at.strides[2], at.strides[3], n, row);
    if (x != row) __builtin_memcpy(row, x, n * sizeof *row);
    if (by != 1) scale_row(row, n, by);
    for (int64_t j = n; j < ld; ++j) row[j] = 0;
  }
}

template <class C>
C dot_row(const C* x, const C* y, int64_t n) {
  using V = Vec<C>;
  V sum(C(0));
  each_vector<C>(n, [&](int64_t j, auto k) {
    if constexpr (kSame<decltype(k), int>)
      sum = sum + V::load(x + j, k) * V::load(y + j, k);
    else
      sum = sum + V::load(x + j) * V::load(y + j);
  });
  return hsum(sum);
}

// Scratch of a task, carved off one piece: C elements, each part on a cache line.
template <class C>
struct Carver {
  C* at;
  C* take(int64_t n) {
    C* const part = at;
    at += round_up(n, 64 / int64_t(sizeof(C)));
    return part;
  }
  static int64_t need(int64_t n) { return round_up(n, 64 / int64_t(sizeof(C))); }
};

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
