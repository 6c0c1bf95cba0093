// The backend's functions over a Gpu, one call at a time.
#include "backend.h"

#include <math.h>

#include <new>

#include "kernel.h"

namespace brasa::vk {
namespace {

Gpu& gpu_of(void* self) { return *static_cast<Gpu*>(self); }

// A device's functions are called by any thread.
struct Use {
  Gpu& gpu;
  std::lock_guard<std::mutex> lock;
  explicit Use(void* self) : gpu(gpu_of(self)), lock(gpu.mutex) {}
};

void vk_info(void* self, DeviceInfo* out) {
  Use use(self);
  use.gpu.info(out);
}

Status vk_alloc(void* self, int64_t bytes, Buffer** out) {
  Use use(self);
  Status status = use.gpu.open();
  if (status != kOk) return status;
  Memory* memory = nullptr;
  status = use.gpu.heap.alloc(bytes, Kind::kDevice, &memory);
  if (status == kOutOfMemory) {
    // What was freed may still be in use by the device.
    if (use.gpu.stream.wait() == kOk) status = use.gpu.heap.alloc(bytes, Kind::kDevice, &memory);
  }
  if (status == kOk) *out = memory;
  return status;
}

void vk_free(void* self, Buffer* buffer) {
  Use use(self);
  use.gpu.stream.free(static_cast<Memory*>(buffer));
}

bool outside(const Buffer* buffer, int64_t offset, int64_t bytes) {
  return offset < 0 || bytes < 0 || offset + bytes > buffer->bytes;
}

Status vk_write(void* self, Buffer* to, int64_t offset, const void* from, int64_t bytes) {
  if (outside(to, offset, bytes)) return kInvalid;
  Use use(self);
  return use.gpu.stream.write(static_cast<Memory*>(to), offset, from, bytes);
}

Status vk_read(void* self, const Buffer* from, int64_t offset, void* to, int64_t bytes, int64_t* fault) {
  if (outside(from, offset, bytes)) return kInvalid;
  Use use(self);
  Memory* memory = const_cast<Memory*>(static_cast<const Memory*>(from));
  const Status status = use.gpu.stream.read(memory, offset, to, bytes);
  return status == kOk ? use.gpu.take_fault(fault) : status;
}

Status vk_wait(void* self, int64_t* fault) {
  Use use(self);
  Status status = use.gpu.open();
  if (status == kOk) status = use.gpu.stream.wait();
  return status == kOk ? use.gpu.take_fault(fault) : status;
}

Status vk_plan(void* self, const Call* call, Plan** out) {
  Use use(self);
  const Status opened = use.gpu.open();
  if (opened != kOk) return opened;
  VkPlan* plan = new (std::nothrow) VkPlan();
  if (!plan) return kOutOfMemory;
  plan->gpu = &use.gpu;
  plan->nin = call->nin;
  plan->nout = call->nout;
  Maker maker = {use.gpu, *plan, *call, {}, 0};
  for (int i = 0; i < call->nin + call->nout; ++i) {
    maker.operands.push_back({i});
    plan->item.push_back(item_bytes(i < call->nin ? call->in[i].dtype : call->out[i - call->nin].dtype));
  }
  const Status status = make_call(maker);
  if (status == kOk)
    *out = reinterpret_cast<Plan*>(plan);
  else
    delete plan;
  return status;
}

// A number of the run as the compute type that the kernel reads.
void put_scalar(uint8_t* to, int32_t dtype, double value) {
  const auto put = [&](auto typed) { memcpy(to, &typed, sizeof typed); };
  if (dtype == k_f64)
    put(value);
  else if (dtype == k_i64)
    put(static_cast<int64_t>(value));
  else if (dtype == k_i32)
    put(static_cast<int32_t>(static_cast<int64_t>(value)));
  else
    put(static_cast<float>(value));
}

double value_of(Of of, const double* scalars) {
  switch (of) {
    case Of::kBar:
      return ceil(scalars[0] * 0x1p24);
    case Of::kScale:
      return scalars[0] < 1 ? 1 / (1 - scalars[0]) : 0;
    case Of::kRange:
      return scalars[1] - scalars[0];
    default:
      return scalars[0];
  }
}

Status run_dispatch(Gpu& gpu, const VkPlan& plan, const Dispatch& dispatch, const Run& run, Memory* scratch,
                    std::vector<uint8_t>& block, std::vector<Access>& accesses) {
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
    // Faults are taken one at a time by atomics: nobody waits for another.
    if (port.operand != kFaultWord) accesses.push_back({memory, begin, begin + port.bytes, port.written});
  }
  for (const ScalarPort& port : dispatch.scalars)
    put_scalar(block.data() + port.at, port.dtype, value_of(port.of, run.scalars + port.scalar));
  return gpu.stream.dispatch(dispatch.pipeline, dispatch.groups, block.data(), static_cast<int64_t>(block.size()),
                             accesses.data(), static_cast<int>(accesses.size()));
}

Status vk_run(void* self, Plan* opaque, const Run* run) {
  Use use(self);
  const VkPlan& plan = *reinterpret_cast<VkPlan*>(opaque);
  static thread_local std::vector<uint8_t> block;
  static thread_local std::vector<Access> accesses;
  Memory* scratch = nullptr;
  Status status = plan.scratch > 0 ? use.gpu.heap.alloc(plan.scratch, Kind::kDevice, &scratch) : kOk;
  for (const Dispatch& dispatch : plan.dispatches) {
    if (status != kOk) break;
    status = run_dispatch(use.gpu, plan, dispatch, *run, scratch, block, accesses);
  }
  if (scratch) use.gpu.stream.free(scratch);
  return status;
}

void vk_drop(void*, Plan* opaque) { delete reinterpret_cast<VkPlan*>(opaque); }

void vk_explain(void* self, char* text, int64_t size) {
  Use use(self);
  use.gpu.explain(text, size);
}

}  // namespace

Backend backend_of(Gpu& gpu) {
  return {&gpu, "vulkan", vk_info, vk_alloc, vk_free, vk_write, vk_read, vk_plan, vk_run, vk_drop, vk_wait, vk_explain};
}

}  // namespace brasa::vk
