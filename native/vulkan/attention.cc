// Attention: a work group takes some queries of a head and goes over their keys block by block, with the greatest score
// and the sum of exponentials so far.
#include "attention.h"

namespace brasa::vk {

Status make_attention(Maker& m) {
  const Call& call = m.call;
  Attention p;
  const Status fits = Attention::of(call, 0, &p);
  if (fits != kOk) return fits;
  if (call.nout != 2 || call.out[0].ndim != 4 || call.out[1].ndim != 3) return kInvalid;
  if (p.width > kMostWidth) return kUnsupported;
  const int64_t tiles = blocks_of(p.queries);

  Shade s(m, kGroup);
  AttentionBlocks blocks(s, call, p);
  Plane y;
  y.tensor = s.out(0);
  Shade::Tensor lse = s.out(1);
  blocks.numbers();
  blocks.open(y, call.out[0], blocks.queries, blocks.v.columns);
  s.strides(lse, call.out[1]);
  const U32 per_head = s.u32(tiles), limit = s.u32(p.batch * p.heads * tiles);
  s.groups(p.batch * p.heads * tiles);
  Sums out(static_cast<uint32_t>(blocks_of(p.width)));
  s.turns((p.keys / kBlock + 1) * (turns_of_product(p.depth) + out.chunks() * kTurnsOfSum + 34) +
          out.chunks() * kTurnsOfSum);
  Module& module = s.module();
  const U32 item = smaller(s.group(), limit - U32(1)), local = blocks.local;
  const Id there = s.group() < limit;
  const U32 tile = item % per_head, head = item / per_head % blocks.heads, example = item / per_head / blocks.heads;
  blocks.begin_head(example, head);
  blocks.begin(y, example, head);
  blocks.look(example);

  const U32 first = tile * U32(kBlock);
  I32 end = blocks.known;
  if (p.causal != 0) end = max(I32(0), min(end, whole(smaller(first + U32(kBlock), blocks.queries)) + blocks.ahead));

  const Id score = blocks.score, part = blocks.array(kGroup), top = blocks.array(kBlock), total = blocks.array(kBlock),
           shrink = blocks.array(kBlock);
  const auto get = [&](Id from, U32 i) { return blocks.get(from, i); };
  const auto set = [&](Id to, U32 i, F32 x) { blocks.set(to, i, x); };
  const F32 none(-__builtin_inff()), zero(0.f);
  module.when(local < U32(kBlock), [&] {
    set(top, local, none);
    set(total, local, zero);
  });
  s.loop(U32(0), U32::of(end.id()), U32(kBlock), [&](U32 key) {
    Sums dot(1);
    blocks.multiply(blocks.q, first, blocks.k, key, dot);
    for (uint32_t i = 0; i < kOwn; ++i) {
      for (uint32_t j = 0; j < kOwn; ++j) {
        I32 seen;
        const F32 value =
            blocks.scored(dot.at(i, 0, j).get(), first + blocks.row_of(i), key + blocks.column_of(j), &seen);
        set(score, blocks.cell(i, j), select(seen, value, none));
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
    for (uint32_t i = 0; i < kOwn; ++i) out.scale_row(i, get(shrink, blocks.row_of(i)));
    blocks.add_weighted(false, blocks.v, key, out);
  });
  module.barrier();
  blocks.write(y, first, there, out, [&](uint32_t i, F32 sum) {
    const F32 all = get(total, blocks.row_of(i));
    return sum / select(all == zero, F32(1.f), all);
  });
  module.when(both(there, both(local < U32(kBlock), first + local < blocks.queries)), [&] {
    const U32 at = example * lse.strides[0] + head * lse.strides[1] + (first + local) * lse.strides[2];
    const F32 all = get(total, local);
    s.store(lse, at, select(all == zero, none, get(top, local) + log(all)).id());
  });
  return s.finish();
}

}  // namespace brasa::vk
