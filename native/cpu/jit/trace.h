// Elementwise programs as straight-line vector code: nodes, each an intrinsic of values before it. What records them
// (trace.cc) knows the op table; what makes machine code of them (emitter.h) knows nodes alone.
#pragma once
#include <stdint.h>

#include <vector>

#include "../../backend.h"
#include "jit.h"

namespace brasa::cpu::jit {

enum class Code : uint8_t {
  kConstant,  // `bits` in every lane
  kCell,      // operand `imm` that is one number
  kLoad,      // operand `imm`, vector `part` of it: f16 becomes f32, what has 8 or 16 bits an i32
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMin,  // the second where either is NaN
  kMax,
  kFma,  // x * y + z; imm: kNegateProduct, kNegateAddend
  kNegate,
  kAnd,  // also of conditions
  kOr,
  kXor,
  kNot,
  kSqrt,
  kRound,  // imm: the mode of roundps
  kScale,  // x * 2^y
  kExponent,
  kMantissa,
  kRsqrt14,
  kShiftLeft,  // by imm
  kShiftRight,
  kShiftLeftBy,  // lane by lane
  kShiftRightBy,
  kCompare,  // imm: the predicate of cmpps; gives a condition
  kSelect,   // condition, where it holds, where not
  kLanes,    // a condition as all ones or all zeros
  kConvert,  // from type imm; `part` of it where the lanes become wider, of both x and y where narrower
  kCall,     // what the loop at `bits` makes of x, y and z (imm: how many); `part` of the elements
  kGuard,    // x, but if any lane of the condition y is set what the loop at `bits` makes of the imm others
};
constexpr int32_t kNegateProduct = 1, kNegateAddend = 2;
enum Predicate : int32_t { kEqual = 0, kLess = 1, kLessEqual = 2, kNotEqual = 4, kGreaterEqual = 13, kGreater = 14 };

struct Node {
  Code code;
  int8_t type;     // a compute dtype: the result's; of kCompare the operands'
  bool condition;  // the result: one bit a lane
  int8_t part;
  int32_t imm;
  int32_t x[4];  // nodes; -1: none
  uint64_t bits;
};

struct Store {
  int32_t operand, part, node;  // i32 to 8 or 16 bits: the low ones; f32 to f16: to nearest even
};

struct Trace {
  std::vector<Node> nodes;
  std::vector<Store> stores;
  int32_t lanes;  // elements a pass: those of a vector of the narrowest compute type
};

// False where an instruction has no such form. One each for the instruction sets, whose formulas differ.
using RecordFn = bool (*)(const Kernel& kernel, Trace* out);
namespace avx2 {
bool record(const Kernel& kernel, Trace* out);
}
namespace v4 {
bool record(const Kernel& kernel, Trace* out);
}

inline bool is_wide(int32_t type) { return type == k_f64 || type == k_i64; }
inline bool is_float(int32_t type) { return type == k_f32 || type == k_f64; }

}  // namespace brasa::cpu::jit
