// The Node-API surface: slots (tensors' storages), plans, run. No logic of any op. What there is to know of
// ops and devices is told by addon_table.cc; nothing else knows Node-API.
// Hot calls take their operands from one block of memory shared with JavaScript, so that only objects cross:
//
// words, Int32: [0] plan, [1] status, [2..7] output slots (-1: allocate, -2: allocate into the current group),
//               [8..] input slots
//
// numbers, Float64: [0..5] output offsets, [7] sweep budget, [8..39] scalars, [40..43] fault, [44] a peeked element,
//                   [48..] input offsets (elements)
#include <errno.h>
#include <string.h>

#include <memory>

#include "addon_table.h"
#include "cpu/backend.h"
#include "cpu/isa.h"
#include "cpu/jit/jit.h"
#include "device.h"
#include "file.h"
#include "jobs.h"
#include "napi.h"
#include "plans.h"
#include "programs.h"
#include "slots.h"

namespace brasa {
namespace {

constexpr int kWords = 65536, kNumbers = 65536;
constexpr int kBudget = 7, kScalars = 8, kFault = 40, kPeek = 44, kInOffsets = 48;
static_assert(kMaxOutAlone + 2 <= 8 && kMaxOperands + 8 <= kWords && kMaxOperands + kInOffsets <= kNumbers &&
                  kScalars + kMaxScalarsAlone <= kFault,
              "block");

// Everything of one environment (main thread or worker), over the block of memory shared with it.
struct Env {
  int32_t* words;
  double* numbers;
  Slots slots;
  Plans plans;
  Programs programs{&slots, &plans};
  Jobs jobs{&slots, &programs};
  napi_threadsafe_function settle = nullptr;  // runs settle() on the event loop
  int64_t reported_bytes = 0;

  explicit Env(void* memory)
      : words(static_cast<int32_t*>(memory)),
        numbers(reinterpret_cast<double*>(words + kWords)),
        slots(numbers + kBudget) {}
};

using Arguments = ArgumentsOf<Env>;

// Waits for the calls in flight that touch the operands of run.
void wait_for_operands(Env& e, const PlanEntry& plan) {
  const auto wait = [&](int32_t id) {
    if (e.slots.valid(id)) e.jobs.wait(e.slots[id].job);
  };
  for (int i = 0; i < plan.nin; ++i) wait(e.words[8 + i]);
  for (int i = 0; i < plan.nout; ++i) wait(e.words[2 + i]);
}

void tell_fault(Env& e, Status status, const int64_t* fault) {
  if (__builtin_expect(status == kOk, 1)) return;
  for (int i = 0; i < 4; ++i) e.numbers[kFault + i] = static_cast<double>(fault[i]);
}

// run(object...): for each output slot given as -1, in order, the object that it lives as long as; the first -2 after a
// sweep or a full group wants an object too. The status is left in words[1].
napi_value run(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Env& e = *args.env;
  int32_t* words = e.words;
  double* numbers = e.numbers;
  words[1] = kInvalid;
  const PlanEntry* const found = e.plans.find(words[0]);
  if (!found || found->nout > kMaxOutAlone || found->nscalars > kMaxScalarsAlone) return nullptr;
  const PlanEntry& plan = *found;
  Device& on = *device(plan.device);
  if (__builtin_expect(e.jobs.pending(), 0)) wait_for_operands(e, plan);
  Operand in_inline[16], out[kMaxOutAlone];
  std::unique_ptr<Operand[]> in_heap;
  Operand* in = in_inline;
  if (plan.nin > 16) {
    in_heap.reset(new Operand[plan.nin]);
    in = in_heap.get();
  }
  for (int i = 0; i < plan.nin; ++i) {
    if (!e.slots.valid(words[8 + i]) || e.slots[words[8 + i]].device != plan.device) return nullptr;
    in[i] = {e.slots[words[8 + i]].block->buffer, static_cast<int64_t>(numbers[kInOffsets + i])};
  }
  Block* fresh[kMaxOutAlone] = {};
  Status status = kOk;
  for (int i = 0; i < plan.nout && status == kOk; ++i) {
    const int32_t id = words[2 + i];
    if (id >= 0) {
      if (!e.slots.valid(id) || e.slots[id].device != plan.device)
        status = kInvalid;
      else
        out[i] = {e.slots[id].block->buffer, static_cast<int64_t>(numbers[i])};
    } else {
      status = e.slots.alloc(plan.device, plan.out_bytes[i], &fresh[i]);
      if (status == kOk) out[i] = {fresh[i]->buffer, 0};
    }
  }
  if (status == kOk) {
    int64_t fault[4] = {};
    const Run call = {in, out, numbers + kScalars, fault};
    status = on.backend.run(on.backend.self, plan.plan, &call);
    tell_fault(e, status, fault);
  }
  if (__builtin_expect(status != kOk, 0)) {
    for (Block* block : fresh) {
      if (block) e.slots.free(block, plan.device);
    }
    words[1] = status;
    return nullptr;
  }
  size_t next = 0;
  for (int i = 0; i < plan.nout; ++i) {
    if (!fresh[i]) continue;
    if (next < args.count) {
      e.slots.open_group(weak_reference(env, args.values[next++]));
    } else if (e.slots.group_is_full()) {
      e.slots.open_group(nullptr);  // never polled away: the caller owes an object
    }
    words[2 + i] = e.slots.take(fresh[i], plan.device);
  }
  words[1] = kOk;
  return nullptr;
}

// program(device, Float64Array, scalars: Float64Array) -> program id, or -status; programs.h says what the numbers are.
// The scalars are read at each run.
napi_value program(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  size_t length = 0, scalar_bytes = 0;
  const double* text = reinterpret_cast<double*>(args.bytes(1, &length));
  const double* scalars = reinterpret_cast<double*>(args.bytes(2, &scalar_bytes));
  if (!device(args.integer(0)) || !text) return number(env, -kInvalid);
  napi_ref held = nullptr;
  napi_create_reference(env, args.values[2], 1, &held);
  const int32_t id = args.env->programs.make(args.integer(0), text, text + length / sizeof(double), scalars,
                                             static_cast<int64_t>(scalar_bytes / sizeof(double)), held);
  if (id < 0) napi_delete_reference(env, held);
  return number(env, id);
}

// The second argument of runProgram and submitProgram: room for times, which must last as long as the run.
Times times_for(const Arguments& args, const Program& p) {
  size_t bytes = 0;
  double* at = args.count > 1 ? reinterpret_cast<double*>(args.bytes(1, &bytes)) : nullptr;
  return Times(bytes / sizeof(double) > p.code.list.size() ? at : nullptr);
}

// What runProgram and submitProgram begin and end with; `run` leaves new blocks for the outputs in the binding that it
// answers, or null and a status.
template <class RunIt>
napi_value call_program(napi_env env, napi_callback_info info, const RunIt& run) {
  Arguments args(env, info);
  Env& e = *args.env;
  e.words[1] = kInvalid;
  e.words[2] = -1;
  Program* p = e.programs.find(e.words[0]);
  if (!p) return nullptr;
  Binding* bound = run(args, *p);
  if (!bound) return nullptr;
  for (size_t i = 0; i < bound->fresh.size(); ++i) {
    napi_value storage = nullptr;
    napi_get_element(env, args.values[0], static_cast<uint32_t>(i), &storage);
    e.slots.open_group(weak_reference(env, storage));
    e.words[8 + p->nbound + i] = e.slots.take(bound->fresh[i], p->device);
    bound->fresh[i] = nullptr;
  }
  return nullptr;
}

// How a call of a program ended.
void report(Env& e, Status status, int32_t failed, const int64_t* fault) {
  e.words[1] = status;
  e.words[2] = failed;
  tell_fault(e, status, fault);
}

// runProgram(storages, times?: Float64Array, a number an instruction and one more): words[0] the program, words[8..]
// slots of what is bound, numbers[48..] their offsets; the outputs live as long as the storages, and their slots follow
// in words. words[1] is the status; when a step failed, words[2] says which, or is -1. Waits for what was submitted
// before.
napi_value run_program(napi_env env, napi_callback_info info) {
  return call_program(env, info, [](Arguments& args, Program& p) -> Binding* {
    Env& e = *args.env;
    e.jobs.wait_all();
    const Times times = times_for(args, p);
    int64_t fault[4] = {};
    int32_t failed = -1;
    Status status = e.programs.bind(p, p.bound, e.words + 8, e.numbers + kInOffsets);
    if (status == kOk) {
      status = p.run(p.bound, p.scalars, fault, &failed, times, nullptr);
      if (status != kOk) e.programs.discard(p, p.bound);
    }
    report(e, status, failed, fault);
    return status == kOk ? &p.bound : nullptr;
  });
}

// onSettled(callback): what is called, in order, for each call submitted, when it is done; words and numbers then say
// how it ended, as for runProgram.
napi_value on_settled(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Env& e = *args.env;
  if (e.settle) return nullptr;
  const auto settle = [](napi_env napi, napi_value callback, void* context, void*) {
    Env& own = *static_cast<Env*>(context);
    if (!napi) return;
    own.jobs.hear();
    napi_value undefined = nullptr;
    napi_get_undefined(napi, &undefined);
    while (const Job* job = own.jobs.collect()) {
      report(own, job->status, job->failed, job->fault);
      if (!own.jobs.pending()) napi_unref_threadsafe_function(napi, own.settle);
      napi_call_function(napi, undefined, callback, 0, nullptr, nullptr);
    }
  };
  if (napi_create_threadsafe_function(env, args.values[0], nullptr, string(env, "brasa"), 0, 1, nullptr, nullptr, &e,
                                      settle, &e.settle) != napi_ok) {
    return nullptr;
  }
  napi_unref_threadsafe_function(env, e.settle);  // holds the process only while calls are pending
  // Hooks run last first: the thread ends before what it would wake.
  napi_add_env_cleanup_hook(
      env,
      [](void* data) {
        Env& own = *static_cast<Env*>(data);
        own.jobs.stop();
        napi_release_threadsafe_function(own.settle, napi_tsfn_abort);
      },
      &e);
  return nullptr;
}

// submitProgram(storages, times?): as runProgram, beside JavaScript; words[1] says whether it was accepted. The scalars
// are read now.
napi_value submit_program(napi_env env, napi_callback_info info) {
  return call_program(env, info, [env](Arguments& args, Program& p) -> Binding* {
    Env& e = *args.env;
    if (!e.settle) return nullptr;
    const auto wake = [](void* settle) {
      napi_call_threadsafe_function(static_cast<napi_threadsafe_function>(settle), nullptr, napi_tsfn_nonblocking);
    };
    const bool idle = !e.jobs.pending();
    Job* job = nullptr;
    const Status status =
        e.jobs.submit(p, e.words + 8, e.numbers + kInOffsets, times_for(args, p), wake, e.settle, &job);
    e.words[1] = status;
    if (status != kOk) return nullptr;
    if (idle) napi_ref_threadsafe_function(env, e.settle);
    return &job->bound;
  });
}

napi_value drop_program(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  const int32_t id = args.integer(0);
  if (const Program* p = args.env->programs.find(id)) args.env->jobs.wait(p->job);
  if (void* held = args.env->programs.drop(id)) napi_delete_reference(env, static_cast<napi_ref>(held));
  return nullptr;
}

// create(storage, device, bytes) -> slot, or -status
napi_value create(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Device* on = device(args.integer(1));
  if (!on) return number(env, -kInvalid);
  Block* block = nullptr;
  const Status status = args.env->slots.alloc(args.integer(1), static_cast<int64_t>(args.number(2)), &block);
  if (status != kOk) return number(env, -status);
  args.env->slots.open_group(weak_reference(env, args.values[0]));
  return number(env, args.env->slots.take(block, args.integer(1)));
}

// write(slot, byteOffset, typedArray) / read(slot, byteOffset, typedArray) -> status; numbers[40..] explain a fault.
template <bool kWrite>
napi_value transfer(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  if (!args.env->slots.valid(args.integer(0))) return number(env, kInvalid);
  const Slot& slot = args.env->slots[args.integer(0)];
  args.env->jobs.wait(slot.job);
  const Backend& backend = device(slot.device)->backend;
  const int64_t offset = static_cast<int64_t>(args.number(1));
  size_t length = 0;
  uint8_t* data = args.bytes(2, &length);
  Buffer* buffer = slot.block->buffer;
  const int64_t size = static_cast<int64_t>(length);
  int64_t fault[4] = {};
  const Status status = kWrite ? backend.write(backend.self, buffer, offset, data, size)
                               : backend.read(backend.self, buffer, offset, data, size, fault);
  tell_fault(*args.env, status, fault);
  return number(env, status);
}

// peek(): reads one element into numbers[44], crossing with nothing: words[8] the slot, numbers[48] the byte offset,
// words[2] its bytes.
napi_value peek(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Env& e = *args.env;
  const int32_t id = e.words[8], bytes = e.words[2];
  e.words[1] = kInvalid;
  if (!e.slots.valid(id) || bytes < 1 || bytes > 8) return nullptr;
  const Slot& slot = e.slots[id];
  e.jobs.wait(slot.job);
  const int64_t offset = static_cast<int64_t>(e.numbers[kInOffsets]);
  const Backend& backend = device(slot.device)->backend;
  int64_t fault[4] = {};
  const Status status = backend.read(backend.self, slot.block->buffer, offset, e.numbers + kPeek, bytes, fault);
  tell_fault(e, status, fault);
  e.words[1] = status;
  return nullptr;
}

// release(slot): frees the memory now, which the sweep budget gets back; the slot's number comes back when its weak
// reference is polled.
napi_value release(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  const int32_t id = args.integer(0);
  if (!args.env->slots.valid(id)) return nullptr;
  args.env->numbers[kBudget] += static_cast<double>(args.env->slots[id].block->bytes);
  args.env->slots.release(id);
  return nullptr;
}

// sweep(all) -> live bytes. After a minor collection `all` is false: only what is young can have died.
napi_value sweep(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Env& e = *args.env;
  bool all = false;
  if (args.count > 0) napi_get_value_bool(env, args.values[0], &all);
  {
    Weak weak(env);
    e.slots.sweep(all, weak);
  }
  // External memory is told to V8 here, in one piece: frequent reports cause storms of collections.
  int64_t total = 0;
  const int64_t live = e.slots.live_bytes();
  napi_adjust_external_memory(env, live - e.reported_bytes, &total);
  e.reported_bytes = live;
  return number(env, static_cast<double>(live));
}

// plan(device, Float64Array) -> plan id, or -status; plans.h says what the numbers are.
napi_value plan(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  size_t length = 0;
  const double* text = reinterpret_cast<double*>(args.bytes(1, &length));
  Description description;
  if (!device(args.integer(0)) || !text || !description.read(text, text + length / sizeof(double))) {
    return number(env, -kInvalid);
  }
  return number(env, args.env->plans.make(args.integer(0), description.call));
}

napi_value drop_plan(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  args.env->plans.drop(args.integer(0));
  return nullptr;
}

napi_value stats(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Device* on = device(args.integer(0));
  if (!on) return nullptr;
  const AllocatorStats s = on->allocator.stats();
  napi_value out;
  napi_create_object(env, &out);
  const int64_t local = args.integer(0) == 0 ? args.env->slots.local_bytes() : 0;
  set(env, out, "liveBytes", number(env, static_cast<double>(s.live_bytes - local)));
  set(env, out, "cachedBytes", number(env, static_cast<double>(s.cached_bytes + local)));
  set(env, out, "peakBytes", number(env, static_cast<double>(s.peak_bytes)));
  set(env, out, "liveBlocks", number(env, static_cast<double>(s.live_blocks)));
  set(env, out, "deviceAllocations", number(env, static_cast<double>(s.device_allocations)));
  set(env, out, "liveStorages", number(env, static_cast<double>(args.env->slots.live_slots())));
  return out;
}

napi_value trim(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  args.env->slots.flush();
  if (Device* on = device(args.integer(0))) on->allocator.trim();
  return nullptr;
}

// leave(): the process, or a thread of it, is about to end
napi_value leave(napi_env, napi_callback_info) {
  for (int i = 0; i < device_count(); ++i) {
    const Backend& backend = device(i)->backend;
    if (backend.leave) backend.leave(backend.self);
  }
  return nullptr;
}

// closeDevice(device) -> status, when all that it was given is done: kUnsupported where there is nothing to close
napi_value close_device(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Device* on = device(args.integer(0));
  if (!on || !on->backend.close) return number(env, kUnsupported);
  args.env->jobs.wait_all();
  Weak weak(env);
  args.env->slots.sweep(true, weak);
  on->allocator.trim();
  return number(env, on->backend.close(on->backend.self));
}

// openLibrary(path) -> '' or, when it gives no device, the reason.
napi_value open_library_of(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  char path[4096] = {}, reason[512] = {};
  size_t length = 0;
  if (args.count > 0) napi_get_value_string_utf8(env, args.values[0], path, sizeof path, &length);
  return string(env, open_library(path, reason, sizeof reason) ? "" : reason);
}

// explain(device) -> what it failed with last
napi_value explain(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  char text[512] = {};
  if (Device* on = device(args.integer(0))) on->backend.explain(on->backend.self, text, sizeof text);
  return string(env, text);
}

// waitFor(device) -> status, when all that it was given is done
napi_value wait_for(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Device* on = device(args.integer(0));
  if (!on) return number(env, kInvalid);
  args.env->jobs.wait_all();
  int64_t fault[4] = {};
  const Status status = on->backend.wait(on->backend.self, fault);
  tell_fault(*args.env, status, fault);
  return number(env, status);
}

// limitIsa(name) -> 1 or 0; for tests, before the first plan.
napi_value limit_isa(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  char name[16] = {};
  size_t length = 0;
  if (args.count > 0) napi_get_value_string_utf8(env, args.values[0], name, sizeof name, &length);
  return number(env, cpu::limit_isa(name));
}

// setThreads(n), of the CPU's pool
napi_value set_threads(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  const int64_t n = args.integer(0);
  if (n >= 1 && n <= 1024) cpu::set_thread_count(static_cast<int>(n));
  return nullptr;
}

// machineCode([mode]) -> how many elementwise programs there is code of; for tests: from now on as jit.h's Mode says.
napi_value machine_code(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  int32_t mode = -1;
  if (args.count > 0) napi_get_value_int32(env, args.values[0], &mode);
  if (mode >= 0 && mode <= 2) cpu::jit::set_mode(static_cast<cpu::jit::Mode>(mode));
  return number(env, static_cast<double>(cpu::jit::kernels()));
}

// mapFile(path) -> ArrayBuffer over a private mapping (writes stay in memory), or -errno. A copy where external buffers
// are forbidden.
napi_value map_file_of(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  char path[4096] = {};
  size_t length = 0;
  if (args.count == 0 || napi_get_value_string_utf8(env, args.values[0], path, sizeof path, &length) != napi_ok) {
    return number(env, -EINVAL);
  }
  void* data = nullptr;
  int64_t size = 0;
  const int error = map_file(path, &data, &size);
  if (error) return number(env, -error);
  napi_value out = nullptr;
  void* copy = nullptr;
  if (size == 0) {
    napi_create_arraybuffer(env, 0, &copy, &out);
    return out;
  }
  auto unmap = [](napi_env, void* at, void* hint) {
    unmap_file(at, static_cast<int64_t>(reinterpret_cast<intptr_t>(hint)));
  };
  void* hint = reinterpret_cast<void*>(static_cast<intptr_t>(size));
  const napi_status status = napi_create_external_arraybuffer(env, data, size, unmap, hint, &out);
  if (status == napi_ok) return out;
  if (napi_create_arraybuffer(env, size, &copy, &out) == napi_ok) memcpy(copy, data, size);
  unmap_file(data, size);
  return out;
}

napi_value init(napi_env env, napi_value exports) {
  // The shared block is JavaScript's (external buffers are forbidden in some embedders), held for as long as the
  // environment lives.
  void* memory = nullptr;
  napi_value buffer;
  napi_ref held;
  napi_create_arraybuffer(env, sizeof(int32_t) * kWords + sizeof(double) * kNumbers, &memory, &buffer);
  napi_create_reference(env, buffer, 1, &held);
  Env* e = new Env(memory);
  napi_set_instance_data(
      env, e, [](napi_env, void* data, void*) { delete static_cast<Env*>(data); }, nullptr);
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
                   {"program", program},
                   {"runProgram", run_program},
                   {"submitProgram", submit_program},
                   {"onSettled", on_settled},
                   {"dropProgram", drop_program},
                   {"stats", stats},
                   {"trim", trim},
                   {"devices", devices},
                   {"openLibrary", open_library_of},
                   {"kernels", kernels},
                   {"leave", leave},
                   {"closeDevice", close_device},
                   {"explain", explain},
                   {"waitFor", wait_for},
                   {"limitIsa", limit_isa},
                   {"setThreads", set_threads},
                   {"machineCode", machine_code},
                   {"mapFile", map_file_of}};
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
