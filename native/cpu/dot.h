// Micro-kernels over words of 32 bits, each of which holds the elements of some steps of K: 4 bytes, 2 numbers of 16
// bits. Those for instructions that only some machines of a set have are compiled on their own (dot_NAME.cc).
#pragma once
#include <stdint.h>

namespace brasa::cpu {

// C (+)= A x B, C of 32-bit accumulators (i32 or f32) in rows ldc apart, `rows` rows by NR columns. A and B in panels
// of words, MR and NR a step; next: what comes after B, fetched meanwhile.
struct DotKernel {
  int64_t rows;
  void (*run)(int64_t steps, const uint32_t* a, const uint32_t* b, const uint32_t* next, void* c, int64_t ldc,
              bool accumulate);
};

// Tables, highest kernel first, the last of one row; null where the machine, or the set that was chosen, lacks them.
const DotKernel* vnni_kernels();  // u8 x i8 -> i32, exact modulo 2^32
const DotKernel* bf16_kernels();  // bf16 x bf16 -> f32

}  // namespace brasa::cpu
