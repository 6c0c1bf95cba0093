// Products of bf16 by AVX512_BF16: compiled for x86-64-v4 and -mavx512bf16, reached through dot.h alone. The
// instruction takes denormal numbers for 0.
#include "dot_kernel.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct Bf16 {
  using Acc = float;
  using Reg = Simd<float>::Reg;
  static BRASA_INLINE Reg dot(Reg sum, Words::Reg a, Words::Reg b) {
    return (Reg)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
};

}  // namespace

const DotKernel* kernels() { return dot_table<Bf16>(); }

}  // namespace brasa::cpu::BRASA_ISA
