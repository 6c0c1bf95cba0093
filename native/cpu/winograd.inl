// 3x3 convolutions of stride 1, and their input's gradients, by Winograd's F(2x2, 3x3): 4 products an output where the
// direct kernel needs 9; F(4x4, 3x3), 2.25 products, where the caller asked for speed over digits. Arithmetic is in
// f32.
//
// A task takes a block of tiles (rows of tiles of one image, or whole small images). For 16 channels at a time the
// source goes into a slab (conv_pack.inl), and from there transformed to V (A*A, channels, tiles). Then, for one block
// of output channels after the other: A*A products of the weights' transform with V's matrices, and out of these, in
// L2, the outputs. A tile's sum does not depend on how tiles are blocked.
#include "conv_pack.inl"
#include "epilogue.inl"
#include "gemm_kernel.inl"
#include "winograd_transform.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct Winograd {
  Image src, dst;
  Pass pass;
  int64_t groups, channels, outputs;   // of one group
  int64_t w_lane, w_channel, w_group;  // strides of w by output channel, input channel and group
  int64_t tap[9];  // offsets of the kernel's elements in w, in the order in which they meet the source
  bool has_bias;
  int64_t tile_rows, tile_cols;      // of one image
  int64_t block_images, block_rows;  // of a task, in rows of tiles
  int64_t image_blocks, row_blocks;
  int64_t most_tiles, all_tiles;         // of a task, and of all; rounded up to vectors
  int64_t panels, width, blocks, parts;  // panels of output channels; panels a block; blocks; tasks that share them
  int32_t y;
  const Epilogue* epilogue;  // null: nothing follows
};

constexpr int64_t kSlabChannels = 16, kPackChannels = 32;

// Between the matrices of one buffer: neighbours in the cache's sets, never in one.
constexpr int64_t matrix_step(int64_t size) { return round_up(size, 1024) + 16; }

// U (A*A, panels, channels, MR) of every group.
template <int M, class S>
void transform_weights(const Winograd& p, const S* w, float* u) {
  const int64_t pieces = ceil_div(p.channels, kPackChannels), panel = p.channels * MR;
  const int64_t step = matrix_step(p.panels * panel);
  bool dense = p.w_channel == 9;
  for (const int64_t at : p.tap) dense &= at < 9;
  parallel(p.groups * p.panels * pieces, 4, [&](int64_t begin, int64_t end) {
    alignas(64) float g[kPackChannels * 9 * MR + Simd<float>::N];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t c0 = task % pieces * kPackChannels, count = least(kPackChannels, p.channels - c0);
      const int64_t o0 = task / pieces % p.panels * MR, group = task / (pieces * p.panels);
      const int64_t lanes = least<int64_t>(MR, p.outputs - o0);
      const S* from = w + group * p.w_group + o0 * p.w_lane + c0 * p.w_channel;
      if (dense) {
        pack_panel<MR>(from, p.w_lane, 1, lanes, 9 * count, g);
      } else {
        for (int64_t c = 0; c < count; ++c)
          for (int64_t lane = 0; lane < MR; ++lane)
            for (int64_t t = 0; t < 9; ++t)
              g[(c * 9 + t) * MR + lane] =
                  lane < lanes ? load_one(from + lane * p.w_lane + c * p.w_channel + p.tap[t]) : 0.f;
      }
      float* to = u + group * (M + 2) * (M + 2) * step + o0 / MR * panel + c0 * MR;
      for (int64_t c = 0; c < count; ++c) {
        const float* taps[9];
        for (int64_t t = 0; t < 9; ++t) taps[t] = g + (c * 9 + (dense ? p.tap[t] : t)) * MR;
        transform_weight<M>(taps, to + c * MR, step);
      }
    }
  });
}

struct TileBlock {
  int64_t group, n0, n1, r0, r1;  // images; rows of tiles
  int64_t tiles;                  // rounded up to vectors: columns of the products
};
// V's row: the last vector of tiles may run over.
constexpr int64_t v_row(int64_t tiles) { return tiles + Simd<float>::N; }

// The block's source, all channels, to V.
template <int M, class S>
void transform_block(const Winograd& p, const TileBlock& b, const S* x, float* slab, float* v) {
  const Pass& pass = p.pass;
  const int64_t row = v_row(b.tiles), step = matrix_step(p.channels * row), rows = b.r1 - b.r0;
  for (int64_t c0 = 0; c0 < p.channels; c0 += kSlabChannels) {
    const int64_t count = least(kSlabChannels, p.channels - c0);
    for (int64_t n = b.n0; n < b.n1; ++n) {
      pack_slab(pass, p.src, x + n * p.src.sn + (b.group * p.channels + c0) * p.src.sc, count, b.r0 * M, rows * M + 2,
                slab);
      // What a row's last vector has too much, the next row overwrites.
      for (int64_t c = 0; c < count; ++c)
        for (int64_t r = 0; r < rows; ++r) {
          float* to = v + (c0 + c) * row + ((n - b.n0) * rows + r) * p.tile_cols;
          const float* from = slab + c * pass.plane + r * M * pass.pitch;
          for (int64_t t = 0; t < p.tile_cols; t += Simd<float>::N)
            transform_input<M>(from + t, pass.pitch, pass.slab_cols, to + t, step);
        }
    }
  }
}

// Output channels [first, first + count) of the block from their products m (A*A, count, tiles).
template <int M, class S>
void store_block(const Winograd& p, const TileBlock& b, int64_t first, int64_t count, const float* m, const float* bias,
                 float* line, S* out) {
  const int64_t step = matrix_step(count * b.tiles), row = b.tiles * M;
  for (int64_t o = 0; o < count; ++o) {
    for (int64_t t = 0; t < b.tiles; t += Simd<float>::N)
      transform_output<M>(m + o * b.tiles + t, step, bias[first + o], line + t * M, row);
    const float* from = line;
    for (int64_t n = b.n0; n < b.n1; ++n)
      for (int64_t r = b.r0; r < b.r1; ++r, from += p.tile_cols * M) {
        S* to = out + n * p.dst.sn + (b.group * p.outputs + first + o) * p.dst.sc + r * M * p.dst.sh;
        for (int64_t i = 0; i < M && r * M + i < p.dst.h; ++i) store_row(to + i * p.dst.sh, from + i * row, p.dst.w);
      }
  }
}

// Sizes of a task's buffers in floats.
template <int M>
struct Room {
  static constexpr int64_t kMatrices = (M + 2) * (M + 2);
  int64_t slab, v, m, panel, line;
  explicit Room(const Winograd& p)
      : slab(p.pass.plane * kSlabChannels + 2 * Simd<float>::N),
        v(kMatrices * matrix_step(p.channels * v_row(p.most_tiles))),
        m(kMatrices * matrix_step(p.width * MR * p.most_tiles)),
        panel(p.channels * NR<float>),
        line(M * M * p.most_tiles) {}
};

template <int M, class S>
Status run_winograd(const CpuPlan& plan, const Args& args) {
  constexpr int64_t kMatrices = (M + 2) * (M + 2);
  const Winograd& p = *static_cast<const Winograd*>(plan.state);
  const S* x = static_cast<const S*>(args.in[0]);
  S* out = static_cast<S*>(args.out[p.y]);
  const int64_t channels = p.groups * p.outputs, panel = p.channels * MR, u_step = matrix_step(p.panels * panel);
  const int64_t u_size = p.groups * kMatrices * u_step;
  float* const u = static_cast<float*>(scratch(0, (u_size + channels) * sizeof(float)));
  if (!u) return kOutOfMemory;
  float* const bias = u + u_size;
  for (int64_t o = 0; o < channels; ++o)
    bias[o] = p.has_bias ? load_one(static_cast<const S*>(args.in[2]) + o * plan.call.in[2].strides[0]) : 0.f;
  transform_weights<M>(p, static_cast<const S*>(args.in[1]), u);

  const Room<M> room(p);
  bool failed = false;
  parallel(p.groups * p.image_blocks * p.row_blocks * p.parts, 1, [&](int64_t begin, int64_t end) {
    float* const slab = static_cast<float*>(scratch(1, room.slab * sizeof(float)));
    float* const v = static_cast<float*>(scratch(2, room.v * sizeof(float)));
    float* const m = static_cast<float*>(scratch(3, (room.m + room.panel + room.line) * sizeof(float)));
    if (!slab || !v || !m) return __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
    float *const b_panel = m + room.m, *const line = b_panel + room.panel;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t part = task % p.parts, rb = task / p.parts % p.row_blocks;
      const int64_t ib = task / (p.parts * p.row_blocks) % p.image_blocks;
      TileBlock b;
      b.group = task / (p.parts * p.row_blocks * p.image_blocks);
      b.n0 = ib * p.block_images, b.n1 = least(p.dst.n, b.n0 + p.block_images);
      b.r0 = rb * p.block_rows, b.r1 = least(p.tile_rows, b.r0 + p.block_rows);
      b.tiles = round_up((b.n1 - b.n0) * (b.r1 - b.r0) * p.tile_cols, Simd<float>::N);
      transform_block<M>(p, b, x, slab, v);
      const int64_t v_step = matrix_step(p.channels * v_row(b.tiles));
      for (int64_t block = p.blocks * part / p.parts; block < p.blocks * (part + 1) / p.parts; ++block) {
        const int64_t first = block * p.width * MR, count = least(p.width * MR, p.outputs - first);
        const int64_t m_step = matrix_step(count * b.tiles);
        for (int64_t i = 0; i < kMatrices; ++i) {
          const Left<float> left{u + (b.group * kMatrices + i) * u_step + first / MR * panel, panel, 0};
          const Right<float> right{b_panel, 0, v + i * v_step, v_row(b.tiles)};
          tiles<Place::packed>(count, b.tiles, p.channels, left, right, m + i * m_step, b.tiles, false);
        }
        store_block<M>(p, b, first, count, m, bias + b.group * p.outputs, line, out);
        if (!p.epilogue) continue;
        const int64_t at[] = {b.n0, b.group * p.outputs + first, b.r0 * M, 0};
        const int64_t size[] = {b.n1 - b.n0, count, least(p.dst.h, b.r1 * M) - b.r0 * M, p.dst.w};
        if (finish_block(*p.epilogue, args, at, size) != kOk) __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
      }
    }
  });
  return failed ? kOutOfMemory : kOk;
}

// ---- plan

// Tiles a task: F(4x4)'s transforms are larger, and its tiles.
template <int M>
constexpr int64_t kWantedTiles = M == 2 ? 112 : 64;
constexpr int64_t kBlockPanels = 5, kMostVectors = 4 << 20, kNever = 0x7fffffffffffffff;

// The blocks of tiles: of about the wanted size, and such that few lanes are idle.
template <int M>
void choose_blocks(Winograd& p) {
  const int64_t image = p.tile_rows * p.tile_cols, N = Simd<float>::N;
  p.block_images = 1, p.block_rows = p.tile_rows;
  int64_t best = kNever;
  const auto consider = [&](int64_t images, int64_t rows) {
    const int64_t image_blocks = ceil_div(p.dst.n, images), row_blocks = ceil_div(p.tile_rows, rows);
    const int64_t last = p.tile_rows - (row_blocks - 1) * rows, left = p.dst.n - (image_blocks - 1) * images;
    const auto tiles = [&](int64_t n, int64_t r) { return round_up(n * r * p.tile_cols, N); };
    const int64_t all = (image_blocks - 1) * ((row_blocks - 1) * tiles(images, rows) + tiles(images, last)) +
                        (row_blocks - 1) * tiles(left, rows) + tiles(left, last);
    const int64_t cost = all + image_blocks * row_blocks * N;
    if (cost > best) return;
    best = cost, p.all_tiles = all, p.block_images = images, p.block_rows = rows;
  };
  if (image * 2 > kWantedTiles<M>) {
    const int64_t most_rows = most(1, kWantedTiles<M> / p.tile_cols);
    for (int64_t rows = ceil_div(most_rows, 2); rows <= least(most_rows, p.tile_rows); ++rows) consider(1, rows);
    if (best == kNever) consider(1, p.tile_rows);
  } else {
    for (int64_t images = ceil_div(kWantedTiles<M>, 2 * image); images * image <= kWantedTiles<M>; ++images)
      consider(least(images, p.dst.n), p.tile_rows);
  }
  p.image_blocks = ceil_div(p.dst.n, p.block_images), p.row_blocks = ceil_div(p.tile_rows, p.block_rows);
  p.most_tiles = round_up(p.block_images * p.block_rows * p.tile_cols, N);
}

// What F(M x M) takes and what the direct kernel does, in vector multiply-adds; the factors are measured.
template <int M>
int64_t cost(const Winograd& p) {
  constexpr int64_t A = M + 2, N = Simd<float>::N;
  const int64_t products = p.groups * A * A * p.channels * round_up(p.outputs, 2) * p.all_tiles / N;
  const int64_t rows = p.dst.n * p.tile_rows * ceil_div(p.tile_cols, N) * p.parts;
  const int64_t transforms = p.groups * (rows * p.channels + p.all_tiles / N * p.outputs) * 12 * A * A;
  const int64_t weights = p.groups * p.panels * p.channels * (M == 2 ? 28 : 60) * (A * A + 9);
  return products + transforms + weights;
}
inline int64_t direct_cost(const Winograd& p) {
  constexpr int64_t N = Simd<float>::N;
  return 9 * p.groups * p.channels * round_up(p.outputs, N) * p.dst.n * p.dst.h * p.dst.w / N * 9 / 10;
}

// Plans F(M x M); answers its cost.
template <int M>
int64_t set_up(Winograd& p) {
  p.tile_rows = ceil_div(p.dst.h, M), p.tile_cols = ceil_div(p.dst.w, M);
  p.panels = ceil_div(p.outputs, MR);
  choose_blocks<M>(p);
  // Few blocks of tiles: some tasks share one, and each transforms the source.
  const int64_t units = p.groups * p.image_blocks * p.row_blocks;
  p.parts = least<int64_t>(units < 2 ? 4 : units < 4 ? 2 : 1, ceil_div(p.panels, 4));
  p.blocks = most(p.parts, ceil_div(p.panels, kBlockPanels));
  p.width = ceil_div(p.panels, p.blocks);
  p.blocks = ceil_div(p.panels, p.width);
  p.parts = least(p.parts, p.blocks);
  Pass& s = p.pass;
  s.row_mul = s.col_mul = M;
  s.slab_cols = p.tile_cols + 1;
  s.pitch = s.slab_cols * M;
  s.slab_rows = p.block_rows * M + 2;
  s.plane = s.slab_rows * s.pitch + 16;
  return (M + 2) * (M + 2) * p.channels * p.most_tiles > kMostVectors ? kNever : cost<M>(p);
}

// The tile of the fastest form, which is then planned; 0 where that is the direct kernel.
inline int choose_tile(Winograd& p, bool fast) {
  if (p.channels < 16 || p.outputs < 16) return 0;
  const int64_t direct = direct_cost(p), two = set_up<2>(p);
  if (fast) {
    Winograd larger = p;
    // Its matrices leave the caches sooner than multiply-adds tell.
    if (set_up<4>(larger) / 5 * 6 < least(two, direct)) return p = larger, 4;
  }
  return two < direct ? 2 : 0;
}

// The plan of a convolution (gradient: of its input's gradient), whose call is `call` and may be part of the plan's.
Status plan_call(CpuPlan& plan, const Call& call, bool gradient, Winograd** out, int* tile) {
  ConvParams a;
  const bool has_bias = !gradient && call.nin == 3;
  if (!conv_operands(call, has_bias ? 3 : 2) || !conv_params(call, &a)) return kUnsupported;
  const Image w = image_of(call.in[1]), dst = image_of(call.out[0]);
  if (w.h != 3 || w.w != 3 || a.stride_h * a.stride_w * a.dil_h * a.dil_w != 1 || dst.sw != 1) return kUnsupported;
  if (a.pad_h > 2 || a.pad_w > 2 || dst.n * dst.h * dst.w == 0) return kUnsupported;
  Winograd* p = static_cast<Winograd*>(plan_alloc(plan, sizeof(Winograd)));
  void* taps = plan_alloc(plan, tap_bytes(9));
  if (!p || !taps) return kOutOfMemory;
  p->src = image_of(call.in[0]), p->dst = dst;
  const int64_t per_group = w.n / a.groups;
  p->groups = a.groups, p->w_group = per_group * w.sn, p->has_bias = has_bias;
  p->channels = gradient ? per_group : w.c, p->outputs = gradient ? w.c : per_group;
  p->w_lane = gradient ? w.sc : w.sn, p->w_channel = gradient ? w.sn : w.sc;
  set_taps(p->pass, taps, 9);
  if (gradient)
    gradient_pass(p->pass, a, w, dst, 0, 0);
  else
    forward_pass(p->pass, a, w, dst);
  for (int64_t t = 0; t < 9; ++t) p->tap[p->pass.row[t] * 3 + p->pass.col[t]] = p->pass.weight[t];
  *out = p;
  *tile = choose_tile(*p, call.nparams > 7 && call.params[7] != 0);
  if (*tile == 0) return kUnsupported;
  plan.state = p;
  return for_float(call.out[0].dtype, [&](auto x) {
    using S = decltype(x);
    if constexpr (kSame<S, double>)
      return kUnsupported;
    else
      return plan.run = *tile == 4 ? run_winograd<4, S> : run_winograd<2, S>, kOk;
  });
}

template <bool gradient>
Status make_winograd(CpuPlan& plan) {
  Winograd* p;
  int tile;
  return plan_call(plan, plan.call, gradient, &p, &tile);
}

constexpr int64_t kLeastBlock = 2048;  // elements; the program takes longer to start than smaller ones to read

template <bool gradient>
Status make_winograd_then(CpuPlan& plan) {
  constexpr const char* name = gradient ? "conv2dGradInput" : "conv2d";
  Followed call;
  Status status = take_apart(plan, name, &call);
  Winograd* p = nullptr;
  int tile = 0;
  if (status == kOk) status = plan_call(plan, call.plain, gradient, &p, &tile);
  if (status != kOk) return status;
  if (p->block_images * p->block_rows * tile * p->dst.w * p->width * MR < kLeastBlock) return make_whole(plan, name);
  p->y = call.y;
  const int32_t dims[] = {0, 1, 2, 3};
  Epilogue* epilogue = nullptr;
  status = make_epilogue(plan, call, 4, dims, &epilogue);
  const int64_t rows = p->block_rows * tile, width = p->width * MR;
  const int64_t images[] = {p->block_images, p->dst.n % p->block_images};
  const int64_t widths[] = {least(width, p->outputs), p->outputs % width};
  const int64_t heights[] = {least(rows, p->dst.h), p->dst.h % rows};
  for (const int64_t n : images)
    for (const int64_t c : widths)
      for (const int64_t h : heights) {
        const int64_t size[] = {n, c, h, p->dst.w};
        if (status == kOk) status = expect_block(plan, epilogue, size);
      }
  p->epilogue = epilogue;
  return status;
}

}  // namespace

// Sets of 16 bytes a vector lack the registers that make it faster.
void register_winograd() {
#if BRASA_SIMD_BYTES >= 32
  register_kernel("conv2d", make_winograd<false>, "winograd");
  register_kernel("conv2dGradInput", make_winograd<true>, "winograd");
  register_kernel("conv2dThen", make_winograd_then<false>, "winograd");
  register_kernel("conv2dGradInputThen", make_winograd_then<true>, "winograd");
#endif
}

}  // namespace brasa::cpu::BRASA_ISA
