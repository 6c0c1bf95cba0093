// 1x1 convolutions without padding, and their input's gradients: y[n] (O,P) = w (O,C) x x[n] (C,P), P the pixels, which
// is a batched product that matmul and matmulThen do; w is transposed for the gradient. With a stride, forward first
// gathers the pixels that are read, and the gradient spreads its product over zeros.
#pragma once
#include "conv_pack.inl"
#include "epilogue.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct Pointwise {
  CpuPlan product;
  int64_t stride_h, stride_w;
  Image few, many;  // with a stride: the pixels of the product, and those among which they lie
  int64_t copy;     // bytes of the few; 0 without a stride
};

// (N,C,H,W) as (N, groups, C/groups, H*W); false when the pixels are not evenly spaced.
inline bool by_groups(const Layout& l, int64_t groups, Layout* out) {
  if (l.shape[2] > 1 && l.shape[3] > 1 && l.strides[2] != l.shape[3] * l.strides[3]) return false;
  const int64_t pixel = l.shape[3] > 1 ? l.strides[3] : l.strides[2];
  *out = {l.dtype,
          4,
          {l.shape[0], groups, l.shape[1] / groups, l.shape[2] * l.shape[3]},
          {l.strides[0], l.shape[1] / groups * l.strides[1], l.strides[1], pixel}};
  return true;
}

// few = the pixels of many that are read. Both have neighbouring channels, or `few` has dense planes.
template <class S>
void gather_pixels(const Pointwise& p, const S* from, S* to) {
  const Image &few = p.few, &many = p.many;
  const bool last = few.sc == 1 && few.c > 1;
  parallel(few.n * few.h * (last ? 1 : few.c), most(1, 16384 / most(1, few.w)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t r = i % few.h, c = last ? 0 : i / few.h % few.c, n = i / few.h / (last ? 1 : few.c);
      const S* at = from + n * many.sn + c * many.sc + r * p.stride_h * many.sh;
      S* row = to + n * few.sn + c * few.sc + r * few.sh;
      int64_t j = 0;
      if (last) {
        for (; j < few.w; ++j) __builtin_memcpy(row + j * few.sw, at + j * p.stride_w * many.sw, few.c * sizeof(S));
      } else if (many.sw == 1 && p.stride_w == 2) {
        using T = Compute<S>;
        if constexpr (kNative<S>)
          for (; j + Simd<T>::N < few.w; j += Simd<T>::N) Simd<T>::store(row + j, load_second<T>(at + 2 * j));
      }
      for (; j < few.w; ++j) row[j] = at[j * p.stride_w * many.sw];
    }
  });
}

// many = the few among zeros.
template <class S>
void spread_pixels(const Pointwise& p, const S* from, S* to) {
  const Image &few = p.few, &many = p.many;
  parallel(many.n * many.c * many.h, most(1, 16384 / most(1, many.w)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t r = i % many.h, c = i / many.h % many.c, n = i / many.h / many.c, from_row = r / p.stride_h;
      S* at = to + n * many.sn + c * many.sc + r * many.sh;
      for (int64_t j = 0; j < many.w; ++j) at[j * many.sw] = S{};
      if (r % p.stride_h != 0 || from_row >= few.h) continue;
      const S* row = from + n * few.sn + c * few.sc + from_row * few.sh;
      for (int64_t j = 0; j < few.w; ++j) at[j * p.stride_w * many.sw] = row[j];
    }
  });
}

template <class S, bool gradient>
Status run_pointwise(const CpuPlan& plan, const Args& args) {
  const Pointwise& p = *static_cast<const Pointwise*>(plan.state);
  const CpuPlan& product = p.product;
  const void* in[kMostFollowed];
  for (int32_t i = 2; i < plan.call.nin; ++i) in[i] = args.in[i];
  in[0] = args.in[1], in[1] = args.in[0];
  if (p.copy == 0) return product.run(product, {in, args.out, args.scalars, args.fault});
  S* const compact = static_cast<S*>(scratch(kCopyScratch, p.copy));
  if (!compact) return kOutOfMemory;
  if (!gradient) {
    gather_pixels(p, static_cast<const S*>(args.in[0]), compact);
    in[1] = compact;
    return product.run(product, {in, args.out, args.scalars, args.fault});
  }
  void* out[] = {compact};
  const Status status = product.run(product, {in, out, nullptr, args.fault});
  if (status == kOk) spread_pixels<S>(p, compact, static_cast<S*>(args.out[0]));
  return status;
}

// The product of a convolution; the whole call's program follows if `then`. kInvalid: nothing here does, in one sweep,
// what follows.
template <bool gradient>
Status plan_pointwise(CpuPlan& plan, const Call& call, bool then) {
  ConvParams a;
  const int nin = !gradient && call.nin == 3 ? 3 : 2;
  if (!conv_operands(call, nin) || !conv_params(call, &a) || a.pad_h != 0 || a.pad_w != 0) return kUnsupported;
  const Layout &x = call.in[0], &w = call.in[1], &y = call.out[0];
  const int64_t outputs = w.shape[0] / a.groups;
  // Few channels of a group are no product worth its start.
  if (w.shape[2] != 1 || w.shape[3] != 1 || w.shape[1] < 8 || outputs < 8) return kUnsupported;
  Pointwise* p = static_cast<Pointwise*>(plan_alloc(plan, sizeof(Pointwise)));
  if (!p) return kOutOfMemory;
  plan.state = p;
  Layout in[kMostFollowed], out[kMostFollowing], source = x, result = y;
  // The gradient may have pixels beyond the last that was read, with stride 1 too.
  const bool strided = a.stride_h != 1 || a.stride_w != 1 || x.shape[2] != y.shape[2] || x.shape[3] != y.shape[3];
  if (strided) {
    // Forward's output pixels with the channels of x, or g's pixels with the channels of the gradient.
    Layout& compact = gradient ? result : source;
    const bool last = !gradient && x.strides[1] == 1;
    const int64_t c = compact.shape[1], *pixels = (gradient ? x : y).shape, h = pixels[2], v = pixels[3];
    compact = {y.dtype, 4, {y.shape[0], c, h, v}, {c * h * v, last ? 1 : h * v, last ? v * c : v, last ? c : 1}};
    p->few = image_of(compact), p->many = image_of(gradient ? y : x);
    p->stride_h = a.stride_h, p->stride_w = a.stride_w;
    p->copy = most(1, y.shape[0] * c * h * v * dtype_bytes(y.dtype));
  }
  if (!by_groups(source, a.groups, in + 1) || !by_groups(result, a.groups, out)) return kUnsupported;
  const int64_t s[] = {outputs * w.strides[0], w.strides[0], w.strides[1]}, groups = a.groups, images = x.shape[0];
  if (gradient)
    in[0] = {w.dtype, 4, {images, groups, w.shape[1], outputs}, {0, s[0], s[2], s[1]}};
  else
    in[0] = {w.dtype, 4, {images, groups, outputs, w.shape[1]}, {0, s[0], s[1], s[2]}};
  if (nin == 3) {
    const int64_t b = call.in[2].strides[0];
    in[2] = {w.dtype, 4, {images, groups, outputs, out[0].shape[3]}, {0, outputs * b, b, 0}};
  }
  Call part = {op_id("matmul"), nin, 1, 0, 0, in, out, nullptr};
  if (then) {
    const Call& whole = plan.call;
    if ((gradient && strided) || whole.nin > kMostFollowed) return kInvalid;
    for (int32_t i = nin; i < whole.nin; ++i)
      if (!by_groups(whole.in[i], groups, in + i)) return kInvalid;
    for (int32_t i = 0; i < whole.nout; ++i)
      if (!by_groups(whole.out[i], groups, out + i)) return kInvalid;
    // The same program, after a product that has no parameters.
    const int32_t skipped = int32_t(whole.params[1]), nparams = whole.nparams - skipped;
    double* params = static_cast<double*>(plan_alloc(plan, nparams * sizeof(double)));
    if (!params) return kOutOfMemory;
    __builtin_memcpy(params, whole.params, 4 * sizeof(double));
    __builtin_memcpy(params + 4, whole.params + 4 + skipped, (nparams - 4) * sizeof(double));
    params[1] = 0;
    part = {op_id("matmulThen"), whole.nin, whole.nout, nparams, whole.nscalars, in, out, params};
  }
  const Status status = make_part(plan, part, &p->product);
  if (status != kOk) return status;
  return for_float(y.dtype, [&](auto s) { return plan.run = run_pointwise<decltype(s), gradient>, kOk; });
}

template <bool gradient>
Status make_pointwise(CpuPlan& plan) {
  return plan_pointwise<gradient>(plan, plan.call, false);
}

template <bool gradient>
Status make_pointwise_then(CpuPlan& plan) {
  constexpr const char* name = gradient ? "conv2dGradInput" : "conv2d";
  Followed call;
  Status status = take_apart(plan, name, &call);
  if (status == kOk) status = plan_pointwise<gradient>(plan, call.plain, true);
  return status == kInvalid ? make_whole(plan, name) : status;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
