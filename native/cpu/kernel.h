// How CPU kernels are found and run. A kernel family is a file NAME.inl, compiled once per instruction set by
// NAME.cc in namespace brasa::cpu::<isa>, that registers its kernels by op name, fastest first, plain reference last.
// Everything an .inl defines sits in an anonymous namespace: nothing compiled for AVX-512 may leak into the baseline.
#pragma once
#include "../backend.h"

namespace brasa::cpu {

// Pointers to the first element of each operand, offsets already applied.
struct Args {
  const void* const* in;
  void* const* out;
  const double* scalars;
  int64_t* fault;
};

struct CpuPlan;
using RunFn = Status (*)(const CpuPlan& plan, const Args& args);
// Fills in plan.run (and plan.state, plan.workspace) or answers kUnsupported; the next kernel of that name is then
// asked.
using MakeFn = Status (*)(CpuPlan& plan);

struct CpuPlan {
  RunFn run;
  Call call;       // its pointers lead to copies that live as long as the plan
  void* state;     // a kernel's own derived data, from plan_alloc
  CpuPlan* owner;  // of a part: the plan whose memory it takes
};

// Memory that lives as long as the plan (zeroed, 64-byte aligned). Null when out of memory.
void* plan_alloc(CpuPlan& plan, size_t bytes);

// Called when the plan is dropped.
void plan_at_end(CpuPlan& plan, void (*release)(const void*), const void* what);

// Plans a call of any op, of which a copy is kept, as a part of the owner; the owner's kernel runs it: part.run(part,
// args).
Status make_part(CpuPlan& owner, const Call& call, CpuPlan* part);

// Scratch memory of the calling thread, 64-byte aligned, reused between calls; slots 0..3 are independent and a pointer
// is good until the same thread asks for the same slot again. Slot kTileScratch is that of elementwise programs, which
// other kernels run while they hold theirs; kCopyScratch that of operands copied for a part of the plan. Null when out
// of memory.
constexpr int kTileScratch = 5, kCopyScratch = 6;
void* scratch(int slot, size_t bytes);

// The thread pool. Calls body(ctx, begin, end) on chunks [i*grain, min(n, (i+1)*grain)): the partition depends on n and
// grain only, never on the thread count. Runs inline when there is one chunk, when nested, or when another thread holds
// the pool.
using Body = void (*)(void* ctx, int64_t begin, int64_t end);
void parallel_for(int64_t n, int64_t grain, Body body, void* ctx);
int thread_count();

// a / b of what is not negative. Kernels divide before they begin: 64 bits take the processor three times as long
// as 32.
static inline int64_t quotient(int64_t a, int64_t b) {
  return (a | b) >> 32 == 0 ? static_cast<uint32_t>(a) / static_cast<uint32_t>(b) : a / b;
}

int op_id(const char* name);  // id in ops.def, -1 when there is none
void register_kernel(const char* op, MakeFn make, const char* label);

}  // namespace brasa::cpu

// In an .inl: parallel(n, grain, [&](int64_t begin, int64_t end) {...});
#define BRASA_PARALLEL                                                                          \
  template <class F>                                                                            \
  inline void parallel(int64_t n, int64_t grain, const F& body) {                               \
    parallel_for(                                                                               \
        n, grain, [](void* ctx, int64_t b, int64_t e) { (*static_cast<const F*>(ctx))(b, e); }, \
        const_cast<void*>(static_cast<const void*>(&body)));                                    \
  }
