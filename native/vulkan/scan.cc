// cumsum and cumprod. Lines are cut into chunks where there are too few of them: the chunks' totals are scanned first,
// and each chunk then goes on from what lies before it. A chunk of neighbours in memory is the work of a work group;
// where neighbours belong to other lines, of one invocation.
#include "shade.h"

namespace brasa::vk {
namespace {

constexpr int64_t kBusy = 1 << 17;  // invocations
constexpr int64_t kShort = 64;      // elements of a line that is the work of one invocation
constexpr uint32_t kOwn = 4;        // elements that an invocation of a work group takes at a time

struct Scan {
  Source from, to;
  Layout x, y, lines;  // lines: x with one element along dim
  int dim;
  bool product;
  int64_t n, chunk, chunks;  // elements along dim, of a chunk; chunks of a line

  bool along() const {  // neighbours in memory are of one line, which is worth a work group
    if (n < kShort) return false;
    for (int d = 0; d < x.ndim; ++d)
      if (d != dim && x.shape[d] != 1 && x.strides[d] != 0 && x.strides[d] < x.strides[dim]) return false;
    return true;
  }
};

template <class T>
Vec<T> joined(bool product, Vec<T> a, Vec<T> b) {
  return product ? a * b : a + b;
}

// Invocations of a work group.
uint32_t group_of(const Maker& m, const Scan& scan) {
  uint32_t group = m.gpu.features().group;
  while (scan.along() && group > kShort && group / 2 * kOwn >= scan.chunk) group /= 2;
  return group;
}

// What all invocations before this one of the work group have, as one, and what all have.
template <class T>
struct Before {
  Vec<T> before, all;
};
template <class T>
Before<T> before(Shade& s, uint32_t group, Id shared, bool product, Vec<T> own) {
  using V = Vec<T>;
  Module& module = s.module();
  const V none{T(product)};
  const uint32_t beside = s.subgroup(kDtypeOf<T>) ? s.subgroup(kDtypeOf<T>) : 1, parts = group / beside;
  const U32 local = s.local(), lane = local % U32(beside), part = local / U32(beside);
  const auto where = [&](Id condition, V a, V b) {
    return V::of(recording->pure(spv::Select, kType<T>, {condition, a.id(), b.id()}));
  };
  // Up to and with this one, in the subgroup.
  V sum = own;
  for (uint32_t step = 1; step < beside; step *= 2) {
    const Id first = lane < U32(step);
    const V other = V::of(module.shuffle(kType<T>, sum.id(), choose(first, lane, lane - U32(step)).id()));
    sum = where(first, sum, joined(product, other, sum));
  }
  const V inside =
      beside == 1 ? none
                  : where(lane < U32(1), none,
                          V::of(module.shuffle(kType<T>, sum.id(), choose(lane < U32(1), lane, lane - U32(1)).id())));
  const auto get = [&](U32 i) { return V::of(module.get_shared(kType<T>, shared, i.id())); };
  module.when(U32(beside - 1) < lane + U32(1), [&] { module.set_shared(kType<T>, shared, part.id(), sum.id()); });
  module.barrier();
  // Then over the subgroups' totals: doubling reach.
  for (uint32_t step = 1; step < parts; step *= 2) {
    const Id works = recording->pure(spv::LogicalAnd, Type::kBool, {local < U32(parts), U32(step - 1) < local});
    const V low = where(works, get(choose(works, local - U32(step), U32(0))), none);
    module.barrier();
    module.when(works, [&] { module.set_shared(kType<T>, shared, local.id(), joined(product, low, get(local)).id()); });
    module.barrier();
  }
  const V below = where(part < U32(1), none, get(choose(part < U32(1), part, part - U32(1))));
  const V all = get(U32(parts - 1));
  module.barrier();
  return {joined(product, below, inside), all};
}

// Scans each chunk; with `carried`, from the total of those before it; or, with `totals`, answers only how it ends.
template <class T>
Status add_chunks(Maker& m, const Scan& scan, const Source* carried, const Source* totals) {
  using V = Vec<T>;
  const int64_t lines = count_of(scan.lines);
  const Layout ends = {kDtypeOf<T>, 1, {lines * scan.chunks}, {1}};
  const bool along = scan.along();
  const uint32_t group = group_of(m, scan);
  Shade s(m, group);
  Shade::Tensor x = s.operand(scan.from, scan.x, false), y = x, end = x;
  if (!totals) y = s.operand(scan.to, scan.y, true);
  if (carried || totals) end = s.operand(carried ? *carried : *totals, ends, !carried);
  s.strides(x, scan.x);
  if (!totals) s.strides(y, scan.y);
  const auto sizes = s.sizes(scan.lines);
  const U32 n = s.u32(scan.n), chunk = s.u32(scan.chunk), chunks = s.u32(scan.chunks),
            pieces = s.u32(lines * scan.chunks);
  s.groups(along ? lines * scan.chunks : (lines * scan.chunks + group - 1) / group);
  s.turns(along ? scan.chunk / (group * kOwn) + 1 : scan.chunk);
  const U32 given = along ? s.group() : s.group() * U32(group) + s.local();
  const U32 piece = smaller(given, pieces - U32(1));
  const Id there = given < pieces;
  // Neighbouring invocations take neighbouring lines.
  const U32 all_lines = s.u32(lines);
  const U32 line = along ? piece / chunks : piece % all_lines, number = along ? piece % chunks : piece / all_lines;
  const U32 from = number * chunk, to = smaller(from + chunk, n);
  const auto at = s.unravel(line, sizes);
  const U32 x_base = s.offset(x, at), y_base = totals ? x_base : s.offset(y, at);
  const U32 place = line * chunks + number;
  V first(T(scan.product));
  if (carried) {
    const Id none = number < U32(1);
    const V before = V::of(s.load(end, choose(none, place, place - U32(1))));
    first = V::of(recording->pure(spv::Select, kType<T>, {none, first.id(), before.id()}));
  }
  Var<T> carry(first);
  const auto load = [&](U32 i) {
    return V::of(cast_value(compute_dtype(x.dtype), kDtypeOf<T>, s.load(x, x_base + i * x.strides[scan.dim])));
  };
  const auto store = [&](U32 i, V value) {
    s.store(y, y_base + i * y.strides[scan.dim], cast_value(kDtypeOf<T>, compute_dtype(y.dtype), value.id()));
  };
  const U32 local = s.local();
  if (along) {
    const Id shared = s.module().shared(kType<T>, group);
    s.loop(from, to, U32(group * kOwn), [&](U32 start) {
      V own[kOwn], sum(T(scan.product));
      for (uint32_t k = 0; k < kOwn; ++k) {
        const U32 i = start + local * U32(kOwn) + U32(k);
        const V value = load(smaller(i, to - U32(1)));
        own[k] = V::of(recording->pure(spv::Select, kType<T>, {i < to, value.id(), V(T(scan.product)).id()}));
        sum = k == 0 ? own[0] : joined(scan.product, sum, own[k]);
      }
      const Before<T> others = before(s, group, shared, scan.product, sum);
      V value = joined(scan.product, carry.get(), others.before);
      for (uint32_t k = 0; k < kOwn && !totals; ++k) {
        const U32 i = start + local * U32(kOwn) + U32(k);
        value = joined(scan.product, value, own[k]);
        s.module().when(recording->pure(spv::LogicalAnd, Type::kBool, {i < to, there}), [&] { store(i, value); });
      }
      carry.set(joined(scan.product, carry.get(), others.all));
    });
    if (totals)
      s.module().when(recording->pure(spv::LogicalAnd, Type::kBool, {local < U32(1), there}),
                      [&] { s.store(end, place, carry.get().id()); });
  } else {
    s.module().when(there, [&] {
      s.loop(from, to, U32(1), [&](U32 i) {
        const V value = joined(scan.product, carry.get(), load(i));
        carry.set(value);
        if (!totals) store(i, value);
      });
      if (totals) s.store(end, place, carry.get().id());
    });
  }
  return s.finish();
}

template <class T>
Status add_typed(Maker& m, Scan scan) {
  const int64_t lines = count_of(scan.lines), group = m.gpu.features().group;
  const bool along = scan.along();
  const int64_t least = along ? 4 * group * kOwn : 64, fit = scan.n / least;
  const int64_t most = kBusy / (lines * (along ? group : 1)), turns = m.gpu.features().most_turns;
  scan.chunks = most < fit ? most : fit;
  if (scan.chunks > 1024) scan.chunks = 1024;
  const int64_t needed = scan.n / (along ? group * kOwn : 1) / (turns < INT64_MAX ? turns - 8 : turns) + 1;
  if (scan.chunks < needed) scan.chunks = needed;
  scan.chunk = (scan.n + scan.chunks - 1) / scan.chunks;
  scan.chunks = (scan.n + scan.chunk - 1) / scan.chunk;
  if (scan.chunks == 1) return add_chunks<T>(m, scan, nullptr, nullptr);
  const Layout ends = {kDtypeOf<T>, 2, {lines, scan.chunks}, {scan.chunks, 1}};
  const Source totals = m.scratch(lines * scan.chunks * static_cast<int64_t>(sizeof(T))),
               sums = m.scratch(lines * scan.chunks * static_cast<int64_t>(sizeof(T)));
  Status status = add_chunks<T>(m, scan, nullptr, &totals);
  if (status == kOk) status = add_scan(m, totals, ends, sums, ends, 1, scan.product);
  return status == kOk ? add_chunks<T>(m, scan, &sums, nullptr) : status;
}

Status make_scan(Maker& m, bool product) {
  const Call& call = m.call;
  if (call.nin != 1 || call.nout != 1 || call.nparams < 1) return kInvalid;
  const Layout &in = call.in[0], &out = call.out[0];
  const int dim = static_cast<int>(call.params[0]);
  if (in.ndim != out.ndim || dim < 0 || dim >= in.ndim) return kInvalid;
  const int32_t compute = compute_dtype(in.dtype);
  const bool floats = compute == k_f32 || compute == k_f64;
  if (floats ? out.dtype != in.dtype : out.dtype != k_i64) return kUnsupported;
  return add_scan(m, m.in(0), in, m.out(0), out, dim, product);
}

}  // namespace

Status add_scan(Maker& m, const Source& from, const Layout& x, const Source& to, const Layout& y, int dim,
                bool product) {
  if (count_of(x) == 0) return kOk;
  Scan scan = {from, to, x, y, x, dim, product, x.shape[dim], 0, 0};
  scan.lines.shape[dim] = 1;
  return visit_compute(compute_dtype(y.dtype), [&](auto zero) { return add_typed<decltype(zero)>(m, scan); });
}

Status make_cumsum(Maker& m) { return make_scan(m, false); }
Status make_cumprod(Maker& m) { return make_scan(m, true); }

}  // namespace brasa::vk
