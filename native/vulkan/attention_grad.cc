// The gradient of attention. Scores are computed again, block by block, from the logarithm of their sum that forward
// kept: p = exp(s - lse), ds = p * (dp - delta) where delta = sum(dy * y), dq = ds k, dk = ds^T q, dv = p^T dy. First a
// work group takes some queries of a head and goes over their keys; then one takes some keys and goes over the queries
// of all heads that share them, so that each sum has one order.
#include "attention.h"

namespace brasa::vk {
namespace {

// in: dy, y, lse, then attention's own; out: dq, dk, dv.
constexpr int kBefore = 3;
enum { kDy, kY, kLse };

// What both kernels make of a block of queries from `row` on and keys from `key` on: in the end dot holds p, and dp ds.
void block_grad(AttentionBlocks& blocks, const Plane& dy, Id lse, Id delta, U32 row, U32 key, Sums& dot, Sums& dp) {
  blocks.multiply(blocks.q, row, blocks.k, key, dot);
  blocks.multiply(dy, row, blocks.v, key, dp);
  for (uint32_t i = 0; i < kOwn; ++i) {
    const F32 shift = blocks.get(lse, blocks.row_of(i)), share = blocks.get(delta, blocks.row_of(i));
    for (uint32_t j = 0; j < kOwn; ++j) {
      I32 seen;
      const F32 value = blocks.scored(dot.at(i, 0, j).get(), row + blocks.row_of(i), key + blocks.column_of(j), &seen);
      const F32 p = select(seen, exp(value - shift), F32(0.f));
      dot.at(i, 0, j).set(p);
      dp.at(i, 0, j).set(p * (dp.at(i, 0, j).get() - share));
    }
  }
}
void put_score(AttentionBlocks& blocks, Sums& x) {
  for (uint32_t i = 0; i < kOwn; ++i)
    for (uint32_t j = 0; j < kOwn; ++j) blocks.set(blocks.score, blocks.cell(i, j), x.at(i, 0, j).get());
  recording->barrier();
}
// lse of a query, 0 where it sees nothing.
F32 shift_of(F32 lse) { return select(lse == F32(-__builtin_inff()), F32(0.f), lse); }

int64_t turns_of_block(const Attention& p) { return turns_of_product(p.depth) + turns_of_product(p.width); }

// dq, and delta (batch, heads, queries), dense.
Status add_query_grad(Maker& m, const Attention& p, const Source& delta_source, const Layout& delta_line) {
  const Call& call = m.call;
  const int64_t tiles = blocks_of(p.queries);
  Shade s(m, kGroup);
  AttentionBlocks blocks(s, call, p);
  Plane dy, y, dq;
  dy.tensor = s.in(kDy), y.tensor = s.in(kY), dq.tensor = s.out(0);
  Shade::Tensor lse = s.in(kLse), deltas = s.operand(delta_source, delta_line, true);
  blocks.numbers();
  blocks.open(dy, call.in[kDy], blocks.queries, blocks.v.columns);
  blocks.open(y, call.in[kY], blocks.queries, blocks.v.columns);
  blocks.open(dq, call.out[0], blocks.queries, blocks.q.columns);
  s.strides(lse, call.in[kLse]);
  const U32 per_head = s.u32(tiles), limit = s.u32(p.batch * p.heads * tiles);
  s.groups(p.batch * p.heads * tiles);
  Sums out(static_cast<uint32_t>(blocks_of(p.depth)));
  s.turns((p.keys / kBlock + 1) * (turns_of_block(p) + out.chunks() * kTurnsOfSum) + p.width + 1 +
          out.chunks() * kTurnsOfSum);
  Module& module = s.module();
  const U32 item = smaller(s.group(), limit - U32(1)), local = blocks.local;
  const Id there = s.group() < limit;
  const U32 tile = item % per_head, head = item / per_head % blocks.heads, example = item / per_head / blocks.heads;
  blocks.begin_head(example, head);
  for (Plane* const x : {&dy, &y, &dq}) blocks.begin(*x, example, head);
  blocks.look(example);

  const U32 first = tile * U32(kBlock), row = smaller(first + local, blocks.queries - U32(1));
  const Id shifts = blocks.array(kBlock), shares = blocks.array(kBlock);
  module.when(local < U32(kBlock), [&] {
    Var<float> sum(F32(0.f));
    s.loop(U32(0), dy.columns, U32(1), [&](U32 c) {
      const F32 a = F32::of(s.load(dy.tensor, dy.at(row, c))), b = F32::of(s.load(y.tensor, y.at(row, c)));
      sum.set(fma(a, b, sum.get()));
    });
    const U32 at = example * lse.strides[0] + head * lse.strides[1] + row * lse.strides[2];
    blocks.set(shifts, local, shift_of(F32::of(s.load(lse, at))));
    blocks.set(shares, local, sum.get());
    module.when(both(there, first + local < blocks.queries),
                [&] { s.store(deltas, (example * blocks.heads + head) * blocks.queries + row, sum.get().id()); });
  });
  module.barrier();
  I32 end = blocks.known;
  if (p.causal != 0) end = max(I32(0), min(end, whole(smaller(first + U32(kBlock), blocks.queries)) + blocks.ahead));
  s.loop(U32(0), U32::of(end.id()), U32(kBlock), [&](U32 key) {
    Sums dot(1), dp(1);
    block_grad(blocks, dy, shifts, shares, first, key, dot, dp);
    put_score(blocks, dp);
    blocks.add_weighted(false, blocks.k, key, out);
  });
  blocks.write(dq, first, there, out, [&](uint32_t, F32 sum) { return sum * blocks.scale; });
  return s.finish();
}

// dk and dv.
Status add_key_grad(Maker& m, const Attention& p, const Source& delta_source, const Layout& delta_line) {
  const Call& call = m.call;
  const int64_t tiles = blocks_of(p.keys);
  Shade s(m, kGroup);
  AttentionBlocks blocks(s, call, p);
  Plane dy, dk, dv;
  dy.tensor = s.in(kDy), dk.tensor = s.out(1), dv.tensor = s.out(2);
  Shade::Tensor lse = s.in(kLse), deltas = s.operand(delta_source, delta_line, false);
  blocks.numbers();
  blocks.open(dy, call.in[kDy], blocks.queries, blocks.v.columns);
  blocks.open(dk, call.out[1], blocks.keys, blocks.k.columns);
  blocks.open(dv, call.out[2], blocks.keys, blocks.v.columns);
  s.strides(lse, call.in[kLse]);
  const U32 per_head = s.u32(tiles), limit = s.u32(p.batch * p.groups * tiles), groups = s.u32(p.groups);
  s.groups(p.batch * p.groups * tiles);
  Sums of_keys(static_cast<uint32_t>(blocks_of(p.depth))), of_values(static_cast<uint32_t>(blocks_of(p.width)));
  s.turns(p.heads / p.groups * (p.queries / kBlock + 2) *
              (turns_of_block(p) + (of_keys.chunks() + of_values.chunks()) * kTurnsOfSum) +
          (of_keys.chunks() + of_values.chunks()) * kTurnsOfSum);
  Module& module = s.module();
  const U32 item = smaller(s.group(), limit - U32(1)), local = blocks.local;
  const Id there = s.group() < limit;
  const U32 tile = item % per_head, group = item / per_head % groups, example = item / per_head / groups;
  blocks.begin(dk, example, group);
  blocks.begin(dv, example, group);
  blocks.look(example);

  // Queries that see any of these keys.
  const U32 key = tile * U32(kBlock);
  I32 begin(0);
  if (p.causal != 0) begin = max(I32(0), min(whole(blocks.queries), whole(key) - blocks.ahead));
  begin = select(whole(key) < blocks.known, begin, whole(blocks.queries));
  const Id shifts = blocks.array(kBlock), shares = blocks.array(kBlock);
  s.loop(U32(0), blocks.shared_by, U32(1), [&](U32 shared) {
    const U32 head = group * blocks.shared_by + shared;
    blocks.begin_head(example, head);
    blocks.begin(dy, example, head);
    s.loop(U32::of(begin.id()), blocks.queries, U32(kBlock), [&](U32 first) {
      module.barrier();
      module.when(local < U32(kBlock), [&] {
        const U32 row = smaller(first + local, blocks.queries - U32(1));
        const U32 at = example * lse.strides[0] + head * lse.strides[1] + row * lse.strides[2];
        blocks.set(shifts, local, shift_of(F32::of(s.load(lse, at))));
        const Id share = s.load(deltas, (example * blocks.heads + head) * blocks.queries + row);
        blocks.set(shares, local, F32::of(share));
      });
      Sums dot(1), dp(1);
      block_grad(blocks, dy, shifts, shares, first, key, dot, dp);
      put_score(blocks, dot);
      blocks.add_weighted(true, dy, first, of_values);
      put_score(blocks, dp);
      blocks.add_weighted(true, blocks.q, first, of_keys);
    });
  });
  blocks.write(dk, key, there, of_keys, [&](uint32_t, F32 sum) { return sum * blocks.scale; });
  blocks.write(dv, key, there, of_values, [](uint32_t, F32 sum) { return sum; });
  return s.finish();
}

}  // namespace

Status make_attention_grad(Maker& m) {
  const Call& call = m.call;
  Attention p;
  const Status fits = Attention::of(call, kBefore, &p);
  if (fits != kOk) return fits;
  if (call.nout != 3) return kInvalid;
  for (const Layout* layout : {&call.in[kDy], &call.in[kY], &call.out[0], &call.out[1], &call.out[2]})
    if (layout->ndim != 4) return kInvalid;
  if (call.in[kLse].ndim != 3) return kInvalid;
  if (p.depth > kMostWidth || p.width > kMostWidth || call.in[kLse].dtype != k_f32) return kUnsupported;
  const int64_t rows = p.batch * p.heads * p.queries;
  const Layout line = {k_f32, 1, {rows}, {1}};
  const Source delta = m.scratch(rows * item_bytes(k_f32));
  const Status status = add_query_grad(m, p, delta, line);
  return status == kOk ? add_key_grad(m, p, delta, line) : status;
}

}  // namespace brasa::vk
