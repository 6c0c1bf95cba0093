#include "isa.h"

#include <stdio.h>
#include <string.h>

#include "dot.h"

namespace brasa::cpu {

// Every family file registers itself in the namespace of its instruction set.
#define FAMILY(name) void register_##name();
#if defined(__x86_64__)
namespace v2 {
#include "families.def"
}
#ifdef BRASA_WITH_avx2
namespace avx2 {
#include "families.def"
}
#endif
#ifdef BRASA_WITH_v4
namespace v4 {
#include "families.def"
}
namespace vnni {
const DotKernel* kernels();
}
namespace bf16 {
const DotKernel* kernels();
}
#endif
#else
namespace neon {
#include "families.def"
}
#endif
#undef FAMILY

namespace {

#if defined(__x86_64__)
// The machine has the set, and so does the library: CMake defines BRASA_WITH_<set> for each that it compiled.
bool supports(const char* name) {
  __builtin_cpu_init();
  [[maybe_unused]] const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#ifdef BRASA_WITH_avx2
  if (strcmp(name, "avx2") == 0) return avx2;
#endif
#ifdef BRASA_WITH_v4
  if (strcmp(name, "v4") == 0)
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#endif
  return strcmp(name, "v2") == 0;
}
const char* detect() { return supports("v4") ? "v4" : supports("avx2") ? "avx2" : "v2"; }
#else
bool supports(const char* name) { return strcmp(name, "neon") == 0; }
const char* detect() { return "neon"; }
#endif

const char*& chosen() {
  static const char* name = detect();
  return name;
}

bool limited = false;  // to a set alone, without instructions found beside it

}  // namespace

const char* isa_name() { return chosen(); }

bool limit_isa(const char* name) {
  static const char* const kNames[] = {"v2", "avx2", "v4", "neon"};
  for (const char* known : kNames) {
    if (strcmp(known, name) == 0 && supports(known)) {
      chosen() = known;
      limited = true;
      return true;
    }
  }
  return false;
}

#ifdef BRASA_WITH_v4
namespace {
bool takes_dots() { return !limited && strcmp(isa_name(), "v4") == 0; }
}  // namespace
bool has_vnni() { return __builtin_cpu_supports("avx512vnni"); }
bool has_bf16() { return __builtin_cpu_supports("avx512bf16"); }
const DotKernel* vnni_kernels() { return has_vnni() && takes_dots() ? vnni::kernels() : nullptr; }
const DotKernel* bf16_kernels() { return has_bf16() && takes_dots() ? bf16::kernels() : nullptr; }
#else
bool has_vnni() { return false; }
bool has_bf16() { return false; }
const DotKernel* vnni_kernels() { return nullptr; }
const DotKernel* bf16_kernels() { return nullptr; }
#endif

void cpu_name(char* out, size_t size) {
  snprintf(out, size, "CPU");
  if (FILE* file = fopen("/proc/cpuinfo", "r")) {
    char line[256];
    while (fgets(line, sizeof line, file)) {
      const char* colon = strchr(line, ':');
      if (strncmp(line, "model name", 10) == 0 && colon) {
        snprintf(out, size, "%s", colon + 2);
        out[strcspn(out, "\n")] = 0;
        break;
      }
    }
    fclose(file);
  }
}

void register_kernels() {
#define FAMILY(name) register_##name();
#if defined(__x86_64__)
#ifdef BRASA_WITH_v4
  if (strcmp(isa_name(), "v4") == 0) {
    using namespace v4;
#include "families.def"
    return;
  }
#endif
#ifdef BRASA_WITH_avx2
  if (strcmp(isa_name(), "avx2") == 0) {
    using namespace avx2;
#include "families.def"
    return;
  }
#endif
  using namespace v2;
#include "families.def"
#else
  using namespace neon;
#include "families.def"
#endif
#undef FAMILY
}

}  // namespace brasa::cpu
