// Convolution, NCHW or channels-last by strides: products with the windows of x, laid out as columns in scratch memory
// for some images at a time; or, where strides do not allow that and for the gradient of x, as it is defined: an
// invocation for each element of the result.
#include "product.h"
#include "shade.h"

namespace brasa::vk {
namespace {

struct Geometry {
  U32 stride[2], pad[2], dilation[2];
  U32 outputs, channels;  // of a group: O / groups, C / groups
};

bool sane(const Call& call, int nin) {
  if (call.nin < nin || call.nout != 1 || call.nparams != 7) return false;
  for (int i = 0; i < nin; ++i)
    if (call.in[i].ndim != 4) return false;
  return call.out[0].ndim == 4;
}
bool of_floats(const Call& call) {
  for (int i = 0; i < call.nin; ++i)
    if (call.in[i].dtype != call.out[0].dtype) return false;
  const int32_t compute = compute_dtype(call.out[0].dtype);
  return compute == k_f32 || compute == k_f64;
}

// weight: (O, C/groups, KH, KW)
Geometry geometry(Shade& s, const Call& call, const Layout& weight) {
  Geometry g;
  for (int i = 0; i < 2; ++i) {
    g.stride[i] = s.u32(static_cast<int64_t>(call.params[i]));
    g.pad[i] = s.u32(static_cast<int64_t>(call.params[2 + i]));
    g.dilation[i] = s.u32(static_cast<int64_t>(call.params[4 + i]));
  }
  g.outputs = s.u32(weight.shape[0] / static_cast<int64_t>(call.params[6]));
  g.channels = s.u32(weight.shape[1]);
  return g;
}

Id both(Id a, Id b) { return recording->pure(spv::LogicalAnd, Type::kBool, {a, b}); }

// sum += a * b where the condition holds.
template <class T, class A, class B>
void add_product(Shade& s, Var<T>& sum, Id condition, const A& a, const B& b) {
  s.module().when(condition, [&] { sum.set(fma(Vec<T>::of(a()), Vec<T>::of(b()), sum.get())); });
}

template <class F>
Status by_type(const Call& call, const F& f) {
  return compute_dtype(call.out[0].dtype) == k_f64 ? f(double{}) : f(float{});
}

constexpr int64_t kColumns = 32 << 20;  // bytes of columns at a time, if one image has no more

// Whether dims from first to last are walked by one stride, that of the last.
bool merges(const Layout& x, int first, int last) {
  for (int d = first; d < last; ++d)
    if (x.shape[d] != 1 && x.strides[d] != x.strides[d + 1] * x.shape[d + 1]) return false;
  return true;
}

// How images are cut into pieces whose columns fit.
struct Pieces {
  int64_t images, rows, columns;  // a piece; of an image: C * KH * KW, OH * OW
  Source source;
  Pieces(Maker& m, const Layout& x, const Layout& w, const Layout& y) {
    rows = x.shape[1] * w.shape[2] * w.shape[3];
    columns = y.shape[2] * y.shape[3];
    const int64_t bytes = rows * columns * item_bytes(x.dtype);
    images = bytes > 0 ? kColumns / bytes : 1;
    // The products with them go on over all of a piece.
    const int64_t steps = (columns + kStep - 1) / kStep, most = m.gpu.features().most_turns / kTurns;
    if (steps > 0 && images > most / steps) images = most / steps;
    images = images < 1 ? 1 : images < x.shape[0] ? images : x.shape[0];
    source = m.scratch(images * bytes);
  }
};

// The columns (images, C, KH, KW, OH, OW) of so many images from the first on.
Status unfold(Maker& m, const Source& from, const Layout& x, const Layout& w, const Layout& y, const Pieces& pieces,
              int64_t first, int64_t images) {
  Layout in = x;
  in.shape[0] = images;
  const Layout out = {x.dtype, 1, {images * pieces.rows * pieces.columns}, {1}};
  const Source source = {from.operand, from.begin + first * x.strides[0] * item_bytes(x.dtype)};
  Shade s(m);
  Shade::Tensor image = s.operand(source, in, false), to = s.operand(pieces.source, out, true);
  s.strides(image, in);
  const Geometry g = geometry(s, m.call, w);
  const std::vector<U32> size = s.sizes(in), sizes = {size[0],           size[1],           s.u32(w.shape[2]),
                                                      s.u32(w.shape[3]), s.u32(y.shape[2]), s.u32(y.shape[3])};
  s.each(count_of(out), [&](U32 index) {
    const auto at = s.unravel(index, sizes);                               // n, c, kh, kw, oh, ow
    const U32 h = at[4] * g.stride[0] + at[2] * g.dilation[0] - g.pad[0];  // wraps where it is outside
    const U32 v = at[5] * g.stride[1] + at[3] * g.dilation[1] - g.pad[1];
    // Narrow values cannot be chosen from, only stored.
    const Id inside = both(h < size[2], v < size[3]);
    s.module().when(inside, [&] { s.store_raw(to, index, s.load_raw(image, s.offset(image, {at[0], at[1], h, v}))); });
    s.module().when(recording->pure(spv::LogicalNot, Type::kBool, {inside}),
                    [&] { s.store_raw(to, index, s.zero_raw(x.dtype)); });
  });
  return s.finish();
}

// For each image and group: y (O', OH OW) = w (O', C' KH KW) columns.
Status conv2d_by_columns(Maker& m) {
  const Call& call = m.call;
  const Layout &x = call.in[0], &w = call.in[1], &y = call.out[0];
  if (count_of(y) == 0) return kOk;
  const Pieces pieces(m, x, w, y);
  const auto groups = static_cast<int64_t>(call.params[6]);
  const int64_t item = item_bytes(x.dtype), outputs = y.shape[1] / groups, rows = pieces.rows / groups;
  Product p = {x.dtype, y.dtype, outputs, pieces.columns, rows};
  p.a = {m.in(1), reach_of(w) * item, w.strides[0], w.strides[3]};
  p.has_c = call.nin > 2;
  const int64_t step = p.has_c ? call.in[2].strides[0] : 0;
  if (p.has_c) p.c = {m.in(2), reach_of(call.in[2]) * item, step, 0};
  for (int64_t first = 0; first < x.shape[0]; first += pieces.images) {
    const int64_t images = pieces.images < x.shape[0] - first ? pieces.images : x.shape[0] - first;
    Status status = unfold(m, m.in(0), x, w, y, pieces, first, images);
    if (status != kOk) return status;
    Layout part = y;
    part.shape[0] = images;
    p.b = {pieces.source, images * pieces.rows * pieces.columns * item, pieces.columns, 1};
    p.y = {m.out(0), reach_of(part) * item, y.strides[1], y.strides[3]};
    p.y.source.begin += first * y.strides[0] * item;
    p.batch = {{images, 0, pieces.rows * pieces.columns, y.strides[0], 0},
               {groups, outputs * w.strides[0], rows * pieces.columns, outputs * y.strides[1], outputs * step}};
    status = add_product(m, p);
    if (status != kOk) return status;
  }
  return kOk;
}

// For each group: dw (O', C' KH KW) = g (O', N OH OW) times the columns, turned.
Status grad_weight_by_columns(Maker& m) {
  const Call& call = m.call;
  const Layout &g = call.in[0], &x = call.in[1], &w = call.out[0];
  const auto groups = static_cast<int64_t>(call.params[6]);
  const int64_t item = item_bytes(x.dtype), outputs = w.shape[0] / groups;
  if (count_of(w) == 0) return kOk;
  const Pieces pieces(m, x, w, g);
  const int64_t rows = pieces.rows / groups;
  Product p = {x.dtype, w.dtype, outputs, rows, pieces.columns};
  p.y = {m.out(0), reach_of(w) * item, w.strides[0], w.strides[3]};
  p.c = p.y;
  int64_t first = 0;
  do {
    const int64_t images = pieces.images < x.shape[0] - first ? pieces.images : x.shape[0] - first;
    Status status = unfold(m, m.in(1), x, w, g, pieces, first, images);
    if (status != kOk) return status;
    Layout part = g;
    part.shape[0] = images;
    p.outer = images;
    p.a = {m.in(0), reach_of(part) * item, g.strides[1], g.strides[3], g.strides[0]};
    p.a.source.begin += first * g.strides[0] * item;
    p.b = {pieces.source, images * pieces.rows * pieces.columns * item, 1, pieces.columns,
           pieces.rows * pieces.columns};
    p.has_c = first > 0;
    p.batch = {{groups, outputs * g.strides[1], rows * pieces.columns, outputs * w.strides[0], outputs * w.strides[0]}};
    status = add_product(m, p);
    if (status != kOk) return status;
    first += pieces.images;
  } while (first < x.shape[0]);
  return kOk;
}

}  // namespace

// y (N,O,OH,OW): in x (N,C,H,W), w, optionally bias (O)
Status make_conv2d(Maker& m) {
  const Call& call = m.call;
  if (!sane(call, 2)) return kInvalid;
  if (!of_floats(call)) return kUnsupported;
  if (merges(call.in[1], 1, 3) && merges(call.out[0], 2, 3)) return conv2d_by_columns(m);
  return by_type(call, [&](auto zero) {
    using T = decltype(zero);
    const Layout &xl = call.in[0], &wl = call.in[1], &yl = call.out[0];
    Shade s(m);
    Shade::Tensor x = s.in(0), w = s.in(1), y = s.out(0), bias = call.nin > 2 ? s.in(2) : y;
    s.strides(x, xl);
    s.strides(w, wl);
    s.strides(y, yl);
    const U32 step = s.u32(call.nin > 2 ? call.in[2].strides[0] : 0);
    const Geometry g = geometry(s, call, wl);
    const auto sizes = s.sizes(yl), in = s.sizes(xl), kernel = s.sizes(wl);
    s.turns(2 * wl.shape[1] * wl.shape[2] * wl.shape[3]);
    s.each(count_of(yl), [&](U32 index) {
      const auto at = s.unravel(index, sizes);  // n, o, oh, ow
      Var<T> sum(call.nin > 2 ? Vec<T>::of(s.load(bias, at[1] * step)) : Vec<T>(T(0)));
      const U32 first = at[1] / g.outputs * g.channels;
      s.loop(U32(0), g.channels, U32(1), [&](U32 c) {
        s.loop(U32(0), kernel[2], U32(1), [&](U32 kh) {
          const U32 h = at[2] * g.stride[0] + kh * g.dilation[0] - g.pad[0];  // wraps where it is outside
          s.loop(U32(0), kernel[3], U32(1), [&](U32 kw) {
            const U32 v = at[3] * g.stride[1] + kw * g.dilation[1] - g.pad[1];
            add_product(
                s, sum, both(h < in[2], v < in[3]),
                [&] {
                  return s.load(x, s.offset(x, {at[0], first + c, h, v}));
                },
                [&] {
                  return s.load(w, s.offset(w, {at[1], c, kh, kw}));
                });
          });
        });
      });
      s.store(y, s.offset(y, at), sum.get().id());
    });
    return s.finish();
  });
}

// dx (N,C,H,W): in g (N,O,OH,OW), w
Status make_conv2d_grad_input(Maker& m) {
  const Call& call = m.call;
  if (!sane(call, 2)) return kInvalid;
  if (!of_floats(call)) return kUnsupported;
  return by_type(call, [&](auto zero) {
    using T = decltype(zero);
    const Layout &gl = call.in[0], &wl = call.in[1], &yl = call.out[0];
    Shade s(m);
    Shade::Tensor grad = s.in(0), w = s.in(1), y = s.out(0);
    s.strides(grad, gl);
    s.strides(w, wl);
    s.strides(y, yl);
    const Geometry g = geometry(s, call, wl);
    const auto sizes = s.sizes(yl), out = s.sizes(gl), kernel = s.sizes(wl);
    s.turns(2 * wl.shape[0] * wl.shape[2] * wl.shape[3]);
    s.each(count_of(yl), [&](U32 index) {
      const auto at = s.unravel(index, sizes);  // n, c, h, w
      Var<T> sum(Vec<T>(T(0)));
      const U32 group = at[1] / g.channels, first = group * g.outputs, channel = at[1] - group * g.channels;
      s.loop(U32(0), kernel[2], U32(1), [&](U32 kh) {
        const U32 h = at[2] + g.pad[0] - kh * g.dilation[0], oh = h / g.stride[0];
        s.loop(U32(0), kernel[3], U32(1), [&](U32 kw) {
          const U32 v = at[3] + g.pad[1] - kw * g.dilation[1], ow = v / g.stride[1];
          const Id row = both(oh < out[2], h % g.stride[0] < U32(1)),
                   column = both(ow < out[3], v % g.stride[1] < U32(1));
          s.module().when(both(row, column), [&] {
            s.loop(U32(0), g.outputs, U32(1), [&](U32 o) {
              const Vec<T> a = Vec<T>::of(s.load(grad, s.offset(grad, {at[0], first + o, oh, ow})));
              const Vec<T> b = Vec<T>::of(s.load(w, s.offset(w, {first + o, channel, kh, kw})));
              sum.set(fma(a, b, sum.get()));
            });
          });
        });
      });
      s.store(y, s.offset(y, at), sum.get().id());
    });
    return s.finish();
  });
}

// dw (O,C/groups,KH,KW): in g (N,O,OH,OW), x (N,C,H,W)
Status make_conv2d_grad_weight(Maker& m) {
  const Call& call = m.call;
  if (!sane(call, 2)) return kInvalid;
  if (!of_floats(call)) return kUnsupported;
  if (merges(call.in[0], 2, 3) && merges(call.out[0], 1, 3)) return grad_weight_by_columns(m);
  return by_type(call, [&](auto zero) {
    using T = decltype(zero);
    const Layout &gl = call.in[0], &xl = call.in[1], &yl = call.out[0];
    Shade s(m);
    Shade::Tensor grad = s.in(0), x = s.in(1), y = s.out(0);
    s.strides(grad, gl);
    s.strides(x, xl);
    s.strides(y, yl);
    const Geometry g = geometry(s, call, yl);
    const auto sizes = s.sizes(yl), out = s.sizes(gl), in = s.sizes(xl);
    s.turns(2 * gl.shape[0] * gl.shape[2] * gl.shape[3]);
    s.each(count_of(yl), [&](U32 index) {
      const auto at = s.unravel(index, sizes);  // o, c, kh, kw
      Var<T> sum(Vec<T>(T(0)));
      const U32 channel = at[0] / g.outputs * g.channels + at[1];
      s.loop(U32(0), out[0], U32(1), [&](U32 n) {
        s.loop(U32(0), out[2], U32(1), [&](U32 oh) {
          const U32 h = oh * g.stride[0] + at[2] * g.dilation[0] - g.pad[0];
          s.loop(U32(0), out[3], U32(1), [&](U32 ow) {
            const U32 v = ow * g.stride[1] + at[3] * g.dilation[1] - g.pad[1];
            add_product(
                s, sum, both(h < in[2], v < in[3]),
                [&] {
                  return s.load(grad, s.offset(grad, {n, at[0], oh, ow}));
                },
                [&] {
                  return s.load(x, s.offset(x, {n, channel, h, v}));
                });
          });
        });
      });
      s.store(y, s.offset(y, at), sum.get().id());
    });
    return s.finish();
  });
}

}  // namespace brasa::vk
