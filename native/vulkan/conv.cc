// Convolution, NCHW or channels-last by strides, and its gradients: products whose one side is gathered from an image
// by tables, without columns in memory. Where a group has too few outputs for tiles (depthwise) it is as it is defined:
// an invocation for each element of the result, a fold for each of the weight's gradient.
#include "product.h"
#include "reduction.h"

namespace brasa::vk {
namespace {

struct Geometry {
  U32 stride[2], pad[2], dilation[2];
  U32 outputs, channels;  // of a group: O / groups, C / groups
};

bool sane(const Call& call, int nin) {
  if (call.nin < nin || call.nout != 1 || call.nparams < 7) return false;
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

// Fewer rows of a product than this are no tile's work.
constexpr int64_t kThin = 5;

// A table of Gather: of the indices i of three sizes, i[0] * image, i[1] * by[0] - less[0], i[2] * by[1] - less[1], and
// the sum of i * plain.
struct Table {
  int64_t size[3], image, by[2], less[2], plain[3];
};
Status add_table(Maker& m, const Table& t, Source* to) {
  const int64_t count = t.size[0] * t.size[1] * t.size[2];
  const Layout layout = {k_i32, 1, {4 * count}, {1}};
  *to = m.scratch(16 * count);
  Shade s(m);
  const Shade::Tensor table = s.operand(*to, layout, true);
  const auto argument = [&](int64_t value) { return s.u32(value); };
  const std::vector<U32> sizes = {argument(t.size[0]), argument(t.size[1]), argument(t.size[2])};
  const U32 image = argument(t.image), by[] = {argument(t.by[0]), argument(t.by[1])},
            less[] = {argument(t.less[0]), argument(t.less[1])},
            plain[] = {argument(t.plain[0]), argument(t.plain[1]), argument(t.plain[2])};
  s.each(count, [&](U32 index) {
    const auto at = s.unravel(index, sizes);
    const U32 words[] = {at[0] * image, at[1] * by[0] - less[0], at[2] * by[1] - less[1],
                         at[0] * plain[0] + at[1] * plain[1] + at[2] * plain[2]};
    for (uint32_t i = 0; i < 4; ++i) s.store(table, index * U32(4) + U32(i), words[i].id());
  });
  return s.finish();
}

// What a kernel slides over: x (N,C,H,W), weight (O,C/groups,KH,KW), y (N,O,OH,OW).
struct Slide {
  const Layout &x, &w, &y;
  int64_t stride[2], pad[2], dilation[2], groups, outputs, channels;  // the last two of a group

  Slide(const Call& call, const Layout& x_, const Layout& w_, const Layout& y_) : x(x_), w(w_), y(y_) {
    for (int i = 0; i < 2; ++i) {
      stride[i] = static_cast<int64_t>(call.params[i]);
      pad[i] = static_cast<int64_t>(call.params[2 + i]);
      dilation[i] = static_cast<int64_t>(call.params[4 + i]);
    }
    groups = static_cast<int64_t>(call.params[6]);
    outputs = w.shape[0] / groups;
    channels = w.shape[1];
  }
  // Of (c, kh, kw), in x and in the weight; of (n, oh, ow), in x and in y.
  Table taps() const {
    return {{channels, w.shape[2], w.shape[3]},
            x.strides[1],
            {dilation[0], dilation[1]},
            {0, 0},
            {w.strides[1], w.strides[2], w.strides[3]}};
  }
  Table windows() const {
    return {{y.shape[0], y.shape[2], y.shape[3]},
            x.strides[0],
            {stride[0], stride[1]},
            {pad[0], pad[1]},
            {y.strides[0], y.strides[2], y.strides[3]}};
  }
  // Of (o, kh, kw), in y and in the weight; of (n, h, w), in y and in x.
  Table back_taps() const {
    return {{outputs, w.shape[2], w.shape[3]},
            y.strides[1],
            {dilation[0], dilation[1]},
            {0, 0},
            {w.strides[0], w.strides[2], w.strides[3]}};
  }
  Table elements() const {
    return {{x.shape[0], x.shape[2], x.shape[3]},
            y.strides[0],
            {1, 1},
            {-pad[0], -pad[1]},
            {x.strides[0], x.strides[2], x.strides[3]}};
  }
};

Matrix rows_of(const Source& source, const Layout& layout, int64_t row) {
  return {source, reach_of(layout) * item_bytes(layout.dtype), row, 0};
}

// What is gathered from: its last two dims, and how far a window goes at a step where that divides.
Gather gather_of(Gather::Kind kind, const Layout& image, int64_t down, int64_t across) {
  return {kind, {}, {}, image.shape[2], image.shape[3], image.strides[2], image.strides[3], {down, across}};
}

// Both tables, then the product.
Status add_gathered(Maker& m, Product p, const Table& inner, const Table& column) {
  Status status = add_table(m, inner, &p.gather.inner);
  if (status == kOk) status = add_table(m, column, &p.gather.column);
  return status == kOk ? add_product(m, p) : status;
}

// dw for few outputs a group: each of its elements is a sum over all windows.
template <class T>
Status add_weight_sums(Maker& m, const Slide& c) {
  using V = Vec<T>;
  enum { kG, kDw, kX, kDown, kAcross };
  // Dims: group, o, c, kh, kw; n, oh, ow. The last two operands are places in the image.
  const int64_t sizes[] = {c.groups,     c.outputs,    c.channels,   c.w.shape[2],
                           c.w.shape[3], c.y.shape[0], c.y.shape[2], c.y.shape[3]};
  const int64_t strides[5][8] = {
      {c.outputs * c.y.strides[1], c.y.strides[1], 0, 0, 0, c.y.strides[0], c.y.strides[2], c.y.strides[3]},
      {c.outputs * c.w.strides[0], c.w.strides[0], c.w.strides[1], c.w.strides[2], c.w.strides[3], 0, 0, 0},
      {c.channels * c.x.strides[1], 0, c.x.strides[1], 0, 0, c.x.strides[0], 0, 0},
      {0, 0, 0, c.dilation[0], 0, 0, c.stride[0], 0},
      {0, 0, 0, 0, c.dilation[1], 0, 0, c.stride[1]}};
  std::vector<Layout> layouts;
  for (const auto& of : strides) {
    Layout layout = {c.w.dtype, 8, {}, {}};
    for (int d = 0; d < 8; ++d) layout.shape[d] = sizes[d], layout.strides[d] = of[d];
    layouts.push_back(layout);
  }
  Shade* shade = nullptr;
  Shade::Tensor g, x, dw;
  U32 pad[2], size[2], step[2];
  Reduction r;
  r.monoid = monoid_of<T>(Fold::kSum);
  r.kept = Dims::of(layouts, 0x1f);
  r.over = Dims::of(layouts, 0xe0);
  r.operands = 5;
  r.open = [&](Shade& s) { g = s.in(0), x = s.in(1); };
  r.open_results = [&](Shade& s) { dw = s.out(0); };
  r.numbers = [&](Shade& s) {
    shade = &s;
    for (int i = 0; i < 2; ++i)
      pad[i] = s.u32(c.pad[i]), size[i] = s.u32(c.x.shape[2 + i]), step[i] = s.u32(c.x.strides[2 + i]);
  };
  r.element = [&](Rows& rows, const Rows::Slot& slot) {
    const U32 h = slot.at[kDown] - pad[0], v = slot.at[kAcross] - pad[1];  // wraps where it is outside
    const Id inside = both(h < size[0], v < size[1]);
    return State{shade->module().branch(inside, kType<T>, V(T(0)).id(), [&] {
      const U32 at = slot.at[kX] + h * step[0] + v * step[1];
      return (rows.load<T>(g, kG, slot) * V::of(shade->load(x, at))).id();
    })};
  };
  r.finish = [&](Rows& rows, const State& state) { shade->store(dw, rows.start(kDw), state[0]); };
  return add_reduction(m, r);
}

}  // namespace

// y (N,O,OH,OW): in x (N,C,H,W), w, optionally bias (O)
Status make_conv2d(Maker& m) {
  const Call& call = m.call;
  if (!sane(call, 2)) return kInvalid;
  if (!of_floats(call)) return kUnsupported;
  const Slide c(call, call.in[0], call.in[1], call.out[0]);
  if (count_of(c.y) == 0) return kOk;
  if (c.outputs >= kThin && count_of(c.x) > 0) {
    const bool biased = call.nin > 2;
    const int64_t step = biased ? call.in[2].strides[0] : 0, n = c.y.shape[0] * c.y.shape[2] * c.y.shape[3];
    Product p = {c.x.dtype, c.y.dtype, c.outputs, n, c.channels * c.w.shape[2] * c.w.shape[3]};
    p.a = rows_of(m.in(1), c.w, c.w.strides[0]);
    p.b = rows_of(m.in(0), c.x, 0);
    p.y = rows_of(m.out(0), c.y, c.y.strides[1]);
    p.has_c = biased;
    if (biased) p.c = rows_of(m.in(2), call.in[2], step);
    p.batch = {{c.groups, c.outputs * c.w.strides[0], c.channels * c.x.strides[1], c.outputs * c.y.strides[1],
                c.outputs * step}};
    p.gather = gather_of(Gather::kWindows, c.x, 1, 1);
    return add_gathered(m, p, c.taps(), c.windows());
  }
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
  const Slide c(call, call.out[0], call.in[1], call.in[0]);
  if (count_of(c.x) == 0) return kOk;
  if (c.channels >= kThin && count_of(c.y) > 0) {
    const int64_t n = c.x.shape[0] * c.x.shape[2] * c.x.shape[3];
    Product p = {c.y.dtype, c.x.dtype, c.channels, n, c.outputs * c.w.shape[2] * c.w.shape[3]};
    p.a = rows_of(m.in(1), c.w, c.w.strides[1]);
    p.b = rows_of(m.in(0), c.y, 0);
    p.y = rows_of(m.out(0), c.x, c.x.strides[1]);
    p.batch = {{c.groups, c.outputs * c.w.strides[0], c.outputs * c.y.strides[1], c.channels * c.x.strides[1], 0}};
    p.gather = gather_of(Gather::kTransposed, c.y, c.stride[0], c.stride[1]);
    return add_gathered(m, p, c.back_taps(), c.elements());
  }
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
  const Slide c(call, call.in[1], call.out[0], call.in[0]);
  if (count_of(c.w) == 0) return kOk;
  if (c.outputs < kThin || count_of(c.x) == 0 || count_of(c.y) == 0)
    return by_type(call, [&](auto zero) { return add_weight_sums<decltype(zero)>(m, c); });
  const int64_t windows = c.y.shape[0] * c.y.shape[2] * c.y.shape[3];
  Product p = {c.x.dtype, c.w.dtype, c.outputs, c.channels * c.w.shape[2] * c.w.shape[3], windows};
  p.a = rows_of(m.in(0), c.y, c.y.strides[1]);
  p.b = rows_of(m.in(1), c.x, 0);
  p.y = rows_of(m.out(0), c.w, c.w.strides[0]);
  p.batch = {{c.groups, c.outputs * c.y.strides[1], c.channels * c.x.strides[1], c.outputs * c.w.strides[0], 0}};
  p.gather = gather_of(Gather::kTurned, c.x, 1, 1);
  return add_gathered(m, p, c.windows(), c.taps());
}

}  // namespace brasa::vk
