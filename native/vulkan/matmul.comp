// variants: f32 f64 i32 i64 f32_words i32_words
// y (M,N) = a (M,K) b (K,N) (+ c): a work group makes a tile of y, each invocation OWN_M by OWN_N sums of it, from panels of
// STEP steps of K in shared memory. While one pair of panels is used the next is on its way through registers. Operands
// lie by strides; or b is what a convolution reads, gathered by tables (product.h): of the inner index and of the column.
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint IN = 0;
layout(constant_id = 2) const uint OUT = 0;
layout(constant_id = 3) const uint GATHER = 0;  // 0: no; 1: windows; 2: windows turned; 3: their transposes
layout(constant_id = 4) const uint TILE_M = 64;
layout(constant_id = 5) const uint TILE_N = 64;
layout(constant_id = 6) const uint STEP = 8;
layout(constant_id = 7) const uint OWN_M = 8;
layout(constant_id = 8) const bool PLACED = false;  // the table of columns says where y lies
layout(constant_id = 9) const bool WIDE = false;  // a or b may be read by fours
layout(constant_id = 10) const uint OWN_N = 8;

// Of args.flags.
const uint HAS_C = 1, A_ALONG = 2, B_ALONG = 4, A_WIDE = 8, B_WIDE = 16;

const uint DOWN = TILE_M / OWN_M, ACROSS = TILE_N / OWN_N, GROUP = DOWN * ACROSS;
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
  uint flags, ndim;
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

// Which elements of a panel an invocation brings, `each` at a time: the first one's place along K and along the tile, and
// how far the next is. Neighbouring invocations go along K, or along the tile.
struct Share { uint k, i, next_k, next_i; };
Share share(uint id, bool along_k, uint tile, uint each) {
  const uint e = id * each, next = GROUP * each;
  return along_k ? Share(e % STEP, e / STEP, 0, next / STEP) : Share(e / tile, e % tile, next / tile, 0);
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
  // Where the panels' elements are read: neighbours along the stride of 1.
  const bool a_along = (args.flags & A_ALONG) != 0, b_along = (args.flags & B_ALONG) != 0;
#if defined(COMPUTE_f32)
  const bool a_wide = WIDE && (args.flags & A_WIDE) != 0 && aligned(args.a, ao);
  const bool b_wide = WIDE && (args.flags & B_WIDE) != 0 && aligned(args.b, bo);
#else
  const bool a_wide = false, b_wide = false;
#endif
  const Share of_a = share(id, a_along, TILE_M, a_wide ? 4 : 1), of_b = share(id, !b_along, TILE_N, b_wide ? 4 : 1);
  const uint a_gap = a_along ? PITCH_A : 1, b_gap = b_along ? 1 : PITCH_B;  // of four neighbours in a panel
  T sum[OWN_M][OWN_N], next_a[LOADS_A], next_b[LOADS_B];
  [[unroll]] for (uint i = 0; i < OWN_M; ++i)
    [[unroll]] for (uint j = 0; j < OWN_N; ++j) sum[i][j] = T(0);
  Entry own = Entry(0, 0, 0, 0);
  if (GATHER != 0 && b_along) own = args.of_column.at[min(column + of_b.i, n - 1)];

  // One turn more than there are panels: the first only reads, the last only multiplies.
  uint now = 0;
  for (uint start = first; start < end + STEP; start += STEP, now ^= 1) {
    const bool reads = start < end;
    if (reads) {
#if defined(COMPUTE_f32)
      if (a_wide) {
        [[unroll]] for (uint q = 0; q < LOADS_A / 4; ++q) {
          const uint k = start + of_a.k + q * of_a.next_k, r = row + of_a.i + q * of_a.next_i;
          const bool inside = r < m && k < end;
          const vec4 v = load4(args.a, ao + (inside ? r * am + k * ak : 0));
          [[unroll]] for (uint l = 0; l < 4; ++l) next_a[4 * q + l] = inside ? v[l] : 0;
        }
      } else
#endif
      {
        Entry entry = Entry(0, 0, 0, 0);
        if (GATHER != 0) entry = args.of_inner.at[min(start + of_a.k, end - 1)];
        [[unroll]] for (uint q = 0; q < LOADS_A; ++q) {
          const uint k = start + of_a.k + q * of_a.next_k, r = row + of_a.i + q * of_a.next_i;
          const bool inside = r < m && k < end;
          const T v = load(IN, args.a, ao + (inside ? r * am + (GATHER != 0 ? entry.plain : k * ak) : 0));
          next_a[q] = inside ? v : T(0);
        }
      }
#if defined(COMPUTE_f32)
      if (b_wide) {
        [[unroll]] for (uint q = 0; q < LOADS_B / 4; ++q) {
          const uint k = start + of_b.k + q * of_b.next_k, c = column + of_b.i + q * of_b.next_i;
          const bool inside = c < n && k < end;
          const vec4 v = load4(args.b, bo + (inside ? k * bk + c * bn : 0));
          [[unroll]] for (uint l = 0; l < 4; ++l) next_b[4 * q + l] = inside ? v[l] : 0;
        }
      } else
#endif
      {
        Entry entry = own;
        if (GATHER != 0 && !b_along) entry = args.of_inner.at[min(start + of_b.k, end - 1)];
        [[unroll]] for (uint q = 0; q < LOADS_B; ++q) {
          const uint k = start + of_b.k + q * of_b.next_k, c = column + of_b.i + q * of_b.next_i;
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
      const uint from_a = now * STEP * PITCH_A, from_b = now * STEP * PITCH_B;
      for (uint p = 0; p < STEP; ++p) {
        T x[OWN_M], y[OWN_N];
        [[unroll]] for (uint i = 0; i < OWN_M; ++i) x[i] = panel_a[from_a + p * PITCH_A + id / ACROSS + DOWN * i];
        [[unroll]] for (uint j = 0; j < OWN_N; ++j) y[j] = panel_b[from_b + p * PITCH_B + id % ACROSS + ACROSS * j];
        [[unroll]] for (uint i = 0; i < OWN_M; ++i)
          [[unroll]] for (uint j = 0; j < OWN_N; ++j) sum[i][j] += x[i] * y[j];
      }
    }
    if (reads) {
      const uint to_a = (now ^ 1) * STEP * PITCH_A + of_a.k * PITCH_A + of_a.i;
      const uint to_b = (now ^ 1) * STEP * PITCH_B + of_b.k * PITCH_B + of_b.i;
      const uint far_a = of_a.next_k * PITCH_A + of_a.next_i, far_b = of_b.next_k * PITCH_B + of_b.next_i;
      [[unroll]] for (uint q = 0; q < LOADS_A; ++q)
        panel_a[to_a + (a_wide ? q / 4 * far_a + q % 4 * a_gap : q * far_a)] = next_a[q];
      [[unroll]] for (uint q = 0; q < LOADS_B; ++q)
        panel_b[to_b + (b_wide ? q / 4 * far_b + q % 4 * b_gap : q * far_b)] = next_b[q];
    }
    barrier();
  }
  [[unroll]] for (uint i = 0; i < OWN_M; ++i) {
    [[unroll]] for (uint j = 0; j < OWN_N; ++j) {
      const uint r = row + id / ACROSS + DOWN * i, s = column + id % ACROSS + ACROSS * j;
      if (r >= m || s >= n) continue;
      T value = sum[i][j];
      if ((args.flags & HAS_C) != 0) value += load(IN, args.c, co + r * args.cm + s * args.cn);
      const uint step = PLACED ? args.of_column.at[s].plain : s * args.yn;
      store(OUT, args.y, yo + r * args.ym + step, value);
    }
  }
}
