// The backend's functions over a Gpu: one call at a time, and no exception leaves.
#include "backend.h"

#include <new>

#include "graph.h"

namespace brasa::vk {
namespace {

// f(gpu), alone with the device; what a container throws is that memory ran out.
template <class F>
Status use(void* self, const F& f) noexcept {
  Gpu& gpu = *static_cast<Gpu*>(self);
  try {
    std::lock_guard<std::mutex> lock(gpu.mutex);
    return f(gpu);
  } catch (...) {
    return kOutOfMemory;
  }
}
// The same with the device opened.
template <class F>
Status work(void* self, const F& f) noexcept {
  return use(self, [&](Gpu& gpu) {
    const Status status = gpu.open();
    return status == kOk ? f(gpu) : status;
  });
}

void vk_info(void* self, DeviceInfo* out) {
  use(self, [&](Gpu& gpu) { return gpu.info(out), kOk; });
}

Status vk_alloc(void* self, int64_t bytes, Buffer** out) {
  return work(self, [&](Gpu& gpu) {
    Memory* memory = nullptr;
    Status status = gpu.heap.alloc(bytes, Kind::kDevice, &memory);
    // What was freed may still be in use by the device.
    if (status == kOutOfMemory && gpu.stream.wait() == kOk) status = gpu.heap.alloc(bytes, Kind::kDevice, &memory);
    if (status != kOk) return status;
    ++gpu.held;
    *out = memory;
    return kOk;
  });
}

void vk_free(void* self, Buffer* buffer) {
  use(self, [&](Gpu& gpu) { return --gpu.held, gpu.stream.free(static_cast<Memory*>(buffer)), kOk; });
}

bool outside(const Buffer* buffer, int64_t offset, int64_t bytes) {
  return offset < 0 || bytes < 0 || offset + bytes > buffer->bytes;
}

Status vk_write(void* self, Buffer* to, int64_t offset, const void* from, int64_t bytes) {
  if (outside(to, offset, bytes)) return kInvalid;
  return work(self, [&](Gpu& gpu) { return gpu.stream.write(static_cast<Memory*>(to), offset, from, bytes); });
}

Status vk_read(void* self, const Buffer* from, int64_t offset, void* to, int64_t bytes, int64_t* fault) {
  if (outside(from, offset, bytes)) return kInvalid;
  return work(self, [&](Gpu& gpu) {
    Memory* memory = const_cast<Memory*>(static_cast<const Memory*>(from));
    const Status status = gpu.stream.read(memory, offset, to, bytes);
    return status == kOk ? gpu.take_fault(fault) : status;
  });
}

Status vk_wait(void* self, int64_t* fault) {
  return work(self, [&](Gpu& gpu) {
    const Status status = gpu.stream.wait();
    return status == kOk ? gpu.take_fault(fault) : status;
  });
}

Status vk_plan(void* self, const Call* call, Plan** out) {
  return work(self, [&](Gpu& gpu) {
    auto plan = std::make_unique<VkPlan>();
    plan->gpu = &gpu;
    plan->nin = call->nin;
    plan->nout = call->nout;
    Maker maker = {gpu, *plan, *call, {}, 0};
    for (int i = 0; i < call->nin + call->nout; ++i) {
      maker.operands.push_back({i});
      plan->item.push_back(item_bytes(i < call->nin ? call->in[i].dtype : call->out[i - call->nin].dtype));
    }
    const Status status = make_call(maker);
    if (status != kOk) return status;
    ++gpu.held;
    *out = reinterpret_cast<Plan*>(plan.release());
    return kOk;
  });
}

Status run_dispatch(Gpu& gpu, const VkPlan& plan, const Dispatch& dispatch, const Run& run, Memory* scratch) {
  static thread_local std::vector<uint8_t> block;
  static thread_local std::vector<Access> accesses;
  block = dispatch.block;
  accesses.clear();
  for (size_t i = 0; i < dispatch.ports.size(); ++i) {
    const Port& port = dispatch.ports[i];
    Memory* memory = port.operand == kScratch ? scratch : gpu.fault();
    int64_t begin = port.begin;
    if (port.operand >= 0) {
      const Operand& operand = port.operand < plan.nin ? run.in[port.operand] : run.out[port.operand - plan.nin];
      memory = static_cast<Memory*>(operand.buffer);
      begin += operand.offset * plan.item[port.operand];
    }
    const VkDeviceAddress address = memory->address + static_cast<uint64_t>(begin);
    memcpy(block.data() + 8 * i, &address, sizeof address);
    // Any of several faults may be told: nobody waits for another.
    if (port.operand != kFaultWord) accesses.push_back({memory, begin, begin + port.bytes, port.written});
  }
  for (const ScalarPort& port : dispatch.scalars) put_scalar(block.data() + port.at, port, run.scalars + port.scalar);
  return gpu.stream.dispatch(dispatch.pipeline, dispatch.groups, block.data(), static_cast<int64_t>(block.size()),
                             accesses.data(), static_cast<int>(accesses.size()));
}

Status vk_run(void* self, Plan* opaque, const Run* run) {
  return use(self, [&](Gpu& gpu) {
    const VkPlan& plan = *reinterpret_cast<VkPlan*>(opaque);
    Memory* scratch = nullptr;
    Status status = plan.scratch > 0 ? gpu.heap.alloc(plan.scratch, Kind::kDevice, &scratch) : kOk;
    for (const Dispatch& dispatch : plan.dispatches) {
      if (status != kOk) break;
      status = run_dispatch(gpu, plan, dispatch, *run, scratch);
    }
    if (scratch) gpu.stream.free(scratch);
    return status;
  });
}

void vk_drop(void* self, Plan* opaque) {
  use(self, [&](Gpu& gpu) { return --gpu.held, delete reinterpret_cast<VkPlan*>(opaque), kOk; });
}

void vk_explain(void* self, char* text, int64_t size) {
  use(self, [&](Gpu& gpu) { return gpu.explain(text, size), kOk; });
}

Status vk_capture(void* self, const Step* steps, int32_t count, Buffer* arena, Graph** out) {
  return work(self, [&](Gpu& gpu) {
    auto program = std::make_unique<Program>(gpu);
    const Status status = program->record(steps, count, static_cast<Memory*>(arena));
    if (status != kOk) return status;
    ++gpu.held;
    *out = reinterpret_cast<Graph*>(program.release());
    return kOk;
  });
}

Status vk_replay(void* self, Graph* graph, Buffer* const* buffers, const int64_t* base, const double* scalars) {
  return use(self, [&](Gpu&) { return reinterpret_cast<Program*>(graph)->replay(buffers, base, scalars); });
}

void vk_drop_graph(void* self, Graph* graph) {
  use(self, [&](Gpu& gpu) { return --gpu.held, delete reinterpret_cast<Program*>(graph), kOk; });
}

bool vk_has(void*, int32_t op) { return has_kernel(op); }

void vk_leave(void* self) {
  use(self, [](Gpu& gpu) { return gpu.keep_cache(), kOk; });
}

Status vk_close(void* self) {
  return use(self, [](Gpu& gpu) { return gpu.held > 0 ? kInUse : (gpu.close(), kOk); });
}

}  // namespace

Backend backend_of(Gpu& gpu) {
  return {&gpu,    "vulkan", vk_info,    vk_alloc,   vk_free,   vk_write,      vk_read, vk_plan,  vk_run,
          vk_drop, vk_wait,  vk_explain, vk_capture, vk_replay, vk_drop_graph, vk_has,  vk_leave, vk_close};
}

}  // namespace brasa::vk
