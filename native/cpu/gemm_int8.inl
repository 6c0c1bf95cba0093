// matmulInteger: y (...,M,N; i32) = a (...,M,K) x b (...,K,N) of i8 or u8 each, exact modulo 2^32, any strides.
//   bytes  where the machine has instructions for u8 x i8 (VNNI): an operand of the other sign is moved by 128, which
//          sums of the other operand's rows or columns take back
//   pairs  elsewhere: bytes widened to 16 bits, two along K a word
//   few    few rows of either operand: the other is read once, in pairs, at memory speed
#include "gemm_call.inl"
#include "gemm_int8_few.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kIntegerDeep = 16384;  // steps of K packed at once

// y (+)= a block's sums, and what operands moved by a and b are owed: with a' = a + da, b' = b - db,
//   a b = a' b' + db a' - da b' - da db.
struct StoreInteger {
  const Shape& s;
  int32_t* y;
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
    return true;
  }
};

// Of operands of s, of which a and b are signed or not.
Status integer_product(const Shape& s, const Operands<uint8_t, int32_t>& o, bool a_signed, bool b_signed) {
  if (const DotKernel* kernels = vnni_kernels()) {
    const StoreInteger store{s, o.y, a_signed ? 128 : 0, b_signed ? 0 : 128};
    const Bytes of_a{a_signed ? 0x80 : 0}, of_b{b_signed ? 0 : 0x80};
    return dot_product<int32_t>(kernels, s, of_a, of_b, o.a, o.b, s.y_col == 1 ? o.y : nullptr, a_signed || !b_signed,
                                kIntegerDeep, store);
  }
  const StoreInteger store{s, o.y, 0, 0};
  return dot_product<int32_t>(dot_table<MultiplyPairs>(), s, Pairs{a_signed ? 0x80 : 0}, Pairs{b_signed ? 0x80 : 0},
                              o.a, o.b, s.y_col == 1 ? o.y : nullptr, false, kIntegerDeep, store);
}

Status few_product(const Shape& s, const Operands<uint8_t, int32_t>& o, bool a_signed, bool b_signed) {
  const Pairs of_a{a_signed ? 0x80 : 0}, of_b{b_signed ? 0x80 : 0};
  return s.b_k == 1 ? few_along(s, o, of_a, of_b) : few_across(s, o, of_a, of_b);
}

using Product = Status (*)(const Shape&, const Operands<uint8_t, int32_t>&, bool, bool);
template <Product product>
Status run_integer(const CpuPlan& plan, const Args& args) {
  const bool first = plan.call.in[0].dtype == k_i8, second = plan.call.in[1].dtype == k_i8;
  return each_batch<uint8_t, int32_t>(plan, args, [&](const Shape& s, const Operands<uint8_t, int32_t>& o) {
    return product(s, o, s.swapped ? second : first, s.swapped ? first : second);
  });
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
  if (s.n < s.m && s.n <= kFewBytes) swap_operands(&p);
  if (s.m <= kFewBytes && s.k > 0 && (s.b_k == 1 || s.b_col == 1))
    return finish_plan(plan, p, run_integer<few_product>);
  if (s.y_col != 1 && s.y_row == 1) swap_operands(&p);
  return finish_plan(plan, p, run_integer<integer_product>);
}

}  // namespace

void register_gemm_int8() { register_kernel("matmulInteger", make_integer, "words"); }

}  // namespace brasa::cpu::BRASA_ISA
