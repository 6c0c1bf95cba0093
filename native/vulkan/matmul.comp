// variants: f32 f64 i32 i64 f32_words i32_words
// y (M,N) = a (M,K) b (K,N) (+ c), of a batch. A work group makes a tile of 64 by 64: steps of 16 along K are staged in
// shared memory, and each invocation keeps 8 by 8 sums.
#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint IN = 0;
layout(constant_id = 1) const uint OUT = 0;
layout(constant_id = 2) const bool HAS_C = false;

const uint TILE = 64, STEP = 16, OWN = 8, ACROSS = TILE / OWN;

layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Args {
  uint64_t a, b, y, c;
  uint m, n, inner, outer, batches;  // K is outer * inner steps
  uint am, ak, ao, bk, bn, bo, ym, yn, cm, cn;  // strides in elements
  uint ndim;
  uint dims[];  // of the batch, each: size, strides of a, b, y, c
};
layout(push_constant) uniform Push { Args args; };

shared T panel_a[STEP][TILE], panel_b[STEP][TILE];

void main() {
  const uint id = gl_LocalInvocationIndex;
  const uint row = gl_WorkGroupID.y * TILE, column = gl_WorkGroupID.x * TILE;
  const uint m = args.m, n = args.n, inner = args.inner;
  const uint am = args.am, ak = args.ak, bk = args.bk, bn = args.bn;
  // Where the panels' elements are read: neighbours along the stride of 1.
  const bool a_along = ak <= am, b_along = bn <= bk;
  for (uint batch = gl_WorkGroupID.z; batch < args.batches; batch += gl_NumWorkGroups.z) {
    uint ao = 0, bo = 0, yo = 0, co = 0, rest = batch;
    for (uint d = args.ndim; d-- > 0;) {
      const uint at = rest % args.dims[5 * d];
      rest /= args.dims[5 * d];
      ao += at * args.dims[5 * d + 1];
      bo += at * args.dims[5 * d + 2];
      yo += at * args.dims[5 * d + 3];
      co += at * args.dims[5 * d + 4];
    }
    T sum[OWN][OWN];
    [[unroll]] for (uint i = 0; i < OWN; ++i)
      [[unroll]] for (uint j = 0; j < OWN; ++j) sum[i][j] = T(0);
    for (uint part = 0; part < args.outer; ++part, ao += args.ao, bo += args.bo)
    for (uint start = 0; start < inner; start += STEP) {
      for (uint e = id; e < TILE * STEP; e += ACROSS * ACROSS) {
        const uint p = a_along ? e % STEP : e / TILE, i = a_along ? e / STEP : e % TILE;
        const bool inside = row + i < m && start + p < inner;
        panel_a[p][i] = inside ? load(IN, args.a, ao + (row + i) * am + (start + p) * ak) : T(0);
      }
      for (uint e = id; e < TILE * STEP; e += ACROSS * ACROSS) {
        const uint p = b_along ? e / TILE : e % STEP, j = b_along ? e % TILE : e / STEP;
        const bool inside = column + j < n && start + p < inner;
        panel_b[p][j] = inside ? load(IN, args.b, bo + (start + p) * bk + (column + j) * bn) : T(0);
      }
      barrier();
      for (uint p = 0; p < STEP; ++p) {
        T x[OWN], y[OWN];
        [[unroll]] for (uint i = 0; i < OWN; ++i) x[i] = panel_a[p][id / ACROSS + ACROSS * i];
        [[unroll]] for (uint j = 0; j < OWN; ++j) y[j] = panel_b[p][id % ACROSS + ACROSS * j];
        [[unroll]] for (uint i = 0; i < OWN; ++i)
          [[unroll]] for (uint j = 0; j < OWN; ++j) sum[i][j] += x[i] * y[j];
      }
      barrier();
    }
    [[unroll]] for (uint i = 0; i < OWN; ++i) {
      [[unroll]] for (uint j = 0; j < OWN; ++j) {
        const uint r = row + id / ACROSS + ACROSS * i, s = column + id % ACROSS + ACROSS * j;
        if (r >= m || s >= n) continue;
        T value = sum[i][j];
        if (HAS_C) value += load(IN, args.c, co + r * args.cm + s * args.cn);
        store(OUT, args.y, yo + r * args.ym + s * args.yn, value);
      }
    }
  }
}
