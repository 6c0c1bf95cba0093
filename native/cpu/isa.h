// Which instruction set the kernels use, chosen once at run time.
#pragma once
#include <stddef.h>

namespace brasa::cpu {
const char* isa_name();            // "v2", "avx2", "v4" or "neon"
bool limit_isa(const char* name);  // for tests, before the first plan: this set alone; false when the machine lacks it
bool has_vnni();
bool has_bf16();
void cpu_name(char* out, size_t size);
void register_kernels();  // all families of the chosen set
}  // namespace brasa::cpu
