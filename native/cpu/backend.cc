// The CPU backend: finds a kernel for a call, keeps what the kernel needs, runs it inline on the caller's thread and
// the pool.
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "isa.h"
#include "kernel.h"

namespace brasa::cpu {
namespace {

struct Entry {
  MakeFn make;
  const char* label;
};

constexpr int kMostOps = 512;

// Kernels by op id, in the order of registration: fastest first.
std::vector<Entry>& entries(int op) {
  static std::vector<Entry> table[kMostOps];
  return table[op];
}

std::once_flag registered;

struct OwnedPlan : CpuPlan {
  std::vector<Layout> layouts;
  std::vector<double> params;
  std::vector<int32_t> item_size;
  std::vector<void*> allocations;
  std::vector<std::pair<void (*)(const void*), const void*>> held;
  ~OwnedPlan() {
    for (const auto& [release, what] : held) release(what);
    for (void* p : allocations) ::free(p);
  }
};

int32_t item_bytes(int32_t dtype) {
  static const int32_t bytes[] = {
#define DTYPE(id, name, ctype, size, compute) size,
#include "../dtypes.def"
#undef DTYPE
  };
  return bytes[dtype];
}

constexpr int64_t kHugePage = 2 << 20;

Status cpu_alloc(void*, int64_t bytes, Buffer** out) {
  Buffer* buffer = new (std::nothrow) Buffer{nullptr, bytes};
  if (!buffer) return kOutOfMemory;
  if (bytes >= kHugePage) {
    // Whole huge pages: a fresh 64 MB costs 8 ms in them, 37 ms in pages of 4 KB.
    const int64_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    if (posix_memalign(&buffer->data, kHugePage, size) != 0) buffer->data = nullptr;
#if defined(MADV_HUGEPAGE)
    if (buffer->data) madvise(buffer->data, size, MADV_HUGEPAGE);
#endif
  } else if (posix_memalign(&buffer->data, 64, bytes > 0 ? bytes : 64) != 0) {
    buffer->data = nullptr;
  }
  if (!buffer->data) {
    delete buffer;
    return kOutOfMemory;
  }
  *out = buffer;
  return kOk;
}

void cpu_free(void*, Buffer* buffer) {
  ::free(buffer->data);
  delete buffer;
}

Status cpu_write(void*, Buffer* to, int64_t offset, const void* from, int64_t bytes) {
  if (offset < 0 || bytes < 0 || offset + bytes > to->bytes) return kInvalid;
  if (bytes) memcpy(static_cast<char*>(to->data) + offset, from, bytes);
  return kOk;
}

Status cpu_read(void*, const Buffer* from, int64_t offset, void* to, int64_t bytes, int64_t*) {
  if (offset < 0 || bytes < 0 || offset + bytes > from->bytes) return kInvalid;
  if (bytes) memcpy(to, static_cast<const char*>(from->data) + offset, bytes);
  return kOk;
}

// The first kernel that takes the plan's call makes it.
Status make_plan(CpuPlan& plan) {
  if (plan.call.op < 0 || plan.call.op >= kMostOps) return kInvalid;
  Status status = kUnsupported;
  for (const Entry& entry : entries(plan.call.op)) {
    status = entry.make(plan);
    if (status != kUnsupported) break;
  }
  return status;
}

Status cpu_plan(void*, const Call* call, Plan** out) {
  std::call_once(registered, register_kernels);
  OwnedPlan* plan = new (std::nothrow) OwnedPlan();
  if (!plan) return kOutOfMemory;
  plan->layouts.assign(call->in, call->in + call->nin);
  plan->layouts.insert(plan->layouts.end(), call->out, call->out + call->nout);
  plan->params.assign(call->params, call->params + call->nparams);
  for (const Layout& layout : plan->layouts) plan->item_size.push_back(item_bytes(layout.dtype));
  plan->call = *call;
  plan->call.in = plan->layouts.data();
  plan->call.out = plan->layouts.data() + call->nin;
  plan->call.params = plan->params.data();
  const Status status = make_plan(*plan);
  if (status != kOk) {
    delete plan;
    return status;
  }
  *out = reinterpret_cast<Plan*>(static_cast<CpuPlan*>(plan));
  return kOk;
}

Status cpu_run(void*, Plan* opaque, const Run* run) {
  OwnedPlan& plan = *static_cast<OwnedPlan*>(reinterpret_cast<CpuPlan*>(opaque));
  constexpr int kInline = 24;
  const int nin = plan.call.nin, nout = plan.call.nout;
  void* pointers[kInline];
  void** out = pointers;
  if (nin + nout > kInline) out = static_cast<void**>(scratch(4, sizeof(void*) * (nin + nout)));
  if (!out) return kOutOfMemory;
  const void** in = const_cast<const void**>(out + nout);
  const int32_t* size = plan.item_size.data();
  for (int i = 0; i < nin; ++i) in[i] = static_cast<const char*>(run->in[i].buffer->data) + run->in[i].offset * size[i];
  for (int i = 0; i < nout; ++i)
    out[i] = static_cast<char*>(run->out[i].buffer->data) + run->out[i].offset * size[nin + i];
  return plan.run(plan, Args{in, out, run->scalars, run->fault});
}

void cpu_drop(void*, Plan* opaque) { delete static_cast<OwnedPlan*>(reinterpret_cast<CpuPlan*>(opaque)); }

Status cpu_wait(void*, int64_t*) { return kOk; }

bool cpu_has(void*, int32_t op) {
  std::call_once(registered, register_kernels);
  return op >= 0 && op < kMostOps && !entries(op).empty();
}

void cpu_info(void*, DeviceInfo* out) {
  memset(out, 0, sizeof *out);
  cpu_name(out->name, sizeof out->name);
  strncpy(out->isa, isa_name(), sizeof out->isa - 1);
  const int64_t page = sysconf(_SC_PAGESIZE);
  out->memory_total = page * sysconf(_SC_PHYS_PAGES);
#if defined(_SC_AVPHYS_PAGES)
  out->memory_free = page * sysconf(_SC_AVPHYS_PAGES);
#endif
  out->threads = thread_count();
  out->dtypes = (1 << kDTypeCount) - 1;
  snprintf(out->type, sizeof out->type, "cpu");
}

void cpu_explain(void*, char* text, int64_t size) {
  if (size > 0) *text = 0;
}

}  // namespace

void* plan_alloc(CpuPlan& plan, size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, 64, bytes > 0 ? bytes : 64) != 0) return nullptr;
  memset(p, 0, bytes);
  static_cast<OwnedPlan&>(plan.owner ? *plan.owner : plan).allocations.push_back(p);
  return p;
}

void plan_at_end(CpuPlan& plan, void (*release)(const void*), const void* what) {
  static_cast<OwnedPlan&>(plan.owner ? *plan.owner : plan).held.emplace_back(release, what);
}

Status make_part(CpuPlan& owner, const Call& call, CpuPlan* part) {
  *part = {nullptr, call, nullptr, owner.owner ? owner.owner : &owner};
  Layout* layouts = static_cast<Layout*>(plan_alloc(*part, (call.nin + call.nout) * sizeof(Layout)));
  double* params = static_cast<double*>(plan_alloc(*part, call.nparams * sizeof(double)));
  if (!layouts || !params) return kOutOfMemory;
  if (call.nin) memcpy(layouts, call.in, call.nin * sizeof(Layout));
  if (call.nout) memcpy(layouts + call.nin, call.out, call.nout * sizeof(Layout));
  if (call.nparams) memcpy(params, call.params, call.nparams * sizeof(double));
  part->call.in = layouts;
  part->call.out = layouts + call.nin;
  part->call.params = params;
  return make_plan(*part);
}

void* scratch(int slot, size_t bytes) {
  constexpr int kScratches = kCopyScratch + 1;
  struct Scratch {
    void* data[kScratches] = {};
    size_t size[kScratches] = {};
    ~Scratch() {
      for (void* p : data) ::free(p);
    }
  };
  static thread_local Scratch local;
  if (slot < 0 || slot >= kScratches) return nullptr;
  if (local.size[slot] < bytes) {
    ::free(local.data[slot]);
    local.size[slot] = 0;
    const size_t size = bytes + bytes / 4;
    const bool huge = size >= static_cast<size_t>(kHugePage);
    if (posix_memalign(&local.data[slot], huge ? kHugePage : 64, size) != 0) {
      local.data[slot] = nullptr;
      return nullptr;
    }
#if defined(MADV_HUGEPAGE)
    if (huge) madvise(local.data[slot], size, MADV_HUGEPAGE);
#endif
    local.size[slot] = size;
  }
  return local.data[slot];
}

int op_id(const char* name) {
#define UNARY(id, op, types, result, expr) \
  if (strcmp(name, #op) == 0) return id;
#define BINARY UNARY
#define TERNARY UNARY
#define KERNEL(id, op) \
  if (strcmp(name, #op) == 0) return id;
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
  return -1;
}

void register_kernel(const char* op, MakeFn make, const char* label) {
  const int id = op_id(op);
  if (id >= 0) entries(id).push_back({make, label});
}

const Backend& backend() {
  static const Backend instance = {nullptr,  "cpu",    cpu_info, cpu_alloc, cpu_free, cpu_write,
                                   cpu_read, cpu_plan, cpu_run,  cpu_drop,  cpu_wait, cpu_explain,
                                   nullptr,  nullptr,  nullptr,  cpu_has,   nullptr,  nullptr};
  return instance;
}

}  // namespace brasa::cpu
