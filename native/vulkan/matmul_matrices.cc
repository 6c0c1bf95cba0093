// Products of f16, and of bf16 where the device has it, by its matrix units, summed in f32 (VK_KHR_cooperative_matrix).
// A work group makes a tile of y, each subgroup some matrices of it, from panels of `step` steps of K in shared memory,
// eight elements a word. As in matmul.comp the next pair of panels is on its way while one is used.
#include "product.h"
#include "reduction.h"

namespace brasa::vk {
namespace {

constexpr uint32_t kEight = 8;  // elements in a word of shared memory

// Subgroups down and across a tile, and matrices down and across a subgroup.
struct Tile {
  uint32_t groups_down, groups_across, down, across;
  MatrixUnit unit;
  uint32_t step = 32;  // of K at a time
  uint32_t m() const { return groups_down * down * unit.m; }
  uint32_t n() const { return groups_across * across * unit.n; }
  uint32_t subgroups() const { return groups_down * groups_across; }
};

// An operand's share of a tile: (tile, step) in shared memory by rows of K where K's neighbours lie side by side, else
// by rows of the tile. Rows have a word more, so that they begin in different banks.
struct Panel {
  uint32_t tile, step;
  bool by_k, wide;  // wide: read by words, where the operand begins at a multiple of one
  uint32_t row() const { return (by_k ? step : tile) / kEight; }
  uint32_t pitch() const { return row() + 1; }
  uint32_t words() const { return (by_k ? tile : step) * pitch(); }
  uint32_t loads(uint32_t group) const { return tile * step / kEight / group; }

  Shade::Tensor x = {};
  U32 base, first, limit;  // element of the batch; row or column of the tile; how many there are
  U32 along, across;       // strides of K and of the tile
  Id aligned = 0, array = 0;
  std::vector<Id> held = {};       // what is on its way
  U32 place(U32 i, U32 k) const {  // of element (i, k) of the first panel; both at multiples of eight
    return by_k ? i * U32(pitch()) + k / U32(kEight) : k * U32(pitch()) + i / U32(kEight);
  }
};

Panel panel_of(const Product& p, bool left, uint32_t tile, uint32_t step) {
  const Matrix& x = left ? p.a : p.b;
  const int64_t along = left ? x.column : x.row, across = left ? x.row : x.column, length = left ? p.m : p.n;
  Panel panel = {tile, step, along <= across, false};
  const int64_t next = panel.by_k ? along : across, other = panel.by_k ? across : along;
  panel.wide = next == 1 && other % kEight == 0 && (panel.by_k ? p.inner : length) % kEight == 0;
  for (const Product::Dim& dim : p.batch) panel.wide &= (left ? dim.a : dim.b) % kEight == 0;
  return panel;
}

// Words of the array that a's panels and, at the end, matrices of y lie in.
uint32_t left_words(const Tile& tile, const Panel& a) {
  const uint32_t sums = tile.subgroups() * tile.unit.m * tile.unit.n / 4;
  return sums > 2 * a.words() ? sums : 2 * a.words();
}

// The tile for a product on a device, or one without subgroups.
Tile tile_of(const Gpu& gpu, const Product& p, const MatrixUnit& unit, int64_t batches) {
  const Features& has = gpu.features();
  for (Tile tile : {Tile{2, 4, 4, 2, unit}, Tile{2, 2, 2, 2, unit}}) {
    const bool large = tile.subgroups() == 8;
    const int64_t tiles = (p.m + tile.m() - 1) / tile.m() * ((p.n + tile.n() - 1) / tile.n()) * batches;
    if (large && (tiles < kTiles / 4 || p.m <= tile.m() / 2 || p.n <= tile.n() / 2)) continue;
    for (tile.step = 32; tile.step >= 16; tile.step /= 2) {
      const Panel a = panel_of(p, true, tile.m(), tile.step), b = panel_of(p, false, tile.n(), tile.step);
      const uint32_t group = tile.subgroups() * has.subgroup;
      const auto even = [&](const Panel& x) { return x.loads(group) * group * kEight == x.tile * x.step; };
      if (group <= has.most_invocations && even(a) && even(b) &&
          16 * (left_words(tile, a) + 2 * b.words()) <= has.shared_bytes)
        return tile;
    }
  }
  return {};
}

Id both(Id a, Id b) { return recording->pure(spv::LogicalAnd, Type::kBool, {a, b}); }

// Eight neighbours of a panel's operand from (i, k) on, zeros beyond its edges.
class Reader {
 public:
  Reader(Shade& s, U32 end) : s_(s), end_(end), zeros_(s.module().constant(Type::kU32x4, 0)) {}

  // Sets variable to the word whose first element is i of the tile and k of all.
  void read(const Panel& x, U32 i, U32 k, Id variable) {
    Module& module = s_.module();
    const auto slow = [&] { module.set(variable, by_elements(x, i, k)); };
    if (!x.wide) return slow();
    module.when(x.aligned, [&] {
      const Id inside = both(x.first + i < x.limit, k < end_);
      const U32 at = x.base + choose(inside, (x.first + i) * x.across + k * x.along, U32(0));
      const Id value = module.load(Type::kU32x4, s_.address(x.x, at));
      module.set(variable, module.emit(spv::Select, Type::kU32x4, {inside, value, zeros_}));
    });
    module.when(module.pure(spv::LogicalNot, Type::kBool, {x.aligned}), slow);
  }

 private:
  Id by_elements(const Panel& x, U32 i, U32 k) {
    Id words[4];
    for (uint32_t w = 0; w < 4; ++w) {
      U32 half[2];
      for (uint32_t h = 0; h < 2; ++h) {
        const U32 far(2 * w + h), row = x.first + (x.by_k ? i : i + far), step = x.by_k ? k + far : k;
        const Id inside = both(row < x.limit, step < end_);
        const U32 at = x.base + choose(inside, row * x.across + step * x.along, U32(0));
        half[h] = choose(inside, U32::of(s_.load_raw(x.x, at)), U32(0));
      }
      words[w] = (half[0] | half[1] << U32(16)).id();
    }
    return s_.module().emit(spv::CompositeConstruct, Type::kU32x4, {words[0], words[1], words[2], words[3]});
  }

  Shade& s_;
  U32 end_;
  Id zeros_;
};

}  // namespace

Status add_matrix_product(Maker& m, const Product& p, int64_t batches) {
  const Features& has = m.gpu.features();
  const MatrixUnit unit = p.in == k_f16 ? has.matrix.f16 : p.in == k_bf16 ? has.matrix.bf16 : MatrixUnit();
  if (!unit.m || p.gather.kind != Gather::kNo || p.m < 16 || p.n < 16 || p.inner < 16) return kUnsupported;
  const Tile tile = tile_of(m.gpu, p, unit, batches);
  if (!tile.subgroups()) return kUnsupported;
  const uint32_t group = tile.subgroups() * has.subgroup;
  const int64_t tiles_m = (p.m + tile.m() - 1) / tile.m(), tiles_n = (p.n + tile.n() - 1) / tile.n();
  const Cut cut = cut_of(m.gpu, p, tiles_m * tiles_n * batches, tile.step, tile.step / unit.k + 1);
  const bool split = cut.parts > 1, has_c = p.has_c && !split;
  const int64_t dense = p.m * p.n * batches, total = tiles_m * tiles_n * batches * cut.parts;
  if (split && (p.batch.size() + 3 > kMaxDims || dense * cut.parts >= kMostElements)) return kUnsupported;
  const Source partial = split ? m.scratch(dense * cut.parts * item_bytes(k_f32)) : p.y.source;

  const auto line = [](int32_t dtype, int64_t bytes) { return line_of(dtype, bytes / item_bytes(dtype)); };
  const Layout lines[] = {line(p.in, p.a.bytes), line(p.in, p.b.bytes),
                          split ? line_of(k_f32, dense * cut.parts) : line(p.out, p.y.bytes), line(p.in, p.c.bytes)};
  Shade s(m, group);
  Module& module = s.module();
  module.open_matrices();
  Panel a = panel_of(p, true, tile.m(), tile.step), b = panel_of(p, false, tile.n(), tile.step);
  a.x = s.operand(p.a.source, lines[0], false);
  b.x = s.operand(p.b.source, lines[1], false);
  const Shade::Tensor y = s.operand(partial, lines[2], true);
  const Shade::Tensor c = has_c ? s.operand(p.c.source, lines[3], false) : y;
  a.limit = s.u32(p.m), b.limit = s.u32(p.n);
  a.across = s.u32(p.a.row), a.along = s.u32(p.a.column), b.along = s.u32(p.b.row), b.across = s.u32(p.b.column);
  const U32 inner = s.u32(p.inner), part = s.u32(cut.length), parts = s.u32(cut.parts);
  const U32 down = s.u32(tiles_m), across = s.u32(tiles_n), limit = s.u32(total);
  const U32 y_row = s.u32(split ? p.n : p.y.row), y_column = s.u32(split ? 1 : p.y.column), y_part = s.u32(dense);
  const U32 c_row = s.u32(p.c.row), c_column = s.u32(p.c.column);
  s.groups(total);
  s.turns((cut.length / tile.step + 2) * (tile.step / unit.k + 1));

  const U32 item = smaller(s.group(), limit - U32(1)), own_part = item % parts;
  const Id there = s.group() < limit;
  // Eight rows of tiles together: what they read of b is still near.
  const U32 in_batch = down * across, at = item / parts % in_batch, band = at / (U32(8) * across) * U32(8);
  const U32 rows = smaller(U32(8), down - band), in_band = at - band * across;
  a.first = (band + in_band % rows) * U32(tile.m());
  b.first = in_band / rows * U32(tile.n());
  U32 rest = item / parts / in_batch, y_base = split ? own_part * y_part : U32(0), c_base(0);
  a.base = b.base = U32(0);
  int64_t stride = 1;
  for (size_t d = p.batch.size(); d-- > 0;) {
    const Product::Dim& dim = p.batch[d];
    const U32 size = s.u32(dim.size), i = rest % size;
    rest = rest / size;
    a.base = a.base + i * s.u32(dim.a);
    b.base = b.base + i * s.u32(dim.b);
    y_base = y_base + i * s.u32(split ? stride * p.m * p.n : dim.y);
    if (has_c) c_base = c_base + i * s.u32(dim.c);
    stride *= dim.size;
  }

  a.array = module.shared(Type::kU32x4, left_words(tile, a));
  b.array = module.shared(Type::kU32x4, 2 * b.words());
  for (Panel* const x : {&a, &b}) {
    const U32 low = U32::of(module.pure(spv::UConvert, Type::kU32, {x->x.base})) & U32(15);
    x->aligned = low < U32(1);
    for (uint32_t q = 0; q < x->loads(group); ++q)
      x->held.push_back(module.variable(Type::kU32x4, module.constant(Type::kU32x4, 0)));
  }
  const auto element = p.in == k_f16 ? Module::Element::kF16 : Module::Element::kBf16;
  const Id left = module.matrix_type(element, unit.m, unit.k, Module::Role::kLeft),
           right = module.matrix_type(element, unit.k, unit.n, Module::Role::kRight),
           sum = module.matrix_type(Module::Element::kF32, unit.m, unit.n, Module::Role::kSum);
  std::vector<Id> sums;  // (down, across)
  for (uint32_t i = 0; i < tile.down * tile.across; ++i) sums.push_back(module.matrix_variable(sum));

  const U32 local = s.local(), subgroup = U32::of(module.subgroup());
  const U32 own_row = subgroup / U32(tile.groups_across) * U32(tile.down * unit.m),
            own_column = subgroup % U32(tile.groups_across) * U32(tile.across * unit.n);
  const U32 begin = own_part * part, end = smaller(begin + part, inner), step(tile.step);
  Reader reader(s, end);
  // f(variable, the word's place in the panel, i, k) for each word that the invocation brings.
  const auto each_word = [&](const Panel& x, const auto& f) {
    for (uint32_t q = 0; q < x.held.size(); ++q) {
      const U32 e = local + U32(q * group), line = e / U32(x.row()), word = e % U32(x.row()),
                eight = word * U32(kEight);
      f(x.held[q], line * U32(x.pitch()) + word, x.by_k ? line : eight, x.by_k ? eight : line);
    }
  };
  // One turn more than there are panels: the first only reads, the last only multiplies.
  s.loop(begin, end + step, step, [&](U32 start) {
    const U32 now = (start - begin) / step & U32(1), next = now ^ U32(1);
    const Id reads = start < end;
    module.when(reads, [&] {
      for (const Panel* const x : {&a, &b})
        each_word(*x, [&](Id held, U32, U32 i, U32 k) { reader.read(*x, i, start + k, held); });
    });
    module.when(begin < start, [&] {
      const U32 from_a = now * U32(a.words()), from_b = now * U32(b.words());
      s.loop(U32(0), step, U32(unit.k), [&](U32 k) {
        std::vector<Id> x, w;
        for (uint32_t i = 0; i < tile.down; ++i)
          x.push_back(module.load_matrix(left, a.array, (from_a + a.place(own_row + U32(i * unit.m), k)).id(),
                                         U32(a.pitch()).id(), !a.by_k));
        for (uint32_t j = 0; j < tile.across; ++j)
          w.push_back(module.load_matrix(right, b.array, (from_b + b.place(own_column + U32(j * unit.n), k)).id(),
                                         U32(b.pitch()).id(), b.by_k));
        for (uint32_t i = 0; i < tile.down; ++i)
          for (uint32_t j = 0; j < tile.across; ++j) {
            const Id own = sums[i * tile.across + j];
            module.set(own, module.multiply_add(sum, x[i], w[j], module.get_matrix(sum, own)));
          }
      });
    });
    module.when(reads, [&] {
      for (const Panel* const x : {&a, &b})
        each_word(*x, [&](Id held, U32 place, U32, U32) {
          module.set_shared(Type::kU32x4, x->array, (next * U32(x->words()) + place).id(),
                            module.get(Type::kU32x4, held));
        });
    });
    module.barrier();
  });

  // Matrix by matrix through shared memory, where each invocation finds four neighbours.
  const uint32_t fours = unit.m * unit.n / 4, in_row = unit.n / 4;
  const U32 place = subgroup * U32(fours), lane = local % U32(has.subgroup);
  for (uint32_t i = 0; i < tile.down; ++i)
    for (uint32_t j = 0; j < tile.across; ++j) {
      module.store_matrix(a.array, place.id(), U32(in_row).id(), module.get_matrix(sum, sums[i * tile.across + j]));
      module.barrier();
      const U32 top = a.first + own_row + U32(i * unit.m), side = b.first + own_column + U32(j * unit.n);
      s.loop(lane, U32(fours), U32(has.subgroup), [&](U32 e) {
        const U32 row = top + e / U32(in_row), column = side + e % U32(in_row) * U32(4);
        module.when(both(there, row < a.limit), [&] {
          const Id four = module.get_shared(Type::kU32x4, a.array, (place + e).id());
          for (uint32_t l = 0; l < 4; ++l) {
            const U32 one = column + U32(l);
            module.when(one < b.limit, [&] {
              const I32 bits = I32::of(module.emit(spv::CompositeExtract, Type::kU32, {four, l}));
              F32 value = from_bits<float>(bits);
              if (has_c) value = value + F32::of(s.load(c, c_base + row * c_row + one * c_column));
              s.store(y, y_base + row * y_row + one * y_column, value.id());
            });
          }
        });
      });
      module.barrier();
    }
  const Status status = s.finish();
  if (status == kOk) return split ? add_parts(m, p, partial, cut.parts) : kOk;
  // A driver may list matrices and then refuse the shader: others serve, and it is not asked again.
  if (status != kUnsupported) m.gpu.forget_matrices();
  return kUnsupported;
}

}  // namespace brasa::vk
