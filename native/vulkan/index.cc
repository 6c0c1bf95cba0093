// Moving elements by index: gather, scatter, indexSelect and their sums; cat. Where several may go to one place, one
// invocation takes all that can, in order: results are the same at every run.
#include "shade.h"

namespace brasa::vk {
namespace {

bool is_index(const Layout& layout) {
  return layout.dtype == k_i8 || layout.dtype == k_u8 || layout.dtype == k_i32 || layout.dtype == k_i64;
}

// The op's dim of x; -1: there is none such.
int dim_of(const Call& call, const Layout& x) {
  if (call.nparams < 1) return -1;
  const int dim = static_cast<int>(call.params[0]);
  return dim >= 0 && dim < x.ndim ? dim : -1;
}

// Elements of one layout into another of its shape and dtype.
Status copy(Maker& m, const Source& from, const Layout& in, const Source& to, const Layout& out) {
  const double params[] = {static_cast<double>(compute_dtype(in.dtype)), 0, 0};
  const Call call = {op_id("elementwise"), 1, 1, 3, 0, &in, &out, params};
  Maker part = {m.gpu, m.plan, call, {from, to}, 0};
  return make_elementwise(part);
}

// out = x but for what is put there: for each line of index along dim, in order. many: index has x's dims, else one.
Status put(Maker& m, bool many, bool add) {
  const Call& call = m.call;
  if (call.nin != 3 || call.nout != 1) return kInvalid;
  const Layout &x = call.in[0], &index = call.in[1], &src = call.in[2], &out = call.out[0];
  if (!is_index(index) || src.dtype != x.dtype || out.dtype != x.dtype) return kUnsupported;
  const int dim = dim_of(call, x);
  if (dim < 0 || src.ndim != x.ndim || index.ndim != (many ? x.ndim : 1)) return kInvalid;
  Status status = copy(m, m.in(0), x, m.out(0), out);
  if (status != kOk) return status;
  Shade s(m);
  Shade::Tensor i = s.in(1), from = s.in(2), to = s.out(0);
  const Id fault = s.fault();
  s.strides(i, index);
  s.strides(from, src);
  s.strides(to, out);
  // What is walked: the shape of index, or of src.
  Layout lines = many ? index : src;
  const int64_t length = many ? index.shape[dim] : index.shape[0];
  lines.shape[dim] = 1;
  const auto sizes = s.sizes(lines);
  const U32 n = s.u32(length), room = s.u32(out.shape[dim]);
  s.each(length == 0 ? 0 : count_of(lines), [&](U32 line) {
    std::vector<U32> along = s.unravel(line, sizes);
    s.loop(U32(0), n, U32(1), [&](U32 k) {
      along[dim] = k;
      const U32 element = s.offset(from, along);
      const U32 target = s.checked_index(fault, i, many ? s.offset(i, along) : k * i.strides[0], room);
      along[dim] = target;
      const U32 place = s.offset(to, along);
      if (!add) return s.store_raw(to, place, s.load_raw(from, element));
      const Id sum = visit_compute(compute_dtype(x.dtype), [&](auto zero) {
        using V = Vec<decltype(zero)>;
        return (V::of(s.load(to, place)) + V::of(s.load(from, element))).id();
      });
      s.store(to, place, sum);
    });
  });
  return s.finish();
}

// out[.., i, ..] = x[.., index, ..]
Status take(Maker& m, bool many) {
  const Call& call = m.call;
  if (call.nin != 2 || call.nout != 1) return kInvalid;
  const Layout &x = call.in[0], &index = call.in[1], &out = call.out[0];
  if (!is_index(index) || out.dtype != x.dtype) return kUnsupported;
  const int dim = dim_of(call, x);
  if (dim < 0 || out.ndim != x.ndim || index.ndim != (many ? x.ndim : 1)) return kInvalid;
  Shade s(m);
  Shade::Tensor from = s.in(0), i = s.in(1), to = s.out(0);
  const Id fault = s.fault();
  s.strides(from, x);
  s.strides(i, index);
  s.strides(to, out);
  const auto sizes = s.sizes(out);
  const U32 room = s.u32(x.shape[dim]);
  s.each(count_of(out), [&](U32 element) {
    std::vector<U32> along = s.unravel(element, sizes);
    const U32 place = s.offset(to, along);
    along[dim] = s.checked_index(fault, i, many ? s.offset(i, along) : along[dim] * i.strides[0], room);
    s.store_raw(to, place, s.load_raw(from, s.offset(from, along)));
  });
  return s.finish();
}

}  // namespace

Status make_gather(Maker& m) { return take(m, true); }
Status make_index_select(Maker& m) { return take(m, false); }
Status make_scatter(Maker& m) { return put(m, true, false); }
Status make_scatter_add(Maker& m) { return put(m, true, true); }
Status make_index_add(Maker& m) { return put(m, false, true); }

Status make_cat(Maker& m) {
  const Call& call = m.call;
  if (call.nin < 1 || call.nout != 1) return kInvalid;
  const Layout& out = call.out[0];
  const int dim = dim_of(call, out);
  if (dim < 0) return kInvalid;
  int64_t start = 0;
  for (int i = 0; i < call.nin; ++i) {
    const Layout& x = call.in[i];
    if (x.dtype != out.dtype) return kUnsupported;
    if (x.ndim != out.ndim || start + x.shape[dim] > out.shape[dim]) return kInvalid;
    Layout window = out;
    window.shape[dim] = x.shape[dim];
    Source to = m.out(0);
    to.begin += start * out.strides[dim] * item_bytes(out.dtype);
    const Status status = copy(m, m.in(i), x, to, window);
    if (status != kOk) return status;
    start += x.shape[dim];
  }
  return kOk;
}

}  // namespace brasa::vk
