#include "memory.h"

#include <new>

#include "pretend.h"

namespace brasa::vk {
namespace {

constexpr VkDeviceSize kAlign = 256;
// Of a chunk by kind; what takes a quarter of that or more is a chunk of its own.
constexpr VkDeviceSize kChunks[] = {VkDeviceSize{64} << 20, VkDeviceSize{4} << 20, VkDeviceSize{4} << 20};

}  // namespace

void Heap::open(VkPhysicalDevice physical, VkDevice device) {
  device_ = device;
  vkGetPhysicalDeviceMemoryProperties(physical, &properties_);
  VkPhysicalDeviceMaintenance3Properties limits = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
  VkPhysicalDeviceProperties2 all = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &limits};
  vkGetPhysicalDeviceProperties2(physical, &all);
  largest_ = limits.maxMemoryAllocationSize;
  most_ = pretended("memory", INT64_MAX >> 20) << 20;
}

void Heap::close() {
  for (auto* list : {&chunks_[0], &chunks_[1], &chunks_[2], &whole_}) {
    for (auto& chunk : *list) release(*chunk);
    list->clear();
  }
}

int Heap::find_type(Kind kind, uint32_t allowed) const {
  constexpr uint32_t kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  constexpr uint32_t kHost = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  const uint32_t wanted[][2] = {{kLocal, 0}, {kHost | kLocal, kHost}, {kHost | kCached, kHost}};
  for (const uint32_t flags : wanted[static_cast<int>(kind)]) {
    for (uint32_t i = 0; i < properties_.memoryTypeCount; ++i) {
      if ((allowed >> i & 1) && (properties_.memoryTypes[i].propertyFlags & flags) == flags) return static_cast<int>(i);
    }
  }
  return -1;
}

Status Heap::new_chunk(VkDeviceSize size, Kind kind, std::unique_ptr<Chunk>* out) {
  if (size > largest_ || static_cast<int64_t>(size) > most_ - allocated_) return kOutOfMemory;
  auto chunk = std::make_unique<Chunk>();
  chunk->size = size;
  VkBufferCreateInfo buffer = {VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
  buffer.size = size;
  buffer.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
  if (vkCreateBuffer(device_, &buffer, nullptr, &chunk->buffer) != VK_SUCCESS) return kOutOfMemory;
  VkMemoryRequirements needs;
  vkGetBufferMemoryRequirements(device_, chunk->buffer, &needs);
  VkMemoryAllocateFlagsInfo flags = {VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO};
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo info = {VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, &flags};
  info.allocationSize = needs.size;
  const int type = find_type(kind, needs.memoryTypeBits);
  info.memoryTypeIndex = static_cast<uint32_t>(type);
  bool good = type >= 0 && vkAllocateMemory(device_, &info, nullptr, &chunk->memory) == VK_SUCCESS &&
              vkBindBufferMemory(device_, chunk->buffer, chunk->memory, 0) == VK_SUCCESS;
  if (good && kind != Kind::kDevice) {
    void* host = nullptr;
    good = vkMapMemory(device_, chunk->memory, 0, VK_WHOLE_SIZE, 0, &host) == VK_SUCCESS;
    chunk->host = static_cast<char*>(host);
  }
  if (!good) {
    release(*chunk);
    return kOutOfMemory;
  }
  const VkBufferDeviceAddressInfo at = {VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, nullptr, chunk->buffer};
  chunk->address = vkGetBufferDeviceAddress(device_, &at);
  chunk->free_list[0] = size;
  allocated_ += static_cast<int64_t>(size);
  live_objects++;
  *out = std::move(chunk);
  return kOk;
}

void Heap::release(Chunk& chunk) {
  if (chunk.address) {
    allocated_ -= static_cast<int64_t>(chunk.size);
    live_objects--;
  }
  vkDestroyBuffer(device_, chunk.buffer, nullptr);
  vkFreeMemory(device_, chunk.memory, nullptr);
}

Status Heap::alloc(int64_t bytes, Kind kind, Memory** out) {
  const VkDeviceSize taken = (static_cast<VkDeviceSize>(bytes > 0 ? bytes : 1) + kAlign - 1) / kAlign * kAlign;
  Chunk* chunk = nullptr;
  VkDeviceSize offset = 0;
  const VkDeviceSize usual = kChunks[static_cast<int>(kind)];
  auto& chunks = chunks_[static_cast<int>(kind)];
  if (taken >= usual / 4) {
    std::unique_ptr<Chunk> fresh;
    const Status status = new_chunk(taken, kind, &fresh);
    if (status != kOk) return status;
    chunk = fresh.get();
    whole_.push_back(std::move(fresh));
  } else {
    // The smallest free range that it fits into.
    VkDeviceSize best = ~VkDeviceSize{0};
    for (auto& one : chunks) {
      for (const auto& [at, size] : one->free_list) {
        if (size < taken || size >= best) continue;
        chunk = one.get();
        offset = at;
        best = size;
      }
    }
    if (!chunk) {
      std::unique_ptr<Chunk> fresh;
      Status status = new_chunk(usual, kind, &fresh);
      if (status != kOk) status = new_chunk(usual / 4, kind, &fresh);
      if (status != kOk) return status;
      chunk = fresh.get();
      chunks.push_back(std::move(fresh));
    }
  }
  Memory* memory = new (std::nothrow) Memory();
  if (!memory) return kOutOfMemory;
  const VkDeviceSize left = chunk->free_list[offset] - taken;
  chunk->free_list.erase(offset);
  if (left > 0) chunk->free_list[offset + taken] = left;
  memory->data = memory;
  memory->bytes = bytes;
  memory->chunk = chunk;
  memory->kind = kind;
  memory->offset = offset;
  memory->taken = taken;
  memory->address = chunk->address + offset;
  memory->host = chunk->host ? chunk->host + offset : nullptr;
  *out = memory;
  return kOk;
}

void Heap::free(Memory* memory) {
  Chunk& chunk = *memory->chunk;
  auto& chunks = chunks_[static_cast<int>(memory->kind)];
  VkDeviceSize at = memory->offset, size = memory->taken;
  delete memory;
  auto after = chunk.free_list.lower_bound(at);
  if (after != chunk.free_list.end() && after->first == at + size) {
    size += after->second;
    after = chunk.free_list.erase(after);
  }
  if (after != chunk.free_list.begin() && std::prev(after)->first + std::prev(after)->second == at) {
    at = std::prev(after)->first;
    size += std::prev(after)->second;
  }
  chunk.free_list[at] = size;
  if (size < chunk.size) return;
  const auto drop = [&](std::vector<std::unique_ptr<Chunk>>& list) {
    for (size_t i = 0; i < list.size(); ++i) {
      if (list[i].get() != &chunk) continue;
      release(chunk);
      list.erase(list.begin() + static_cast<ptrdiff_t>(i));
      return;
    }
  };
  drop(whole_);
  if (chunks.size() > 1) drop(chunks);
}

}  // namespace brasa::vk
