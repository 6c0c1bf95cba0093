// sort and topk: an element's place is how many come before it, counted; nonzero: counts of pieces, then places.
#include "shade.h"

namespace brasa::vk {
namespace {

// Values and i32 indices of the first k of each line along dim. NaN is the largest; equal ones stay in order.
Status order(Maker& m, bool descending) {
  const Call& call = m.call;
  if (call.nin != 1 || call.nout != 2) return kInvalid;
  const Layout &in = call.in[0], &out = call.out[0], &places = call.out[1];
  const int dim = static_cast<int>(call.params[call.nparams == 4 ? 1 : 0]);
  if (dim < 0 || dim >= in.ndim || out.ndim != in.ndim || places.ndim != in.ndim) return kInvalid;
  if (out.dtype != in.dtype || places.dtype != k_i32) return kUnsupported;
  const int32_t compute = compute_dtype(in.dtype);
  Shade s(m);
  Shade::Tensor x = s.in(0), y = s.out(0), i = s.out(1);
  s.strides(x, in);
  s.strides(y, out);
  s.strides(i, places);
  const auto sizes = s.sizes(in);
  const U32 k = s.u32(out.shape[dim]);
  s.turns(in.shape[dim]);
  visit_compute(compute, [&](auto zero) {
    using T = decltype(zero);
    using V = Vec<T>;
    using I = typename V::Int;
    s.each(count_of(in), [&](U32 index) {
      std::vector<U32> at = s.unravel(index, sizes);
      const U32 own = at[dim], element = s.offset(x, at), line = element - own * x.strides[dim];
      const V value = V::of(s.load(x, element));
      Var<int32_t> rank(I32(0));
      s.loop(U32(0), sizes[dim], U32(1), [&](U32 j) {
        const V other = V::of(s.load(x, line + j * x.strides[dim]));
        I before = descending ? other > value : other < value, same = other == value;
        if constexpr (kIsFloat<T>) {
          const I nan = value != value, other_nan = other != other;
          before = before | (descending ? other_nan & ~nan : nan & ~other_nan);
          same = same | (nan & other_nan);
        }
        const I32 earlier = I32::mask(j < own);
        const I32 counts = I32::mask(before.condition()) | (I32::mask(same.condition()) & earlier);
        rank.set(rank.get() + select(counts, I32(1), I32(0)));
      });
      at[dim] = U32::of(rank.get().id());
      s.module().when(at[dim] < k, [&] {
        s.store_raw(y, s.offset(y, at), s.load_raw(x, element));
        s.store(i, s.offset(i, at), own.id());
      });
    });
  });
  return s.finish();
}

constexpr int64_t kPiece = 256;

// Elements of a piece of the flattened x that are not 0, one by one: f(index, place along each dim).
template <class F>
void each_nonzero(Shade& s, const Shade::Tensor& x, const std::vector<U32>& sizes, U32 piece, U32 count, const F& f) {
  const U32 from = piece * U32(kPiece), end = from + U32(kPiece);
  const U32 to = U32::of(recording->pure(spv::Select, Type::kU32, {end < count, end.id(), count.id()}));
  s.loop(from, to, U32(1), [&](U32 i) {
    const auto at = s.unravel(i, sizes);
    const Id truth = truth_of(compute_dtype(x.dtype), s.load(x, s.offset(x, at)));
    s.module().when((I32::of(truth) != I32(0)).condition(), [&] { f(at); });
  });
}

}  // namespace

Status make_sort(Maker& m) {
  if (m.call.nparams != 2) return kInvalid;
  return order(m, m.call.params[1] != 0);
}
Status make_topk(Maker& m) {
  if (m.call.nparams != 4) return kInvalid;
  return order(m, m.call.params[2] != 0);
}

Status make_nonzero(Maker& m) {
  const Call& call = m.call;
  if (call.nin != 1 || call.nout != 1 || call.out[0].ndim != 2) return kInvalid;
  if (call.out[0].dtype != k_i32) return kUnsupported;
  const Layout &in = call.in[0], &out = call.out[0];
  const int64_t pieces = (count_of(in) + kPiece - 1) / kPiece;
  const Layout counts = {k_i32, 1, {pieces}, {1}};
  const Source scratch = m.scratch(4 * pieces);
  {
    Shade s(m);
    Shade::Tensor x = s.in(0), found = s.operand(scratch, counts, true);
    s.strides(x, in);
    const auto sizes = s.sizes(in);
    const U32 count = s.u32(count_of(in));
    s.each(pieces, [&](U32 piece) {
      Var<int32_t> n(I32(0));
      each_nonzero(s, x, sizes, piece, count, [&](const std::vector<U32>&) { n.set(n.get() + I32(1)); });
      s.store(found, piece, n.get().id());
    });
    const Status status = s.finish();
    if (status != kOk) return status;
  }
  Shade s(m);
  Shade::Tensor x = s.in(0), found = s.operand(scratch, counts, false), y = s.out(0);
  s.strides(x, in);
  s.strides(y, out);
  const auto sizes = s.sizes(in);
  const U32 count = s.u32(count_of(in)), rows = s.u32(out.shape[0]);
  s.turns(pieces + kPiece);
  s.each(pieces, [&](U32 piece) {
    Var<int32_t> row(I32(0));
    s.loop(U32(0), piece, U32(1), [&](U32 i) { row.set(row.get() + I32::of(s.load(found, i))); });
    each_nonzero(s, x, sizes, piece, count, [&](const std::vector<U32>& at) {
      const U32 to = U32::of(row.get().id());
      // The caller has counted; memory may have changed since.
      s.module().when(to < rows, [&] {
        for (size_t d = 0; d < at.size(); ++d)
          s.store(y, to * y.strides[0] + U32(static_cast<uint32_t>(d)) * y.strides[1], at[d].id());
      });
      row.set(row.get() + I32(1));
    });
  });
  return s.finish();
}

}  // namespace brasa::vk
