// Moving elements by index: gather, scatter, indexSelect and their sums; cat. Where several may go to one place, one
// invocation takes all that do, in order: results are the same at every run. Those are the elements of a line, or,
// where lines are few and long, of a run of equal targets after they were sorted. What may be added in any order, as
// integers may, is added atomically where lines are few, an element an invocation.
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

constexpr int64_t kShort = 64;  // elements of a line that one invocation puts
constexpr int64_t kManyLines = 1 << 14;

// What is put: the elements `from`, by targets along dim. Walked is the shape of index (many), or of src.
struct Put {
  const Layout &index, &src, &out;
  int dim;
  bool many, add;
  int64_t n;  // along dim

  Layout walked() const { return many ? index : src; }
};

// Into out, which holds x, by runs of equal targets: each is the work of the invocation of its first element.
Status put_sorted(Maker& m, const Put& p) {
  Layout lines = p.many ? p.index : Layout{k_i32, 1, {1}, {1}};
  if (p.many) lines.shape[p.dim] = 1;
  const int64_t count = count_of(lines) * p.n;
  const Layout targets = {k_i32, 2, {count / p.n, p.n}, {p.n, 1}};
  const Source given = m.scratch(4 * count), sorted = m.scratch(4 * count), places = m.scratch(4 * count);
  {
    Shade s(m);
    Shade::Tensor i = s.in(1), to = s.operand(given, targets, true);
    const Id fault = s.fault();
    s.strides(i, p.index);
    const auto sizes = s.sizes(lines);
    const U32 n = s.u32(p.n), room = s.u32(p.out.shape[p.dim]);
    s.each(count, [&](U32 element) {
      const U32 line = element / n, k = element - line * n;
      std::vector<U32> at = s.unravel(line, sizes);
      at[p.many ? p.dim : 0] = k;
      s.store(to, element, s.checked_index(fault, i, s.offset(i, at), room).id());
    });
    const Status status = s.finish();
    if (status != kOk) return status;
  }
  const Layout both[] = {targets, targets};
  const double params[] = {1, 0};
  const Call order = {op_id("sort"), 1, 2, 2, 0, &targets, both, params};
  Maker part = {m.gpu, m.plan, order, {given, sorted, places}, 0};
  Status status = make_sort(part);
  // Runs of more than an invocation may have turns are added in several goes.
  const int64_t most = m.gpu.features().most_turns - 256, step = p.add && p.n > most ? most : p.n;
  for (int64_t begin = 0; begin < p.n && status == kOk; begin += step) {
    Layout line = p.walked();  // of targets, over the walked dims
    int64_t stride = p.n;
    for (int d = line.ndim - 1; d >= 0; --d) {
      line.strides[d] = p.many && d != p.dim ? stride : 0;
      if (p.many && d != p.dim) stride *= line.shape[d];
    }
    Shade s(m);
    Shade::Tensor from = s.in(2), key = s.operand(sorted, targets, false), place = s.operand(places, targets, false);
    Shade::Tensor to = s.out(0);
    s.strides(from, p.src);
    s.strides(key, line);
    s.strides(to, p.out);
    const auto sizes = s.sizes(p.walked());
    const U32 n = s.u32(p.n), low = s.u32(begin), high = s.u32(begin + step < p.n ? begin + step : p.n);
    s.each(count_of(p.walked()), [&](U32 element) {
      std::vector<U32> at = s.unravel(element, sizes);
      const U32 j = at[p.dim], base = s.offset(key, at);
      const auto key_at = [&](U32 i) { return I32::of(s.load(key, base + i)); };
      const auto source = [&](U32 i) {
        at[p.dim] = U32::of(s.load(place, base + i));
        return s.offset(from, at);
      };
      const I32 own = key_at(j);
      const auto target = [&] {
        at[p.dim] = U32::of(own.id());
        return s.offset(to, at);
      };
      // The neighbour that, if it is of the same run, does the work.
      const U32 edge = p.add ? U32(0) : n - U32(1);
      const I32 last = I32::mask(recording->pure(spv::IEqual, Type::kBool, {j.id(), edge.id()}));
      const U32 next = choose(last.condition(), j, p.add ? j - U32(1) : j + U32(1));
      const I32 works = last | I32::mask((key_at(next) != own).condition());
      s.module().when(works.condition(), [&] {
        if (!p.add) {
          const U32 element = source(j);
          return s.store_raw(to, target(), s.load_raw(from, element));
        }
        // Where the run ends: how many are not greater.
        Var<int32_t> found(I32(0));
        s.loop(U32(0), U32(32), U32(1), [&](U32 bit) {
          const U32 so_far = U32::of(found.get().id()), probe = so_far + (U32(0x80000000u) >> bit);
          const Id fits = recording->pure(spv::LogicalAnd, Type::kBool, {so_far < probe, probe < n + U32(1)});
          const I32 taken = I32::mask(fits) & (key_at(choose(fits, probe - U32(1), U32(0))) <= own);
          found.set(select(taken, I32::of(probe.id()), found.get()));
        });
        const U32 first = choose(j < low, low, j), end = smaller(U32::of(found.get().id()), high);
        visit_compute(compute_dtype(p.out.dtype), [&](auto zero) {
          using V = Vec<decltype(zero)>;
          const U32 result = target();
          Var<decltype(zero)> sum(V::of(s.load(to, result)));
          s.loop(first, end, U32(1), [&](U32 i) { sum.set(sum.get() + V::of(s.load(from, source(i)))); });
          s.store(to, result, sum.get().id());
        });
      });
    });
    status = s.finish();
  }
  return status;
}

// Whether elements of the call's type may be added one by one as they come: the order matters only to floats.
bool adds_atomically(const Maker& m) {
  const AtomicAdds& atomic = m.gpu.features().atomic;
  const bool any_order = m.call.nparams > 1 && m.call.params[1] == 1;
  switch (m.call.out[0].dtype) {
    case k_i32:
      return atomic.i32;
    case k_i64:
      return atomic.i64;
    case k_f32:
      return any_order && atomic.f32;
    case k_f64:
      return any_order && atomic.f64;
    default:
      return false;
  }
}

// Into out, which holds x, an element an invocation.
Status add_atomically(Maker& m, const Put& p) {
  Shade s(m);
  Shade::Tensor i = s.in(1), from = s.in(2), to = s.out(0);
  const Id fault = s.fault();
  s.strides(i, p.index);
  s.strides(from, p.src);
  s.strides(to, p.out);
  const auto sizes = s.sizes(p.walked());
  const U32 room = s.u32(p.out.shape[p.dim]);
  s.each(count_of(p.walked()), [&](U32 element) {
    std::vector<U32> at = s.unravel(element, sizes);
    const Id value = s.load(from, s.offset(from, at));
    at[p.dim] = s.checked_index(fault, i, p.many ? s.offset(i, at) : at[p.dim] * i.strides[0], room);
    s.module().atomic_add(storage_type(to.dtype), s.address(to, s.offset(to, at)), value);
  });
  return s.finish();
}

// out = x but for what is put there: for each line of index along dim, in order. many: index has x's dims, else one.
Status put(Maker& m, bool many, bool add) {
  const Call& call = m.call;
  if (call.nin != 3 || call.nout != 1) return kInvalid;
  const Layout &x = call.in[0], &index = call.in[1], &src = call.in[2], &out = call.out[0];
  if (!is_index(index) || src.dtype != x.dtype || out.dtype != x.dtype) return kUnsupported;
  const int dim = dim_of(call, x);
  if (dim < 0 || src.ndim != x.ndim || index.ndim != (many ? x.ndim : 1)) return kInvalid;
  const Status status = copy(m, m.in(0), x, m.out(0), out);
  if (status != kOk) return status;
  const Put p = {index, src, out, dim, many, add, many ? index.shape[dim] : index.shape[0]};
  const int64_t length = p.n;
  Layout lines = p.walked();
  lines.shape[dim] = 1;
  if (count_of(lines) * length == 0) return kOk;
  if (count_of(lines) < kManyLines || length > m.gpu.features().most_turns) {
    if (add && adds_atomically(m)) return add_atomically(m, p);
    if (length > kShort) return put_sorted(m, p);
  }
  Shade s(m);
  Shade::Tensor i = s.in(1), from = s.in(2), to = s.out(0);
  const Id fault = s.fault();
  s.strides(i, index);
  s.strides(from, src);
  s.strides(to, out);
  const auto sizes = s.sizes(lines);
  const U32 n = s.u32(length), room = s.u32(out.shape[dim]);
  s.turns(length);
  s.each(count_of(lines), [&](U32 line) {
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

// Where the window begins along each dim of whole, given as ops.def says, clamped so that it lies inside. begin: of the
// starts among the inputs.
struct Starts {
  std::vector<Shade::Tensor> inputs;

  static bool sane(const Call& call, const Layout& whole, const Layout& part, int first) {
    if (whole.ndim != part.ndim || (call.nparams != 0 && call.nparams != whole.ndim)) return false;
    int tensors = call.nparams == 0 && whole.ndim > 0 ? 1 : 0, scalars = 0;
    for (int d = 0; d < whole.ndim; ++d) {
      if (call.nparams) ++(call.params[d] == 1 ? scalars : tensors);
      if (part.shape[d] > whole.shape[d]) return false;
    }
    if (call.nscalars != scalars || call.nin != first + tensors) return false;
    for (int i = first; i < call.nin; ++i)
      if (!is_index(call.in[i]) || count_of(call.in[i]) != (call.nparams ? 1 : whole.ndim)) return false;
    return true;
  }
  Starts(Shade& s, const Call& call, int first) {
    for (int i = first; i < call.nin; ++i) inputs.push_back(s.in(i));
  }
  std::vector<U32> read(Shade& s, const Call& call, const Layout& whole, const Layout& part, int first) const {
    std::vector<U32> list;
    int next = 0, scalar = 0;
    for (int d = 0; d < whole.ndim; ++d) {
      const U32 room = s.u32(whole.shape[d] - part.shape[d]);
      const I64 most = I64::of(recording->pure(spv::UConvert, Type::kU64, {room.id()})), least(0);
      I64 start;
      if (call.nparams && call.params[d] == 1) {
        start = s.scalar<int64_t>(scalar++);
      } else {
        const Shade::Tensor& x = inputs[call.nparams ? next++ : 0];
        const U32 element = call.nparams ? U32(0) : s.u32(d * call.in[first].strides[0]);
        start = I64::of(cast_value(compute_dtype(x.dtype), k_i64, s.load(x, element)));
      }
      list.push_back(U32::of(cast<int32_t>(max(least, min(start, most))).id()));
    }
    return list;
  }
};

}  // namespace

Status make_dynamic_slice(Maker& m) {
  const Call& call = m.call;
  if (call.nin < 1 || call.nout != 1) return kInvalid;
  const Layout &x = call.in[0], &out = call.out[0];
  if (out.dtype != x.dtype) return kUnsupported;
  if (!Starts::sane(call, x, out, 1)) return kInvalid;
  Shade s(m);
  Shade::Tensor from = s.in(0), to = s.out(0);
  const Starts starts(s, call, 1);
  s.strides(from, x);
  s.strides(to, out);
  const auto sizes = s.sizes(out), start = starts.read(s, call, x, out, 1);
  s.each(count_of(out), [&](U32 index) {
    std::vector<U32> at = s.unravel(index, sizes);
    const U32 place = s.offset(to, at);
    for (size_t d = 0; d < at.size(); ++d) at[d] = at[d] + start[d];
    s.store_raw(to, place, s.load_raw(from, s.offset(from, at)));
  });
  return s.finish();
}

// out = x but for the window.
Status make_dynamic_update(Maker& m) {
  const Call& call = m.call;
  if (call.nin < 2 || call.nout != 1) return kInvalid;
  const Layout &x = call.in[0], &update = call.in[1], &out = call.out[0];
  if (out.dtype != x.dtype || update.dtype != x.dtype) return kUnsupported;
  if (!Starts::sane(call, out, update, 2)) return kInvalid;
  const Status status = copy(m, m.in(0), x, m.out(0), out);
  if (status != kOk) return status;
  Shade s(m);
  Shade::Tensor from = s.in(1), to = s.out(0);
  const Starts starts(s, call, 2);
  s.strides(from, update);
  s.strides(to, out);
  const auto sizes = s.sizes(update), start = starts.read(s, call, out, update, 2);
  s.each(count_of(update), [&](U32 index) {
    std::vector<U32> at = s.unravel(index, sizes);
    const U32 element = s.offset(from, at);
    for (size_t d = 0; d < at.size(); ++d) at[d] = at[d] + start[d];
    s.store_raw(to, s.offset(to, at), s.load_raw(from, element));
  });
  return s.finish();
}

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
