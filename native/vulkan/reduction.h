// A fold of rows by as many invocations as keep a device busy: in one stage, or in pieces whose results are folded.
#pragma once
#include "rows.h"

namespace brasa::vk {
namespace {

constexpr int64_t kBusy = 1 << 17;  // invocations

// Operands, as kept and over have them: what is read, then what is written for each row.
struct Reduction {
  Monoid monoid;
  Dims kept, over;
  size_t operands = 0;
  std::function<void(Shade&)> open, open_results;  // operands
  std::function<void(Shade&)> numbers;             // after them
  std::function<State(Rows&, const Rows::Slot&)> element;
  std::function<void(Rows&, const State&)> finish;  // for each row, once
  int32_t unrolled = 4;
  bool late = false;  // results may lie over what is read: they are written when all of it has been
};

// Of elements: how many, their mean, and the sum of squares of their distances from it (Chan, Golub, LeVeque).
template <class T>
Monoid moments() {
  using V = Vec<T>;
  return {std::vector<int32_t>(3, kDtypeOf<T>), [] { return State(3, V(T(0)).id()); },
          [](const State& a, const State& b) {
            const V na = V::of(a[0]), ma = V::of(a[1]), sa = V::of(a[2]);
            const V nb = V::of(b[0]), mb = V::of(b[1]), sb = V::of(b[2]);
            const V n = na + nb, share = nb / select(n == V(T(0)), V(T(1)), n), d = mb - ma;
            return State{n.id(), (ma + d * share).id(), (sa + sb + d * d * na * share).id()};
          }};
}

template <class T>
State moment_of(Vec<T> x) {
  return {Vec<T>(T(1)).id(), x.id(), Vec<T>(T(0)).id()};
}

inline Layout line_of(int32_t dtype, int64_t n) { return {dtype, 1, {n}, {1}}; }

inline Status add_reduction(Maker& m, const Reduction& r) {
  Spread spread = Spread::of(m.gpu, r.kept, r.over, false);
  const int64_t rows = r.kept.count(), n = r.over.count(), most = m.gpu.features().most_turns;
  if (rows == 0) return kOk;
  const int64_t idle = kBusy / (spread.groups(rows) * spread.group), fit = n / (int64_t{spread.lanes} * 16);
  spread.chunks = idle < fit ? idle : fit;
  if (spread.chunks > 1024) spread.chunks = 1024;
  const int64_t needed = n / spread.lanes / (most < INT64_MAX ? most - 8 : most) + 1;
  if (spread.chunks < needed) spread.chunks = needed;
  // Several reads under way at a time, where a lane has as many.
  const int32_t unrolled = n >= 8 * spread.lanes * spread.chunks ? r.unrolled : 1;
  const bool split = spread.chunks > 1 || r.late;
  std::vector<Source> partial;
  std::vector<Layout> layouts;
  for (const int32_t dtype : r.monoid.types) {
    layouts.push_back(line_of(dtype, rows * spread.chunks));
    if (split) partial.push_back(m.scratch(rows * spread.chunks * item_bytes(dtype)));
  }
  {
    Shade s(m, spread.group);
    r.open(s);
    std::vector<Shade::Tensor> parts;
    for (size_t i = 0; i < partial.size(); ++i) parts.push_back(s.operand(partial[i], layouts[i], true));
    if (!split) r.open_results(s);
    r.numbers(s);
    Rows work(s, spread, r.kept, r.over, r.operands);
    const State total = work.fold(
        r.monoid, [&](const Rows::Slot& slot) { return r.element(work, slot); }, unrolled);
    work.once([&] {
      if (!split) return r.finish(work, total);
      const U32 place = work.row() * s.u32(spread.chunks) + work.chunk();
      for (size_t i = 0; i < parts.size(); ++i) s.store(parts[i], place, total[i]);
    });
    const Status status = s.finish();
    if (status != kOk || !split) return status;
  }
  Dims rest, lines;
  rest.push(spread.chunks, std::vector<int64_t>(r.operands, 1));
  lines.push(rows, {spread.chunks});
  const Spread last = Spread::of(m.gpu, lines, rest, false);
  Shade s(m, last.group);
  std::vector<Shade::Tensor> parts;
  for (size_t i = 0; i < partial.size(); ++i) parts.push_back(s.operand(partial[i], layouts[i], false));
  r.open_results(s);
  r.numbers(s);
  const U32 chunks = s.u32(spread.chunks);
  Rows work(s, last, r.kept, rest, r.operands);
  const State total = work.fold(r.monoid, [&](const Rows::Slot& slot) {
    State state;
    for (const Shade::Tensor& part : parts) state.push_back(s.load(part, work.row() * chunks + slot.j));
    return state;
  });
  work.once([&] { r.finish(work, total); });
  return s.finish();
}

}  // namespace
}  // namespace brasa::vk
