// The Node-API surface: slots (tensors' storages), plans, run. No logic of any op; the only file that knows Node-API.
// Hot calls take their operands from one block of memory shared with JavaScript, so that only objects cross:
//
// words, Int32: [0] plan, [1] status, [2..7] output slots (-1: allocate, -2: allocate into the current group),
//               [8..] input slots
//
// numbers, Float64: [0..5] output offsets, [7] sweep budget, [8..39] scalars, [40..43] fault, [44] a peeked element,
//                   [48..] input offsets (elements)
#include <errno.h>
#include <fcntl.h>
#include <node_api.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "cpu/isa.h"
#include "device.h"

namespace brasa {
namespace {

constexpr int kWords = 4096, kNumbers = 8192;
constexpr int kMaxOut = 6, kMaxScalars = 32, kMaxIn = kWords - 8;
constexpr int kBudget = 7, kScalars = 8, kFault = 40, kPeek = 44, kInOffsets = 48;
// What a storage costs beside its bytes, for the sweep budget: JavaScript objects.
constexpr double kSlotCost = 3200;
// Small storages share a weak reference, to an object that all of them hold: making one for each would cost as much as
// the op.
constexpr int kGroup = 8;
// Freed blocks up to this class (16 KB) stay with the environment, up to so many a class: no lock on the way.
constexpr int kLocalClasses = 32, kLocalBlocks = 2048;

struct Slot {
  Block* block = nullptr;
  int32_t device = 0;
  int32_t next_free = -1;
};

// Slots that live as long as one JavaScript object: a storage, or what up to kGroup small storages hold.
struct Group {
  napi_ref ref = nullptr;  // weak: empty as soon as the collector has taken the object
  int32_t count = 0;
  int32_t slots[kGroup];
};

struct PlanEntry {
  Plan* plan = nullptr;
  int32_t device = 0;
  int32_t nin = 0, nout = 0, nscalars = 0;
  int64_t out_bytes[kMaxOut] = {};
};

// Everything of one environment (main thread or worker).
struct Env {
  int32_t* words = nullptr;
  double* numbers = nullptr;
  std::vector<Slot> slots;
  int32_t free_slot = -1;
  std::vector<Group> young[2], old;  // to poll: made since the last sweep, since the one before, earlier
  std::vector<Block*> local[kLocalClasses];
  std::vector<PlanEntry> plans;
  std::vector<int32_t> free_plans;
  int64_t live_bytes = 0, reported_bytes = 0, live_slots = 0, local_bytes = 0;

  ~Env() {
    flush();
    for (Slot& slot : slots) {
      if (slot.block) device(slot.device)->allocator.release(slot.block);
    }
    for (PlanEntry& entry : plans) {
      if (entry.plan) device(entry.device)->backend.drop(entry.plan);
    }
  }

  Status alloc(int32_t on, int64_t bytes, Block** out) {
    const int size_class = Allocator::class_of(bytes);
    if (on == 0 && size_class < kLocalClasses && !local[size_class].empty()) {
      *out = local[size_class].back();
      local[size_class].pop_back();
      local_bytes -= (*out)->bytes;
      return kOk;
    }
    const Status status = device(on)->allocator.alloc(bytes, out);
    if (status != kOutOfMemory || local_bytes == 0) return status;
    flush();
    return device(on)->allocator.alloc(bytes, out);
  }

  void free_block(Block* block, int32_t on) {
    const bool keep = on == 0 && block->size_class < kLocalClasses && local[block->size_class].size() < kLocalBlocks;
    if (!keep || block->owners.load(std::memory_order_relaxed) != 1) return device(on)->allocator.release(block);
    local[block->size_class].push_back(block);
    local_bytes += block->bytes;
  }

  void flush() {
    for (auto& list : local) {
      for (Block* block : list) device(0)->allocator.release(block);
      list.clear();
    }
    local_bytes = 0;
  }

  // Slots join the group made last, which the caller has opened for this object.
  void open_group(napi_ref ref) {
    young[0].emplace_back();
    young[0].back().ref = ref;
  }

  int32_t take_slot(Block* block, int32_t on) {
    int32_t id = free_slot;
    if (id >= 0) {
      free_slot = slots[id].next_free;
    } else {
      id = static_cast<int32_t>(slots.size());
      slots.emplace_back();
    }
    slots[id].block = block;
    slots[id].device = on;
    Group& group = young[0].back();
    group.slots[group.count++] = id;
    live_bytes += block->bytes;
    live_slots++;
    numbers[kBudget] -= static_cast<double>(block->bytes) + kSlotCost;
    return id;
  }

  // Gives the memory back. The slot's number is reused only after its group has been polled off the lists.
  void release_block(Slot& slot) {
    live_bytes -= slot.block->bytes;
    live_slots--;
    free_block(slot.block, slot.device);
    slot.block = nullptr;
  }

  bool valid(int32_t id) const { return id >= 0 && id < static_cast<int32_t>(slots.size()) && slots[id].block; }
};

napi_value number(napi_env env, double value) {
  napi_value out;
  napi_create_double(env, value, &out);
  return out;
}

struct Arguments {
  napi_value values[kMaxOut + 2];
  size_t count = kMaxOut + 2;
  Env* env = nullptr;
  napi_env napi;
  Arguments(napi_env n, napi_callback_info info) : napi(n) {
    napi_get_cb_info(n, info, &count, values, nullptr, reinterpret_cast<void**>(&env));
  }
  double number(size_t i) const {
    double value = 0;
    if (i < count) napi_get_value_double(napi, values[i], &value);
    return value;
  }
  int32_t integer(size_t i) const { return static_cast<int32_t>(number(i)); }
  // The bytes of a typed array; empty for anything else.
  uint8_t* bytes(size_t i, size_t* length) const {
    static const int kItem[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
    void* data = nullptr;
    napi_typedarray_type type;
    *length = 0;
    size_t count_items = 0;
    if (i < count &&
        napi_get_typedarray_info(napi, values[i], &type, &count_items, &data, nullptr, nullptr) == napi_ok) {
      *length = count_items * (type < 11 ? kItem[type] : 0);
    }
    return static_cast<uint8_t*>(data);
  }
};

// run(object...): for each output slot given as -1, in order, the object that it lives as long as; the first -2 after a
// sweep or a full group wants an object too. The status is left in words[1].
napi_value run(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Env& e = *args.env;
  int32_t* words = e.words;
  double* numbers = e.numbers;
  words[1] = kInvalid;
  if (words[0] < 0 || words[0] >= static_cast<int32_t>(e.plans.size()) || !e.plans[words[0]].plan) return nullptr;
  const PlanEntry& plan = e.plans[words[0]];
  Device& on = *device(plan.device);
  Operand in_inline[16], out[kMaxOut];
  std::unique_ptr<Operand[]> in_heap;
  Operand* in = in_inline;
  if (plan.nin > 16) {
    in_heap.reset(new Operand[plan.nin]);
    in = in_heap.get();
  }
  for (int i = 0; i < plan.nin; ++i) {
    if (!e.valid(words[8 + i])) return nullptr;
    in[i] = {e.slots[words[8 + i]].block->buffer, static_cast<int64_t>(numbers[kInOffsets + i])};
  }
  Block* fresh[kMaxOut] = {};
  Status status = kOk;
  for (int i = 0; i < plan.nout && status == kOk; ++i) {
    const int32_t id = words[2 + i];
    if (id >= 0) {
      if (!e.valid(id))
        status = kInvalid;
      else
        out[i] = {e.slots[id].block->buffer, static_cast<int64_t>(numbers[i])};
    } else {
      status = e.alloc(plan.device, plan.out_bytes[i], &fresh[i]);
      if (status == kOk) out[i] = {fresh[i]->buffer, 0};
    }
  }
  if (status == kOk) {
    int64_t fault[4] = {};
    const Run call = {in, out, numbers + kScalars, fault};
    status = on.backend.run(plan.plan, &call);
    if (__builtin_expect(status != kOk, 0)) {
      for (int i = 0; i < 4; ++i) numbers[kFault + i] = static_cast<double>(fault[i]);
    }
  }
  if (__builtin_expect(status != kOk, 0)) {
    for (Block* block : fresh) {
      if (block) e.free_block(block, plan.device);
    }
    words[1] = status;
    return nullptr;
  }
  size_t next = 0;
  for (int i = 0; i < plan.nout; ++i) {
    if (!fresh[i]) continue;
    if (next < args.count) {
      napi_ref ref = nullptr;
      napi_create_reference(env, args.values[next++], 0, &ref);
      e.open_group(ref);
    } else if (e.young[0].empty() || e.young[0].back().count == kGroup) {
      e.open_group(nullptr);  // never polled away: the caller owes an object
    }
    words[2 + i] = e.take_slot(fresh[i], plan.device);
  }
  words[1] = kOk;
  return nullptr;
}

// create(storage, device, bytes) -> slot, or -status
napi_value create(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Device* on = device(args.integer(1));
  if (!on) return number(env, -kInvalid);
  Block* block = nullptr;
  const Status status = args.env->alloc(args.integer(1), static_cast<int64_t>(args.number(2)), &block);
  if (status != kOk) return number(env, -status);
  napi_ref ref = nullptr;
  napi_create_reference(env, args.values[0], 0, &ref);
  args.env->open_group(ref);
  return number(env, args.env->take_slot(block, args.integer(1)));
}

// write(slot, byteOffset, typedArray) / read(slot, byteOffset, typedArray) -> status
template <bool kWrite>
napi_value transfer(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  if (!args.env->valid(args.integer(0))) return number(env, kInvalid);
  const Slot& slot = args.env->slots[args.integer(0)];
  const Backend& backend = device(slot.device)->backend;
  const int64_t offset = static_cast<int64_t>(args.number(1));
  size_t length = 0;
  uint8_t* data = args.bytes(2, &length);
  Buffer* buffer = slot.block->buffer;
  const int64_t size = static_cast<int64_t>(length);
  return number(env, kWrite ? backend.write(buffer, offset, data, size) : backend.read(buffer, offset, data, size));
}

// peek(): reads one element into numbers[44], crossing with nothing: words[8] the slot, numbers[48] the byte offset,
// words[2] its bytes.
napi_value peek(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Env& e = *args.env;
  const int32_t id = e.words[8], bytes = e.words[2];
  e.words[1] = kInvalid;
  if (!e.valid(id) || bytes < 1 || bytes > 8) return nullptr;
  const Slot& slot = e.slots[id];
  const int64_t offset = static_cast<int64_t>(e.numbers[kInOffsets]);
  e.words[1] = device(slot.device)->backend.read(slot.block->buffer, offset, e.numbers + kPeek, bytes);
  return nullptr;
}

// release(slot): frees the memory now; the slot's number comes back when its weak reference is polled.
napi_value release(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  const int32_t id = args.integer(0);
  if (args.env->valid(id)) args.env->release_block(args.env->slots[id]);
  return nullptr;
}

// Polls the groups of one list: what is dead is freed, what lives goes to the next list.
void poll(napi_env env, Env& e, std::vector<Group>& from, std::vector<Group>& survivors) {
  std::vector<Group> list;
  list.swap(from);
  constexpr size_t kBatch = 4096;
  for (size_t begin = 0; begin < list.size(); begin += kBatch) {
    napi_handle_scope scope;
    napi_open_handle_scope(env, &scope);
    const size_t end = begin + kBatch < list.size() ? begin + kBatch : list.size();
    for (size_t i = begin; i < end; ++i) {
      const Group& group = list[i];
      napi_value value = nullptr;
      bool held = group.ref == nullptr;
      // Slots that were all released need no answer from the collector: their storages hold -1 by now.
      bool any = false;
      for (int k = 0; k < group.count; ++k) any = any || e.slots[group.slots[k]].block;
      if (any && group.ref) {
        napi_get_reference_value(env, group.ref, &value);
        held = value != nullptr;
      }
      if (any && held) {
        survivors.push_back(group);
        continue;
      }
      for (int k = 0; k < group.count; ++k) {
        Slot& slot = e.slots[group.slots[k]];
        if (slot.block) e.release_block(slot);
        slot.next_free = e.free_slot;
        e.free_slot = group.slots[k];
      }
      if (group.ref) napi_delete_reference(env, group.ref);
    }
    napi_close_handle_scope(env, scope);
  }
}

// sweep(all) -> live bytes. After a minor collection `all` is false: only what is young can have died.
napi_value sweep(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Env& e = *args.env;
  bool all = false;
  if (args.count > 0) napi_get_value_bool(env, args.values[0], &all);
  if (all) {
    std::vector<Group> rest;
    poll(env, e, e.old, rest);
    e.old.swap(rest);
  }
  poll(env, e, e.young[1], e.old);
  std::vector<Group> kept;
  poll(env, e, e.young[0], kept);
  e.young[1].swap(kept);
  // External memory is told to V8 here, in one piece: frequent reports cause storms of collections.
  int64_t total = 0;
  napi_adjust_external_memory(env, e.live_bytes - e.reported_bytes, &total);
  e.reported_bytes = e.live_bytes;
  return number(env, static_cast<double>(e.live_bytes));
}

// plan(device, Float64Array) -> plan id, or -status. The description:
//   op, nin, nout, nscalars, nparams, then each layout (inputs, outputs): dtype, ndim, shape, strides; then the params.
napi_value plan(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Env& e = *args.env;
  size_t length = 0;
  const double* text = reinterpret_cast<double*>(args.bytes(1, &length));
  const double* const end = text + length / sizeof(double);
  Device* on = device(args.integer(0));
  if (!on || !text || end - text < 5) return number(env, -kInvalid);
  Call call = {};
  call.op = static_cast<int32_t>(*text++);
  call.nin = static_cast<int32_t>(*text++);
  call.nout = static_cast<int32_t>(*text++);
  call.nscalars = static_cast<int32_t>(*text++);
  call.nparams = static_cast<int32_t>(*text++);
  const bool sane = call.nin >= 0 && call.nin <= kMaxIn && call.nout > 0 && call.nout <= kMaxOut &&
                    call.nscalars >= 0 && call.nscalars <= kMaxScalars && call.nparams >= 0;
  if (!sane) return number(env, -kInvalid);
  std::vector<Layout> layouts(call.nin + call.nout);
  for (Layout& layout : layouts) {
    layout = {};
    if (end - text < 2) return number(env, -kInvalid);
    layout.dtype = static_cast<int32_t>(*text++);
    layout.ndim = static_cast<int32_t>(*text++);
    if (layout.ndim < 0 || layout.ndim > kMaxDims || layout.dtype < 0 || layout.dtype >= kDTypeCount)
      return number(env, -kInvalid);
    if (end - text < 2 * layout.ndim) return number(env, -kInvalid);
    for (int i = 0; i < layout.ndim; ++i) layout.shape[i] = static_cast<int64_t>(*text++);
    for (int i = 0; i < layout.ndim; ++i) layout.strides[i] = static_cast<int64_t>(*text++);
  }
  if (end - text < call.nparams) return number(env, -kInvalid);
  call.in = layouts.data();
  call.out = layouts.data() + call.nin;
  call.params = text;
  PlanEntry entry;
  entry.device = args.integer(0);
  entry.nin = call.nin;
  entry.nout = call.nout;
  entry.nscalars = call.nscalars;
  for (int i = 0; i < call.nout; ++i) {
    entry.out_bytes[i] = layout_bytes(call.out[i]);
    if (entry.out_bytes[i] < 0) return number(env, -kOutOfMemory);
  }
  const Status status = on->backend.plan(&call, &entry.plan);
  if (status != kOk) return number(env, -status);
  int32_t id;
  if (!e.free_plans.empty()) {
    id = e.free_plans.back();
    e.free_plans.pop_back();
    e.plans[id] = entry;
  } else {
    id = static_cast<int32_t>(e.plans.size());
    e.plans.push_back(entry);
  }
  return number(env, id);
}

napi_value drop_plan(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Env& e = *args.env;
  const int32_t id = args.integer(0);
  if (id >= 0 && id < static_cast<int32_t>(e.plans.size()) && e.plans[id].plan) {
    device(e.plans[id].device)->backend.drop(e.plans[id].plan);
    e.plans[id].plan = nullptr;
    e.free_plans.push_back(id);
  }
  return nullptr;
}

void set(napi_env env, napi_value object, const char* key, napi_value value) {
  napi_set_named_property(env, object, key, value);
}

napi_value string(napi_env env, const char* text) {
  napi_value out;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &out);
  return out;
}

napi_value stats(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Device* on = device(args.integer(0));
  if (!on) return nullptr;
  const AllocatorStats s = on->allocator.stats();
  napi_value out;
  napi_create_object(env, &out);
  const int64_t local = args.integer(0) == 0 ? args.env->local_bytes : 0;
  set(env, out, "liveBytes", number(env, static_cast<double>(s.live_bytes - local)));
  set(env, out, "cachedBytes", number(env, static_cast<double>(s.cached_bytes + local)));
  set(env, out, "peakBytes", number(env, static_cast<double>(s.peak_bytes)));
  set(env, out, "liveBlocks", number(env, static_cast<double>(s.live_blocks)));
  set(env, out, "deviceAllocations", number(env, static_cast<double>(s.device_allocations)));
  set(env, out, "liveStorages", number(env, static_cast<double>(args.env->live_slots)));
  return out;
}

napi_value trim(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  args.env->flush();
  if (Device* on = device(args.integer(0))) on->allocator.trim();
  return nullptr;
}

napi_value devices(napi_env env, napi_callback_info) {
  napi_value out;
  napi_create_array(env, &out);
  for (int i = 0; i < device_count(); ++i) {
    DeviceInfo d;
    device(i)->backend.info(&d);
    napi_value object;
    napi_create_object(env, &object);
    set(env, object, "backend", string(env, device(i)->backend.name));
    set(env, object, "name", string(env, d.name));
    set(env, object, "isa", string(env, d.isa));
    set(env, object, "memoryTotal", number(env, static_cast<double>(d.memory_total)));
    set(env, object, "memoryFree", number(env, static_cast<double>(d.memory_free)));
    set(env, object, "threads", number(env, d.threads));
    set(env, object, "vnni", number(env, cpu::has_vnni()));
    set(env, object, "bf16", number(env, cpu::has_bf16()));
    napi_set_element(env, out, i, object);
  }
  return out;
}

// limitIsa(name) -> 1 or 0; for tests, before the first plan.
napi_value limit_isa(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  char name[16] = {};
  size_t length = 0;
  if (args.count > 0) napi_get_value_string_utf8(env, args.values[0], name, sizeof name, &length);
  return number(env, cpu::limit_isa(name));
}

// mapFile(path) -> ArrayBuffer over a private mapping (writes stay in memory), or -errno. A copy where external buffers
// are forbidden.
napi_value map_file(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  char path[4096] = {};
  size_t length = 0;
  if (args.count == 0 || napi_get_value_string_utf8(env, args.values[0], path, sizeof path, &length) != napi_ok) {
    return number(env, -EINVAL);
  }
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return number(env, -errno);
  struct stat st;
  if (fstat(file, &st) != 0 || !S_ISREG(st.st_mode)) {
    const int error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
    close(file);
    return number(env, -error);
  }
  napi_value out = nullptr;
  if (st.st_size == 0) {
    close(file);
    void* unused;
    napi_create_arraybuffer(env, 0, &unused, &out);
    return out;
  }
  void* data = mmap(nullptr, st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  const int error = errno;
  close(file);
  if (data == MAP_FAILED) return number(env, -error);
  auto unmap = [](napi_env, void* at, void* hint) { munmap(at, reinterpret_cast<size_t>(hint)); };
  void* hint = reinterpret_cast<void*>(static_cast<size_t>(st.st_size));
  const napi_status status = napi_create_external_arraybuffer(env, data, st.st_size, unmap, hint, &out);
  if (status == napi_ok) return out;
  void* copy = nullptr;
  if (napi_create_arraybuffer(env, st.st_size, &copy, &out) == napi_ok) memcpy(copy, data, st.st_size);
  munmap(data, st.st_size);
  return out;
}

// table -> { ops: [{ id, name, arity, types, result }], dtypes: [{ id, name, bytes, compute }] }; arity 0 is a KERNEL.
napi_value table(napi_env env) {
  napi_value out, ops, dtypes;
  napi_create_object(env, &out);
  napi_create_array(env, &ops);
  napi_create_array(env, &dtypes);
  uint32_t count = 0;
  auto op = [&](int id, const char* name, int arity, const char* types, const char* result) {
    napi_value row;
    napi_create_object(env, &row);
    set(env, row, "id", number(env, id));
    set(env, row, "name", string(env, name));
    set(env, row, "arity", number(env, arity));
    set(env, row, "types", string(env, types));
    set(env, row, "result", string(env, result));
    napi_set_element(env, ops, count++, row);
  };
#define UNARY(id, name, types, result, expr) op(id, #name, 1, #types, #result);
#define BINARY(id, name, types, result, expr) op(id, #name, 2, #types, #result);
#define TERNARY(id, name, types, result, expr) op(id, #name, 3, #types, #result);
#define KERNEL(id, name) op(id, #name, 0, "", "");
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
  count = 0;
  auto dtype = [&](int id, const char* name, int bytes, const char* compute) {
    napi_value row;
    napi_create_object(env, &row);
    set(env, row, "id", number(env, id));
    set(env, row, "name", string(env, name));
    set(env, row, "bytes", number(env, bytes));
    set(env, row, "compute", string(env, compute));
    napi_set_element(env, dtypes, count++, row);
  };
#define DTYPE(id, name, ctype, bytes, compute) dtype(id, #name, bytes, #compute);
#include "dtypes.def"
#undef DTYPE
  set(env, out, "ops", ops);
  set(env, out, "dtypes", dtypes);
  return out;
}

napi_value view(napi_env env, napi_typedarray_type type, size_t length, napi_value buffer, size_t offset) {
  napi_value out;
  napi_create_typedarray(env, type, length, buffer, offset, &out);
  return out;
}

napi_value init(napi_env env, napi_value exports) {
  Env* e = new Env();
  napi_set_instance_data(
      env, e, [](napi_env, void* data, void*) { delete static_cast<Env*>(data); }, nullptr);
  // The shared block is JavaScript's (external buffers are forbidden in some embedders), held for as long as the
  // environment lives.
  void* memory = nullptr;
  napi_value buffer;
  napi_ref held;
  napi_create_arraybuffer(env, sizeof(int32_t) * kWords + sizeof(double) * kNumbers, &memory, &buffer);
  napi_create_reference(env, buffer, 1, &held);
  e->words = static_cast<int32_t*>(memory);
  e->numbers = reinterpret_cast<double*>(e->words + kWords);
  set(env, exports, "words", view(env, napi_int32_array, kWords, buffer, 0));
  set(env, exports, "numbers", view(env, napi_float64_array, kNumbers, buffer, sizeof(int32_t) * kWords));
  set(env, exports, "table", table(env));
  const struct {
    const char* name;
    napi_callback call;
  } functions[] = {{"run", run},
                   {"create", create},
                   {"write", transfer<true>},
                   {"read", transfer<false>},
                   {"peek", peek},
                   {"release", release},
                   {"sweep", sweep},
                   {"plan", plan},
                   {"dropPlan", drop_plan},
                   {"stats", stats},
                   {"trim", trim},
                   {"devices", devices},
                   {"limitIsa", limit_isa},
                   {"mapFile", map_file}};
  for (const auto& f : functions) {
    napi_value function;
    napi_create_function(env, f.name, NAPI_AUTO_LENGTH, f.call, e, &function);
    set(env, exports, f.name, function);
  }
  return exports;
}

}  // namespace
}  // namespace brasa

NAPI_MODULE(NODE_GYP_MODULE_NAME, brasa::init)
