// Matrix products of any strides: tiles by matmul.comp, cut along K where there are few of them; with a vector, folds
// of rows. And what may follow one: an elementwise program over y.
#include "product.h"
#include "reduction.h"

namespace brasa::vk {
namespace {

const uint32_t kF32[] = {
#include "matmul_f32.inc"
};
const uint32_t kF64[] = {
#include "matmul_f64.inc"
};
const uint32_t kI32[] = {
#include "matmul_i32.inc"
};
const uint32_t kI64[] = {
#include "matmul_i64.inc"
};
const uint32_t kF32Words[] = {
#include "matmul_f32_words.inc"
};
const uint32_t kI32Words[] = {
#include "matmul_i32_words.inc"
};

Shader shader_of(int32_t compute, const TargetDevice& target) {
  const bool words = !target.storage8 || !target.storage16;
  if (words && compute == k_f32) return {kF32Words, sizeof kF32Words};
  if (words && compute == k_i32) return {kI32Words, sizeof kI32Words};
  switch (compute) {
    case k_f64:
      return {kF64, sizeof kF64};
    case k_i32:
      return {kI32, sizeof kI32};
    case k_i64:
      return {kI64, sizeof kI64};
    default:
      return {kF32, sizeof kF32};
  }
}

constexpr int64_t kMost = int64_t{1} << 31;

// A tile of y (m,n), of which each invocation has own_m by own_n sums. There are as many invocations as the tile has
// rows or columns, or more: that is how they share the reading.
struct Tiling {
  uint32_t m, n, own_m, own_n;
  static constexpr uint32_t kStep = 8;  // of K at a time
  uint32_t group() const { return m / own_m * (n / own_n); }
  int64_t down(const Product& p) const { return (p.m + m - 1) / m; }
  int64_t across(const Product& p) const { return (p.n + n - 1) / n; }
  int64_t tiles(const Product& p) const { return down(p) * across(p); }
  int64_t turns() const { return 1 + kStep + (m + n) * kStep / group(); }  // of loops, for each step
  int64_t bytes(int64_t item) const { return 2 * kStep * (m + n + 2) * item; }
  bool thin() const { return m != n; }
  bool by_fours(uint32_t side) const { return side * kStep / group() % 4 == 0; }  // reads of a panel of that side
};
// Of K, each worth the sums that it asks for.
int64_t most_parts(int64_t inner) { return inner < 2048 ? 1 : inner / 256; }
// By what there is to do and what the device can hold: thin tiles for few rows or columns, large ones for many tiles.
Tiling tiling_of(const Gpu& gpu, const Product& p, int64_t batches) {
  const Features& has = gpu.features();
  const int64_t item = item_bytes(compute_dtype(p.in));
  const int64_t few = p.m < p.n ? p.m : p.n, many = p.m < p.n ? p.n : p.m;
  if (few <= 16 && many >= 64)
    return p.m <= 8    ? Tiling{8, 64, 2, 4}
           : p.m <= 16 ? Tiling{16, 64, 4, 4}
           : p.n <= 8  ? Tiling{64, 8, 4, 2}
                       : Tiling{64, 16, 4, 4};
  for (const Tiling& tiling : {Tiling{128, 128, 8, 8}, Tiling{64, 64, 8, 8}}) {
    if (tiling.m == 128 && item > 4) continue;
    const int64_t parts = tiling.m == 128 ? 1 : most_parts(p.inner);
    if (tiling.tiles(p) * batches * parts >= kTiles / 4 && few > tiling.m / 2 &&
        tiling.group() <= has.most_invocations && tiling.bytes(item) <= has.shared_bytes)
      return tiling;
  }
  return {32, 32, 4, 4};
}

// y by the op alone, whole; then the program, whose input at `place` is y.
Status make_then(Maker& m, const char* op) {
  const Call& call = m.call;
  if (call.nparams < 4) return kInvalid;
  const auto nin = static_cast<int32_t>(call.params[0]), nparams = static_cast<int32_t>(call.params[1]),
             made = static_cast<int32_t>(call.params[2]), place = static_cast<int32_t>(call.params[3]);
  const int32_t own = made < 0, y = made < 0 ? 0 : made, further = call.nin - nin;
  if (nin < 0 || further < 0 || nparams < 0 || 4 + nparams > call.nparams || place < 0 || place > further ||
      y >= call.nout || own >= call.nout)
    return kInvalid;
  const Call plain = {op_id(op), nin, 1, nparams, 0, call.in, call.out + y, call.params + 4};
  Maker first = {m.gpu, m.plan, plain, {}, m.first_scalar};
  for (int32_t i = 0; i < nin; ++i) first.operands.push_back(m.in(i));
  first.operands.push_back(m.out(y));
  const Status status = make_call(first);
  if (status != kOk) return status;
  std::vector<Layout> in;
  std::vector<Source> operands;
  for (int32_t i = 0; i <= further; ++i) {
    const int32_t at = nin + i - (i > place);
    in.push_back(i == place ? call.out[y] : call.in[at]);
    operands.push_back(i == place ? m.out(y) : m.in(at));
  }
  for (int32_t i = own; i < call.nout; ++i) operands.push_back(m.out(i));
  const Call program = {op_id("elementwise"), further + 1, call.nout - own, call.nparams - 4 - nparams,
                        call.nscalars,        in.data(),   call.out + own,  call.params + 4 + nparams};
  Maker last = {m.gpu, m.plan, program, operands, m.first_scalar};
  return make_elementwise(last);
}

}  // namespace

namespace {

// Sums of a row of a by a column of b, where one side is thin: what it costs is to read the other.
template <class T>
Status add_folds(Maker& m, const Product& p) {
  // Dims: batch, m, n, k; operands: a, b, y, c.
  const int nd = static_cast<int>(p.batch.size());
  std::vector<Layout> layouts(4);
  const Matrix* const matrices[] = {&p.a, &p.b, &p.y, &p.c};
  for (int i = 0; i < 4; ++i) {
    Layout& layout = layouts[i];
    layout = {i < 2 ? p.in : i == 2 ? p.out : p.in, nd + 3, {}, {}};
    for (int d = 0; d < nd; ++d) {
      const Product::Dim& dim = p.batch[d];
      const int64_t strides[] = {dim.a, dim.b, dim.y, dim.c};
      layout.shape[d] = dim.size;
      layout.strides[d] = strides[i];
    }
    const int64_t sizes[] = {p.m, p.n, p.inner};
    const int64_t strides[] = {i == 1 ? 0 : matrices[i]->row, i == 0 ? 0 : matrices[i]->column,
                               i == 0   ? matrices[0]->column
                               : i == 1 ? matrices[1]->row
                                        : 0};
    for (int d = 0; d < 3; ++d) layout.shape[nd + d] = sizes[d], layout.strides[nd + d] = strides[d];
  }
  Shade* shade = nullptr;
  Shade::Tensor a, b, y, c;
  const auto line = [&](int i) { return line_of(layouts[i].dtype, matrices[i]->bytes / item_bytes(layouts[i].dtype)); };
  const Layout lines[] = {line(0), line(1), line(2), p.has_c ? line(3) : line(2)};
  Reduction r;
  r.monoid = monoid_of<T>(Fold::kSum);
  const size_t lead = p.m <= p.n ? 1 : 0;
  r.kept = Dims::of(layouts, (1u << (nd + 2)) - 1, lead);
  r.over = Dims::of(layouts, 1u << (nd + 2), lead);
  r.operands = 4;
  r.open = [&](Shade& s) {
    a = s.operand(p.a.source, lines[0], false);
    b = s.operand(p.b.source, lines[1], false);
  };
  r.open_results = [&](Shade& s) {
    y = s.operand(p.y.source, lines[2], true);
    if (p.has_c) c = s.operand(p.c.source, lines[3], false);
  };
  r.numbers = [&](Shade& s) { shade = &s; };
  r.element = [&](Rows& rows, const Rows::Slot& slot) {
    return State{(rows.load<T>(a, 0, slot) * rows.load<T>(b, 1, slot)).id()};
  };
  r.finish = [&](Rows& rows, const State& state) {
    Vec<T> value = Vec<T>::of(state[0]);
    if (p.has_c) value = value + Vec<T>::of(shade->load(c, rows.start(3)));
    shade->store(y, rows.start(2), value.id());
  };
  return add_reduction(m, r);
}

}  // namespace

Status add_parts(Maker& m, const Product& p, const Source& parts, int64_t count) {
  const int32_t compute = compute_dtype(p.in);
  return visit_compute(compute, [&](auto zero) {
    using T = decltype(zero);
    const int nd = static_cast<int>(p.batch.size());
    std::vector<Layout> layouts(3);
    for (int i = 0; i < 3; ++i) {
      Layout& layout = layouts[i];
      layout = {i == 0 ? compute : i == 1 ? p.out : p.in, nd + 3, {}, {}};
      int64_t dense_stride = p.m * p.n;
      for (int d = nd - 1; d >= 0; --d) {
        const Product::Dim& dim = p.batch[d];
        layout.shape[d] = dim.size;
        layout.strides[d] = i == 0 ? dense_stride : i == 1 ? dim.y : dim.c;
        dense_stride *= dim.size;
      }
      const Matrix& matrix = i == 1 ? p.y : p.c;
      const int64_t sizes[] = {p.m, p.n, count};
      const int64_t strides[] = {i == 0 ? p.n : matrix.row, i == 0 ? 1 : matrix.column, i == 0 ? dense_stride : 0};
      for (int d = 0; d < 3; ++d) layout.shape[nd + d] = sizes[d], layout.strides[nd + d] = strides[d];
    }
    const Layout from = line_of(compute, reach_of(layouts[0])), to = line_of(p.out, p.y.bytes / item_bytes(p.out)),
                 plus = line_of(p.in, p.has_c ? p.c.bytes / item_bytes(p.in) : 0);
    Shade* shade = nullptr;
    Shade::Tensor x, y, c, places;
    const Layout table = line_of(k_i32, 4 * p.n);
    const bool gathers = p.gather.kind != Gather::kNo;
    Reduction r;
    r.monoid = monoid_of<T>(Fold::kSum);
    r.kept = Dims::of(layouts, (1u << (nd + 2)) - 1);
    r.over = Dims::of(layouts, 1u << (nd + 2));
    r.operands = 3;
    r.open = [&](Shade& s) { x = s.operand(parts, from, false); };
    U32 columns;
    r.open_results = [&](Shade& s) {
      y = s.operand(p.y.source, to, true);
      if (p.has_c) c = s.operand(p.c.source, plus, false);
      if (gathers) places = s.operand(p.gather.column, table, false);
    };
    r.numbers = [&](Shade& s) {
      shade = &s;
      columns = s.u32(p.n);
    };
    r.element = [&](Rows& rows, const Rows::Slot& slot) { return State{rows.load<T>(x, 0, slot).id()}; };
    r.finish = [&](Rows& rows, const State& state) {
      Vec<T> value = Vec<T>::of(state[0]);
      if (p.has_c) value = value + Vec<T>::of(shade->load(c, rows.start(2)));
      U32 at = rows.start(1);
      if (gathers) at = at + U32::of(shade->load(places, (rows.start(0) % columns) * U32(4) + U32(3)));
      shade->store(y, at, cast_value(compute, compute_dtype(p.out), value.id()));
    };
    return add_reduction(m, r);
  });
}

Cut cut_of(const Gpu& gpu, const Product& p, int64_t tiles, int64_t step, int64_t turns, int64_t wanted) {
  const int64_t steps = (p.inner + step - 1) / step, most = gpu.features().most_turns;
  int64_t parts = tiles < wanted / 2 ? wanted / tiles : 1;
  if (parts > most_parts(p.inner)) parts = most_parts(p.inner);
  const int64_t needed = most < INT64_MAX ? steps * turns / (most - 1000) + 1 : 1;
  if (parts < needed) parts = needed;
  const int64_t length = (steps + parts - 1) / parts * step;
  parts = length > 0 ? (p.inner + length - 1) / length : 1;
  return {parts < 1 ? 1 : parts, length};
}

Status add_product(Maker& m, const Product& p) {
  const int32_t compute = compute_dtype(p.in);
  if (p.in == k_bool || compute_dtype(p.out) != compute) return kUnsupported;
  if (compute == k_f64 && !m.gpu.features().target.float64) return kUnsupported;
  int64_t batches = 1;
  for (const Product::Dim& dim : p.batch) batches *= dim.size;
  if (p.m == 0 || p.n == 0 || batches == 0) return kOk;
  for (const int64_t bytes : {p.a.bytes, p.b.bytes, p.y.bytes})
    if (bytes >= kMost * item_bytes(p.in)) return kUnsupported;
  const bool gathers = p.gather.kind != Gather::kNo;
  if (!gathers && (p.m <= 2 || p.n <= 2) && p.batch.size() + 3 <= kMaxDims)
    return visit_compute(compute, [&](auto zero) { return add_folds<decltype(zero)>(m, p); });
  if (const Status status = add_matrix_product(m, p, batches); status != kUnsupported) return status;
  const Tiling tiling = tiling_of(m.gpu, p, batches);
  const auto [parts, part] =
      cut_of(m.gpu, p, tiling.tiles(p) * batches, Tiling::kStep, tiling.turns(), tiling.thin() ? 4 * kTiles : kTiles);
  const bool split = parts > 1;
  if (p.batch.size() + 3 > kMaxDims && split) return kUnsupported;
  const int64_t dense = p.m * p.n * batches;
  Source partial = {};
  if (split) {
    if (dense * parts >= kMost) return kUnsupported;
    partial = m.scratch(dense * parts * item_bytes(compute));
  }
  const bool has_c = p.has_c && !split;
  Dispatch d;
  d.port(p.a.source.operand, p.a.source.begin, p.a.bytes, false);
  d.port(p.b.source.operand, p.b.source.begin, p.b.bytes, false);
  if (split)
    d.port(partial.operand, partial.begin, dense * parts * item_bytes(compute), true);
  else
    d.port(p.y.source.operand, p.y.source.begin, p.y.bytes, true);
  // What is not read has some address all the same.
  const Matrix& c = has_c ? p.c : p.a;
  d.port(c.source.operand, c.source.begin, c.bytes, false);
  const Source none = p.a.source;
  const auto table = [&](const Source& source, int64_t count) {
    if (gathers)
      d.port(source.operand, source.begin, 16 * count, false);
    else
      d.port(none.operand, none.begin, p.a.bytes, false);
  };
  table(p.gather.inner, p.inner);
  table(p.gather.column, p.n);
  const int64_t tiles_m = tiling.down(p), tiles_n = tiling.across(p);
  const int64_t total = tiles_m * tiles_n * batches * parts;
  // How panels are read: by fours where every row, part and matrix of the batch begins at a multiple of four.
  const bool a_along = gathers || p.a.column <= p.a.row;
  const bool b_along = gathers ? p.gather.kind != Gather::kTurned : p.b.column <= p.b.row;
  const auto wide = [&](const Matrix& x, bool along, int64_t length, int64_t Product::Dim::*stride) {
    const int64_t next = along ? x.column : x.row, other = along ? x.row : x.column;
    bool fours = !gathers && compute == k_f32 && next == 1 && other % 4 == 0 && length % 4 == 0;
    for (const Product::Dim& dim : p.batch) fours &= dim.*stride % 4 == 0;
    return fours;
  };
  const bool a_wide = tiling.by_fours(tiling.m) && wide(p.a, a_along, a_along ? p.inner : p.m, &Product::Dim::a);
  const bool b_wide = tiling.by_fours(tiling.n) && wide(p.b, b_along, b_along ? p.n : p.inner, &Product::Dim::b);
  const int64_t flags = has_c + a_along * 2 + b_along * 4 + a_wide * 8 + b_wide * 16;
  // As matmul.comp has them.
  const auto put = [&](const std::vector<int64_t>& values) {
    for (const int64_t value : values) d.put(static_cast<uint32_t>(value));
  };
  put({p.m, p.n, p.inner, part, parts, tiles_m, tiles_n, total});
  put({p.a.row, p.a.column, p.b.row, p.b.column});
  if (split)
    put({p.n, 1, dense});
  else
    put({p.y.row, p.y.column, 0});
  put({c.row, c.column});
  const Gather& g = p.gather;
  put({g.height, g.width, g.by_row, g.by_column, g.stride[0], g.stride[1]});
  put({flags, static_cast<int64_t>(p.batch.size())});
  int64_t stride = dense;
  for (const Product::Dim& dim : p.batch) {
    stride /= dim.size;
    put({dim.size, dim.a, dim.b, split ? stride : dim.y, dim.c});
  }
  const int64_t most = m.gpu.features().most_groups < 65535 ? m.gpu.features().most_groups : 65535;
  const int64_t across = total < most ? total : most, down = (total + across - 1) / across;
  if (down > 65535) return kUnsupported;
  d.groups[0] = static_cast<uint32_t>(across);
  d.groups[1] = static_cast<uint32_t>(down);
  const std::vector<uint32_t> constants = {tiling.group(),
                                           static_cast<uint32_t>(p.in),
                                           static_cast<uint32_t>(split ? compute : p.out),
                                           g.kind,
                                           tiling.m,
                                           tiling.n,
                                           Tiling::kStep,
                                           tiling.own_m,
                                           gathers && !split,
                                           a_wide || b_wide,
                                           tiling.own_n};
  const Status status = m.gpu.pipeline(shader_of(compute, m.gpu.features().target), constants, &d.pipeline);
  if (status != kOk) return status;
  m.add() = std::move(d);
  return split ? add_parts(m, p, partial, parts) : kOk;
}

Status make_matmul(Maker& m) {
  const Call& call = m.call;
  if (call.nin < 2 || call.nin > 3 || call.nout != 1) return kInvalid;
  const Layout &a = call.in[0], &b = call.in[1], &y = call.out[0], &c = call.nin == 3 ? call.in[2] : y;
  const int nd = y.ndim, row = nd - 2, column = nd - 1;
  if (nd < 2 || a.ndim != nd || b.ndim != nd || c.ndim != nd) return kInvalid;
  if (b.dtype != a.dtype || (call.nin == 3 && c.dtype != a.dtype)) return kUnsupported;
  if (a.shape[row] != y.shape[row] || b.shape[row] != a.shape[column] || b.shape[column] != y.shape[column])
    return kInvalid;
  const auto matrix = [&](const Source& source, const Layout& layout) {
    return Matrix{source, reach_of(layout) * item_bytes(layout.dtype), layout.strides[row], layout.strides[column]};
  };
  Product p = {a.dtype, y.dtype, y.shape[row], y.shape[column], a.shape[column]};
  p.a = matrix(m.in(0), a);
  p.b = matrix(m.in(1), b);
  p.y = matrix(m.out(0), y);
  p.has_c = call.nin == 3;
  p.c = p.has_c ? matrix(m.in(2), c) : p.y;
  for (int i = 0; i < row; ++i) p.batch.push_back({y.shape[i], a.strides[i], b.strides[i], y.strides[i], c.strides[i]});
  return add_product(m, p);
}

Status make_matmul_then(Maker& m) { return make_then(m, "matmul"); }
Status make_conv2d_then(Maker& m) { return make_then(m, "conv2d"); }
Status make_conv2d_grad_input_then(Maker& m) { return make_then(m, "conv2dGradInput"); }

}  // namespace brasa::vk
