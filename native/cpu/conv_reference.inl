// The convolutions as plain loops, for any strides: one output at a time, parallel over outputs.
#pragma once
#include "conv_pack.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct ReferencePlan {
  Image a, b, out;
  ConvParams params;
};

template <class S>
BRASA_INLINE Compute<S> at(const S* data, const Image& i, int64_t n, int64_t c, int64_t h, int64_t w) {
  return load_one(data + n * i.sn + c * i.sc + h * i.sh + w * i.sw);
}

// out (N,O,OH,OW) = x (a) * w (b)
struct ForwardReference {
  template <class S>
  static Compute<S> value(const ReferencePlan& p, const S* x, const S* w, int64_t n, int64_t o, int64_t oh,
                          int64_t ow) {
    const ConvParams& q = p.params;
    const int64_t first = o / (p.out.c / q.groups) * p.b.c;
    Compute<S> sum = 0;
    for (int64_t c = 0; c < p.b.c; ++c)
      for (int64_t kh = 0; kh < p.b.h; ++kh)
        for (int64_t kw = 0; kw < p.b.w; ++kw) {
          const int64_t h = oh * q.stride_h + kh * q.dil_h - q.pad_h, v = ow * q.stride_w + kw * q.dil_w - q.pad_w;
          if (h >= 0 && h < p.a.h && v >= 0 && v < p.a.w)
            sum += at(x, p.a, n, first + c, h, v) * at(w, p.b, o, c, kh, kw);
        }
    return sum;
  }
};

// out (N,C,H,W) from g (a), w (b)
struct GradInputReference {
  template <class S>
  static Compute<S> value(const ReferencePlan& p, const S* g, const S* w, int64_t n, int64_t c, int64_t h, int64_t v) {
    const ConvParams& q = p.params;
    const int64_t outputs = p.b.n / q.groups, first = c / p.b.c * outputs;
    Compute<S> sum = 0;
    for (int64_t o = 0; o < outputs; ++o)
      for (int64_t kh = 0; kh < p.b.h; ++kh)
        for (int64_t kw = 0; kw < p.b.w; ++kw) {
          const int64_t oh = h + q.pad_h - kh * q.dil_h, ow = v + q.pad_w - kw * q.dil_w;
          if (oh < 0 || ow < 0 || oh % q.stride_h || ow % q.stride_w || oh / q.stride_h >= p.a.h ||
              ow / q.stride_w >= p.a.w)
            continue;
          sum += at(g, p.a, n, first + o, oh / q.stride_h, ow / q.stride_w) * at(w, p.b, first + o, c % p.b.c, kh, kw);
        }
    return sum;
  }
};

// out (O,C/groups,KH,KW) from g (a), x (b)
struct GradWeightReference {
  template <class S>
  static Compute<S> value(const ReferencePlan& p, const S* g, const S* x, int64_t o, int64_t c, int64_t kh,
                          int64_t kw) {
    const ConvParams& q = p.params;
    const int64_t channel = o / (p.out.n / q.groups) * p.out.c + c;
    Compute<S> sum = 0;
    for (int64_t n = 0; n < p.a.n; ++n)
      for (int64_t oh = 0; oh < p.a.h; ++oh)
        for (int64_t ow = 0; ow < p.a.w; ++ow) {
          const int64_t h = oh * q.stride_h + kh * q.dil_h - q.pad_h, v = ow * q.stride_w + kw * q.dil_w - q.pad_w;
          if (h >= 0 && h < p.b.h && v >= 0 && v < p.b.w)
            sum += at(g, p.a, n, o, oh, ow) * at(x, p.b, n, channel, h, v);
        }
    return sum;
  }
};

template <class Kind, class S>
Status run_reference(const CpuPlan& plan, const Args& args) {
  const ReferencePlan& p = *static_cast<const ReferencePlan*>(plan.state);
  const S* a = static_cast<const S*>(args.in[0]);
  const S* b = static_cast<const S*>(args.in[1]);
  const Image& o = p.out;
  parallel(o.n * o.c * o.h, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t h = i % o.h, c = i / o.h % o.c, n = i / (o.h * o.c);
      Compute<S> bias = 0;
      if (plan.call.nin == 3) bias = load_one(static_cast<const S*>(args.in[2]) + c * plan.call.in[2].strides[0]);
      for (int64_t w = 0; w < o.w; ++w)
        store_one(static_cast<S*>(args.out[0]) + n * o.sn + c * o.sc + h * o.sh + w * o.sw,
                  Kind::template value<S>(p, a, b, n, c, h, w) + bias);
    }
  });
  return kOk;
}

template <class Kind>
Status make_reference(CpuPlan& plan) {
  const Call& call = plan.call;
  ReferencePlan* p = static_cast<ReferencePlan*>(plan_alloc(plan, sizeof(ReferencePlan)));
  if (!p) return kOutOfMemory;
  if (!conv_operands(call, call.nin == 3 && __is_same(Kind, ForwardReference) ? 3 : 2) ||
      !conv_params(call, &p->params))
    return kUnsupported;
  p->a = image_of(call.in[0]), p->b = image_of(call.in[1]), p->out = image_of(call.out[0]);
  plan.state = p;
  return for_float(call.out[0].dtype, [&](auto s) {
    plan.run = run_reference<Kind, decltype(s)>;
    return kOk;
  });
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
