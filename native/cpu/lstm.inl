// lstm: one layer over a whole sequence, and its gradient. The weight is packed once; a step is then one product a task
// and its gates, while what the product gave is in cache. A task has a panel's worth of hidden units, so that it always
// meets the same part of the weight, which its core keeps. (Hochreiter & Schmidhuber 1997; gates in the order i f g o.)
// Included by gemm.inl; not a family itself.
#pragma once
#include "attention_rows.inl"
#include "gemm_paths.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kGates = 4;

struct Lstm {
  int64_t steps, batch, hidden;
  bool reverse;  // from the last step to the first
  int64_t rows;  // of the batch, in a task
  int64_t time(int64_t step) const { return reverse ? steps - 1 - step : step; }
  int64_t blocks() const { return ceil_div(batch, rows); }
};

// A row stride that keeps rows in different sets of the cache.
template <class C>
int64_t apart(int64_t n) {
  return round_up(n, 16) + 16;
}

template <class C, class K>
BRASA_INLINE Vec<C> get(const C* from, K k) {
  if constexpr (kSame<K, int>)
    return Vec<C>::load(from, k);
  else
    return Vec<C>::load(from);
}
template <class C, class K>
BRASA_INLINE void put(C* to, K k, Vec<C> v) {
  if constexpr (kSame<K, int>)
    v.store(to, k);
  else
    v.store(to);
}
// f(unit, units, row, rows) for each task of a step: hidden units by the panel, some rows of the batch.
template <class C, class F>
void each_task(const Lstm& p, int64_t work, const F& f) {
  const int64_t blocks = p.blocks(), groups = ceil_div(p.hidden, NR<C>);
  parallel(groups * blocks, ceil_div(kChunk, p.rows * work + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t unit = i / blocks * NR<C>, row = i % blocks * p.rows;
      f(unit, least<int64_t>(NR<C>, p.hidden - unit), row, least(p.rows, p.batch - row));
    }
  });
}

// c (rows, n) += a (rows, k; rows `ld` apart) times the panels of n columns.
template <class C>
void add_product(int64_t rows, int64_t n, int64_t k, const C* a, int64_t ld, const C* panels, C* c) {
  for (int64_t from = 0; from < k; from += KC<C>)
    macro_kernel<C>(rows, n, least<int64_t>(KC<C>, k - from), {a + from, 0, ld},
                    {const_cast<C*>(panels) + from * NR<C>, k * NR<C>, nullptr, 0}, c, n, true);
}

template <class C>
const C* at(const Args& args, const Call& call, int i, int64_t row) {
  return static_cast<const C*>(args.in[i]) + row * call.in[i].strides[0];
}
template <class C>
const C* at(const Args& args, const Call& call, int i, int64_t t, int64_t row) {
  return at<C>(args, call, i, t) + row * call.in[i].strides[1];
}

// in: x (T,B,4H), weight (4H,H), h (B,H), c (B,H); out: y (T,B,H), cells (T,B,H), gates (T,B,4H).
template <class C>
Status run_lstm(const CpuPlan& plan, const Args& args) {
  using V = Vec<C>;
  const Lstm& p = *static_cast<const Lstm*>(plan.state);
  const Call& call = plan.call;
  const int64_t H = p.hidden, B = p.batch, ld = apart<C>(H), groups = ceil_div(H, NR<C>), wide = kGates * NR<C>;
  if (p.steps * B * H == 0) return kOk;
  C* const packed = static_cast<C*>(scratch(1, sizeof(C) * (groups * wide * H + 2 * B * ld)));
  if (!packed) return kOutOfMemory;
  C* const states = packed + groups * wide * H;
  const Layout& w = call.in[1];
  parallel(groups * kGates, ceil_div(kChunk / 8, NR<C> * H), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t unit = i / kGates * NR<C>;
      pack_panel<NR<C>>(at<C>(args, call, 1, i % kGates * H + unit), w.strides[0], w.strides[1],
                        least<int64_t>(NR<C>, H - unit), H, packed + i * NR<C> * H);
    }
  });
  for (int64_t row = 0; row < B; ++row) {
    const C* const from = row_of(at<C>(args, call, 2, row), call.in[2].strides[1], H, states + row * ld);
    if (from != states + row * ld) __builtin_memcpy(states + row * ld, from, H * sizeof(C));
  }
  C *const y = static_cast<C*>(args.out[0]), *const cells = static_cast<C*>(args.out[1]),
           *const gates = static_cast<C*>(args.out[2]);
  int failed = 0;
  for (int64_t step = 0; step < p.steps; ++step) {
    const C* const before = states + step % 2 * B * ld;
    C* const after = states + (step + 1) % 2 * B * ld;
    const int64_t t = p.time(step);
    each_task<C>(p, wide * H, [&](int64_t unit, int64_t units, int64_t row, int64_t rows) {
      C* const sums = static_cast<C*>(scratch(2, sizeof(C) * (rows * wide + NR<C>)));
      if (!sums) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      C* const buffer = sums + rows * wide;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t g = 0; g < kGates; ++g) {
          const int64_t stride = call.in[0].strides[2];
          C* const to = sums + r * wide + g * NR<C>;
          const C* const x = row_of(at<C>(args, call, 0, t, row + r) + (g * H + unit) * stride, stride, units, to);
          if (x != to) __builtin_memcpy(to, x, units * sizeof(C));
          for (int64_t j = units; j < NR<C>; ++j) to[j] = 0;
        }
      }
      add_product<C>(rows, wide, H, before + row * ld, ld, packed + unit * kGates * H, sums);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t line = t * B + row + r, stride = call.in[3].strides[1];
        const C* const sum = sums + r * wide;
        const C* const cell = step == 0 ? row_of(at<C>(args, call, 3, row + r) + unit * stride, stride, units, buffer)
                                        : cells + (p.time(step - 1) * B + row + r) * H + unit;
        C *const gate = gates + line * kGates * H + unit, *const state = after + (row + r) * ld + unit;
        each_vector<C>(units, [&](int64_t j, auto k) {
          const V i = sigmoid(get(sum + j, k)), f = sigmoid(get(sum + NR<C> + j, k)),
                  g = tanh(get(sum + 2 * NR<C> + j, k)), o = sigmoid(get(sum + 3 * NR<C> + j, k));
          const V c = f * get(cell + j, k) + i * g, h = o * tanh(c);
          put(gate + j, k, i), put(gate + H + j, k, f), put(gate + 2 * H + j, k, g), put(gate + 3 * H + j, k, o);
          put(cells + line * H + unit + j, k, c), put(y + line * H + unit + j, k, h), put(state + j, k, h);
        });
      }
    });
    if (failed) return kOutOfMemory;
  }
  return kOk;
}

// in: dy (T,B,H), dcells (T,B,H), dgates (T,B,4H), gates (T,B,4H), cells (T,B,H), weight (4H,H), c (B,H); out: dx
// (T,B,4H), dh (B,H), dc (B,H). A task of step s has the product that brings dh from s + 1, and the gates of s.
template <class C>
Status run_lstm_grad(const CpuPlan& plan, const Args& args) {
  using V = Vec<C>;
  const Lstm& p = *static_cast<const Lstm*>(plan.state);
  const Call& call = plan.call;
  const int64_t H = p.hidden, B = p.batch, K = kGates * H, ld = apart<C>(K), groups = ceil_div(H, NR<C>);
  if (B * H == 0) return kOk;
  C* const packed = static_cast<C*>(scratch(1, sizeof(C) * (groups * NR<C> * K + 2 * B * ld)));
  if (!packed) return kOutOfMemory;
  C* const flows = packed + groups * NR<C> * K;  // dx of a step, rows apart
  const Layout& w = call.in[5];
  parallel(groups, ceil_div(kChunk / 8, NR<C> * K), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      pack_panel<NR<C>>(static_cast<const C*>(args.in[5]) + i * NR<C> * w.strides[1], w.strides[1], w.strides[0],
                        least<int64_t>(NR<C>, H - i * NR<C>), K, packed + i * NR<C> * K);
  });
  C *const dx = static_cast<C*>(args.out[0]), *const dh = static_cast<C*>(args.out[1]),
           *const dc = static_cast<C*>(args.out[2]);
  __builtin_memset(dc, 0, B * H * sizeof(C));
  int failed = 0;
  for (int64_t step = p.steps - 1; step >= -1; --step) {
    const C* const behind = flows + (step + 2) % 2 * B * ld;
    C* const flow = flows + (step + 3) % 2 * B * ld;
    const int64_t t = p.time(step);
    each_task<C>(p, NR<C> * K, [&](int64_t unit, int64_t units, int64_t row, int64_t rows) {
      constexpr int64_t kBuffers = 4 + 2 * kGates;
      C* const sums = static_cast<C*>(scratch(2, sizeof(C) * (rows + kBuffers) * NR<C>));
      if (!sums) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      __builtin_memset(sums, 0, rows * NR<C> * sizeof(C));
      if (step + 1 < p.steps) add_product<C>(rows, NR<C>, K, behind + row * ld, ld, packed + unit * K, sums);
      for (int64_t r = 0; r < rows; ++r) {
        C* const sum = sums + r * NR<C>;
        const int64_t line = (row + r) * H + unit;
        if (step < 0) {
          __builtin_memcpy(dh + line, sum, units * sizeof(C));
          continue;
        }
        // Where the units of a row lie; in a buffer where they are strided.
        C* buffer = sums + rows * NR<C>;
        const auto units_of = [&](const C* from, int64_t stride) {
          buffer += NR<C>;
          return row_of(from + unit * stride, stride, units, buffer - NR<C>);
        };
        const auto part = [&](int i, int64_t time, int64_t gate) {
          const int64_t stride = call.in[i].strides[2];
          return units_of(at<C>(args, call, i, time, row + r) + gate * H * stride, stride);
        };
        const C *const dy = part(0, t, 0), *const dcell = part(1, t, 0), *const cell = part(4, t, 0);
        const C* const before =
            step > 0 ? part(4, p.time(step - 1), 0) : units_of(at<C>(args, call, 6, row + r), call.in[6].strides[1]);
        const C *dgate[kGates], *gate[kGates];
        for (int g = 0; g < kGates; ++g) dgate[g] = part(2, t, g), gate[g] = part(3, t, g);
        C *const out = dx + (t * B + row + r) * K + unit, *const mine = flow + (row + r) * ld + unit;
        each_vector<C>(units, [&](int64_t j, auto k) {
          const V one(C(1)), i = get(gate[0] + j, k), f = get(gate[1] + j, k), g = get(gate[2] + j, k),
                             o = get(gate[3] + j, k), through = tanh(get(cell + j, k)),
                             h = get(sum + j, k) + get(dy + j, k);
          const V c = get(dc + line + j, k) + get(dcell + j, k) + h * o * (one - through * through);
          const V outer[] = {c * g, c * get(before + j, k), c * i, h * through};
          const V inner[] = {i * (one - i), f * (one - f), one - g * g, o * (one - o)};
          for (int n = 0; n < kGates; ++n) {
            const V d = (outer[n] + get(dgate[n] + j, k)) * inner[n];
            put(out + n * H + j, k, d), put(mine + n * H + j, k, d);
          }
          put(dc + line + j, k, c * f);
        });
      }
    });
    if (failed) return kOutOfMemory;
  }
  return kOk;
}

// ---- plans

template <class C>
RunFn lstm_of(bool grad) {
  return grad ? run_lstm_grad<C> : run_lstm<C>;
}

bool dense(const Layout& x) {
  int64_t step = 1;
  for (int d = x.ndim - 1; d >= 0; step *= x.shape[d--])
    if (x.shape[d] != 1 && x.strides[d] != step) return false;
  return true;
}

Status make_lstm_of(CpuPlan& plan, bool grad) {
  const Call& call = plan.call;
  if (call.nin < (grad ? 7 : 4) || call.nout != 3 || call.nparams < 1) return kUnsupported;
  const Layout& cells = grad ? call.in[4] : call.out[1];
  if (cells.ndim != 3 || (cells.dtype != k_f32 && cells.dtype != k_f64)) return kUnsupported;
  for (int i = 0; i < call.nin; ++i)
    if (call.in[i].dtype != cells.dtype) return kUnsupported;
  for (int i = 0; i < call.nout; ++i)
    if (call.out[i].dtype != cells.dtype || !dense(call.out[i])) return kUnsupported;
  Lstm* const p = static_cast<Lstm*>(plan_alloc(plan, sizeof(Lstm)));
  if (!p) return kOutOfMemory;
  *p = {cells.shape[0], cells.shape[1], cells.shape[2], call.params[0] != 0, 0};
  // Rows: whole tiles, about MC of them; fewer where few units make few tasks.
  const int64_t groups = ceil_div(p->hidden, cells.dtype == k_f32 ? NR<float> : NR<double>),
                parts = groups < 4 ? 4 : ceil_div(p->batch, MC);
  p->rows = p->batch ? round_up(ceil_div(p->batch, parts), MR) : MR;
  plan.state = p;
  plan.run = cells.dtype == k_f32 ? lstm_of<float>(grad) : lstm_of<double>(grad);
  return kOk;
}
Status make_lstm(CpuPlan& plan) { return make_lstm_of(plan, false); }
Status make_lstm_grad(CpuPlan& plan) { return make_lstm_of(plan, true); }

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
