// Attention in blocks: a work group takes some queries of a head and goes over their keys block by block, with the
// greatest score and the sum of exponentials so far, so that scores are never all in memory (Dao et al. 2022,
// arXiv:2205.14135). Its gradient is the decomposition's.
#include "shade.h"

namespace brasa::vk {
namespace {

constexpr uint32_t kGroup = 64, kBlock = 32, kPitch = kBlock + 1;  // queries, keys and depth of a block
constexpr uint32_t kDown = 8, kOwn = kBlock / kDown;               // an invocation has rows and columns 8 apart
constexpr int64_t kMostWidth = 128;                                // columns of values: they stay in registers

Id both(Id a, Id b) { return recording->pure(spv::LogicalAnd, Type::kBool, {a, b}); }
I32 whole(U32 x) { return I32::of(x.id()); }

// A row of four dims: x[i, j, row, ...].
struct Plane {
  Shade::Tensor tensor;
  U32 base;
  U32 at(U32 row, U32 column) const { return base + row * tensor.strides[2] + column * tensor.strides[3]; }
};

}  // namespace

Status make_attention(Maker& m) {
  const Call& call = m.call;
  if (call.nparams != 4 || call.nout != 2) return kInvalid;
  const int causal = static_cast<int>(call.params[1]);
  const bool masked = call.params[2] != 0, has_lengths = call.params[3] != 0;
  if (call.nin != 3 + masked + has_lengths) return kInvalid;
  const Layout &ql = call.in[0], &kl = call.in[1], &vl = call.in[2], &yl = call.out[0];
  for (const Layout* layout : {&ql, &kl, &vl, &yl})
    if (layout->ndim != 4) return kInvalid;
  const int64_t batch = ql.shape[0], heads = ql.shape[1], queries = ql.shape[2], depth = ql.shape[3];
  const int64_t groups = kl.shape[1], keys = kl.shape[2], width = vl.shape[3];
  if (compute_dtype(ql.dtype) != k_f32 || width > kMostWidth || batch * heads * queries * keys * depth * width == 0)
    return kUnsupported;
  if (groups == 0 || heads % groups != 0 || call.out[1].ndim != 3) return kInvalid;
  const int64_t tiles = (queries + kBlock - 1) / kBlock;
  const auto chunks = static_cast<uint32_t>((width + kBlock - 1) / kBlock);

  Shade s(m, kGroup);
  Plane q = {s.in(0), {}}, k = {s.in(1), {}}, v = {s.in(2), {}}, mask = q, y = q;
  Shade::Tensor lengths = q.tensor;
  if (masked) mask.tensor = s.in(3);
  if (has_lengths) lengths = s.in(3 + masked);
  y.tensor = s.out(0);
  Shade::Tensor lse = s.out(1);
  s.strides(q.tensor, ql);
  s.strides(k.tensor, kl);
  s.strides(v.tensor, vl);
  if (masked) s.strides(mask.tensor, call.in[3]);
  if (has_lengths) s.strides(lengths, call.in[3 + masked]);
  s.strides(y.tensor, yl);
  s.strides(lse, call.out[1]);
  const U32 t = s.u32(queries), n = s.u32(keys), d_size = s.u32(depth), e_size = s.u32(width);
  const U32 per_head = s.u32(tiles), head_count = s.u32(heads), shared_by = s.u32(heads / groups);
  const F32 scale = s.number(static_cast<float>(call.params[0]));
  s.groups(batch * heads * tiles);
  const U32 limit = s.u32(batch * heads * tiles);
  s.turns((keys / kBlock + 1) * ((depth / kBlock + 1) * 64 + chunks * 48 + 34));
  Module& module = s.module();
  const U32 item = smaller(s.group(), limit - U32(1)), local = s.local();
  const Id there = s.group() < limit;
  const U32 tile = item % per_head, head = item / per_head % head_count, example = item / per_head / head_count;
  const auto begin = [&](Plane& x, U32 j) { x.base = example * x.tensor.strides[0] + j * x.tensor.strides[1]; };
  begin(q, head);
  begin(k, head / shared_by);
  begin(v, head / shared_by);
  begin(y, head);
  if (masked) begin(mask, head);

  // Keys that queries see: below `known`, and up to the query and `ahead` more.
  const U32 first = tile * U32(kBlock);
  I32 known = whole(n), ahead(0);
  if (has_lengths) {
    const I32 given =
        I32::of(cast_value(compute_dtype(lengths.dtype), k_i32, s.load(lengths, example * lengths.strides[0])));
    known = max(I32(0), min(given, known));
  }
  if (causal == 2) ahead = known - whole(t);
  I32 end = known;
  if (causal != 0) end = max(I32(0), min(known, whole(smaller(first + U32(kBlock), t)) + ahead));

  const auto array = [&](uint32_t count) { return module.shared(Type::kF32, count); };
  const Id left = array(kBlock * kPitch), right = array(kBlock * kPitch), score = array(kBlock * kPitch);
  const Id part = array(kGroup), top = array(kBlock), total = array(kBlock), shrink = array(kBlock);
  const auto get = [&](Id from, U32 i) { return F32::of(module.get_shared(Type::kF32, from, i.id())); };
  const auto set = [&](Id to, U32 i, F32 x) { module.set_shared(Type::kF32, to, i.id(), x.id()); };
  const F32 none(-__builtin_inff()), zero(0.f);
  // A block of x into shared memory, 0 beyond its rows and columns.
  const auto bring = [&](Id to, const Plane& x, U32 row, U32 rows, U32 column, U32 columns) {
    s.loop(local, U32(kBlock * kBlock), U32(kGroup), [&](U32 i) {
      const U32 r = i / U32(kBlock), c = i % U32(kBlock), from_row = row + r, from_column = column + c;
      const Id inside = both(from_row < rows, from_column < columns);
      const U32 at = x.at(smaller(from_row, rows - U32(1)), smaller(from_column, columns - U32(1)));
      const F32 value = F32::of(s.load(x.tensor, at));
      set(to, r * U32(kPitch) + c, F32::of(recording->pure(spv::Select, Type::kF32, {inside, value.id(), zero.id()})));
    });
  };
  const U32 down = local / U32(kDown), across = local % U32(kDown);
  const auto row_of = [&](uint32_t i) { return down + U32(i * kDown); };
  const auto column_of = [&](uint32_t j) { return across + U32(j * kDown); };

  std::vector<Var<float>> out;  // (kOwn, chunks * kOwn)
  for (uint32_t i = 0; i < kOwn * kOwn * chunks; ++i) out.emplace_back(zero);
  const auto sum_at = [&](uint32_t i, uint32_t chunk, uint32_t j) -> Var<float>& {
    return out[(i * chunks + chunk) * kOwn + j];
  };
  module.when(local < U32(kBlock), [&] {
    set(top, local, none);
    set(total, local, zero);
  });
  s.loop(U32(0), U32::of(end.id()), U32(kBlock), [&](U32 key) {
    std::vector<Var<float>> dot;
    for (uint32_t i = 0; i < kOwn * kOwn; ++i) dot.emplace_back(zero);
    s.loop(U32(0), d_size, U32(kBlock), [&](U32 d) {
      module.barrier();
      bring(left, q, first, t, d, d_size);
      bring(right, k, key, n, d, d_size);
      module.barrier();
      s.loop(U32(0), U32(kBlock), U32(1), [&](U32 p) {
        F32 a[kOwn], b[kOwn];
        for (uint32_t i = 0; i < kOwn; ++i) a[i] = get(left, row_of(i) * U32(kPitch) + p);
        for (uint32_t j = 0; j < kOwn; ++j) b[j] = get(right, column_of(j) * U32(kPitch) + p);
        for (uint32_t i = 0; i < kOwn; ++i)
          for (uint32_t j = 0; j < kOwn; ++j) dot[i * kOwn + j].set(fma(a[i], b[j], dot[i * kOwn + j].get()));
      });
    });
    for (uint32_t i = 0; i < kOwn; ++i) {
      for (uint32_t j = 0; j < kOwn; ++j) {
        const U32 row = first + row_of(i), column = key + column_of(j);
        F32 value = dot[i * kOwn + j].get() * scale;
        I32 seen = whole(column) < known;
        if (causal != 0) seen = seen & (whole(column) <= whole(row) + ahead);
        if (masked) {
          const Id given = s.load(mask.tensor, mask.at(smaller(row, t - U32(1)), smaller(column, n - U32(1))));
          if (call.in[3].dtype == k_bool)
            seen = seen & (I32::of(given) != I32(0));
          else
            value = value + F32::of(cast_value(compute_dtype(mask.tensor.dtype), k_f32, given));
        }
        set(score, row_of(i) * U32(kPitch) + column_of(j), select(seen, value, none));
      }
    }
    module.barrier();
    // Two invocations a row: the greatest score, then exponentials and their sum.
    const U32 row = local % U32(kBlock), half = local / U32(kBlock) * U32(kBlock / 2), line = row * U32(kPitch) + half;
    Var<float> best(none), sum(zero);
    s.loop(U32(0), U32(kBlock / 2), U32(1), [&](U32 c) { best.set(maximum(best.get(), get(score, line + c))); });
    set(part, local, best.get());
    module.barrier();
    const F32 before = get(top, row), now = maximum(before, maximum(get(part, row), get(part, row + U32(kBlock))));
    const F32 shift = select(now == none, zero, now), keeps = exp(before - shift);
    module.barrier();
    s.loop(U32(0), U32(kBlock / 2), U32(1), [&](U32 c) {
      const F32 e = exp(get(score, line + c) - shift);
      set(score, line + c, e);
      sum.set(sum.get() + e);
    });
    set(part, local, sum.get());
    module.barrier();
    module.when(local < U32(kBlock), [&] {
      set(top, row, now);
      set(shrink, row, keeps);
      set(total, row, get(total, row) * keeps + get(part, row) + get(part, row + U32(kBlock)));
    });
    module.barrier();
    for (uint32_t i = 0; i < kOwn; ++i) {
      const F32 factor = get(shrink, row_of(i));
      for (uint32_t j = 0; j < kOwn * chunks; ++j) {
        Var<float>& one = out[i * chunks * kOwn + j];
        one.set(one.get() * factor);
      }
    }
    for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
      bring(right, v, key, n, U32(chunk * kBlock), e_size);
      module.barrier();
      s.loop(U32(0), U32(kBlock), U32(1), [&](U32 p) {
        F32 a[kOwn], b[kOwn];
        for (uint32_t i = 0; i < kOwn; ++i) a[i] = get(score, row_of(i) * U32(kPitch) + p);
        for (uint32_t j = 0; j < kOwn; ++j) b[j] = get(right, p * U32(kPitch) + column_of(j));
        for (uint32_t i = 0; i < kOwn; ++i)
          for (uint32_t j = 0; j < kOwn; ++j) sum_at(i, chunk, j).set(fma(a[i], b[j], sum_at(i, chunk, j).get()));
      });
      module.barrier();
    }
  });
  module.barrier();
  for (uint32_t i = 0; i < kOwn; ++i) {
    const U32 row = first + row_of(i);
    const F32 all = get(total, row_of(i)), by = select(all == zero, F32(1.f), all);
    for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
      for (uint32_t j = 0; j < kOwn; ++j) {
        const U32 column = U32(chunk * kBlock) + column_of(j);
        module.when(both(there, both(row < t, column < e_size)),
                    [&] { s.store(y.tensor, y.at(row, column), (sum_at(i, chunk, j).get() / by).id()); });
      }
    }
  }
  module.when(both(there, both(local < U32(kBlock), first + local < t)), [&] {
    const U32 at = example * lse.strides[0] + head * lse.strides[1] + (first + local) * lse.strides[2];
    const F32 all = get(total, local);
    s.store(lse, at, select(all == zero, none, get(top, local) + log(all)).id());
  });
  return s.finish();
}

}  // namespace brasa::vk
