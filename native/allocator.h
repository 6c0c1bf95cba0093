// A caching allocator over any backend: freed blocks are kept by size class and handed out again. One per device,
// locked.
#pragma once
#include <atomic>
#include <mutex>
#include <vector>

#include "backend.h"

namespace brasa {

// A buffer with owners: tensors of any environment, and calls in flight.
struct Block {
  Buffer* buffer;
  std::atomic<int32_t> owners;
  int32_t size_class;
  int64_t bytes;  // of the class: what it really takes
};

struct AllocatorStats {
  int64_t live_bytes, cached_bytes, peak_bytes, live_blocks, device_allocations;
};

class Allocator {
 public:
  explicit Allocator(const Backend& backend) : backend_(backend) {}
  Status alloc(int64_t bytes, Block** out);  // one owner
  void retain(Block* block) { block->owners.fetch_add(1, std::memory_order_relaxed); }
  void release(Block* block);
  static int class_of(int64_t bytes);  // size classes grow with the bytes that they hold
  void trim();                         // gives every cached block back to the device
  AllocatorStats stats();

 private:
  void trim_locked();

  const Backend& backend_;
  std::mutex mutex_;
  std::vector<std::vector<Block*>> free_;
  AllocatorStats stats_{};
};

}  // namespace brasa
