// Elementwise programs as machine code. A kernel is described by plain data and made once a process; without an
// assembler, a suitable instruction set or executable memory there is none, and the caller interprets.
#pragma once
#include <stdint.h>

namespace brasa::cpu::jit {

enum Role : int32_t {
  kStream,  // an input whose elements lie side by side, of its dtype
  kNumber,  // an input that is 64 bytes of one number, of its compute type
  kResult,  // an output whose elements lie side by side
};

struct Operand {
  int32_t role, dtype, reg;
  int32_t far;  // lies in memory rather than in cache: fetched ahead
};

// A loop of the interpreter's, for what has no code of its own: element i of a source at p[i & mask].
struct Source {
  char* p;
  int64_t mask;
};
using Loop = void (*)(int64_t n, void* out, const Source& x, const Source& y, const Source& z, bool far);

struct Step {
  int32_t op, type, out, x[3];  // an op of ops.def, or kTruth: x != 0 as an i32, whatever x is; -1: no operand
  int32_t arity;                // operands of the loop, which all have the type
  Loop loop;
};
constexpr int32_t kTruth = -1;

// A program: inputs first, then results. Registers are numbered, each has a compute dtype.
struct Kernel {
  int32_t noperands, nsteps, nregs;
  const Operand* operands;
  const Step* steps;
  const int32_t* types;
};

// n elements of each operand.
using Run = void (*)(int64_t n, const void* const* operands);

struct Compiled {
  Run run = nullptr;
};

// The kernel's code, or null. It stays until released as often as found.
const Compiled* find(const Kernel& kernel);
void release(const Compiled* compiled);

// In words: what is generated, or why nothing is.
const char* state();
int64_t kernels();  // that there is code of

// For tests: as without the library, or as if the system gave no executable memory. BRASA_JIT=0 begins with kOff.
enum class Mode : int32_t { kOff, kOn, kRefused };
void set_mode(Mode mode);

}  // namespace brasa::cpu::jit
