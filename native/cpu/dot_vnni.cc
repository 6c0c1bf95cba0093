// Products of bytes by AVX512_VNNI: compiled for x86-64-v4 and -mavx512vnni, reached through dot.h alone.
#include "dot_kernel.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct Vnni {
  using Acc = int32_t;
  using Reg = Simd<int32_t>::Reg;
  static BRASA_INLINE Reg dot(Reg sum, Words::Reg a, Words::Reg b) {
    return (Reg)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
  }
};

}  // namespace

const DotKernel* kernels() { return dot_table<Vnni>(); }

}  // namespace brasa::cpu::BRASA_ISA
