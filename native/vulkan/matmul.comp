// variants: f32 f64 i32 i64
// y (M,N) = a (M,K) b (K,N) (+ c): a work group makes a tile of y, each invocation OWN by OWN sums of it, from panels of
// STEP steps of K in shared memory. While one pair of panels is used the next is on its way through registers. Operands
// lie by strides; or b is what a convolution reads, gathered by tables (product.h): of the inner index and of the column.
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint IN = 0;
layout(constant_id = 2) const uint OUT = 0;
layout(constant_id = 3) const bool HAS_C = false;
layout(constant_id = 4) const uint GATHER = 0;  // 0: no; 1: windows; 2: windows turned; 3: their transposes
layout(constant_id = 5) const uint TILE_M = 64;
layout(constant_id = 6) const uint TILE_N = 64;
layout(constant_id = 7) const uint STEP = 8;
layout(constant_id = 8) const uint OWN = 8;
layout(constant_id = 9) const bool PLACED = false;  // the table of columns says where y lies
// Whether neighbours in memory follow each other along K (a), along N (b); and four of them may lie aligned.
layout(constant_id = 10) const bool A_ALONG = true;
layout(constant_id = 11) const bool B_ALONG = true;
layout(constant_id = 12) const bool A_WIDE = false;
layout(constant_id = 13) const bool B_WIDE = false;

const uint DOWN = TILE_M / OWN, ACROSS = TILE_N / OWN, GROUP = DOWN * ACROSS;
const uint LOADS_A = TILE_M * STEP / GROUP, LOADS_B = TILE_N * STEP / GROUP;
const uint PITCH_A = TILE_M + 1, PITCH_B = TILE_N + 1;  // columns of a panel begin in different banks

struct Entry { uint offset, down, across, plain; };
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Table { Entry at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Args {
  uint64_t a, b, y, c;
  Table of_inner, of_column;
  uint m, n, inner, part;  // inner: steps of K; a group takes `part` of them
  uint parts, tiles_m, tiles_n, total;
  uint am, ak, bk, bn, ym, yn, yp, cm, cn;  // strides in elements; yp: of parts
  uint height, width, by_row, by_column, stride_h, stride_w;  // of the image that is gathered from
  uint ndim;
  uint dims[];  // of the batch, each: size, strides of a, b, y, c
};
layout(push_constant) uniform Push { Args args; };

shared T panel_a[2 * STEP * PITCH_A], panel_b[2 * STEP * PITCH_B];

#if defined(COMPUTE_f32)
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Four { vec4 v; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer FourHalves { uvec2 v; };
// Four neighbours, which lie aligned.
vec4 load4(uint64_t base, uint i) {
  if (IN == F32) return Four(base + uint64_t(i) * 4).v;
  const uvec2 two = FourHalves(base + uint64_t(i) * 2).v;
  const uvec4 bits = uvec4(two.x & 0xffff, two.x >> 16, two.y & 0xffff, two.y >> 16);
  if (IN == BF16) return uintBitsToFloat(bits << 16);
  return vec4(from_f16(bits.x), from_f16(bits.y), from_f16(bits.z), from_f16(bits.w));
}
bool aligned(uint64_t base, uint offset) {
  return (uint(base + uint64_t(offset) * (IN == F32 ? 4 : 2)) & (IN == F32 ? 15 : 7)) == 0;
}
#endif

// Nothing branches: what lies outside is read from the image's first element, and is 0.
T gathered(uint bo, Entry k, Entry j) {
  uint h = j.down + k.down, v = j.across + k.across;  // wraps where it is outside
  bool inside = true;
  if (GATHER == 3) {
    h = j.down - k.down, v = j.across - k.across;
    const uint sh = args.stride_h, sv = args.stride_w;
    if (sh > 1 || sv > 1) {
      inside = h % sh == 0 && v % sv == 0;
      h /= sh, v /= sv;
    }
  }
  inside = inside && h < args.height && v < args.width;
  const uint at = bo + k.offset + j.offset + h * args.by_row + v * args.by_column;
  const T value = load(IN, args.b, inside ? at : bo);
  return inside ? value : T(0);
}

// The place in a panel of the element q that an invocation brings: its first place and how far the next is. Neighbouring
// invocations go along K, or along the other dim.
uvec2 along_k(uint id, bool along, uint tile) { return along ? uvec2(id % STEP, 0) : uvec2(id / tile, GROUP / tile); }
uvec2 along_tile(uint id, bool along, uint tile) {
  return along ? uvec2(id / STEP, GROUP / STEP) : uvec2(id % tile, 0);
}

void main() {
  const uint id = gl_LocalInvocationIndex;
  uint tile = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  if (tile >= args.total) return;
  const uint m = args.m, n = args.n, am = args.am, ak = args.ak, bk = args.bk, bn = args.bn;
  const uint part = tile % args.parts;
  tile /= args.parts;
  // Eight rows of tiles together: what they read of b is still near.
  const uint in_batch = args.tiles_m * args.tiles_n, batch = tile / in_batch;
  tile %= in_batch;
  const uint band = tile / (8 * args.tiles_n) * 8, rows = min(8, args.tiles_m - band);
  tile -= band * args.tiles_n;
  const uint row = (band + tile % rows) * TILE_M, column = tile / rows * TILE_N;
  uint ao = 0, bo = 0, yo = part * args.yp, co = 0, rest = batch;
  for (uint d = args.ndim; d-- > 0;) {
    const uint at = rest % args.dims[5 * d];
    rest /= args.dims[5 * d];
    ao += at * args.dims[5 * d + 1];
    bo += at * args.dims[5 * d + 2];
    yo += at * args.dims[5 * d + 3];
    co += at * args.dims[5 * d + 4];
  }
  const uint first = part * args.part, end = min(first + args.part, args.inner);
  const uvec2 ap = along_k(id, A_ALONG, TILE_M), ai = along_tile(id, A_ALONG, TILE_M);
  const uvec2 bp = along_k(id, !B_ALONG, TILE_N), bj = along_tile(id, !B_ALONG, TILE_N);
#if defined(COMPUTE_f32)
  // The same by fours.
  const uint a_e = id * 4, a_gap = GROUP * 4;
  const bool a_wide = A_WIDE && aligned(args.a, ao), b_wide = B_WIDE && aligned(args.b, bo);
#endif
  T sum[OWN][OWN], next_a[LOADS_A], next_b[LOADS_B];
  [[unroll]] for (uint i = 0; i < OWN; ++i)
    [[unroll]] for (uint j = 0; j < OWN; ++j) sum[i][j] = T(0);
  Entry own = Entry(0, 0, 0, 0);
  if (GATHER != 0 && B_ALONG) own = args.of_column.at[min(column + bj.x, n - 1)];

  // One turn more than there are panels: the first only reads, the last only multiplies.
  uint now = 0;
  for (uint start = first; start < end + STEP; start += STEP, now ^= 1) {
    const bool reads = start < end;
    if (reads) {
#if defined(COMPUTE_f32)
      if (a_wide) {
        [[unroll]] for (uint q = 0; q < LOADS_A / 4; ++q) {
          const uint e = a_e + q * a_gap, k = start + (A_ALONG ? e % STEP : e / TILE_M);
          const uint r = row + (A_ALONG ? e / STEP : e % TILE_M);
          const bool inside = r < m && k < end;
          const vec4 v = load4(args.a, ao + (inside ? r * am + k * ak : 0));
          [[unroll]] for (uint l = 0; l < 4; ++l) next_a[4 * q + l] = inside ? v[l] : 0;
        }
      } else
#endif
      {
        Entry entry = Entry(0, 0, 0, 0);
        if (GATHER != 0) entry = args.of_inner.at[min(start + ap.x, end - 1)];
        [[unroll]] for (uint q = 0; q < LOADS_A; ++q) {
          const uint k = start + ap.x + q * ap.y, r = row + ai.x + q * ai.y;
          const bool inside = r < m && k < end;
          const T v = load(IN, args.a, ao + (inside ? r * am + (GATHER != 0 ? entry.plain : k * ak) : 0));
          next_a[q] = inside ? v : T(0);
        }
      }
#if defined(COMPUTE_f32)
      if (b_wide) {
        [[unroll]] for (uint q = 0; q < LOADS_B / 4; ++q) {
          const uint e = a_e + q * a_gap, k = start + (B_ALONG ? e / TILE_N : e % STEP);
          const uint c = column + (B_ALONG ? e % TILE_N : e / STEP);
          const bool inside = c < n && k < end;
          const vec4 v = load4(args.b, bo + (inside ? k * bk + c * bn : 0));
          [[unroll]] for (uint l = 0; l < 4; ++l) next_b[4 * q + l] = inside ? v[l] : 0;
        }
      } else
#endif
      {
        Entry entry = own;
        if (GATHER != 0 && !B_ALONG) entry = args.of_inner.at[min(start + bp.x, end - 1)];
        [[unroll]] for (uint q = 0; q < LOADS_B; ++q) {
          const uint k = start + bp.x + q * bp.y, c = column + bj.x + q * bj.y;
          const bool inside = c < n && k < end;
          T v;
          if (GATHER == 0)
            v = load(IN, args.b, bo + (inside ? k * bk + c * bn : 0));
          else if (GATHER == 2)
            v = gathered(bo, args.of_column.at[min(c, n - 1)], entry);
          else
            v = gathered(bo, args.of_inner.at[min(k, end - 1)], entry);
          next_b[q] = inside ? v : T(0);
        }
      }
    }
    if (start > first) {
      const uint of_a = now * STEP * PITCH_A, of_b = now * STEP * PITCH_B;
      for (uint p = 0; p < STEP; ++p) {
        T x[OWN], y[OWN];
        [[unroll]] for (uint i = 0; i < OWN; ++i) x[i] = panel_a[of_a + p * PITCH_A + id / ACROSS + DOWN * i];
        [[unroll]] for (uint j = 0; j < OWN; ++j) y[j] = panel_b[of_b + p * PITCH_B + id % ACROSS + ACROSS * j];
        [[unroll]] for (uint i = 0; i < OWN; ++i)
          [[unroll]] for (uint j = 0; j < OWN; ++j) sum[i][j] += x[i] * y[j];
      }
    }
    if (reads) {
      const uint of_a = (now ^ 1) * STEP * PITCH_A, of_b = (now ^ 1) * STEP * PITCH_B;
#if defined(COMPUTE_f32)
      if (a_wide) {
        [[unroll]] for (uint q = 0; q < LOADS_A; ++q) {
          const uint e = a_e + q / 4 * a_gap + q % 4;
          panel_a[of_a + (A_ALONG ? e % STEP : e / TILE_M) * PITCH_A + (A_ALONG ? e / STEP : e % TILE_M)] = next_a[q];
        }
      } else
#endif
        [[unroll]] for (uint q = 0; q < LOADS_A; ++q)
          panel_a[of_a + (ap.x + q * ap.y) * PITCH_A + ai.x + q * ai.y] = next_a[q];
#if defined(COMPUTE_f32)
      if (b_wide) {
        [[unroll]] for (uint q = 0; q < LOADS_B; ++q) {
          const uint e = a_e + q / 4 * a_gap + q % 4;
          panel_b[of_b + (B_ALONG ? e / TILE_N : e % STEP) * PITCH_B + (B_ALONG ? e % TILE_N : e / STEP)] = next_b[q];
        }
      } else
#endif
        [[unroll]] for (uint q = 0; q < LOADS_B; ++q)
          panel_b[of_b + (bp.x + q * bp.y) * PITCH_B + bj.x + q * bj.y] = next_b[q];
    }
    barrier();
  }
  [[unroll]] for (uint i = 0; i < OWN; ++i) {
    [[unroll]] for (uint j = 0; j < OWN; ++j) {
      const uint r = row + id / ACROSS + DOWN * i, s = column + id % ACROSS + ACROSS * j;
      if (r >= m || s >= n) continue;
      T value = sum[i][j];
      if (HAS_C) value += load(IN, args.c, co + r * args.cm + s * args.cn);
      const uint step = PLACED ? args.of_column.at[s].plain : s * args.yn;
      store(OUT, args.y, yo + r * args.ym + step, value);
    }
  }
}
