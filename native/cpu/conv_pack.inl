// What the convolutions share: where each output pixel reads its input (Pass), and the slab that makes those reads
// plain offsets.
//
// Forward is one pass; the gradient of the input is a convolution of g, one pass for each residue of the stride. Within
// a pass out[o, r, c] = sum over k = (channel, tap) of weight[k, o] * slab[offset[k] + r * row_mul * pitch + c]: no
// im2col. The slab is a block of the source in the compute type with its zero borders, its columns sorted by residue of
// the stride, so that the pixels of an output row are always neighbours. A source that already looks like that is read
// in place.
#pragma once
#include "convert.inl"
#include "panels.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// An NCHW view in elements; w is read the same way as (O, C, KH, KW).
struct Image {
  int64_t n, c, h, w;      // sizes
  int64_t sn, sc, sh, sw;  // strides
};

inline Image image_of(const Layout& l) {
  return {l.shape[0], l.shape[1], l.shape[2], l.shape[3], l.strides[0], l.strides[1], l.strides[2], l.strides[3]};
}

struct Pass {
  int64_t rows, cols;                            // output pixels of one image
  int64_t out_row, out_col, row_step, col_step;  // where they lie in the output
  int64_t row_mul, col_mul;                      // source rows and columns a step
  int64_t pad_top, pad_left;                     // zero rows and columns put before the source
  int64_t taps, tap_rows, tap_cols;              // tap_rows, tap_cols: how far the taps reach beyond the first
  int32_t* row;                                  // [taps] slab row, and column with its residue: see tap_offset
  int32_t* col;
  int64_t* weight;  // [taps] offset in the weight tensor
  // The slab: block_images x channels x slab_rows x (col_mul x slab_cols).
  bool in_place;
  int64_t slab_cols, pitch, slab_rows, plane, image_step;
  int64_t block_images, block_rows;
  int32_t* offset;  // [channels x taps]
};

inline int64_t tap_offset(const Pass& p, int64_t tap) {
  return p.row[tap] * p.pitch + p.col[tap] % p.col_mul * p.slab_cols + p.col[tap] / p.col_mul;
}

// Floor division and the smallest i >= 0 with i * step >= x.
constexpr int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Slab columns [lo, hi) of a row hold source columns j * mul + first, 0 <= that < w; the others are zero.
struct Columns {
  int64_t lo, hi;
};
inline Columns columns_of(int64_t first, int64_t mul, int64_t w, int64_t cols) {
  const int64_t lo = first >= 0 ? 0 : ceil_div(-first, mul), hi = w > first ? floor_div(w - 1 - first, mul) + 1 : 0;
  return {least(cols, lo), least(cols, hi)};
}

// Every second one of 2N elements, converted, of which the first n are read; and every fourth of 4N.
template <class T, int... L>
BRASA_INLINE typename Simd<T>::Reg evens(typename Simd<T>::Reg a, typename Simd<T>::Reg b, Lanes<L...>) {
  return __builtin_shufflevector(a, b, (2 * L)...);
}
template <class T, class S>
BRASA_INLINE typename Simd<T>::Reg load_second(const S* from, int n = 2 * Simd<T>::N) {
  constexpr int N = Simd<T>::N;
  const Vec<T> a = n < N ? load_as<T>(from, n) : load_as<T>(from);
  const Vec<T> b = n < 2 * N ? load_as<T>(from + N, n > N ? n - N : 0) : load_as<T>(from + N);
  return evens<T>((typename Simd<T>::Reg)a.v, (typename Simd<T>::Reg)b.v, typename Iota<N>::type{});
}
template <class T, class S>
BRASA_INLINE typename Simd<T>::Reg load_fourth(const S* from, int n = 4 * Simd<T>::N) {
  constexpr int H = 2 * Simd<T>::N;
  return evens<T>(load_second<T>(from, n < H ? n : H), load_second<T>(from + H, n < H ? 0 : n - H),
                  typename Iota<Simd<T>::N>::type{});
}

// A row of the source, converted: to[j] = from[(j * mul + first) * stride] in [lo, hi), else 0. May write N - 1 more.
template <class T, class S>
BRASA_INLINE void pack_row(const S* from, int64_t stride, int64_t first, int64_t mul, Columns in, int64_t cols, T* to) {
  using V = Vec<T>;
  int64_t j = 0;
  for (; j < in.lo; j += V::N) V(T(0)).store(to + j);
  j = in.lo;
  from += first * stride;
  if (stride == 1 && mul == 1) {
    for (; j + V::N <= in.hi; j += V::N) load_as<T>(from + j).store(to + j);
    if (j < in.hi) load_as<T>(from + j, int(in.hi - j)).store(to + j), j += V::N;
  } else if (stride == 1 && mul == 2) {
    for (; j + V::N < in.hi; j += V::N) Simd<T>::store(to + j, load_second<T>(from + 2 * j));
    if (j < in.hi) Simd<T>::store(to + j, load_second<T>(from + 2 * j, int(2 * (in.hi - j) - 1))), j = in.hi;
  } else if (stride == 1 && mul == 4) {
    for (; j + V::N < in.hi; j += V::N) Simd<T>::store(to + j, load_fourth<T>(from + 4 * j));
    if (j < in.hi) Simd<T>::store(to + j, load_fourth<T>(from + 4 * j, int(4 * (in.hi - j) - 3))), j = in.hi;
  } else {
    for (; j < in.hi; ++j) to[j] = load_one(from + j * mul * stride);
  }
  for (; j < cols; j += V::N) V(T(0)).store(to + j);
}

// N channels of a row at once when they are neighbours (channels-last): blocks of N columns by N channels, transposed.
template <class T, class S>
void pack_row_channels(const S* from, int64_t stride, int64_t first, int64_t mul, Columns in, int64_t cols, T* to,
                       int64_t plane) {
  constexpr int N = Simd<T>::N;
  const int64_t lo = in.lo, hi = in.hi;
  for (int c = 0; c < N; ++c) {
    for (int64_t j = 0; j < lo; ++j) to[c * plane + j] = 0;
    for (int64_t j = hi; j < cols; ++j) to[c * plane + j] = 0;
  }
  int64_t j = lo;
  for (; j + N <= hi; j += N) {
    typename Simd<T>::Reg r[N];
    unroll<N>([&](auto i) { r[i] = load_as<T>(from + ((j + i) * mul + first) * stride).v; });
    transpose<T>(r);
    unroll<N>([&](auto c) { Simd<T>::store(to + c * plane + j, r[c]); });
  }
  for (; j < hi; ++j)
    for (int c = 0; c < N; ++c) to[c * plane + j] = load_one(from + (j * mul + first) * stride + c);
}

// Fills the slab of one image: virtual rows [row, row + rows) of `channels` channels that start at x.
template <class T, class S>
void pack_slab(const Pass& p, const Image& src, const S* x, int64_t channels, int64_t row, int64_t rows, T* slab) {
  constexpr int N = Simd<T>::N;
  const bool neighbours = src.sc == 1 && src.sw != 1;
  Columns known[4];  // divisions are slow
  for (int64_t f = 0; f < least<int64_t>(4, p.col_mul); ++f)
    known[f] = columns_of(f - p.pad_left, p.col_mul, src.w, p.slab_cols);
  for (int64_t c = 0; c < channels;) {
    const int64_t step = neighbours && c + N <= channels ? N : 1;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t ih = row + r - p.pad_top;
      T* to = slab + c * p.plane + r * p.pitch;
      const S* from = x + c * src.sc + ih * src.sh;
      if (ih < 0 || ih >= src.h) {
        for (int64_t i = 0; i < step; ++i) __builtin_memset(to + i * p.plane, 0, p.pitch * sizeof(T));
      } else {
        // Channels lie pages apart, where no hardware looks ahead.
        if (step == 1)
          for (int64_t i = 0; i < src.w; i += 64 / sizeof(S)) __builtin_prefetch(from + 3 * src.sc + i);
        for (int64_t f = 0; f < p.col_mul; ++f) {
          const int64_t first = f - p.pad_left;
          const Columns in = f < 4 ? known[f] : columns_of(first, p.col_mul, src.w, p.slab_cols);
          T* const part = to + f * p.slab_cols;
          if (step == N)
            pack_row_channels<T>(from, src.sw, first, p.col_mul, in, p.slab_cols, part, p.plane);
          else
            pack_row<T>(from, src.sw, first, p.col_mul, in, p.slab_cols, part);
        }
      }
    }
    c += step;
  }
}

constexpr int64_t kSlabBytes = 1 << 20;  // of a block; one sweep over k reads but a part of it
constexpr int64_t kMostPixels = 1024;    // of a block of one image
constexpr int64_t kBlockPixels = 392;    // small images share a block of about this size, to reuse the weights

// Chooses the slab's shape and fills `offset`, for `channels` input channels of a source converted to `esize`-byte
// elements. False when an offset does not fit 32 bits.
inline bool plan_slab(Pass& p, const Image& src, int64_t channels, int64_t esize, bool may_read_in_place,
                      int32_t* offset, int64_t min_pixels) {
  p.slab_cols = p.cols + p.tap_cols;
  const int64_t whole_rows = (p.rows - 1) * p.row_mul + p.tap_rows + 1;
  // Planes that are a multiple of 1K apart would share the same few sets of L1.
  p.in_place = may_read_in_place && src.sw == 1 && p.col_mul == 1 && p.pad_top == 0 && p.pad_left == 0 &&
               whole_rows <= src.h && p.cols + p.tap_cols <= src.w && src.sc * esize % 1024 != 0;
  p.pitch = p.in_place ? src.sh : p.slab_cols * p.col_mul;
  const int64_t row_bytes = most(1, channels * p.pitch * esize);
  const int64_t fit = least((kSlabBytes / row_bytes - p.tap_rows - 1) / p.row_mul + 1, kMostPixels / most(1, p.cols));
  const int64_t blocks = ceil_div(p.rows, most(1, least(fit, p.rows)));
  p.block_rows = ceil_div(p.rows, blocks);
  p.slab_rows = (p.block_rows - 1) * p.row_mul + p.tap_rows + 1;
  p.plane = p.slab_rows * p.pitch;
  if (p.plane * esize % 1024 < 64) p.plane += 64 / esize;
  p.image_step = p.plane * channels;
  p.block_images = 1;
  if (blocks == 1) {
    const int64_t wanted = ceil_div(min_pixels, most(1, p.rows * p.cols));
    p.block_images = most(1, least(wanted, 2 * kSlabBytes / most(1, p.image_step * esize)));
  }
  if (p.in_place) p.plane = src.sc, p.image_step = src.sn;
  if (p.plane * most(1, channels) > 0x7fffffff) return false;
  p.offset = offset;
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t t = 0; t < p.taps; ++t) *offset++ = int32_t(c * p.plane + tap_offset(p, t));
  return true;
}

struct ConvParams {
  int64_t stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups;
};

inline bool conv_params(const Call& call, ConvParams* out) {
  if (call.nparams < 7) return false;
  int64_t* to = &out->stride_h;
  for (int i = 0; i < 7; ++i) to[i] = int64_t(call.params[i]);
  return out->stride_h > 0 && out->stride_w > 0 && out->pad_h >= 0 && out->pad_w >= 0 && out->dil_h > 0 &&
         out->dil_w > 0 && out->groups > 0;
}

// The taps of a pass lie in one allocation: weight, then row, then col.
inline void set_taps(Pass& p, void* memory, int64_t room) {
  p.weight = static_cast<int64_t*>(memory);
  p.row = reinterpret_cast<int32_t*>(p.weight + room);
  p.col = p.row + room;
}
constexpr int64_t tap_bytes(int64_t taps) { return taps * 16; }

// y (oh, ow) reads x at (oh * stride + kh * dilation - pad).
inline void forward_pass(Pass& p, const ConvParams& a, const Image& w, const Image& y) {
  p.rows = y.h, p.cols = y.w;
  p.out_row = p.out_col = 0, p.row_step = p.col_step = 1;
  p.row_mul = a.stride_h, p.col_mul = a.stride_w;
  p.pad_top = a.pad_h, p.pad_left = a.pad_w;
  p.tap_rows = (w.h - 1) * a.dil_h, p.tap_cols = (w.w - 1) * a.dil_w / a.stride_w;
  p.taps = 0;
  for (int64_t kh = 0; kh < w.h; ++kh)
    for (int64_t kw = 0; kw < w.w; ++kw, ++p.taps) {
      p.row[p.taps] = int32_t(kh * a.dil_h);
      p.col[p.taps] = int32_t(kw * a.dil_w);
      p.weight[p.taps] = kh * w.sh + kw * w.sw;
    }
}

// One dimension of a pass of the input's gradient, for the residue `phase` of the stride: x[i] with i + pad = stride *
// q + phase receives g[q + (phase - k * dilation) / stride] for the k whose difference divides. shift[k]: that quotient
// + q0, relative to the slab.
struct Residue {
  int64_t count, first, pad, reach;
  int64_t shift(int64_t k, int64_t stride, int64_t dil, int64_t phase, int64_t q0) const {
    return q0 + (phase - k * dil) / stride + pad;
  }
};
inline Residue residue(int64_t size, int64_t kernel, int64_t stride, int64_t dil, int64_t pad, int64_t phase,
                       int64_t* q0) {
  Residue r{0, 0, 0, 0};
  r.first = ((phase - pad) % stride + stride) % stride;
  r.count = r.first < size ? ceil_div(size - r.first, stride) : 0;
  *q0 = (r.first + pad - phase) / stride;
  int64_t lowest = 0, highest = 0;
  bool any = false;
  for (int64_t k = 0; k < kernel; ++k) {
    if ((k * dil - phase) % stride != 0) continue;
    const int64_t at = *q0 + (phase - k * dil) / stride;
    lowest = any ? least(lowest, at) : at;
    highest = any ? most(highest, at) : at;
    any = true;
  }
  r.pad = most(0, -lowest);
  r.reach = highest + r.pad;
  return r;
}

inline void gradient_pass(Pass& p, const ConvParams& a, const Image& w, const Image& x, int64_t phase_h,
                          int64_t phase_w) {
  int64_t qh, qw;
  const Residue rh = residue(x.h, w.h, a.stride_h, a.dil_h, a.pad_h, phase_h, &qh);
  const Residue rw = residue(x.w, w.w, a.stride_w, a.dil_w, a.pad_w, phase_w, &qw);
  p.rows = rh.count, p.cols = rw.count;
  p.out_row = rh.first, p.out_col = rw.first, p.row_step = a.stride_h, p.col_step = a.stride_w;
  p.row_mul = p.col_mul = 1;
  p.pad_top = rh.pad, p.pad_left = rw.pad;
  p.tap_rows = rh.reach, p.tap_cols = rw.reach;
  p.taps = 0;
  for (int64_t kh = 0; kh < w.h; ++kh)
    for (int64_t kw = 0; kw < w.w; ++kw) {
      if ((kh * a.dil_h - phase_h) % a.stride_h || (kw * a.dil_w - phase_w) % a.stride_w) continue;
      p.row[p.taps] = int32_t(rh.shift(kh, a.stride_h, a.dil_h, phase_h, qh));
      p.col[p.taps] = int32_t(rw.shift(kw, a.stride_w, a.dil_w, phase_w, qw));
      p.weight[p.taps++] = kh * w.sh + kw * w.sw;
    }
}

// f(S{}) for the storage type of a floating dtype.
template <class F>
Status for_float(int32_t dtype, const F& f) {
  switch (dtype) {
    case k_f32:
      return f(float());
    case k_f64:
      return f(double());
    case k_f16:
      return f(half_t());
    case k_bf16:
      return f(bfloat16_t());
  }
  return kUnsupported;
}

// Of one dtype; the first two inputs and the output have 4 dims.
inline bool conv_operands(const Call& call, int nin) {
  if (call.nin != nin || call.nout != 1 || call.out[0].ndim != 4) return false;
  for (int i = 0; i < nin; ++i)
    if (call.in[i].dtype != call.out[0].dtype || call.in[i].ndim != (i < 2 ? 4 : 1)) return false;
  return true;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
