// Device memory: few large allocations, each with one buffer over it, cut into ranges. Blocks of tensors come and go
// through the caching allocator above; this sees what it has not cached.
#pragma once
#include <volk.h>

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "../backend.h"

namespace brasa::vk {

// Chunks, pipelines and command pools of all devices that have not been destroyed: what could leak.
inline std::atomic<int64_t> live_objects{0};

struct Chunk {
  VkDeviceMemory memory = VK_NULL_HANDLE;
  VkBuffer buffer = VK_NULL_HANDLE;
  VkDeviceSize size = 0;
  VkDeviceAddress address = 0;
  char* host = nullptr;                            // where it is mapped, of memory for the host
  std::map<VkDeviceSize, VkDeviceSize> free_list;  // offset -> size, no two adjacent
};

enum class Kind { kDevice, kUpload, kStaging };  // for kernels; written by the host; written and read by it

// A range of a chunk: what a Buffer of the backend is.
struct Memory : Buffer {
  Chunk* chunk;
  Kind kind;
  VkDeviceSize offset;  // in its buffer
  VkDeviceSize taken;   // bytes, of whole alignments
  VkDeviceAddress address;
  char* host;
  uint64_t last_use = 0;  // the submission that touches it last
};

class Heap {
 public:
  void open(VkPhysicalDevice physical, VkDevice device);
  void close();
  Status alloc(int64_t bytes, Kind kind, Memory** out);
  void free(Memory* memory);
  int64_t allocated() const { return allocated_; }

 private:
  Status new_chunk(VkDeviceSize size, Kind kind, std::unique_ptr<Chunk>* out);
  void release(Chunk& chunk);
  int find_type(Kind kind, uint32_t allowed) const;

  VkDevice device_ = VK_NULL_HANDLE;
  VkPhysicalDeviceMemoryProperties properties_;
  VkDeviceSize largest_ = 0;
  std::vector<std::unique_ptr<Chunk>> chunks_[3];  // by kind, shared
  std::vector<std::unique_ptr<Chunk>> whole_;      // of one range
  int64_t allocated_ = 0, most_ = INT64_MAX;
};

}  // namespace brasa::vk
