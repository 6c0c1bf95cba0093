// What a backend is: an allocator of untyped buffers, and a resolver of calls into plans. No semantics of any op.
// Plain structs and functions that never throw, so that a backend may live in a shared library of its own.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace brasa {

constexpr int kMaxDims = 16;

// 0 is success. Whatever a kernel refuses is one of these; TypeScript turns it into an error class.
enum Status : int32_t {
  kOk = 0,
  kOutOfMemory = 1,
  kUnsupported = 2,      // no kernel for this call: TypeScript decomposes
  kInvalid = 3,          // a descriptor that TypeScript should have refused
  kIndexOutOfRange = 4,  // fault[0]: the index, fault[1]: the size it must stay below
  kDeviceLost = 5,
  kInUse = 6,  // of close: something of the device is alive
};

enum DType : int32_t {
#define DTYPE(id, name, ctype, bytes, compute) k_##name = id,
#include "dtypes.def"
#undef DTYPE
  kDTypeCount
};

// Shape and strides are in elements. Strides may be 0 (expanded) or negative (never produced today).
struct Layout {
  int32_t dtype;
  int32_t ndim;
  int64_t shape[kMaxDims];
  int64_t strides[kMaxDims];
};

// One op with everything static about it. Offsets, scalars and seeds are operands of run instead.
struct Call {
  int32_t op;  // id in ops.def
  int32_t nin, nout, nparams, nscalars;
  const Layout* in;
  const Layout* out;
  const double* params;  // static attributes, in the order the op's kernel documents
};

struct Buffer {
  void* data;  // device address, or a handle of the backend's own
  int64_t bytes;
};

// A place in a buffer; offset in elements of the operand's dtype.
struct Operand {
  Buffer* buffer;
  int64_t offset;
};

struct Run {
  const Operand* in;
  const Operand* out;
  const double* scalars;
  int64_t* fault;  // 4 words that explain a Status
};

struct Plan;   // the backend's own
struct Graph;  // so too

// A run of a plan in a program without control flow: for each operand, inputs first, the number of its buffer and the
// offset in elements that is added to the buffer's own; and where its scalars begin in the program's.
struct Step {
  const Plan* plan;
  const int32_t* buffers;
  const int64_t* offsets;
  int32_t scalar;
};

struct DeviceInfo {
  char name[128];
  char isa[32];
  int64_t memory_total, memory_free;  // bytes
  int32_t threads;
  int32_t emulated;  // computes on the CPU: used only when it is asked for by number
  int64_t messages;  // what its checker has complained about, where one is switched on
  int32_t dtypes;    // a bit for each that kernels take
  char type[16];     // discrete, integrated, virtual, cpu, other
  int64_t objects;   // of the driver's interface that are alive, of all its devices: what could leak
};

// Work is done in the order in which it was asked for, also of several threads; a device may be behind. What it finds
// out late, a fault of the data or its own loss, is the answer of the next read or wait.
struct Backend {
  void* self;  // the first argument of every function
  const char* name;
  void (*info)(void* self, DeviceInfo* out);
  Status (*alloc)(void* self, int64_t bytes, Buffer** out);
  void (*free)(void* self, Buffer* buffer);
  Status (*write)(void* self, Buffer* to, int64_t offset, const void* from, int64_t bytes);
  Status (*read)(void* self, const Buffer* from, int64_t offset, void* to, int64_t bytes, int64_t* fault);
  Status (*plan)(void* self, const Call* call, Plan** out);
  Status (*run)(void* self, Plan* plan, const Run* run);
  void (*drop)(void* self, Plan* plan);
  Status (*wait)(void* self, int64_t* fault);
  void (*explain)(void* self, char* text, int64_t size);  // what the device failed with last, in words
  // A program as one piece of work, or null where steps are run one by one. Buffer 0 is the arena, given once; buffers
  // of other numbers, their offsets and the scalars are given at each replay. Plans live as long as the graph.
  Status (*capture)(void* self, const Step* steps, int32_t count, Buffer* arena, Graph** out);
  Status (*replay)(void* self, Graph* graph, Buffer* const* buffers, const int64_t* base, const double* scalars);
  void (*drop_graph)(void* self, Graph* graph);
  bool (*has)(void* self, int32_t op);  // a kernel of this op, for some calls at least
  void (*leave)(void* self);            // or null; a process or thread ends: what serves later ones is kept
  // Or null where there is nothing to close. Gives back all that it holds; the next use opens it anew, a lost one too.
  Status (*close)(void* self);
};

// ---- backends in libraries of their own

// What a library is given. BRASA_ABI is a hash of this file, ops.def and dtypes.def.
struct Host {
  const char* abi;
  void (*log)(const char* text);  // a line for stderr
};

// What it answers: its devices, the best first; or the reason why there is none.
struct Library {
  const char* abi;
  int32_t count;
  const Backend* const* devices;
  char reason[512];
};

// Exported as brasa_library; Library.abi is set whatever happens.
using LibraryFn = void (*)(const Host* host, Library* out);

}  // namespace brasa
