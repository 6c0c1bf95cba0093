// matmulInteger: y (...,M,N; i32) = a (...,M,K) x b (...,K,N) of i8 or u8 each, exact modulo 2^32, any strides.
//   bytes  where the machine has instructions for u8 x i8 (VNNI): an operand of the other sign is moved by 128, which
//          sums of the other operand's rows or columns take back
//   pairs  elsewhere: bytes widened to 16 bits, two along K a word
#include "dot_product.inl"
#include "gemm_call.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// u8 x i8 as they lie; flip 0x80 moves by 128, from i8 to u8 or back.
struct Bytes {
  using Elem = uint8_t;
  static constexpr int G = 4;
  int32_t flip;  // 0 or 0x80
  uint8_t zero() const { return uint8_t(flip); }
  BRASA_INLINE I32 moved(I32 word) const { return word ^ I32(flip * 0x01010101); }
  BRASA_INLINE I32 along(const uint8_t* p) const {
    I32 word;
    __builtin_memcpy(&word, p, sizeof word);
    return moved(word);
  }
  BRASA_INLINE I32 across(const uint8_t* const* rows, int n) const {
    I32 word(0);
    unroll<G>([&](auto e) { word = word | (load_lanes(rows[e], n) << (8 * e)); });
    return moved(word);
  }
  static BRASA_INLINE I32 load_lanes(const uint8_t* p, int n) {
    return n == I32::N ? load_as<int32_t>(p) : load_as<int32_t>(p, n);
  }
};

// Numbers of 16 bits: ((byte ^ sign) - sign) & 0xffff is a signed byte's for sign = 0x80, an unsigned one's for 0.
struct Pairs {
  using Elem = uint8_t;
  static constexpr int G = 2;
  int32_t sign;
  uint8_t zero() const { return 0; }
  BRASA_INLINE I32 pair(I32 low, I32 high) const {
    const I32 s(sign);
    return (((low ^ s) - s) & I32(0xffff)) | (((high ^ s) - s) << 16);
  }
  BRASA_INLINE I32 along(const uint8_t* p) const {
    Narrow16 x;
    __builtin_memcpy(&x, p, sizeof x);
    const I32 both = widen_bits(x);
    return pair(both & I32(0xff), both >> 8);
  }
  BRASA_INLINE I32 across(const uint8_t* const* rows, int n) const {
    return pair(Bytes::load_lanes(rows[0], n), Bytes::load_lanes(rows[1], n));
  }
};

// Two products of 16 bits each, added up in 32.
struct MultiplyPairs {
  using Acc = int32_t;
  using Reg = Simd<int32_t>::Reg;
  static BRASA_INLINE Reg dot(Reg sum, Words::Reg a, Words::Reg b) {
#if BRASA_SIMD_BYTES == 64
    return sum + (Reg)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif BRASA_SIMD_BYTES == 32
    return sum + (Reg)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
    return sum + (Reg)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    typedef int32_t Signed __attribute__((vector_size(BRASA_SIMD_BYTES)));
    const Signed x = (Signed)a, y = (Signed)b;
    return sum + (Reg)(((x << 16) >> 16) * ((y << 16) >> 16)) + (Reg)((x >> 16) * (y >> 16));
#endif
  }
};

constexpr int64_t kIntegerDeep = 16384;  // steps of K packed at once

// y (+)= a block's sums, and what operands moved by a and b are owed: with a' = a + da, b' = b - db,
//   a b = a' b' + db a' - da b' - da db.
struct StoreInteger {
  const Shape& s;
  int32_t* y;
  const Then* then;
  int64_t da, db;

  bool operator()(const int32_t* tile, int64_t ld, int64_t i, int64_t m, int64_t j, int64_t n, int64_t k0, int64_t k,
                  const Sums& sums) const {
    using U = uint32_t;
    const bool made = tile == y + i * s.y_row + j * s.y_col && !sums.rows;
    int32_t owed[kDotWide];
    for (int64_t c = 0; c < n; ++c) owed[c] = sums.cols ? int32_t(-U(da) * U(sums.cols[c]) - U(da * db * k)) : 0;
    for (int64_t r = made ? m : 0; r < m; ++r) {
      const U row = sums.rows ? U(db) * U(sums.rows[r]) : 0;
      const int32_t* const from = tile + r * ld;
      int32_t* const to = y + (i + r) * s.y_row + j * s.y_col;
      if (s.y_col == 1 && k0 == 0) {
        for (int64_t c = 0; c < n; ++c) to[c] = int32_t(U(from[c]) + U(owed[c]) + row);
        continue;
      }
      for (int64_t c = 0; c < n; ++c) {
        int32_t* const at = to + c * s.y_col;
        *at = int32_t((k0 == 0 ? 0 : U(*at)) + U(from[c]) + U(owed[c]) + row);
      }
    }
    return !then || k0 + k < s.k || then->finish(i, m, j, n);
  }
};

template <bool SignedA, bool SignedB>
Status integer_product(const Shape& s, const Operands<uint8_t, int32_t>& o) {
  const bool a_signed = s.swapped ? SignedB : SignedA, b_signed = s.swapped ? SignedA : SignedB;
  if (const DotKernel* kernels = vnni_kernels()) {
    const StoreInteger store{s, o.y, o.then, a_signed ? 128 : 0, b_signed ? 0 : 128};
    const Bytes of_a{a_signed ? 0x80 : 0}, of_b{b_signed ? 0 : 0x80};
    return dot_product<int32_t>(kernels, s, of_a, of_b, o.a, o.b, s.y_col == 1 ? o.y : nullptr, a_signed || !b_signed,
                                kIntegerDeep, store);
  }
  const StoreInteger store{s, o.y, o.then, 0, 0};
  return dot_product<int32_t>(dot_table<MultiplyPairs>(), s, Pairs{a_signed ? 0x80 : 0}, Pairs{b_signed ? 0x80 : 0},
                              o.a, o.b, s.y_col == 1 ? o.y : nullptr, false, kIntegerDeep, store);
}

using Product = Status (*)(const Shape&, const Operands<uint8_t, int32_t>&);
template <Product product>
Status run_integer(const CpuPlan& plan, const Args& args) {
  return each_batch<uint8_t, int32_t>(plan, args, product);
}

bool is_byte(int32_t dtype) { return dtype == k_i8 || dtype == k_u8; }

Status make_integer(CpuPlan& plan) {
  const Call& call = plan.call;
  Matmul p;
  if (call.nin != 2 || !describe(call, &p) || !is_byte(call.in[0].dtype) || !is_byte(call.in[1].dtype) ||
      call.out[0].dtype != k_i32)
    return kUnsupported;
  const Shape& s = p.shape;
  if (p.batches * s.m * s.n == 0) return finish_plan(plan, p, run_nothing);
  if (s.y_col != 1 && s.y_row == 1) swap_operands(&p);
  constexpr RunFn fn[2][2] = {{run_integer<integer_product<false, false>>, run_integer<integer_product<false, true>>},
                              {run_integer<integer_product<true, false>>, run_integer<integer_product<true, true>>}};
  return finish_plan(plan, p, fn[call.in[0].dtype == k_i8][call.in[1].dtype == k_i8]);
}

}  // namespace

void register_gemm_int8() { register_kernel("matmulInteger", make_integer, "words"); }

}  // namespace brasa::cpu::BRASA_ISA
