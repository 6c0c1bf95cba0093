// conv2d and its two gradients. Storage is converted when it is packed and when a result is stored; arithmetic is in
// f32 or f64. conv2dThen and conv2dGradInputThen run a tile program over each block of the result.
#include "conv_grad_weight.inl"
#include "conv_pointwise.inl"
#include "conv_reference.inl"
#include "epilogue.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// ---- the two micro-kernels of a Pass

// A run of neighbouring output pixels: where it reads the slab (at offset 0) and where its first pixel is stored.
struct Segment {
  int64_t from, to;
};

// Many output channels: the lanes are channels, a tile is two segments of L pixels by V vectors of channels.
// c (2L, NR) (+)= sum over k of slab[offset[k] + pixel] * w[k, channel]; the pixels are read one by one, straight from
// the slab.
constexpr int kRun = MR / 2;

template <class T, int L, int V>
void channel_tile(int64_t k, const T* a0, const T* a1, const int32_t* offset, const T* w, T* c, bool accumulate) {
  using R = Simd<T>;
  typename R::Reg acc[2][L][V];
  unroll<L>([&](auto i) {
    unroll<V>([&](auto j) {
      acc[0][i][j] = accumulate ? R::load(c + i * NR<T> + j * R::N) : typename R::Reg{};
      acc[1][i][j] = accumulate ? R::load(c + (L + i) * NR<T> + j * R::N) : typename R::Reg{};
    });
  });
#pragma GCC unroll 2
  for (; k > 0; --k, w += NR<T>) {
    const int64_t at = *offset++;
    typename R::Reg row[V];
    unroll<V>([&](auto j) { row[j] = R::load(w + j * R::N); });
    unroll<L>([&](auto i) {
      const T x = a0[at + i];
      unroll<V>([&](auto j) { acc[0][i][j] += x * row[j]; });
    });
    unroll<L>([&](auto i) {
      const T x = a1[at + i];
      unroll<V>([&](auto j) { acc[1][i][j] += x * row[j]; });
    });
  }
  unroll<L>([&](auto i) {
    unroll<V>([&](auto j) {
      R::store(c + i * NR<T> + j * R::N, acc[0][i][j]);
      R::store(c + (L + i) * NR<T> + j * R::N, acc[1][i][j]);
    });
  });
}

// Few output channels (depthwise): the lanes are pixels, a tile is four segments of N pixels by C channels.
// c (4, C, N) = sum over k of slab[offset[k] + pixel] * w[channel, k]; lanes beyond a row's end hold rubbish.
template <class T, int C>
void pixel_tile(int64_t k, const T* const* a, const int32_t* offset, const T* w, int64_t w_step, T* c) {
  using R = Simd<T>;
  typename R::Reg acc[4][C] = {};
  const T *a0 = a[0], *a1 = a[1], *a2 = a[2], *a3 = a[3];
  for (int64_t i = 0; i < k; ++i) {
    const int64_t at = offset[i];
    const typename R::Reg x[4] = {R::load(a0 + at), R::load(a1 + at), R::load(a2 + at), R::load(a3 + at)};
    unroll<C>([&](auto o) {
      const T weight = w[o * w_step + i];
      unroll<4>([&](auto s) { acc[s][o] += weight * x[s]; });
    });
  }
  unroll<4>([&](auto s) { unroll<C>([&](auto o) { R::store(c + (s * C + o) * R::N, acc[s][o]); }); });
}

// ---- plan

struct ConvPlan {
  Image src, w, dst;
  int64_t groups, in_channels, out_channels;  // channels of one group
  int64_t w_lane, w_channel, w_group;  // strides of w by output channel, input channel and group of this convolution
  bool by_pixel;
  int64_t panels, finished;  // output channels that a block finishes at a time
  int npass;
  Pass* pass;
  bool has_bias;
  int32_t y;                 // which of the call's outputs
  const Epilogue* epilogue;  // null: nothing follows
};

constexpr int64_t kDepth = 160;  // k a sweep: a panel of weights of 20K, which stays in L1

// A tile's rows, up to whole blocks of the transposition.
template <class T>
constexpr int64_t kTileRows = round_up(2 * kRun, Simd<T>::N);
template <class T>
constexpr int64_t tile_size = kTileRows<T>* NR<T>;

// tile (2 runs of pixels, NR) + bias -> out, whose strides are `channel` and `pixel`; to0 and to1 are the runs' first
// pixels.
template <class T, class S>
void store_tile(const T* tile, int64_t run, const T* bias, int64_t lanes, S* to0, S* to1, int64_t channel,
                int64_t pixel) {
  constexpr int N = Simd<T>::N, P = kTileRows<T>;
  using V = Vec<T>;
  if (channel == 1) {
    for (int64_t i = 0; i < 2 * run; ++i) {
      S* to = i < run ? to0 + i * pixel : to1 + (i - run) * pixel;
      for (int64_t o = 0; o < lanes; o += N)
        store_as<T>(to + o, V::load(tile + i * NR<T> + o) + V::load(bias + o), int(least<int64_t>(N, lanes - o)));
    }
    return;
  }
  const bool joined = pixel == 1 && to1 == to0 + run;
  alignas(64) T across[N * P];
  for (int64_t first = 0; first < lanes; first += N) {
    const auto b = Simd<T>::load(bias + first);
    unroll<P / N>([&](auto block) {
      typename Simd<T>::Reg r[N];
      unroll<N>([&](auto i) { r[i] = Simd<T>::load(tile + (block * N + i) * NR<T> + first) + b; });
      transpose<T>(r);
      unroll<N>([&](auto i) { Simd<T>::store(across + i * P + block * N, r[i]); });
    });
    for (int64_t i = 0; i < least<int64_t>(N, lanes - first); ++i) {
      const T* from = across + i * P;
      S* a = to0 + (first + i) * channel;
      S* b = to1 + (first + i) * channel;
      if (joined) {
        store_row(a, from, 2 * run);
      } else if (pixel == 1) {
        store_row(a, from, run);
        store_row(b, from + run, run);
      } else {
        for (int64_t k = 0; k < run; ++k) store_one(a + k * pixel, from[k]), store_one(b + k * pixel, from[run + k]);
      }
    }
  }
}

template <class T>
using TileFn = void (*)(int64_t, const T*, const T*, const int32_t*, const T*, T*, bool);
template <class T>
TileFn<T> tile_fn(int64_t run, bool narrow) {
  TileFn<T> fn = nullptr;
  unroll<kRun>([&](auto i) {
    if (run == i + 1) fn = narrow ? channel_tile<T, i + 1, (NV > 1 ? NV - 1 : 1)> : channel_tile<T, i + 1, NV>;
  });
  return fn;
}

// One block of one pass: images [n0, n1), rows [r0, r1), panels [p0, p1) of one group.
struct Block {
  int64_t group, n0, n1, r0, r1, p0, p1;
};

// The block's output channels from `first` on are final, in the only pass of the convolution.
inline bool finish_channels(const ConvPlan& conv, const Args& args, const Block& b, int64_t first, int64_t channels) {
  if (!conv.epilogue) return true;
  const int64_t at[] = {b.n0, b.group * conv.out_channels + first, b.r0, 0};
  const int64_t size[] = {b.n1 - b.n0, channels, b.r1 - b.r0, conv.dst.w};
  return finish_block(*conv.epilogue, args, at, size) == kOk;
}

// Splits the block's rows into segments of at most `run` pixels, the longer ones first; returns how many those are.
inline int64_t cut_segments(const ConvPlan& conv, const Pass& p, const Block& b, int64_t run, Segment* out,
                            int64_t* count) {
  const int64_t pieces = ceil_div(p.cols, run), base = p.cols / pieces, longer = p.cols % pieces;
  const int64_t row0 = p.in_place ? 0 : b.r0;
  Segment* at = out;
  int64_t split = 0;
  for (int half = 0; half < 2; ++half) {
    for (int64_t n = b.n0; n < b.n1; ++n)
      for (int64_t r = b.r0; r < b.r1; ++r) {
        const int64_t from = (p.in_place ? n : n - b.n0) * p.image_step + (r - row0) * p.row_mul * p.pitch;
        const int64_t to = n * conv.dst.sn + (p.out_row + r * p.row_step) * conv.dst.sh + p.out_col * conv.dst.sw;
        for (int64_t s = half ? longer : 0; s < (half ? pieces : longer); ++s) {
          const int64_t col = s * base + least(s, longer);
          *at++ = {from + col, to + col * p.col_step * conv.dst.sw};
        }
      }
    if (half == 0) split = at - out;
  }
  *count = at - out;
  return split;
}

template <class T, class S>
bool run_channels(const ConvPlan& conv, const Pass& p, const Block& b, const T* slab, const Segment* segments,
                  int64_t split, int64_t count, const T* weights, const T* bias, T* tiles, S* out, const Args& args) {
  const int64_t k = conv.in_channels * p.taps, sweeps = most(1, ceil_div(k, kDepth)), depth = ceil_div(k, sweeps);
  const int64_t pieces = ceil_div(p.cols, kRun), base = p.cols / pieces;
  const int64_t pixel = p.col_step * conv.dst.sw, channel = conv.dst.sc;
  for (int64_t panel = b.p0; panel < b.p1; ++panel) {
    const int64_t first = panel * NR<T>, lanes = least<int64_t>(NR<T>, conv.out_channels - first);
    const T* w = weights + (b.group * conv.panels + panel) * k * NR<T>;
    const T* bias_at = bias + (b.group * conv.panels + panel) * NR<T>;
    S* out_at = out + (b.group * conv.out_channels + first) * channel;
    for (int64_t sweep = 0; sweep < sweeps; ++sweep) {
      const int64_t k0 = sweep * depth, steps = least(depth, k - k0);
      T* tile = tiles;
      for (int64_t part = 0; part < 2; ++part) {
        const int64_t begin = part ? split : 0, end = part ? count : split;
        if (begin == end) continue;
        const int64_t run = part ? base : base + 1;
        const TileFn<T> compute = tile_fn<T>(run, lanes <= (NV - 1) * Simd<T>::N);
        for (int64_t s = begin; s < end; s += 2) {
          const Segment& s0 = segments[s];
          const Segment& s1 = segments[s + 1 < end ? s + 1 : s];  // an odd one out is computed twice
          if (sweep == sweeps - 1 && channel != 1) {
            // The lines that the results go to are on their way while the tile is computed.
            for (int64_t o = 0; o < lanes; ++o) {
              __builtin_prefetch(out_at + s0.to + o * channel, 1);
              __builtin_prefetch(out_at + s1.to + (run - 1) * pixel + o * channel, 1);
            }
          }
          compute(steps, slab + s0.from, slab + s1.from, p.offset + k0, w + k0 * NR<T>, tile, sweep > 0);
          if (sweep == sweeps - 1)
            store_tile(tile, run, bias_at, lanes, out_at + s0.to, out_at + s1.to, channel, pixel);
          if (sweeps > 1) tile += tile_size<T>;
        }
      }
    }
    if (!finish_channels(conv, args, b, first, lanes)) return false;
  }
  return true;
}

template <class T, class S>
void run_pixels(const ConvPlan& conv, const Pass& p, const Block& b, const T* slab, const Segment* segments,
                int64_t split, int64_t count, const T* weights, const T* bias, S* out) {
  constexpr int N = Simd<T>::N;
  const int64_t k = conv.in_channels * p.taps;
  const int64_t pieces = ceil_div(p.cols, N), base = p.cols / pieces;
  const int64_t pixel = p.col_step * conv.dst.sw;
  alignas(64) T tile[16 * N];
  for (int64_t s = 0; s < count; s += 4) {
    const T* a[4];
    for (int64_t i = 0; i < 4; ++i) a[i] = slab + segments[least(s + i, count - 1)].from;
    for (int64_t o = 0; o < conv.out_channels;) {
      const int64_t channel = b.group * conv.out_channels + o;
      const T* w = weights + channel * k;
      const int many = conv.out_channels - o >= 4 ? 4 : 1;
      if (many == 4)
        pixel_tile<T, 4>(k, a, p.offset, w, k, tile);
      else
        pixel_tile<T, 1>(k, a, p.offset, w, k, tile);
      for (int64_t i = 0; i < least<int64_t>(4, count - s); ++i) {
        const int64_t length = s + i < split ? base + 1 : base;
        for (int j = 0; j < many; ++j) {
          S* to = out + segments[s + i].to + (channel + j) * conv.dst.sc;
          const auto v = Simd<T>::load(tile + (i * many + j) * N) + bias[channel + j];
          if constexpr (kNative<S>) {
            if (pixel == 1) {
              Vec<T>(v).store(to, int(length));
              continue;
            }
          }
          for (int64_t x = 0; x < length; ++x) store_one(to + x * pixel, v[x]);
        }
      }
      o += many;
    }
  }
}

// ---- weights

// Panels [K][NR], k = (channel, tap), of every group; or (out channels, K) plainly for the pixel kernel.
template <class T, class S>
void pack_weights(const ConvPlan& conv, const Pass& p, const S* w, T* out) {
  const int64_t k = conv.in_channels * p.taps;
  if (k == 0) return;
  const int64_t step = p.taps > 1 ? p.weight[1] - p.weight[0] : 1;
  bool even = true;  // the taps lie at equal distances
  for (int64_t t = 1; t < p.taps; ++t) even &= p.weight[t] == p.weight[0] + t * step;
  parallel(conv.groups * conv.panels, most(1, 16384 / (k * NR<T>)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / conv.panels, first = conv.by_pixel ? i % conv.panels : i % conv.panels * NR<T>;
      const int64_t lanes = least<int64_t>(NR<T>, conv.out_channels - first), width = conv.by_pixel ? 1 : NR<T>;
      const S* from = w + group * conv.w_group + first * conv.w_lane;
      T* to = out + i * k * width;
      if (conv.by_pixel) {
        for (int64_t c = 0; c < conv.in_channels; ++c)
          for (int64_t t = 0; t < p.taps; ++t) *to++ = load_one(from + c * conv.w_channel + p.weight[t]);
      } else if (even && (conv.w_channel == p.taps * step || conv.in_channels == 1)) {
        pack_panel<NR<T>>(from + p.weight[0], conv.w_lane, step, lanes, k, to);
      } else if (even && p.taps > 1) {
        for (int64_t c = 0; c < conv.in_channels; ++c, to += p.taps * NR<T>)
          pack_panel<NR<T>>(from + c * conv.w_channel + p.weight[0], conv.w_lane, step, lanes, p.taps, to);
      } else {
        for (int64_t t = 0; t < p.taps; ++t)
          for (int64_t c = 0; c < conv.in_channels; ++c)
            pack_panel<NR<T>>(from + c * conv.w_channel + p.weight[t], conv.w_lane, 1, lanes, 1,
                              to + (c * p.taps + t) * NR<T>);
      }
    }
  });
}

// ---- run

template <class S>
Status run_conv(const CpuPlan& plan, const Args& args) {
  using T = Compute<S>;
  const ConvPlan& conv = *static_cast<const ConvPlan*>(plan.state);
  const S* x = static_cast<const S*>(args.in[0]);
  S* out = static_cast<S*>(args.out[conv.y]);
  const int64_t panel_width = conv.by_pixel ? 1 : NR<T>, bias_size = conv.groups * conv.panels * panel_width;
  int64_t most_taps = 0;
  for (int i = 0; i < conv.npass; ++i) most_taps = most(most_taps, conv.pass[i].taps);
  const int64_t weight_size = bias_size * conv.in_channels * most_taps;
  T* weights = static_cast<T*>(scratch(0, (weight_size + round_up(bias_size, 64) + 64) * sizeof(T)));
  if (!weights) return kOutOfMemory;
  T* bias = weights + round_up(weight_size, 64);
  __builtin_memset(bias, 0, bias_size * sizeof(T));
  if (conv.has_bias) {
    for (int64_t o = 0; o < conv.groups * conv.out_channels; ++o)
      bias[o / conv.out_channels * conv.panels * panel_width + o % conv.out_channels] =
          load_one(static_cast<const S*>(args.in[2]) + o * plan.call.in[2].strides[0]);
  }
  bool failed = false;
  for (int i = 0; i < conv.npass; ++i) {
    const Pass& p = conv.pass[i];
    if (p.rows == 0 || p.cols == 0 || conv.dst.n == 0 || conv.out_channels == 0) continue;
    pack_weights(conv, p, static_cast<const S*>(args.in[1]), weights);
    const int64_t row_blocks = ceil_div(p.rows, p.block_rows), image_blocks = ceil_div(conv.dst.n, p.block_images);
    const int64_t units = conv.groups * image_blocks * row_blocks;
    // Few blocks: split the output channels too, so that many threads find work.
    const int64_t panels =
        conv.by_pixel ? conv.panels : ceil_div(conv.panels, least(ceil_div(conv.panels, 2), ceil_div(32, units)));
    const int64_t panel_blocks = ceil_div(conv.panels, panels);
    parallel(units * panel_blocks, 1, [&](int64_t begin, int64_t end) {
      const int64_t run = conv.by_pixel ? Simd<T>::N : kRun;
      const int64_t segments = p.block_images * p.block_rows * ceil_div(p.cols, run);
      const int64_t tiles = conv.in_channels * p.taps > kDepth ? segments / 2 + 2 : 1;
      const int64_t slab_size = p.in_place ? 0 : p.block_images * p.image_step + 2 * Simd<T>::N;
      T* slab = static_cast<T*>(scratch(1, slab_size * sizeof(T) + 64));
      T* tile = static_cast<T*>(scratch(2, tiles * tile_size<T> * sizeof(T) + segments * sizeof(Segment)));
      if (!slab || !tile) return __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
      Segment* segment = reinterpret_cast<Segment*>(tile + tiles * tile_size<T>);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t pb = task % panel_blocks, rb = task / panel_blocks % row_blocks;
        const int64_t ib = task / (panel_blocks * row_blocks) % image_blocks;
        Block b;
        b.group = task / (panel_blocks * row_blocks * image_blocks);
        b.n0 = ib * p.block_images, b.n1 = least(conv.dst.n, b.n0 + p.block_images);
        b.r0 = rb * p.block_rows, b.r1 = least(p.rows, b.r0 + p.block_rows);
        b.p0 = pb * panels, b.p1 = least(conv.panels, b.p0 + panels);
        const S* from = x + b.group * conv.in_channels * conv.src.sc;
        const T* base = slab;
        if (p.in_place) {
          base = reinterpret_cast<const T*>(from);  // S is T here
        } else {
          const int64_t rows = (b.r1 - b.r0 - 1) * p.row_mul + p.tap_rows + 1;
          for (int64_t n = b.n0; n < b.n1; ++n)
            pack_slab(p, conv.src, from + n * conv.src.sn, conv.in_channels, b.r0 * p.row_mul, rows,
                      slab + (n - b.n0) * p.image_step);
        }
        int64_t count;
        const int64_t split = cut_segments(conv, p, b, run, segment, &count);
        bool done;
        if (conv.by_pixel) {
          run_pixels<T>(conv, p, b, base, segment, split, count, weights, bias, out);
          done = finish_channels(conv, args, b, 0, conv.out_channels);
        } else {
          done = run_channels<T>(conv, p, b, base, segment, split, count, weights, bias, tile, out, args);
        }
        if (!done) __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
      }
    });
  }
  return failed ? kOutOfMemory : kOk;
}

Status plan_passes(CpuPlan& plan, ConvPlan* conv, int32_t dtype, const ConvParams& a, bool gradient) {
  return for_float(dtype, [&](auto s) {
    using S = decltype(s);
    using T = Compute<S>;
    conv->by_pixel = conv->out_channels <= Simd<T>::N / 2;
    conv->panels = conv->by_pixel ? conv->out_channels : ceil_div(conv->out_channels, NR<T>);
    conv->finished = conv->by_pixel ? conv->out_channels : NR<T>;
    conv->npass = gradient ? int(a.stride_h * a.stride_w) : 1;
    conv->pass = static_cast<Pass*>(plan_alloc(plan, conv->npass * sizeof(Pass)));
    if (!conv->pass) return kOutOfMemory;
    const int64_t taps = conv->w.h * conv->w.w;
    for (int i = 0; i < conv->npass; ++i) {
      Pass& p = conv->pass[i];
      void* memory = plan_alloc(plan, tap_bytes(taps));
      if (!memory) return kOutOfMemory;
      set_taps(p, memory, taps);
      if (gradient)
        gradient_pass(p, a, conv->w, conv->dst, i / a.stride_w, i % a.stride_w);
      else
        forward_pass(p, a, conv->w, conv->dst);
      if (p.rows == 0 || p.cols == 0) continue;
      void* offset = plan_alloc(plan, conv->in_channels * p.taps * sizeof(int32_t));
      if (!offset) return kOutOfMemory;
      const bool may = kNative<S> && !conv->by_pixel && p.taps > 1;
      if (!plan_slab(p, conv->src, conv->in_channels, sizeof(T), may, static_cast<int32_t*>(offset), kBlockPixels))
        return kUnsupported;
    }
    return kOk;
  });
}

// The plan of a convolution (gradient: of its input's gradient), whose call is `call` and may be part of the plan's.
Status plan_conv(CpuPlan& plan, const Call& call, bool gradient, ConvPlan** out) {
  ConvParams a;
  const bool has_bias = !gradient && call.nin == 3;
  if (!conv_operands(call, has_bias ? 3 : 2) || !conv_params(call, &a)) return kUnsupported;
  ConvPlan* conv = static_cast<ConvPlan*>(plan_alloc(plan, sizeof(ConvPlan)));
  if (!conv) return kOutOfMemory;
  conv->src = image_of(call.in[0]), conv->w = image_of(call.in[1]), conv->dst = image_of(call.out[0]);
  const int64_t per_group = conv->w.n / a.groups;
  conv->groups = a.groups, conv->w_group = per_group * conv->w.sn;
  conv->in_channels = gradient ? per_group : conv->w.c, conv->out_channels = gradient ? conv->w.c : per_group;
  conv->w_lane = gradient ? conv->w.sc : conv->w.sn, conv->w_channel = gradient ? conv->w.sn : conv->w.sc;
  conv->has_bias = has_bias;
  plan.state = *out = conv;
  for_float(call.out[0].dtype, [&](auto s) {
    plan.run = run_conv<decltype(s)>;
    return kOk;
  });
  return plan_passes(plan, conv, call.out[0].dtype, a, gradient);
}

template <bool gradient>
Status make_conv(CpuPlan& plan) {
  ConvPlan* conv;
  return plan_conv(plan, plan.call, gradient, &conv);
}

template <bool gradient>
constexpr const char* kConvName = gradient ? "conv2dGradInput" : "conv2d";

constexpr int64_t kLeastBlock = 2048;  // elements; the program takes longer to start than smaller ones to read

template <bool gradient>
Status make_conv_then(CpuPlan& plan) {
  Followed call;
  Status status = take_apart(plan, kConvName<gradient>, &call);
  ConvPlan* conv = nullptr;
  if (status == kOk) status = plan_conv(plan, call.plain, gradient, &conv);
  if (status != kOk) return status;
  // Blocks of several passes lie between one another.
  if (conv->npass != 1) return kUnsupported;
  const Pass& p = conv->pass[0];
  if (p.block_images * p.block_rows * p.cols * conv->finished < kLeastBlock) return kUnsupported;
  conv->y = call.y;
  const int32_t dims[] = {0, 1, 2, 3};
  Epilogue* epilogue = nullptr;
  status = make_epilogue(plan, call, 4, dims, &epilogue);
  const int64_t images[] = {least(p.block_images, conv->dst.n), conv->dst.n % p.block_images};
  const int64_t widths[] = {least(conv->finished, conv->out_channels), conv->out_channels % conv->finished};
  const int64_t heights[] = {p.block_rows, p.rows % p.block_rows};
  for (const int64_t n : images)
    for (const int64_t c : widths)
      for (const int64_t h : heights) {
        const int64_t size[] = {n, c, h, conv->dst.w};
        if (status == kOk) status = expect_block(plan, epilogue, size);
      }
  conv->epilogue = epilogue;
  return status;
}

template <bool gradient>
Status make_conv_whole(CpuPlan& plan) {
  return make_whole(plan, kConvName<gradient>);
}

}  // namespace

void register_conv() {
  register_kernel("conv2d", make_pointwise<false>, "product");
  register_kernel("conv2dGradInput", make_pointwise<true>, "product");
  register_kernel("conv2dThen", make_pointwise_then<false>, "product");
  register_kernel("conv2dGradInputThen", make_pointwise_then<true>, "product");
  register_kernel("conv2d", make_conv<false>, "direct");
  register_kernel("conv2d", make_reference<ForwardReference>, "reference");
  register_kernel("conv2dGradInput", make_conv<true>, "direct");
  register_kernel("conv2dGradInput", make_reference<GradInputReference>, "reference");
  register_kernel("conv2dThen", make_conv_then<false>, "blocks");
  register_kernel("conv2dThen", make_conv_whole<false>, "whole");
  register_kernel("conv2dGradInputThen", make_conv_then<true>, "blocks");
  register_kernel("conv2dGradInputThen", make_conv_whole<true>, "whole");
  register_kernel("conv2dGradWeight", make_grad_weight, "direct");
  register_kernel("conv2dGradWeight", make_reference<GradWeightReference>, "reference");
}

}  // namespace brasa::cpu::BRASA_ISA
