#include "graph.h"

#include <algorithm>

namespace brasa::vk {
namespace {

constexpr int64_t kBlockAlign = 16;
constexpr int32_t kArena = 0, kScratchBuffer = -1;

struct Touch {
  int32_t buffer;
  int64_t begin, end;
  bool written;
};

}  // namespace

Program::~Program() {
  for (Copy& copy : copies_) {
    gpu_.stream.wait_for(copy.value);
    if (copy.blocks) gpu_.heap.free(copy.blocks);
  }
  if (scratch_) gpu_.heap.free(scratch_);
  if (!pool_) return;
  vkDestroyCommandPool(gpu_.device(), pool_, nullptr);
  live_objects--;
}

Status Program::record(const Step* steps, int32_t count, Memory* arena) {
  arena_ = arena;
  int64_t scratch = 0;
  for (int32_t i = 0; i < count; ++i)
    scratch = std::max(scratch, reinterpret_cast<const VkPlan*>(steps[i].plan)->scratch);
  Status status = scratch > 0 ? gpu_.heap.alloc(scratch, Kind::kDevice, &scratch_) : kOk;
  if (status != kOk) return status;

  std::vector<uint8_t> blocks;
  std::vector<Place> places;
  std::vector<Touch> since;  // the last barrier
  for (int32_t i = 0; i < count; ++i) {
    const Step& step = steps[i];
    const VkPlan& plan = *reinterpret_cast<const VkPlan*>(step.plan);
    for (const Dispatch& dispatch : plan.dispatches) {
      const auto at = static_cast<int64_t>(blocks.size());
      blocks.insert(blocks.end(), dispatch.block.begin(), dispatch.block.end());
      std::vector<Touch> touched;
      for (size_t k = 0; k < dispatch.ports.size(); ++k) {
        const Port& port = dispatch.ports[k];
        const int64_t place = at + 8 * static_cast<int64_t>(k);
        const auto fixed = [&](const Memory* memory, int64_t begin) {
          const VkDeviceAddress address = memory->address + static_cast<uint64_t>(begin);
          memcpy(blocks.data() + place, &address, sizeof address);
        };
        if (port.operand == kFaultWord) {
          fixed(gpu_.fault(), port.begin);
          continue;
        }
        const int32_t buffer = port.operand == kScratch ? kScratchBuffer : step.buffers[port.operand];
        const int32_t item = port.operand == kScratch ? 1 : plan.item[port.operand];
        const int64_t begin = port.begin + (port.operand == kScratch ? 0 : step.offsets[port.operand] * item);
        if (buffer == kScratchBuffer)
          fixed(scratch_, begin);
        else if (buffer == kArena)
          fixed(arena_, begin);
        else
          addresses_.push_back({place, buffer, item, begin});
        if (buffer > kArena) bound_.push_back(buffer);
        touched.push_back({buffer, begin, begin + port.bytes, port.written});
      }
      for (const ScalarPort& port : dispatch.scalars)
        numbers_.push_back({at + port.at, step.scalar + port.scalar, port});
      bool clash = false;
      for (const Touch& now : touched)
        for (const Touch& past : since)
          clash |= past.buffer == now.buffer && (past.written || now.written) && past.begin < now.end &&
                   now.begin < past.end;
      if (clash) since.clear();
      since.insert(since.end(), touched.begin(), touched.end());
      places.push_back({dispatch.pipeline, dispatch.groups, at, clash});
      blocks.resize((blocks.size() + kBlockAlign - 1) / kBlockAlign * kBlockAlign);
    }
  }
  std::sort(bound_.begin(), bound_.end());
  bound_.erase(std::unique(bound_.begin(), bound_.end()), bound_.end());

  VkCommandPoolCreateInfo pool = {VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
  pool.queueFamilyIndex = gpu_.family();
  if (vkCreateCommandPool(gpu_.device(), &pool, nullptr, &pool_) != VK_SUCCESS) return kOutOfMemory;
  live_objects++;
  for (Copy& copy : copies_) {
    status = record_copy(copy, places, blocks);
    if (status != kOk) return status;
  }
  return kOk;
}

Status Program::record_copy(Copy& copy, const std::vector<Place>& places, const std::vector<uint8_t>& blocks) {
  const auto bytes = static_cast<int64_t>(blocks.size());
  const Status status = gpu_.heap.alloc(bytes, Kind::kUpload, &copy.blocks);
  if (status != kOk) return status;
  if (bytes > 0) memcpy(copy.blocks->host, blocks.data(), blocks.size());
  VkCommandBufferAllocateInfo buffer = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
  buffer.commandPool = pool_;
  buffer.commandBufferCount = 1;
  const VkCommandBufferBeginInfo begin = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  if (vkAllocateCommandBuffers(gpu_.device(), &buffer, &copy.buffer) != VK_SUCCESS ||
      vkBeginCommandBuffer(copy.buffer, &begin) != VK_SUCCESS)
    return kOutOfMemory;
  Stream::full_barrier(copy.buffer);
  VkPipeline known = VK_NULL_HANDLE;
  for (const Place& place : places) {
    if (place.ordered) Stream::full_barrier(copy.buffer);
    if (place.pipeline != known) vkCmdBindPipeline(copy.buffer, VK_PIPELINE_BIND_POINT_COMPUTE, place.pipeline);
    known = place.pipeline;
    const VkDeviceAddress address = copy.blocks->address + static_cast<uint64_t>(place.block);
    vkCmdPushConstants(copy.buffer, gpu_.layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof address, &address);
    vkCmdDispatch(copy.buffer, place.groups[0], place.groups[1], place.groups[2]);
  }
  Stream::full_barrier(copy.buffer);
  return vkEndCommandBuffer(copy.buffer) == VK_SUCCESS ? kOk : kOutOfMemory;
}

Status Program::replay(Buffer* const* buffers, const int64_t* base, const double* scalars) {
  Copy& copy = copies_[next_];
  Status status = gpu_.stream.wait_for(copy.value);
  if (status != kOk) return status;
  next_ = (next_ + 1) % kCopies;
  char* const blocks = copy.blocks->host;
  for (const Address& one : addresses_) {
    const auto& memory = *static_cast<const Memory*>(buffers[one.buffer]);
    const VkDeviceAddress address = memory.address + static_cast<uint64_t>(base[one.buffer] * one.item + one.begin);
    memcpy(blocks + one.at, &address, sizeof address);
  }
  for (const Number& one : numbers_)
    put_scalar(reinterpret_cast<uint8_t*>(blocks + one.at), one.port, scalars + one.scalar);
  status = gpu_.stream.submit(copy.buffer, &copy.value);
  if (status != kOk) return status;
  for (const int32_t i : bound_) static_cast<Memory*>(buffers[i])->last_use = copy.value;
  if (arena_) arena_->last_use = copy.value;
  return kOk;
}

}  // namespace brasa::vk
