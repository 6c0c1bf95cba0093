// The one line of work of a device: dispatches and copies are recorded in the order in which they are asked for, with
// the barriers that what they touch calls for, and submitted when enough has come together or somebody waits.
#pragma once
#include <deque>
#include <initializer_list>

#include "memory.h"

namespace brasa::vk {

// Bytes [begin, end) of a memory.
struct Access {
  Memory* memory;
  int64_t begin, end;
  bool written;
};

// Host memory that is handed out in a circle, and again when the submission that uses it is done.
class Ring {
 public:
  Status open(Heap& heap, int64_t bytes, Kind kind);
  void close(Heap& heap);
  // False when there is no room until more is done.
  bool take(int64_t bytes, int64_t* offset);
  void submitted(uint64_t value) {
    if (marks_.empty() || marks_.back().first != head_) marks_.push_back({head_, value});
  }
  void completed(uint64_t value);
  Memory* memory() const { return memory_; }
  int64_t size() const { return size_; }

 private:
  Memory* memory_ = nullptr;
  int64_t size_ = 0, head_ = 0, done_ = 0;  // ever growing; the place is that modulo size_
  std::deque<std::pair<int64_t, uint64_t>> marks_;
};

class Stream {
 public:
  Status open(VkDevice device, uint32_t family, VkPipelineLayout layout, Heap& heap);
  void close();  // when the device is idle

  // block: the argument block, bytes of it; copied.
  Status dispatch(VkPipeline pipeline, const uint32_t* groups, const void* block, int64_t bytes, const Access* accesses,
                  int count);
  Status write(Memory* to, int64_t offset, const void* from, int64_t bytes);
  Status read(Memory* from, int64_t offset, void* to, int64_t bytes);  // waits
  Status flush();                                                      // submits what is recorded
  Status wait();                                                       // until all that was recorded is done
  // A command buffer of the caller's, which begins and ends with barriers against all else; the number of the
  // submission.
  Status submit(VkCommandBuffer buffer, uint64_t* value);
  Status wait_for(uint64_t value);
  static void full_barrier(VkCommandBuffer buffer);
  // When the last submission that touches it is done.
  void free(Memory* memory);
  const char* failure() const { return failure_; }

 private:
  static constexpr int kBuffers = 4;
  struct Recorded {
    VkCommandPool pool = VK_NULL_HANDLE;
    VkCommandBuffer buffer = VK_NULL_HANDLE;
    uint64_t value = 0;  // of its submission
  };
  Status begin();
  Status check(VkResult result, const char* what);
  Status send(VkCommandBuffer buffer);
  Status take(Ring& ring, int64_t bytes, int64_t* offset);
  void order(const Access* accesses, int count);
  void barrier(VkPipelineStageFlags stages, VkAccessFlags access);
  void collect();

  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  Heap* heap_ = nullptr;
  Recorded recorded_[kBuffers];
  int at_ = 0, count_ = 0;  // which is recorded, commands in it
  bool open_ = false, lost_ = false;
  uint64_t submitted_ = 0, completed_ = 0, lost_at_ = 0;
  VkPipeline bound_ = VK_NULL_HANDLE;
  std::vector<Access> since_;  // the last barrier
  Ring blocks_, staging_;
  std::vector<Memory*> freed_;
  char failure_[256] = {};
};

}  // namespace brasa::vk
