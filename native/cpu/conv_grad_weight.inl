// The gradient of a convolution's weight: dW[o, k] = sum over images and pixels of g[o, pixel] * slab[offset[k] +
// pixel], k = (channel, tap). The slab is forward's, so again no im2col. g is transposed into panels [pixel][channels]
// a few rows at a time. Units (image, block of rows) are summed into a fixed number of partial sums, added up at the
// end in order: both depend on shapes only.
#pragma once
#include "conv_pack.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// c (G, V vectors), rows c_row apart, += sum over pixels of a[i][r * a_row + col] * g[pixel][V vectors]. Registers
// decide G.
template <class T, int G, int V>
void weight_tile(int64_t rows, int64_t cols, const T* const* a, int64_t a_row, const T* g, T* c, int64_t c_row) {
  using R = Simd<T>;
  typename R::Reg acc[G][V];
  const T* at[G];
  unroll<G>([&](auto i) {
    at[i] = a[i];
    unroll<V>([&](auto j) { acc[i][j] = R::load(c + i * c_row + j * R::N); });
  });
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t p = 0; p < cols; ++p, g += V * R::N) {
      typename R::Reg row[V];
      unroll<V>([&](auto j) { row[j] = R::load(g + j * R::N); });
      unroll<G>([&](auto i) {
        const T x = at[i][p];
        unroll<V>([&](auto j) { acc[i][j] += x * row[j]; });
      });
    }
    unroll<G>([&](auto i) { at[i] += a_row; });
  }
  unroll<G>([&](auto i) { unroll<V>([&](auto j) { R::store(c + i * c_row + j * R::N, acc[i][j]); }); });
}

// Few output channels (depthwise): lanes are pixels. c[i * N ..] += the N partial sums of g (rows, cols) * a[i]; g's
// rows have g_row elements, zero beyond cols; what a holds there is masked, for it may be NaN.
template <class T, int G>
void weight_dot(int64_t rows, int64_t cols, const T* const* a, int64_t a_row, const T* g, int64_t g_row, T* c) {
  using V = Vec<T>;
  V acc[G];
  const T* at[G];
  unroll<G>([&](auto i) { acc[i] = V::load(c + i * V::N), at[i] = a[i]; });
  const int64_t whole = cols / V::N * V::N;
  const int tail = int(cols - whole);
  for (int64_t r = 0; r < rows; ++r, g += g_row) {
    for (int64_t p = 0; p < whole; p += V::N) {
      const V y = V::load(g + p);
      unroll<G>([&](auto i) { acc[i] = fma(V::load(at[i] + p), y, acc[i]); });
    }
    if (tail) {
      const V y = V::load(g + whole);
      unroll<G>([&](auto i) { acc[i] = fma(V::load(at[i] + whole, tail), y, acc[i]); });
    }
    unroll<G>([&](auto i) { at[i] += a_row; });
  }
  unroll<G>([&](auto i) { acc[i].store(c + i * V::N); });
}

struct WeightPlan {
  Image x, g, dw;
  int64_t groups, channels, outputs;  // of one group
  Pass pass;                          // forward's, over a block of channels
  bool by_pixel;
  int vectors;            // width of a panel
  int64_t width;          // outputs rounded up to panels; by pixel outputs * N
  int64_t block, blocks;  // channels a task, and how many such blocks
  int64_t partials;       // sums kept apart: (partials, groups, channels * taps, width)
};

constexpr int64_t kPartialBytes = 16 << 20, kPartials = 16, kChunkPixels = 256;

// One (image, rows) unit of channels [c0, c0 + count): adds to `sum` (count * taps, width).
template <class T, int G, int V, class S>
void weight_unit(const WeightPlan& w, int64_t count, const T* slab, const S* g, int64_t rows, T* panel, T* sum) {
  constexpr int W = V * Simd<T>::N;
  const Pass& p = w.pass;
  const int64_t k = count * p.taps, step = least(rows, most(1, kChunkPixels / p.cols));
  const int64_t a_row = p.row_mul * p.pitch;
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t some = least(step, rows - r);
    for (int64_t o = 0; o < w.outputs; o += W) {
      const int64_t lanes = least<int64_t>(W, w.outputs - o);
      const S* from = g + o * w.g.sc + r * w.g.sh;
      if (w.g.sh == p.cols * w.g.sw)
        pack_panel<W>(from, w.g.sc, w.g.sw, lanes, some * p.cols, panel);
      else
        for (int64_t i = 0; i < some; ++i)
          pack_panel<W>(from + i * w.g.sh, w.g.sc, w.g.sw, lanes, p.cols, panel + i * p.cols * W);
      int64_t i = 0;
      const auto tiles = [&](auto rows_of_tile) {
        constexpr int R = rows_of_tile;
        for (; i + R <= k; i += R) {
          const T* a[R];
          for (int j = 0; j < R; ++j) a[j] = slab + p.offset[i + j] + r * a_row;
          weight_tile<T, R, V>(some, p.cols, a, a_row, panel, sum + i * w.width + o, w.width);
        }
      };
      tiles(Int<G>{});
      tiles(Int<3>{});
      tiles(Int<1>{});
    }
  }
}

template <class T, class S>
void weight_unit_by_pixel(const WeightPlan& w, int64_t count, const T* slab, const S* g, int64_t rows, T* panel,
                          T* sum) {
  constexpr int N = Simd<T>::N, G = 3;
  const Pass& p = w.pass;
  const int64_t k = count * p.taps, g_row = round_up(p.cols, N), a_row = p.row_mul * p.pitch;
  for (int64_t o = 0; o < w.outputs; ++o) {
    for (int64_t r = 0; r < rows; ++r)
      pack_row<T>(g + o * w.g.sc + r * w.g.sh, w.g.sw, 0, 1, {0, p.cols}, g_row, panel + r * g_row);
    int64_t i = 0;
    for (; i + G <= k; i += G) {
      const T* a[G];
      for (int j = 0; j < G; ++j) a[j] = slab + p.offset[i + j];
      weight_dot<T, G>(rows, p.cols, a, a_row, panel, g_row, sum + (o * w.channels * p.taps + i) * N);
    }
    for (; i < k; ++i) {
      const T* a[1] = {slab + p.offset[i]};
      weight_dot<T, 1>(rows, p.cols, a, a_row, panel, g_row, sum + (o * w.channels * p.taps + i) * N);
    }
  }
}

template <class T, class S>
void run_weight_unit(const WeightPlan& w, int64_t count, const T* slab, const S* g, int64_t rows, T* panel, T* sum) {
  constexpr int wide = 2 * NV, tall = BRASA_SIMD_BYTES == 64 ? 8 : MR;
  if (w.by_pixel) return weight_unit_by_pixel<T>(w, count, slab, g, rows, panel, sum);
  if (w.vectors == 1) return weight_unit<T, 8, 1>(w, count, slab, g, rows, panel, sum);
  if (w.vectors == NV) return weight_unit<T, tall, NV>(w, count, slab, g, rows, panel, sum);
  return weight_unit<T, 6, wide>(w, count, slab, g, rows, panel, sum);
}

// The partial sums from `from` on, `size` apart, added up in order.
template <class T>
BRASA_INLINE Vec<T> add_up(const T* from, int64_t size, int64_t partials) {
  Vec<T> total(T(0));
  for (int64_t s = 0; s < partials; ++s) total += Vec<T>::load(from + s * size);
  return total;
}

// dw = the partial sums added up. An output's k are neighbours in a dense dw: they are transposed in blocks of N by N.
template <class T, class S>
void add_partials(const WeightPlan& w, const T* sums, S* dw) {
  constexpr int N = Simd<T>::N;
  constexpr int64_t kBlock = 4 * N;
  const Pass& p = w.pass;
  const int64_t k = w.channels * p.taps, size = w.groups * k * w.width, blocks = ceil_div(k, kBlock);
  bool dense = w.dw.sc == p.taps && !w.by_pixel;
  for (int64_t t = 0; t < p.taps; ++t) dense &= p.weight[t] == t;
  parallel(w.groups * blocks, most(1, 4096 / most(1, w.partials * w.width)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / blocks, first = i % blocks * kBlock, last = least(k, first + kBlock);
      const T* const from = sums + group * k * w.width;
      S* const to = dw + group * w.outputs * w.dw.sn;
      if (dense) {
        for (int64_t o = 0; o < w.outputs; o += N)
          for (int64_t kk = first; kk < last; kk += N) {
            const int count = int(least<int64_t>(N, last - kk)), lanes = int(least<int64_t>(N, w.outputs - o));
            typename Simd<T>::Reg r[N];
            unroll<N>([&](auto j) {
              r[j] = typename Simd<T>::Reg{};
              if (j < count) r[j] = (typename Simd<T>::Reg)add_up(from + (kk + j) * w.width + o, size, w.partials).v;
            });
            transpose<T>(r);
            unroll<N>([&](auto j) {
              if (j < lanes) store_as<T>(to + (o + j) * w.dw.sn + kk, Vec<T>((typename Vec<T>::Raw)r[j]), count);
            });
          }
        continue;
      }
      for (int64_t kk = first; kk < last; ++kk) {
        S* const at = to + kk / p.taps * w.dw.sc + p.weight[kk % p.taps];
        for (int64_t o = 0; o < w.outputs; o += w.by_pixel ? 1 : N) {
          const Vec<T> total = add_up(from + (w.by_pixel ? (o * k + kk) * N : kk * w.width + o), size, w.partials);
          if (w.by_pixel)
            store_one(at + o * w.dw.sn, hsum(total));
          else
            for (int64_t j = 0; j < least<int64_t>(N, w.outputs - o); ++j) store_one(at + (o + j) * w.dw.sn, total[j]);
        }
      }
    }
  });
}

template <class S>
Status run_grad_weight(const CpuPlan& plan, const Args& args) {
  using T = Compute<S>;
  const WeightPlan& w = *static_cast<const WeightPlan*>(plan.state);
  const Pass& p = w.pass;
  const int64_t k = w.channels * p.taps, size = w.groups * k * w.width;
  T* sums = static_cast<T*>(scratch(0, (w.partials * size + 16) * sizeof(T)));
  if (!sums) return kOutOfMemory;
  const int64_t row_blocks = p.rows && p.cols ? ceil_div(p.rows, p.block_rows) : 0, units = w.x.n * row_blocks;
  bool failed = false;
  parallel(w.partials * w.groups * w.blocks, 1, [&](int64_t begin, int64_t end) {
    const int64_t slab_size = p.in_place ? 0 : p.plane * w.block + 2 * Simd<T>::N;
    const int64_t panel_size =
        most(most(kChunkPixels, p.cols) * w.vectors * Simd<T>::N, p.block_rows * round_up(p.cols, Simd<T>::N));
    T* slab = static_cast<T*>(scratch(1, slab_size * sizeof(T) + 64));
    T* panel = static_cast<T*>(scratch(2, panel_size * sizeof(T) + 128));
    if (!slab || !panel) return __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t block = task % w.blocks, group = task / w.blocks % w.groups, part = task / (w.blocks * w.groups);
      const int64_t c0 = block * w.block, count = least(w.block, w.channels - c0);
      T* sum = sums + part * size + group * k * w.width;
      if (w.by_pixel) {
        for (int64_t o = 0; o < w.outputs; ++o)
          __builtin_memset(sum + (o * k + c0 * p.taps) * Simd<T>::N, 0, count * p.taps * Simd<T>::N * sizeof(T));
        sum += c0 * p.taps * Simd<T>::N;
      } else {
        sum += c0 * p.taps * w.width;
        __builtin_memset(sum, 0, count * p.taps * w.width * sizeof(T));
      }
      for (int64_t u = units * part / w.partials; u < units * (part + 1) / w.partials; ++u) {
        const int64_t n = u / row_blocks, r0 = u % row_blocks * p.block_rows, rows = least(p.block_rows, p.rows - r0);
        const S* x = static_cast<const S*>(args.in[1]) + n * w.x.sn + (group * w.channels + c0) * w.x.sc;
        const S* g = static_cast<const S*>(args.in[0]) + n * w.g.sn + group * w.outputs * w.g.sc + r0 * w.g.sh;
        const T* base = slab;
        if (p.in_place)
          base = reinterpret_cast<const T*>(x) + r0 * p.row_mul * w.x.sh;  // S is T
        else
          pack_slab(p, w.x, x, count, r0 * p.row_mul, (rows - 1) * p.row_mul + p.tap_rows + 1, slab);
        run_weight_unit<T>(w, count, base, g, rows, panel, sum);
      }
    }
  });
  if (failed) return kOutOfMemory;
  add_partials<T>(w, sums, static_cast<S*>(args.out[0]));
  return kOk;
}

Status make_grad_weight(CpuPlan& plan) {
  const Call& call = plan.call;
  ConvParams a;
  if (!conv_operands(call, 2) || !conv_params(call, &a)) return kUnsupported;
  WeightPlan* w = static_cast<WeightPlan*>(plan_alloc(plan, sizeof(WeightPlan)));
  if (!w) return kOutOfMemory;
  plan.state = w;
  w->g = image_of(call.in[0]), w->x = image_of(call.in[1]), w->dw = image_of(call.out[0]);
  w->groups = a.groups, w->channels = w->dw.c, w->outputs = w->dw.n / a.groups;
  return for_float(call.out[0].dtype, [&](auto s) {
    using S = decltype(s);
    using T = Compute<S>;
    constexpr int64_t N = Simd<T>::N;
    plan.run = run_grad_weight<S>;
    const int64_t taps = w->dw.h * w->dw.w;
    w->by_pixel = w->outputs <= N / 2;
    w->vectors = NV;
    if (w->outputs <= N)
      w->vectors = 1;
    else if (BRASA_SIMD_BYTES == 64 && round_up(w->outputs, 2 * NV * N) == round_up(w->outputs, NV * N))
      w->vectors = 2 * NV;
    w->width = w->by_pixel ? w->outputs * N : round_up(w->outputs, w->vectors * N);
    const int64_t bytes = most(1, w->groups * w->channels * taps * w->width * int64_t(sizeof(T)));
    const int64_t partials = most(1, least(kPartials, kPartialBytes / bytes));
    const int64_t wanted = ceil_div(kPartials, most(1, least(partials, w->x.n) * w->groups));
    w->block = most(1, ceil_div(w->channels, most(1, least(wanted, w->channels * taps / 96))));
    w->blocks = ceil_div(w->channels, w->block);
    void* memory = plan_alloc(plan, tap_bytes(taps));
    void* offset = plan_alloc(plan, w->block * taps * sizeof(int32_t));
    if (!memory || !offset) return kOutOfMemory;
    set_taps(w->pass, memory, taps);
    forward_pass(w->pass, a, w->dw, w->g);
    if (!plan_slab(w->pass, w->x, w->block, sizeof(T), kNative<S>, static_cast<int32_t*>(offset), 0))
      return kUnsupported;
    w->partials = most(1, least(partials, w->x.n * ceil_div(w->pass.rows, most(1, w->pass.block_rows))));
    return kOk;
  });
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
