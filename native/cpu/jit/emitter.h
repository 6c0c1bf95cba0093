// x86 code of a trace.
#pragma once
#include "trace.h"

namespace brasa::cpu::jit {

// For vectors of 32 bytes (AVX2, FMA, F16C) or 64 (AVX-512 F, BW, DQ, VL). The code is good at any address that is a
// multiple of 64. False where a node has no instruction, or there are too many.
bool emit(const Kernel& kernel, const Trace& trace, int32_t simd_bytes, std::vector<uint8_t>* code);

}  // namespace brasa::cpu::jit
