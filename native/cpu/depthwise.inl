// Depthwise convolutions (a group is one channel) and their gradients. The lanes of a vector are channels: a strip of
// rows of N channels is transposed into a slab [row][column][N] with its zero borders, where every tap of every pixel
// is one vector, whatever the stride; what comes out, [pixel][N], is transposed back. Channels-last is read as it lies.
#include "conv_pack.inl"
#include "epilogue.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct Depthwise {
  Image src, dst;  // of the weight's gradient: x and g
  int64_t channels, blocks;
  int64_t w_channel;  // stride of w by channel
  int npass;
  Pass* pass;                             // offset: of the taps in the slab, in elements
  int64_t top, left, columns, slab_rows;  // the slab; zeros above and to the left of the source
  int64_t strip, strips, strip_rows;      // rows of a pass in a strip; strips; rows of dst in a strip
  int64_t taps;                           // of all passes
  bool has_bias, by_rows;
  int64_t partials;  // of the weight's gradient: sums kept apart
  int32_t y;
  const Epilogue* epilogue;  // null: nothing follows
};

constexpr int64_t kStripBytes = 64 << 10;  // of a slab, in L2: L1 holds the few rows that are read at a time

// to[j * N + lane] = from[lane * sc + j * sw], lanes beyond `lanes` zero.
template <class T, class S>
void to_lanes(const S* from, int64_t sc, int64_t sw, int lanes, int64_t count, T* to) {
  constexpr int N = Simd<T>::N;
  int64_t j = 0;
  if (sc == 1 && sw != 1) {
    for (; j < count; ++j)
      (lanes == N ? load_as<T>(from + j * sw) : load_as<T>(from + j * sw, lanes)).store(to + j * N);
  } else if (sw == 1) {
    for (; j < count; j += N) {
      const int n = int(least<int64_t>(N, count - j));
      typename Simd<T>::Reg r[N];
      unroll<N>([&](auto i) {
        r[i] = typename Simd<T>::Reg{};
        if (i < lanes)
          r[i] = (typename Simd<T>::Reg)(n == N ? load_as<T>(from + i * sc + j) : load_as<T>(from + i * sc + j, n)).v;
      });
      transpose<T>(r);
      unroll<N>([&](auto l) {
        if (l < n) Simd<T>::store(to + (j + l) * N, r[l]);
      });
    }
  } else {
    for (; j < count; ++j)
      for (int i = 0; i < N; ++i) to[j * N + i] = i < lanes ? load_one(from + i * sc + j * sw) : T(0);
  }
}

// to[lane * sc + j * sw] = from[j * N + lane]. Reads up to N vectors.
template <class T, class S>
void from_lanes(const T* from, int64_t sc, int64_t sw, int lanes, int64_t count, S* to) {
  constexpr int N = Simd<T>::N;
  if (sc == 1 && sw != 1) {
    for (int64_t j = 0; j < count; ++j) store_as<T>(to + j * sw, Vec<T>::load(from + j * N), lanes);
  } else if (sw == 1) {
    for (int64_t j = 0; j < count; j += N) {
      const int n = int(least<int64_t>(N, count - j));
      typename Simd<T>::Reg r[N];
      unroll<N>([&](auto i) { r[i] = Simd<T>::load(from + (j + i) * N); });
      transpose<T>(r);
      unroll<N>([&](auto l) {
        const Vec<T> v((typename Vec<T>::Raw)r[l]);
        if (l < lanes && n == N)
          store_as<T>(to + l * sc + j, v);
        else if (l < lanes)
          store_as<T>(to + l * sc + j, v, n);
      });
    }
  } else {
    for (int64_t j = 0; j < count; ++j)
      for (int i = 0; i < lanes; ++i) store_one(to + i * sc + j * sw, from[j * N + i]);
  }
}

// The slab of a strip whose first row of a pass is r0, of the N channels at x.
template <class T, class S>
void pack_strip(const Depthwise& p, const S* x, int lanes, int64_t r0, T* slab) {
  constexpr int N = Simd<T>::N;
  const int64_t inside = most(0, least(p.src.w, p.columns - p.left)), right = p.left + inside;
  for (int64_t r = 0; r < p.slab_rows; ++r, slab += p.columns * N) {
    const int64_t ih = r0 * p.pass->row_mul + r - p.top;
    if (ih < 0 || ih >= p.src.h) {
      __builtin_memset(slab, 0, p.columns * N * sizeof(T));
      continue;
    }
    __builtin_memset(slab, 0, p.left * N * sizeof(T));
    to_lanes(x + ih * p.src.sh, p.src.sc, p.src.sw, lanes, inside, slab + p.left * N);
    __builtin_memset(slab + right * N, 0, (p.columns - right) * N * sizeof(T));
  }
}

// Q pixels, `step` apart in the slab and `to_step` apart in `to`: bias + sum over the taps of slab[offset] * w.
template <class T, int Q>
BRASA_INLINE void pixels(int64_t taps, const T* slab, int64_t step, const int32_t* offset, const T* w, const T* bias,
                         T* to, int64_t to_step) {
  using R = Simd<T>;
  typename R::Reg acc[Q];
  unroll<Q>([&](auto q) { acc[q] = R::load(bias); });
  for (int64_t t = 0; t < taps; ++t, w += R::N) {
    const T* at = slab + offset[t];
    const typename R::Reg weight = R::load(w);
    unroll<Q>([&](auto q) { acc[q] += R::load(at + q * step) * weight; });
  }
  unroll<Q>([&](auto q) { R::store(to + q * to_step, acc[q]); });
}

// One strip of N channels: slab -> to [dst row][column][N], all passes.
template <class T>
void run_strip(const Depthwise& p, const T* slab, int64_t r0, const T* w, const T* bias, T* to) {
  constexpr int N = Simd<T>::N;
  for (int i = 0; i < p.npass; ++i) {
    const Pass& pass = p.pass[i];
    const int64_t step = pass.col_mul * N, to_step = pass.col_step * N;
    for (int64_t r = r0; r < least(pass.rows, r0 + p.strip); ++r) {
      const T* at = slab + (r - r0) * pass.row_mul * p.columns * N;
      T* row = to + (((r - r0) * pass.row_step + pass.out_row) * p.dst.w + pass.out_col) * N;
      int64_t c = 0;
      for (; c + 7 <= pass.cols; c += 7)
        pixels<T, 7>(pass.taps, at + c * step, step, pass.offset, w, bias, row + c * to_step, to_step);
      for (; c + 4 <= pass.cols; c += 4)
        pixels<T, 4>(pass.taps, at + c * step, step, pass.offset, w, bias, row + c * to_step, to_step);
      for (; c < pass.cols; ++c)
        pixels<T, 1>(pass.taps, at + c * step, step, pass.offset, w, bias, row + c * to_step, to_step);
    }
    w += pass.taps * N;
  }
}

// 3x3 of stride 1: four rows of a plane, w pixels each, from the slab's rows `pitch` apart: to[i] = bias + taps, i <
// rows.
template <class T, class S>
void four_rows(const T* slab, int64_t pitch, const Vec<T>* taps, T bias, int64_t w, int64_t rows, S* to,
               int64_t to_row) {
  using V = Vec<T>;
  V weight[9];
  unroll<9>([&](auto t) { weight[t] = taps[t]; });
  for (int64_t c = 0; c < w; c += V::N) {
    const int n = int(least<int64_t>(V::N, w - c));
    V acc[4];
    unroll<4>([&](auto r) { acc[r] = V(bias); });
    unroll<6>([&](auto i) {
      unroll<3>([&](auto j) {
        const V x = V::load(slab + i * pitch + c + j);
        unroll<4>([&](auto r) {
          if constexpr (i.value >= r.value && i.value < r.value + 3) acc[r] = fma(x, weight[(i - r) * 3 + j], acc[r]);
        });
      });
    });
    unroll<4>([&](auto r) {
      if (r >= rows) return;
      if (n == V::N)
        store_as<T>(to + r * to_row + c, acc[r]);
      else
        store_as<T>(to + r * to_row + c, acc[r], n);
    });
  }
}

constexpr int64_t kRowsAtOnce = 4;

// A strip of the planes of a block, by rows: weights and biases as pack_depthwise leaves them.
template <class T, class S>
void run_rows(const Depthwise& p, const S* x, int lanes, int64_t r0, int64_t rows, const T* w, const T* biases, T* slab,
              S* to) {
  constexpr int N = Simd<T>::N;
  const Pass& pass = *p.pass;
  const Columns in = columns_of(-p.left, 1, p.src.w, p.columns);
  for (int lane = 0; lane < lanes; ++lane) {
    const S* const plane = x + lane * p.src.sc;
    for (int64_t r = 0; r < rows + 2; ++r) {
      const int64_t ih = r0 + r - p.top;
      if (ih < 0 || ih >= p.src.h)
        __builtin_memset(slab + r * p.columns, 0, p.columns * sizeof(T));
      else
        pack_row<T>(plane + ih * p.src.sh, 1, -p.left, 1, in, p.columns, slab + r * p.columns);
    }
    Vec<T> taps[9];
    for (int64_t t = 0; t < 9; ++t) taps[pass.row[t] * 3 + pass.col[t]] = Vec<T>(w[t * N + lane]);
    for (int64_t r = 0; r < rows; r += kRowsAtOnce)
      four_rows<T>(slab + r * p.columns, p.columns, taps, biases[lane], p.dst.w, rows - r,
                   to + lane * p.dst.sc + r * p.dst.sh, p.dst.sh);
  }
}

// Vectors of all channels: weights [block][pass][tap][N], then biases [block][N].
template <class T, class S>
void pack_depthwise(const Depthwise& p, const S* w, const S* bias, int64_t bias_step, T* to) {
  constexpr int N = Simd<T>::N;
  T* const biases = to + p.blocks * p.taps * N;
  for (int64_t c = 0; c < p.blocks * N; ++c) {
    const bool real = c < p.channels;
    biases[c] = real && bias ? load_one(bias + c * bias_step) : T(0);
    T* lane = to + c / N * p.taps * N + c % N;
    for (int i = 0; i < p.npass; ++i)
      for (int64_t t = 0; t < p.pass[i].taps; ++t, lane += N)
        *lane = real ? load_one(w + c * p.w_channel + p.pass[i].weight[t]) : T(0);
  }
}

template <class T>
int64_t slab_size(const Depthwise& p) {
  return (p.slab_rows + kRowsAtOnce) * p.columns * Simd<T>::N + 2 * Simd<T>::N;
}

template <class S>
Status run_depthwise(const CpuPlan& plan, const Args& args) {
  using T = Compute<S>;
  constexpr int N = Simd<T>::N;
  const Depthwise& p = *static_cast<const Depthwise*>(plan.state);
  T* const weights = static_cast<T*>(scratch(0, p.blocks * (p.taps + 1) * N * sizeof(T)));
  if (!weights) return kOutOfMemory;
  pack_depthwise(p, static_cast<const S*>(args.in[1]), p.has_bias ? static_cast<const S*>(args.in[2]) : nullptr,
                 p.has_bias ? plan.call.in[2].strides[0] : 0, weights);
  const T* const biases = weights + p.blocks * p.taps * N;
  bool failed = false;
  parallel(p.dst.n * p.blocks * p.strips, 1, [&](int64_t begin, int64_t end) {
    T* const slab = static_cast<T*>(scratch(1, slab_size<T>(p) * sizeof(T)));
    T* const result = static_cast<T*>(scratch(2, (p.strip_rows * p.dst.w + N) * N * sizeof(T)));
    if (!slab || !result) return __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t strip = task % p.strips, block = task / p.strips % p.blocks, n = task / (p.strips * p.blocks);
      const int64_t c0 = block * N, row0 = strip * p.strip_rows, rows = least(p.strip_rows, p.dst.h - row0);
      const int lanes = int(least<int64_t>(N, p.channels - c0));
      const S* x = static_cast<const S*>(args.in[0]) + n * p.src.sn + c0 * p.src.sc;
      const T* w = weights + block * p.taps * N;
      S* to = static_cast<S*>(args.out[p.y]) + n * p.dst.sn + c0 * p.dst.sc + row0 * p.dst.sh;
      if (p.by_rows) {
        run_rows(p, x, lanes, row0, rows, w, biases + c0, slab, to);
      } else {
        pack_strip(p, x, lanes, strip * p.strip, slab);
        run_strip(p, slab, strip * p.strip, w, biases + c0, result);
        const bool dense = p.dst.sh == p.dst.w * p.dst.sw;
        for (int64_t r = 0; r < (dense ? 1 : rows); ++r)
          from_lanes(result + r * p.dst.w * N, p.dst.sc, p.dst.sw, lanes, dense ? rows * p.dst.w : p.dst.w,
                     to + r * p.dst.sh);
      }
      if (!p.epilogue) continue;
      const int64_t at[] = {n, c0, row0, 0}, size[] = {1, lanes, rows, p.dst.w};
      if (finish_block(*p.epilogue, args, at, size) != kOk) __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
    }
  });
  return failed ? kOutOfMemory : kOk;
}

// ---- the gradient of the weight

// G taps: sum (G, N) += over pixels of slab[offset + pixel] * g[pixel].
template <class T, int G>
BRASA_INLINE void dot_taps(const Depthwise& p, int64_t rows, const T* slab, const int32_t* offset, const T* g, T* sum) {
  using R = Simd<T>;
  const Pass& pass = *p.pass;
  const int64_t step = pass.col_mul * R::N;
  typename R::Reg acc[G];
  const T* at[G];
  unroll<G>([&](auto i) { acc[i] = typename R::Reg{}, at[i] = slab + offset[i]; });
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < pass.cols; ++c, g += R::N) {
      const typename R::Reg y = R::load(g);
      unroll<G>([&](auto i) { acc[i] += R::load(at[i] + c * step) * y; });
    }
    unroll<G>([&](auto i) { at[i] += pass.row_mul * p.columns * R::N; });
  }
  unroll<G>([&](auto i) { R::store(sum + i * R::N, R::load(sum + i * R::N) + acc[i]); });
}

template <class S>
Status run_depthwise_weight(const CpuPlan& plan, const Args& args) {
  using T = Compute<S>;
  constexpr int N = Simd<T>::N;
  const Depthwise& p = *static_cast<const Depthwise*>(plan.state);
  const int64_t size = p.taps * N, units = p.src.n * p.strips;
  T* const sums = static_cast<T*>(scratch(0, most(1, p.partials * p.blocks * size) * sizeof(T)));
  if (!sums) return kOutOfMemory;
  bool failed = false;
  parallel(p.blocks * p.partials, 1, [&](int64_t begin, int64_t end) {
    T* const slab = static_cast<T*>(scratch(1, slab_size<T>(p) * sizeof(T)));
    T* const g = static_cast<T*>(scratch(2, (p.strip_rows * p.dst.w + N) * N * sizeof(T)));
    if (!slab || !g) return __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t block = task % p.blocks, part = task / p.blocks, c0 = block * N;
      const int lanes = int(least<int64_t>(N, p.channels - c0));
      T* const sum = sums + task * size;
      __builtin_memset(sum, 0, size * sizeof(T));
      for (int64_t u = units * part / p.partials; u < units * (part + 1) / p.partials; ++u) {
        const int64_t n = u / p.strips, r0 = u % p.strips * p.strip, rows = least(p.strip, p.dst.h - r0);
        pack_strip(p, static_cast<const S*>(args.in[1]) + n * p.src.sn + c0 * p.src.sc, lanes, r0, slab);
        const S* from = static_cast<const S*>(args.in[0]) + n * p.dst.sn + c0 * p.dst.sc + r0 * p.dst.sh;
        if (p.dst.sh == p.dst.w * p.dst.sw)
          to_lanes(from, p.dst.sc, p.dst.sw, lanes, rows * p.dst.w, g);
        else
          for (int64_t r = 0; r < rows; ++r)
            to_lanes(from + r * p.dst.sh, p.dst.sc, p.dst.sw, lanes, p.dst.w, g + r * p.dst.w * N);
        const int32_t* offset = p.pass->offset;
        int64_t t = 0;
        for (; t + 9 <= p.taps; t += 9) dot_taps<T, 9>(p, rows, slab, offset + t, g, sum + t * N);
        for (; t + 3 <= p.taps; t += 3) dot_taps<T, 3>(p, rows, slab, offset + t, g, sum + t * N);
        for (; t < p.taps; ++t) dot_taps<T, 1>(p, rows, slab, offset + t, g, sum + t * N);
      }
    }
  });
  if (failed) return kOutOfMemory;
  for (int64_t c = 0; c < p.channels; ++c)
    for (int64_t t = 0; t < p.taps; ++t) {
      T total = 0;
      for (int64_t s = 0; s < p.partials; ++s) total += sums[((s * p.blocks + c / N) * p.taps + t) * N + c % N];
      store_one(static_cast<S*>(args.out[0]) + c * p.w_channel + p.pass->weight[t], total);
    }
  return kOk;
}

// ---- plan

enum class Wanted { y, dx, dw };

// A depthwise call, which may be part of the plan's.
Status plan_depthwise(CpuPlan& plan, const Call& call, Wanted wanted, Depthwise** out) {
  ConvParams a;
  const bool has_bias = wanted == Wanted::y && call.nin == 3, gradient = wanted == Wanted::dx;
  if (!conv_operands(call, has_bias ? 3 : 2) || !conv_params(call, &a)) return kUnsupported;
  const Image w = image_of(wanted == Wanted::dw ? call.out[0] : call.in[1]);
  if (w.c != 1 || w.n != a.groups || a.groups < 4 || w.h * w.w == 0) return kUnsupported;
  Depthwise* p = static_cast<Depthwise*>(plan_alloc(plan, sizeof(Depthwise)));
  if (!p) return kOutOfMemory;
  plan.state = *out = p;
  p->src = image_of(call.in[wanted == Wanted::dw ? 1 : 0]);
  p->dst = image_of(wanted == Wanted::dw ? call.in[0] : call.out[0]);
  if (p->dst.n * p->dst.h * p->dst.w == 0 || p->src.h * p->src.w == 0) return kUnsupported;
  p->channels = a.groups, p->w_channel = w.sn, p->has_bias = has_bias;
  p->npass = gradient ? int(a.stride_h * a.stride_w) : 1;
  p->pass = static_cast<Pass*>(plan_alloc(plan, p->npass * sizeof(Pass)));
  if (!p->pass) return kOutOfMemory;
  int64_t below = 0;  // slab rows that a strip needs beyond those of its first taps
  for (int i = 0; i < p->npass; ++i) {
    Pass& s = p->pass[i];
    void* memory = plan_alloc(plan, tap_bytes(w.h * w.w));
    s.offset = static_cast<int32_t*>(plan_alloc(plan, w.h * w.w * sizeof(int32_t)));
    if (!memory || !s.offset) return kOutOfMemory;
    set_taps(s, memory, w.h * w.w);
    if (gradient)
      gradient_pass(s, a, w, p->dst, i / a.stride_w, i % a.stride_w);
    else
      forward_pass(s, a, w, p->dst);
    p->top = most(p->top, s.pad_top), p->left = most(p->left, s.pad_left);
    p->taps += s.taps;
  }
  int64_t strip = 0;  // of all rows
  for (int i = 0; i < p->npass; ++i) {
    const Pass& s = p->pass[i];
    strip = most(strip, s.rows);
    for (int64_t t = 0; t < s.taps; ++t) {
      below = most(below, s.row[t] + p->top - s.pad_top);
      p->columns = most(p->columns, (s.cols - 1) * s.col_mul + s.col[t] + p->left - s.pad_left + 1);
    }
  }
  p->columns = most(p->columns, 1);
  return for_float(call.out[0].dtype, [&](auto x) {
    using S = decltype(x);
    using T = Compute<S>;
    constexpr int N = Simd<T>::N;
    plan.run = wanted == Wanted::dw ? run_depthwise_weight<S> : run_depthwise<S>;
    p->blocks = ceil_div(p->channels, N);
    const Pass& first = *p->pass;
    // Padding of at most 2, so that the gradient's taps begin at 0.
    p->by_rows = w.h == 3 && w.w == 3 && a.pad_h <= 2 && a.pad_w <= 2 &&
                 a.stride_h * a.stride_w * a.dil_h * a.dil_w == 1 && p->src.sw == 1 && p->dst.sw == 1 &&
                 2 * p->dst.w > 3 * N;
    const int64_t fit = (kStripBytes / (p->columns * N * int64_t(sizeof(T))) - below - 1) / first.row_mul + 1;
    p->strip = ceil_div(strip, ceil_div(strip, most(1, least(fit, strip))));
    p->strip_rows = p->strip * first.row_step;
    p->strips = ceil_div(strip, p->strip);
    p->slab_rows = (p->strip - 1) * first.row_mul + below + 1;
    p->partials = least(ceil_div(16, p->blocks), p->src.n * p->strips);
    if (p->slab_rows * p->columns * N > 0x7fffffff) return kUnsupported;
    for (int i = 0; i < p->npass; ++i) {
      Pass& s = p->pass[i];
      for (int64_t t = 0; t < s.taps; ++t)
        s.offset[t] = int32_t(((s.row[t] + p->top - s.pad_top) * p->columns + s.col[t] + p->left - s.pad_left) * N);
    }
    return kOk;
  });
}

template <Wanted wanted>
Status make_depthwise(CpuPlan& plan) {
  Depthwise* p;
  return plan_depthwise(plan, plan.call, wanted, &p);
}

constexpr int64_t kLeastBlock = 2048;  // elements; the program takes longer to start than smaller ones to read

template <Wanted wanted>
Status make_depthwise_then(CpuPlan& plan) {
  constexpr const char* name = wanted == Wanted::dx ? "conv2dGradInput" : "conv2d";
  Followed call;
  Status status = take_apart(plan, name, &call);
  Depthwise* p = nullptr;
  if (status == kOk) status = plan_depthwise(plan, call.plain, wanted, &p);
  if (status != kOk) return status;
  const int64_t lanes = ceil_div(p->channels, p->blocks);
  if (p->strip_rows * p->dst.w * lanes < kLeastBlock) return make_whole(plan, name);
  p->y = call.y;
  const int32_t dims[] = {0, 1, 2, 3};
  Epilogue* epilogue = nullptr;
  status = make_epilogue(plan, call, 4, dims, &epilogue);
  const int64_t N = call.plain.out[0].dtype == k_f64 ? Simd<double>::N : Simd<float>::N;
  const int64_t widths[] = {least(N, p->channels), p->channels % N};
  const int64_t heights[] = {least(p->strip_rows, p->dst.h), p->dst.h % p->strip_rows};
  for (const int64_t c : widths)
    for (const int64_t h : heights) {
      const int64_t size[] = {1, c, h, p->dst.w};
      if (status == kOk) status = expect_block(plan, epilogue, size);
    }
  p->epilogue = epilogue;
  return status;
}

}  // namespace

void register_depthwise() {
  register_kernel("conv2d", make_depthwise<Wanted::y>, "depthwise");
  register_kernel("conv2dGradInput", make_depthwise<Wanted::dx>, "depthwise");
  register_kernel("conv2dGradWeight", make_depthwise<Wanted::dw>, "depthwise");
  register_kernel("conv2dThen", make_depthwise_then<Wanted::y>, "depthwise");
  register_kernel("conv2dGradInputThen", make_depthwise_then<Wanted::dx>, "depthwise");
}

}  // namespace brasa::cpu::BRASA_ISA
