// nonzero: how many each piece has, the sum of those before it, then each element's place.
#include "shade.h"

namespace brasa::vk {
namespace {

constexpr int64_t kPiece = 64;

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

Status make_nonzero(Maker& m) {
  const Call& call = m.call;
  if (call.nin != 1 || call.nout != 1 || call.out[0].ndim != 2) return kInvalid;
  if (call.out[0].dtype != k_i32) return kUnsupported;
  const Layout &in = call.in[0], &out = call.out[0];
  const int64_t pieces = (count_of(in) + kPiece - 1) / kPiece;
  const Layout counts = {k_i32, 1, {pieces}, {1}};
  const Layout ends = {k_i64, 1, {pieces}, {1}};
  const Source scratch = m.scratch(4 * pieces), sums = m.scratch(8 * pieces);
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
    Status status = s.finish();
    if (status == kOk) status = add_scan(m, scratch, counts, sums, ends, 0, false);
    if (status != kOk) return status;
  }
  Shade s(m);
  Shade::Tensor x = s.in(0), found = s.operand(scratch, counts, false), end = s.operand(sums, ends, false),
                y = s.out(0);
  s.strides(x, in);
  s.strides(y, out);
  const auto sizes = s.sizes(in);
  const U32 count = s.u32(count_of(in)), rows = s.u32(out.shape[0]);
  s.each(pieces, [&](U32 piece) {
    Var<int32_t> row(cast<int32_t>(I64::of(s.load(end, piece))) - I32::of(s.load(found, piece)));
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
