// The gradient of attention. Scores are computed again, block by block, from the logarithm of their sum that forward
// kept: p = exp(s - lse), ds = p * (dp - sum(dy * y)), dv += p^T dy, dk += ds^T q, dq += ds k. A task is the heads that
// share keys, so that sums have one order. Included by gemm.inl; not a family itself.
#pragma once
#include "attention.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// in: dy, y, lse, then attention's own; out: dq, dk, dv.
constexpr int kOwn = 3;

// A head's rows i0.. of blocks' operands.
template <class C>
struct Blocks {
  C *keys, *values, *keys_by_depth;  // panels: columns are keys, keys, depth
  C *dk, *dv;                        // (keys, depth and width rounded up to NR)
  C *q, *dy, *y;                     // (rows, depth or width)
  C *q_panels, *dy_panels;           // panels whose columns are depth and width
  C *score, *dscore, *turned;        // (rows, kLd) twice, and a block of either in panels of its keys
  C* dq;                             // (rows, depth rounded up)
  C *lse, *delta;                    // (rows)

  static int64_t layout(const Attention& p, Carver<C>* carver, Blocks* blocks) {
    const int64_t d = round_up(p.depth, NR<C>), e = round_up(p.width, NR<C>), n = p.keys, wide = round_up(n, NR<C>),
                  rows = p.rows;
    const int64_t sizes[] = {wide * p.depth,
                             wide * p.width,
                             d * n,
                             n * d,
                             n * e,
                             rows * p.depth,
                             rows * p.width,
                             rows * p.width,
                             rows * d,
                             rows * e,
                             rows * kLd,
                             rows * kLd,
                             rows * round_up(kKeys, MR),
                             rows * d,
                             rows,
                             rows};
    C** const parts[] = {
        &blocks->keys,   &blocks->values, &blocks->keys_by_depth, &blocks->dk,        &blocks->dv,    &blocks->q,
        &blocks->dy,     &blocks->y,      &blocks->q_panels,      &blocks->dy_panels, &blocks->score, &blocks->dscore,
        &blocks->turned, &blocks->dq,     &blocks->lse,           &blocks->delta};
    int64_t total = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
      if (carver) *parts[i] = carver->take(sizes[i]);
      total += Carver<C>::need(sizes[i]);
    }
    return total;
  }
};

// c (n keys, cols) += block^T (keys x rows) times panels of `rows` rows.
template <class C>
void add_turned(const C* block, int64_t rows, int64_t keys, const C* panels, int64_t cols, C* turned, C* c) {
  pack_panels<MR>(block, 1, kLd, keys, rows, turned, MR * rows);
  macro_kernel<C>(keys, cols, rows, {turned, MR * rows, 0}, {const_cast<C*>(panels), NR<C> * rows, nullptr, 0}, c, cols,
                  true);
}

// The scores of a block become what the rules above say, in score (p) and dscore (ds).
template <class C>
void score_grad(const Blocks<C>& w, const Sight& sight, int64_t h, int64_t i0, int64_t rows, int64_t j, int64_t part) {
  using V = Vec<C>;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t to = sight.end(i0 + i) - j, count = to < 0 ? 0 : least(to, part);
    C *const s = w.score + i * kLd, *const ds = w.dscore + i * kLd;
    sight.add_mask(s, h, i0 + i, j, count);
    const V lse(w.lse[i]), delta(w.delta[i]);
    each_vector<C>(count, [&](int64_t c, auto k) {
      if constexpr (kSame<decltype(k), int>) {
        const V e = exp(V::load(s + c, k) - lse);
        e.store(s + c, k);
        (e * (V::load(ds + c, k) - delta)).store(ds + c, k);
      } else {
        const V e = exp(V::load(s + c) - lse);
        e.store(s + c);
        (e * (V::load(ds + c) - delta)).store(ds + c);
      }
    });
    for (int64_t c = count; c < part; ++c) s[c] = ds[c] = C(0);
  }
}

template <class S>
bool attend_grad(const Attention& p, const CpuPlan& plan, const Args& args, int64_t b, int64_t g) {
  using C = Compute<S>;
  const Call& call = plan.call;
  Blocks<C> w;
  Carver<C> carver{static_cast<C*>(scratch(1, sizeof(C) * Blocks<C>::layout(p, nullptr, &w)))};
  if (!carver.at) return false;
  Blocks<C>::layout(p, &carver, &w);
  const Sight sight(p, call, args, b);
  const Layout &kl = call.in[kOwn + 1], &vl = call.in[kOwn + 2], &ll = call.in[2];
  const int64_t d = round_up(p.depth, NR<C>), e = round_up(p.width, NR<C>), n = sight.n;
  const S *const k = head_of<S>(args, call, kOwn + 1, b, g), *const v = head_of<S>(args, call, kOwn + 2, b, g);
  pack_panels<NR<C>>(k, kl.strides[2], kl.strides[3], n, p.depth, w.keys, NR<C> * p.depth);
  pack_panels<NR<C>>(v, vl.strides[2], vl.strides[3], n, p.width, w.values, NR<C> * p.width);
  pack_panels<NR<C>>(k, kl.strides[3], kl.strides[2], p.depth, n, w.keys_by_depth, NR<C> * n);
  __builtin_memset(w.dk, 0, p.keys * d * sizeof(C));
  __builtin_memset(w.dv, 0, p.keys * e * sizeof(C));
  for (int64_t h = g * p.group; h < (g + 1) * p.group; ++h) {
    for (int64_t i0 = 0; i0 < p.queries; i0 += p.rows) {
      const int64_t rows = least(p.rows, p.queries - i0), end = sight.end(i0 + rows - 1);
      gather_rows(static_cast<const S*>(args.in[kOwn]), call.in[kOwn], b, h, i0, rows, C(p.scale), w.q, p.depth);
      gather_rows(static_cast<const S*>(args.in[0]), call.in[0], b, h, i0, rows, C(1), w.dy, p.width);
      gather_rows(static_cast<const S*>(args.in[1]), call.in[1], b, h, i0, rows, C(1), w.y, p.width);
      const C* const lse = static_cast<const C*>(args.in[2]) + b * ll.strides[0] + h * ll.strides[1];
      for (int64_t i = 0; i < rows; ++i) {
        w.lse[i] = shift_of_peak(lse[(i0 + i) * ll.strides[2]]);
        w.delta[i] = dot_row(w.dy + i * p.width, w.y + i * p.width, p.width);
      }
      pack_panels<NR<C>>(w.q, 1, p.depth, p.depth, rows, w.q_panels, NR<C> * rows);
      pack_panels<NR<C>>(w.dy, 1, p.width, p.width, rows, w.dy_panels, NR<C> * rows);
      if (end == 0) __builtin_memset(w.dq, 0, rows * d * sizeof(C));
      for (int64_t j = 0; j < end; j += kKeys) {
        const int64_t part = least(kKeys, end - j), cols = round_up(part, NR<C>);
        macro_kernel<C>(rows, cols, p.depth, {w.q, 0, p.depth}, {w.keys + j * p.depth, NR<C> * p.depth, nullptr, 0},
                        w.score, kLd, false);
        macro_kernel<C>(rows, cols, p.width, {w.dy, 0, p.width}, {w.values + j * p.width, NR<C> * p.width, nullptr, 0},
                        w.dscore, kLd, false);
        score_grad(w, sight, h, i0, rows, j, part);
        add_turned(w.score, rows, part, w.dy_panels, e, w.turned, w.dv + j * e);
        add_turned(w.dscore, rows, part, w.q_panels, d, w.turned, w.dk + j * d);
        macro_kernel<C>(rows, d, part, {w.dscore, 0, kLd}, {w.keys_by_depth + j * NR<C>, NR<C> * n, nullptr, 0}, w.dq,
                        d, j > 0);
      }
      const Layout& ql = call.out[0];
      S* const dq = static_cast<S*>(args.out[0]) + b * ql.strides[0] + h * ql.strides[1];
      for (int64_t i = 0; i < rows; ++i) {
        scale_row(w.dq + i * d, p.depth, C(p.scale));
        put_row(dq + (i0 + i) * ql.strides[2], ql.strides[3], w.dq + i * d, p.depth);
      }
    }
  }
  const Layout &dkl = call.out[1], &dvl = call.out[2];
  S *const dk = static_cast<S*>(args.out[1]) + b * dkl.strides[0] + g * dkl.strides[1], *const dv = static_cast<S*>(
                                                                                                        args.out[2]) +
                                                                                                    b * dvl.strides[0] +
                                                                                                    g * dvl.strides[1];
  for (int64_t j = 0; j < p.keys; ++j) {
    put_row(dk + j * dkl.strides[2], dkl.strides[3], w.dk + j * d, p.depth);
    put_row(dv + j * dvl.strides[2], dvl.strides[3], w.dv + j * e, p.width);
  }
  return true;
}

template <class S>
Status run_attention_grad(const CpuPlan& plan, const Args& args) {
  const Attention& p = *static_cast<const Attention*>(plan.state);
  const int64_t shared = p.heads / p.group;
  bool failed = false;
  parallel(p.batch * shared, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (!attend_grad<S>(p, plan, args, i / shared, i % shared)) failed = true;
  });
  return failed ? kOutOfMemory : kOk;
}

Status make_attention_grad(CpuPlan& plan) {
  Attention p;
  if (plan.call.nout != 3 || plan.call.nin < kOwn || !describe_attention(plan.call, kOwn, &p)) return kUnsupported;
  Attention* const state = static_cast<Attention*>(plan_alloc(plan, sizeof p));
  if (!state) return kOutOfMemory;
  *state = p;
  plan.state = state;
  plan.run = visit_float(plan.call.in[kOwn].dtype, [](auto s) -> RunFn { return run_attention_grad<decltype(s)>; });
  return kOk;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
