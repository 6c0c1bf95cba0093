#include "allocator.h"

#include <new>

namespace brasa {
namespace {

constexpr int64_t kSmallest = 64;

// Class c holds (4 + c % 4) * 16 * 2^(c / 4) bytes.
int64_t class_bytes(int size_class) { return (4 + size_class % 4) * (int64_t{16} << (size_class / 4)); }

// Beyond this a freed block stays cached only while the cache is smaller than what is live.
constexpr int64_t kCacheFloor = int64_t{1} << 30;

}  // namespace

// Four classes a doubling: at most a quarter is lost.
int Allocator::class_of(int64_t bytes) {
  if (bytes <= kSmallest) return 0;
  const int top = 63 - __builtin_clzll(static_cast<uint64_t>(bytes - 1));  // 2^top <= bytes - 1
  const int64_t quarter = int64_t{1} << (top - 2);
  const int step = static_cast<int>((bytes - 1 - (int64_t{1} << top)) / quarter) + 1;
  return (top - 6) * 4 + step;
}

Status Allocator::alloc(int64_t bytes, Block** out) {
  if (bytes < 0 || bytes > (int64_t{1} << 46)) return kOutOfMemory;
  const int size_class = class_of(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  if (static_cast<size_t>(size_class) >= free_.size()) free_.resize(size_class + 1);
  const int64_t size = class_bytes(size_class);
  Block* block = nullptr;
  if (!free_[size_class].empty()) {
    block = free_[size_class].back();
    free_[size_class].pop_back();
    stats_.cached_bytes -= size;
    block->owners.store(1, std::memory_order_relaxed);
  } else {
    Buffer* buffer = nullptr;
    Status status = backend_.alloc(backend_.self, size, &buffer);
    if (status == kOutOfMemory) {
      trim_locked();
      status = backend_.alloc(backend_.self, size, &buffer);
    }
    if (status != kOk) return status;
    block = new (std::nothrow) Block{buffer, {1}, size_class, size};
    if (!block) {
      backend_.free(backend_.self, buffer);
      return kOutOfMemory;
    }
    stats_.device_allocations++;
  }
  stats_.live_bytes += size;
  stats_.live_blocks++;
  if (stats_.live_bytes > stats_.peak_bytes) stats_.peak_bytes = stats_.live_bytes;
  *out = block;
  return kOk;
}

void Allocator::release(Block* block) {
  if (block->owners.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  std::lock_guard<std::mutex> lock(mutex_);
  stats_.live_bytes -= block->bytes;
  stats_.live_blocks--;
  if (stats_.cached_bytes + block->bytes > kCacheFloor && stats_.cached_bytes > stats_.live_bytes) {
    backend_.free(backend_.self, block->buffer);
    delete block;
    return;
  }
  stats_.cached_bytes += block->bytes;
  free_[block->size_class].push_back(block);
}

void Allocator::trim_locked() {
  for (auto& list : free_) {
    for (Block* block : list) {
      stats_.cached_bytes -= block->bytes;
      backend_.free(backend_.self, block->buffer);
      delete block;
    }
    list.clear();
  }
}

void Allocator::trim() {
  std::lock_guard<std::mutex> lock(mutex_);
  trim_locked();
}

AllocatorStats Allocator::stats() {
  std::lock_guard<std::mutex> lock(mutex_);
  return stats_;
}

}  // namespace brasa
