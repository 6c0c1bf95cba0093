// Matrix products by dot.h's micro-kernels: both operands packed into panels of words, tiles of y kept in the type that
// the micro-kernel adds up in. How elements become words is a policy W:
//   W::Elem, W::G      elements in memory, and how many of them along K are a word
//   along(p)           words of G * N elements that lie side by side
//   across(rows, n)    words of the first n lanes of G rows
//   zero()             the element that is packed as 0
#pragma once
#include "dot_kernel.inl"
#include "gemm_packed.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kDotWide = 512;  // columns of a tile: it shares L2 with A's block

// The sum of a word's 4 bytes; flip: they are signed.
BRASA_INLINE I32 byte_sum(I32 word, bool is_signed) {
  if (is_signed) word = word ^ I32(int32_t(0x80808080));
  const I32 mask(0x00ff00ff), pairs = (word & mask) + ((word >> 8) & mask);
  return (pairs & I32(0xffff)) + (pairs >> 16) - I32(is_signed ? 512 : 0);
}

// One panel: dst[step * LANES + lane], elements beyond k packed as 0; lanes beyond `lanes` hold anything. sums: null,
// or what receives the sum of each lane's bytes.
template <int LANES, class W>
void pack_words(const W& words, const typename W::Elem* src, int64_t lane_stride, int64_t k_stride, int64_t lanes,
                int64_t k, uint32_t* dst, int32_t* sums, bool is_signed) {
  using Elem = typename W::Elem;
  constexpr int N = I32::N, G = W::G, BLOCKS = ceil_div(LANES, N), WHOLE = N * G;
  I32 sum[BLOCKS];
  unroll<BLOCKS>([&](auto g) { sum[g] = I32(0); });
  const auto put = [&](int64_t step, auto g, I32 word) __attribute__((always_inline)) {
    constexpr int n = least(N, LANES - g.value * N);
    int32_t* const to = reinterpret_cast<int32_t*>(dst + step * LANES + g.value * N);
    if constexpr (n == N)
      word.store(to);
    else
      word.store(to, n);
    if (sums) sum[g.value] = sum[g.value] + byte_sum(word, is_signed);
  };
  const int64_t steps = ceil_div(k, G);
  Elem part[WHOLE];
  if (lane_stride == 1) {
    for (int i = 0; i < WHOLE; ++i) part[i] = words.zero();
    for (int64_t step = 0; step < steps; ++step) {
      unroll<BLOCKS>([&](auto g) {
        const int64_t first = g.value * N;
        const Elem* rows[G];
        for (int e = 0; e < G; ++e) {
          const int64_t at = step * G + e;
          rows[e] = at < k ? src + at * k_stride + first : part;
        }
        if (lanes > first) put(step, g, words.across(rows, int(least<int64_t>(N, lanes - first))));
      });
    }
  } else {
    for (int64_t step = 0; step < steps; step += N) {
      const int64_t left = least<int64_t>(k - step * G, WHOLE);
      unroll<BLOCKS>([&](auto g) {
        Words::Reg r[N];
        unroll<N>([&](auto i) {
          r[i] = Words::Reg{};
          const int64_t lane = g.value * N + i.value;
          if (lane >= lanes || lane >= LANES) return;
          const Elem* from = src + lane * lane_stride + step * G * k_stride;
          if (k_stride != 1 || left < WHOLE) {
            for (int64_t e = 0; e < WHOLE; ++e) part[e] = e < left ? from[e * k_stride] : words.zero();
            from = part;
          }
          r[i] = (Words::Reg)words.along(from).v;
        });
        transpose<uint32_t>(r);
        unroll<N>([&](auto l) {
          if (step + l < steps) put(step + l, g, I32((I32::Raw)r[l]));
        });
      });
    }
  }
  if (sums) {
    unroll<BLOCKS>([&](auto g) { sum[g].store(sums + g * N, int(least<int64_t>(N, LANES - g * N))); });
  }
}

// What pack_words found of one K-block, for the sums that operands moved by a constant need; null without.
struct Sums {
  const int32_t *rows, *cols;
};

// Tiles of y in Acc, each handed to end(tile, ld, i, m, j, n, k0, k, sums) for every block of at most `deep` steps of
// K; it answers false for want of memory. y: null, or where tiles may be made at once, rows s.y_row apart.
template <class Acc, class W, class End>
Status dot_product(const DotKernel* kernels, const Shape& s, const W& of_a, const W& of_b, const typename W::Elem* a,
                   const typename W::Elem* b, Acc* y, bool with_sums, int64_t deep, const End& end) {
  constexpr int G = W::G, NRW = NR<uint32_t>;
  const Tiling t = tiling<float>(s, kDotWide);
  deep = least(s.k, deep);
  const int64_t deep_steps = ceil_div(deep, G), held = kPanelBytes / 4 / (deep_steps + 1);
  const int64_t block_m = least(round_up(s.m, t.tile_m), round_up(held, t.tile_m)),
                block_n = least(round_up(s.n, t.tile_n), round_up(held, t.tile_n));
  // A's, then B's panels, and behind each the sums of its lanes.
  uint32_t* const pa = static_cast<uint32_t*>(scratch(0, 4 * (block_m + MR) * (deep_steps + 1) + 64));
  uint32_t* const pb = static_cast<uint32_t*>(scratch(1, 4 * (block_n + NRW) * (deep_steps + 1) + 64));
  if (!pa || !pb) return kOutOfMemory;
  int32_t* const rows = reinterpret_cast<int32_t*>(pa + round_up(block_m, MR) * deep_steps);
  int32_t* const cols = reinterpret_cast<int32_t*>(pb + round_up(block_n, NRW) * deep_steps);
  int failed = 0;

  const auto block = [&](int64_t i0, int64_t m, int64_t j0, int64_t n, int64_t k0, int64_t k) {
    const int64_t steps = ceil_div(k, G), a_panels = ceil_div(m, MR), b_panels = i0 > 0 ? 0 : ceil_div(n, NRW);
    parallel(a_panels + b_panels, ceil_div(kChunk / 8, k * MR + 1), [&](int64_t begin, int64_t finish) {
      for (int64_t p = begin; p < finish; ++p) {
        const int64_t i = (p - b_panels) * MR, j = p * NRW;
        if (p < b_panels)
          pack_words<NRW>(of_b, b + k0 * s.b_k + (j0 + j) * s.b_col, s.b_col, s.b_k, least<int64_t>(NRW, n - j), k,
                          pb + j * steps, with_sums ? cols + j : nullptr, true);
        else
          pack_words<MR>(of_a, a + k0 * s.a_k + (i0 + i) * s.a_row, s.a_row, s.a_k, least<int64_t>(MR, m - i), k,
                         pa + i * steps, with_sums ? rows + i : nullptr, false);
      }
    });
    const int64_t down = ceil_div(m, t.tile_m), parts = ceil_div(steps + (steps == 0), KC<float>),
                  part = round_up(ceil_div(steps, parts), 4);
    parallel(down * ceil_div(n, t.tile_n), 1, [&](int64_t begin, int64_t finish) {
      Acc* const own = static_cast<Acc*>(scratch(2, sizeof(Acc) * t.tile_m * t.tile_n));
      if (!own) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      for (int64_t at = begin; at < finish; ++at) {
        const int64_t i = at % down * t.tile_m, tm = least(t.tile_m, m - i), j = at / down * t.tile_n,
                      tn = least(t.tile_n, n - j);
        // The micro-kernels write whole panels.
        const bool there = y && k0 == 0 && tn % NRW == 0;
        Acc* const tile = there ? y + (i0 + i) * s.y_row + j0 + j : own;
        const int64_t ld = there ? s.y_row : t.tile_n;
        int64_t step = 0;
        do {
          const int64_t count = least(part, steps - step);
          for (int64_t col = 0; col < tn; col += NRW) {
            const uint32_t* const panel = pb + (j + col) * steps + step * NRW;
            const uint32_t* next = panel + steps * NRW;
            for (int64_t row = 0; row < tm;) {
              const DotKernel* kernel = kernels;
              while (kernel->rows > tm - row) ++kernel;
              const int64_t lane = row % MR;
              kernel->run(count, pa + (i + row - lane) * steps + step * MR + lane, panel, next, tile + row * ld + col,
                          ld, step > 0);
              row += kernel->rows;
              next += count * 4;
            }
          }
          step += count;
        } while (step < steps);
        const Sums sums{with_sums ? rows + i : nullptr, with_sums ? cols + j : nullptr};
        if (!end(tile, ld, i0 + i, tm, j0 + j, tn, k0, k, sums)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      }
    });
  };
  int64_t k0 = 0;
  do {
    const int64_t k = least(deep, s.k - k0);
    for (int64_t j0 = 0; j0 < s.n; j0 += block_n)
      for (int64_t i0 = 0; i0 < s.m; i0 += block_m)
        block(i0, least(block_m, s.m - i0), j0, least(block_n, s.n - j0), k0, k);
    k0 += k;
  } while (k0 < s.k);
  return failed ? kOutOfMemory : kOk;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
