// attention, in blocks of queries by keys: the matrix of all queries by all keys is never whole. (Dao et al. 2022,
// FlashAttention; Milakov & Gimelshein 2018 for the running maximum.) Included by gemm.inl; not a family itself.
//
// A task takes some blocks of the heads that share keys. It packs these keys and values once, and then for each block
// of queries and block of keys: scores = q k^T, a softmax that knows the rows so far, y += p v.
#pragma once
#include "attention_rows.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// y (..,E) = o / sum; the logarithm of the sum of exponentials beside it.
template <class S>
void finish_row(const Call& call, const Args& args, int64_t b, int64_t h, int64_t i, Compute<S>* o, Compute<S> peak,
                Compute<S> sum) {
  using C = Compute<S>;
  const Layout &y = call.out[0], &l = call.out[1];
  scale_row(o, y.shape[3], sum == C(0) ? C(0) : C(1) / sum);
  put_row(static_cast<S*>(args.out[0]) + b * y.strides[0] + h * y.strides[1] + i * y.strides[2], y.strides[3], o,
          y.shape[3]);
  static_cast<C*>(args.out[1])[b * l.strides[0] + h * l.strides[1] + i * l.strides[2]] =
      sum == C(0) ? kNone<C> : peak + log(Vec<C>(sum))[0];
}

template <class S>
const S* head_of(const Args& args, const Call& call, int i, int64_t b, int64_t h) {
  return static_cast<const S*>(args.in[i]) + b * call.in[i].strides[0] + h * call.in[i].strides[1];
}

// Few queries (decoding): a row of dot products as keys are read, then a sum of values.
template <class S>
bool attend_few(const Attention& p, const CpuPlan& plan, const Args& args, int64_t b, int64_t g) {
  using C = Compute<S>;
  const Sight sight(p, plan.call, args, b);
  const int64_t rows = p.group * p.queries, ld = round_up(p.keys, 16), wide = most_of(p.depth, p.width);
  C* const all = static_cast<C*>(scratch(1, sizeof(C) * (Carver<C>::need(rows * p.depth) + Carver<C>::need(rows * ld) +
                                                         Carver<C>::need(rows * p.width) + Carver<C>::need(wide))));
  if (!all) return false;
  Carver<C> carver{all};
  C *const q = carver.take(rows * p.depth), *const score = carver.take(rows * ld),
           *const o = carver.take(rows * p.width), *const buffer = carver.take(wide);
  const Layout &kl = plan.call.in[1], &vl = plan.call.in[2];
  for (int64_t h = 0; h < p.group; ++h)
    gather_rows(static_cast<const S*>(args.in[0]), plan.call.in[0], b, g * p.group + h, 0, p.queries, C(p.scale),
                q + h * p.queries * p.depth, p.depth);
  const S* const keys = head_of<S>(args, plan.call, 1, b, g);
  for (int64_t j = 0; j < sight.n; ++j) {
    const C* const key = row_of(keys + j * kl.strides[2], kl.strides[3], p.depth, buffer);
    for (int64_t r = 0; r < rows; ++r) score[r * ld + j] = dot_row(q + r * p.depth, key, p.depth);
  }
  C peak[kFewQueries], sum[kFewQueries];
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t h = g * p.group + r / p.queries, i = r % p.queries, n = sight.end(i);
    sight.add_mask(score + r * ld, h, i, 0, n);
    peak[r] = kNone<C>, sum[r] = 0;
    soften(score + r * ld, n, sight.n, peak + r, sum + r);
    for (int64_t e = 0; e < p.width; ++e) o[r * p.width + e] = 0;
  }
  const S* const values = head_of<S>(args, plan.call, 2, b, g);
  for (int64_t j = 0; j < sight.n; ++j) {
    const C* const value = row_of(values + j * vl.strides[2], vl.strides[3], p.width, buffer);
    for (int64_t r = 0; r < rows; ++r) {
      const Vec<C> x(score[r * ld + j]);
      C* const to = o + r * p.width;
      each_vector<C>(p.width, [&](int64_t e, auto k) {
        if constexpr (kSame<decltype(k), int>)
          (Vec<C>::load(to + e, k) + x * Vec<C>::load(value + e, k)).store(to + e, k);
        else
          (Vec<C>::load(to + e) + x * Vec<C>::load(value + e)).store(to + e);
      });
    }
  }
  for (int64_t r = 0; r < rows; ++r)
    finish_row<S>(plan.call, args, b, g * p.group + r / p.queries, r % p.queries, o + r * p.width, peak[r], sum[r]);
  return true;
}

// Blocks [first, last) of the heads that share keys g of batch item b.
template <class S>
bool attend(const Attention& p, const CpuPlan& plan, const Args& args, int64_t b, int64_t g, int64_t first,
            int64_t last) {
  using C = Compute<S>;
  const Sight sight(p, plan.call, args, b);
  const int64_t per_head = ceil_div(p.queries, p.rows), wide = round_up(p.width, NR<C>), n = sight.n;
  C* const all = static_cast<C*>(
      scratch(1, sizeof(C) * (Carver<C>::need(round_up(n, NR<C>) * p.depth) + Carver<C>::need(wide * n + 1) +
                              Carver<C>::need(p.rows * p.depth) + Carver<C>::need(p.rows * kLd) +
                              Carver<C>::need(p.rows * wide) + 2 * Carver<C>::need(p.rows))));
  if (!all) return false;
  Carver<C> carver{all};
  C *const keys = carver.take(round_up(n, NR<C>) * p.depth), *const values = carver.take(wide * n + 1),
           *const q = carver.take(p.rows * p.depth), *const score = carver.take(p.rows * kLd),
           *const o = carver.take(p.rows * wide), *const peak = carver.take(p.rows), *const sum = carver.take(p.rows);
  const Layout &kl = plan.call.in[1], &vl = plan.call.in[2];
  // Keys that any of the blocks sees.
  int64_t seen = 0;
  for (int64_t block = first; block < last; ++block)
    seen = most_of(seen, sight.end(least(p.queries, (block % per_head + 1) * p.rows) - 1));
  pack_panels<NR<C>>(head_of<S>(args, plan.call, 1, b, g), kl.strides[2], kl.strides[3], seen, p.depth, keys,
                     NR<C> * p.depth);
  pack_panels<NR<C>>(head_of<S>(args, plan.call, 2, b, g), vl.strides[3], vl.strides[2], p.width, seen, values,
                     NR<C> * n);
  for (int64_t block = first; block < last; ++block) {
    const int64_t h = g * p.group + block / per_head, i0 = block % per_head * p.rows,
                  rows = least(p.rows, p.queries - i0), end = sight.end(i0 + rows - 1);
    gather_rows(static_cast<const S*>(args.in[0]), plan.call.in[0], b, h, i0, rows, C(p.scale), q, p.depth);
    for (int64_t i = 0; i < rows; ++i) peak[i] = kNone<C>, sum[i] = 0;
    if (end == 0) __builtin_memset(o, 0, rows * wide * sizeof *o);
    for (int64_t j = 0; j < end; j += kKeys) {
      const int64_t part = least(kKeys, end - j);
      macro_kernel<C>(rows, round_up(part, NR<C>), p.depth, {q, 0, p.depth},
                      {keys + j * p.depth, NR<C> * p.depth, nullptr, 0}, score, kLd, false);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t to = sight.end(i0 + i) - j, count = to < 0 ? 0 : least(to, part);
        C* const row = score + i * kLd;
        sight.add_mask(row, h, i0 + i, j, count);
        const C factor = soften(row, count, part, peak + i, sum + i);
        if (j > 0 && factor != 1) scale_row(o + i * wide, wide, factor);
      }
      macro_kernel<C>(rows, wide, part, {score, 0, kLd}, {values + j * NR<C>, NR<C> * n, nullptr, 0}, o, wide, j > 0);
    }
    for (int64_t i = 0; i < rows; ++i) finish_row<S>(plan.call, args, b, h, i0 + i, o + i * wide, peak[i], sum[i]);
  }
  return true;
}

template <class S>
Status run_attention(const CpuPlan& plan, const Args& args) {
  const Attention& p = *static_cast<const Attention*>(plan.state);
  const int64_t shared = p.heads / p.group;
  bool failed = false;
  if (p.queries == 0) return kOk;
  if (p.group * p.queries <= kFewQueries) {
    parallel(p.batch * shared, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (!attend_few<S>(p, plan, args, i / shared, i % shared)) failed = true;
    });
    return failed ? kOutOfMemory : kOk;
  }
  const int64_t blocks = p.group * ceil_div(p.queries, p.rows), tasks = ceil_div(blocks, p.blocks);
  // Later blocks see more keys where it is causal: they go first.
  parallel(p.batch * shared * tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i % (p.batch * shared), first = (tasks - 1 - i / (p.batch * shared)) * p.blocks;
      if (!attend<S>(p, plan, args, head / shared, head % shared, first, least(blocks, first + p.blocks)))
        failed = true;
    }
  });
  return failed ? kOutOfMemory : kOk;
}

Status make_attention(CpuPlan& plan) {
  Attention p;
  if (plan.call.nout != 2 || !describe_attention(plan.call, 0, &p)) return kUnsupported;
  // About 512 queries share what a task packs; fewer where there are few heads.
  const int64_t blocks = p.group * ceil_div(p.queries, p.rows), heads = p.batch * (p.heads / p.group);
  p.blocks = most_of(1, (heads < 8 ? 256 : 512) / p.rows);
  if (blocks > 0) p.blocks = ceil_div(blocks, ceil_div(blocks, p.blocks));
  Attention* const state = static_cast<Attention*>(plan_alloc(plan, sizeof p));
  if (!state) return kOutOfMemory;
  *state = p;
  plan.state = state;
  plan.run = visit_float(plan.call.in[0].dtype, [](auto s) -> RunFn { return run_attention<decltype(s)>; });
  return kOk;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
