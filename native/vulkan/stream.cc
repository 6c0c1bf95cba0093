#include "stream.h"

#include <stdio.h>
#include <string.h>

#include "pretend.h"

namespace brasa::vk {
namespace {

constexpr int kMostCommands = 64;  // in a submission
constexpr int64_t kBlocks = 4 << 20, kStaging = 16 << 20, kRingAlign = 64;
constexpr VkPipelineStageFlags kWork = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
constexpr VkAccessFlags kReads = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT;
constexpr VkAccessFlags kWrites = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;

}  // namespace

Status Ring::open(Heap& heap, int64_t bytes, Kind kind) {
  size_ = bytes;
  return heap.alloc(bytes, kind, &memory_);
}

bool Ring::take(int64_t bytes, int64_t* offset) {
  bytes = (bytes + kRingAlign - 1) / kRingAlign * kRingAlign;
  int64_t from = head_;
  if (from % size_ + bytes > size_) from += size_ - from % size_;
  if (from + bytes - done_ > size_) return false;
  head_ = from + bytes;
  *offset = from % size_;
  return true;
}

void Ring::completed(uint64_t value) {
  while (!marks_.empty() && marks_.front().second <= value) {
    done_ = marks_.front().first;
    marks_.pop_front();
  }
}

Status Stream::check(VkResult result, const char* what) {
  if (result == VK_SUCCESS) return kOk;
  snprintf(failure_, sizeof failure_, "%s failed (VkResult %d)", what, result);
  if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY) return kOutOfMemory;
  lost_ = true;
  return kDeviceLost;
}

Status Stream::open(VkDevice device, uint32_t family, VkPipelineLayout layout, Heap& heap) {
  device_ = device;
  layout_ = layout;
  heap_ = &heap;
  lost_at_ = static_cast<uint64_t>(pretended("lost", 0));
  vkGetDeviceQueue(device, family, 0, &queue_);
  VkSemaphoreTypeCreateInfo timeline = {VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO};
  timeline.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  const VkSemaphoreCreateInfo semaphore = {VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, &timeline, 0};
  Status status = check(vkCreateSemaphore(device, &semaphore, nullptr, &timeline_), "vkCreateSemaphore");
  for (Recorded& one : recorded_) {
    VkCommandPoolCreateInfo pool = {VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
    pool.queueFamilyIndex = family;
    if (status == kOk) status = check(vkCreateCommandPool(device, &pool, nullptr, &one.pool), "vkCreateCommandPool");
    VkCommandBufferAllocateInfo buffer = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
    buffer.commandPool = one.pool;
    buffer.commandBufferCount = 1;
    if (status == kOk) status = check(vkAllocateCommandBuffers(device, &buffer, &one.buffer), "a command buffer");
  }
  if (status == kOk) status = blocks_.open(heap, kBlocks, Kind::kUpload);
  if (status == kOk) status = staging_.open(heap, kStaging, Kind::kStaging);
  return status;
}

void Ring::close(Heap& heap) {
  if (memory_) heap.free(memory_);
}

void Stream::close() {
  if (!heap_) return;
  for (Memory* memory : freed_) heap_->free(memory);
  blocks_.close(*heap_);
  staging_.close(*heap_);
  for (Recorded& one : recorded_) vkDestroyCommandPool(device_, one.pool, nullptr);
  vkDestroySemaphore(device_, timeline_, nullptr);
}

Status Stream::begin() {
  if (lost_) return kDeviceLost;
  if (open_) return kOk;
  Recorded& one = recorded_[at_];
  Status status = wait_for(one.value);
  if (status == kOk) status = check(vkResetCommandPool(device_, one.pool, 0), "vkResetCommandPool");
  VkCommandBufferBeginInfo info = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  info.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  if (status == kOk) status = check(vkBeginCommandBuffer(one.buffer, &info), "vkBeginCommandBuffer");
  if (status != kOk) return status;
  open_ = true;
  count_ = 0;
  bound_ = VK_NULL_HANDLE;
  return kOk;
}

Status Stream::flush() {
  if (!open_) return lost_ ? kDeviceLost : kOk;
  Recorded& one = recorded_[at_];
  // What the host reads when the submission is done.
  barrier(VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
  open_ = false;
  Status status = check(vkEndCommandBuffer(one.buffer), "vkEndCommandBuffer");
  if (status != kOk) return status;
  status = send(one.buffer);
  if (status != kOk) return status;
  one.value = submitted_;
  blocks_.submitted(submitted_);
  staging_.submitted(submitted_);
  at_ = (at_ + 1) % kBuffers;
  collect();
  return kOk;
}

Status Stream::send(VkCommandBuffer buffer) {
  const uint64_t value = submitted_ + 1;
  if (value == lost_at_) {
    vkQueueWaitIdle(queue_);
    return check(VK_ERROR_DEVICE_LOST, "vkQueueSubmit, as BRASA_VULKAN_PRETEND wants it,");
  }
  VkTimelineSemaphoreSubmitInfo timeline = {VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO};
  timeline.signalSemaphoreValueCount = 1;
  timeline.pSignalSemaphoreValues = &value;
  VkSubmitInfo submit = {VK_STRUCTURE_TYPE_SUBMIT_INFO, &timeline};
  submit.commandBufferCount = 1;
  submit.pCommandBuffers = &buffer;
  submit.signalSemaphoreCount = 1;
  submit.pSignalSemaphores = &timeline_;
  const Status status = check(vkQueueSubmit(queue_, 1, &submit, VK_NULL_HANDLE), "vkQueueSubmit");
  if (status == kOk) submitted_ = value;
  return status;
}

Status Stream::submit(VkCommandBuffer buffer, uint64_t* value) {
  if (lost_) return kDeviceLost;
  Status status = flush();
  if (status == kOk) status = send(buffer);
  since_.clear();
  *value = submitted_;
  return status;
}

void Stream::full_barrier(VkCommandBuffer buffer) {
  VkMemoryBarrier memory = {VK_STRUCTURE_TYPE_MEMORY_BARRIER};
  memory.srcAccessMask = kWrites;
  memory.dstAccessMask = kReads | kWrites;
  vkCmdPipelineBarrier(buffer, kWork, kWork, 0, 1, &memory, 0, nullptr, 0, nullptr);
}

Status Stream::wait_for(uint64_t value) {
  if (completed_ >= value) return kOk;
  VkSemaphoreWaitInfo info = {VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO};
  info.semaphoreCount = 1;
  info.pSemaphores = &timeline_;
  info.pValues = &value;
  const Status status = check(vkWaitSemaphores(device_, &info, UINT64_MAX), "vkWaitSemaphores");
  if (status == kOk) collect();
  return status;
}

Status Stream::wait() {
  const Status status = flush();
  return status == kOk ? wait_for(submitted_) : status;
}

// What is done gives back what it used.
void Stream::collect() {
  if (vkGetSemaphoreCounterValue(device_, timeline_, &completed_) != VK_SUCCESS) return;
  blocks_.completed(completed_);
  staging_.completed(completed_);
  size_t kept = 0;
  for (Memory* memory : freed_) {
    if (memory->last_use > completed_)
      freed_[kept++] = memory;
    else
      heap_->free(memory);
  }
  freed_.resize(kept);
}

void Stream::free(Memory* memory) {
  if (memory->last_use > completed_) collect();
  if (memory->last_use > completed_ && !lost_)
    freed_.push_back(memory);
  else
    heap_->free(memory);
}

Status Stream::take(Ring& ring, int64_t bytes, int64_t* offset) {
  if (bytes > ring.size()) return kInvalid;
  if (ring.take(bytes, offset)) return kOk;
  collect();
  if (ring.take(bytes, offset)) return kOk;
  // All of it is in use, by what is recorded too.
  const Status status = wait();
  if (status != kOk) return status;
  return ring.take(bytes, offset) ? begin() : kOutOfMemory;
}

void Stream::barrier(VkPipelineStageFlags stages, VkAccessFlags access) {
  VkMemoryBarrier memory = {VK_STRUCTURE_TYPE_MEMORY_BARRIER};
  memory.srcAccessMask = kWrites;
  memory.dstAccessMask = access;
  vkCmdPipelineBarrier(recorded_[at_].buffer, kWork, stages, 0, 1, &memory, 0, nullptr, 0, nullptr);
}

// A command may begin before earlier ones end, unless it reads what they write or writes what they touch.
void Stream::order(const Access* accesses, int count) {
  bool clash = false;
  for (int i = 0; i < count && !clash; ++i) {
    const Access& now = accesses[i];
    for (const Access& past : since_) {
      clash =
          past.memory == now.memory && (past.written || now.written) && past.begin < now.end && now.begin < past.end;
      if (clash) break;
    }
  }
  if (clash) {
    full_barrier(recorded_[at_].buffer);
    since_.clear();
  }
  for (int i = 0; i < count; ++i) {
    since_.push_back(accesses[i]);
    accesses[i].memory->last_use = submitted_ + 1;
  }
}

Status Stream::dispatch(VkPipeline pipeline, const uint32_t* groups, const void* block, int64_t bytes,
                        const Access* accesses, int count) {
  Status status = begin();
  int64_t offset = 0;
  if (status == kOk) status = take(blocks_, bytes, &offset);
  if (status != kOk) return status;
  memcpy(blocks_.memory()->host + offset, block, bytes);
  order(accesses, count);
  const VkCommandBuffer buffer = recorded_[at_].buffer;
  if (bound_ != pipeline) vkCmdBindPipeline(buffer, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
  bound_ = pipeline;
  const VkDeviceAddress address = blocks_.memory()->address + offset;
  vkCmdPushConstants(buffer, layout_, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof address, &address);
  vkCmdDispatch(buffer, groups[0], groups[1], groups[2]);
  return ++count_ >= kMostCommands ? flush() : kOk;
}

Status Stream::write(Memory* to, int64_t offset, const void* from, int64_t bytes) {
  const int64_t most = staging_.size() / 4;
  for (int64_t done = 0; done < bytes;) {
    const int64_t size = bytes - done < most ? bytes - done : most;
    Status status = begin();
    int64_t at = 0;
    if (status == kOk) status = take(staging_, size, &at);
    if (status != kOk) return status;
    memcpy(staging_.memory()->host + at, static_cast<const char*>(from) + done, size);
    const Access access = {to, offset + done, offset + done + size, true};
    order(&access, 1);
    const VkBufferCopy copy = {staging_.memory()->offset + at, to->offset + offset + done,
                               static_cast<VkDeviceSize>(size)};
    vkCmdCopyBuffer(recorded_[at_].buffer, staging_.memory()->chunk->buffer, to->chunk->buffer, 1, &copy);
    done += size;
    // The device copies one piece while the next is staged.
    status = ++count_ >= kMostCommands || done < bytes ? flush() : kOk;
    if (status != kOk) return status;
  }
  return kOk;
}

Status Stream::read(Memory* from, int64_t offset, void* to, int64_t bytes) {
  struct Piece {
    int64_t at = 0, size = 0;
    uint64_t value = 0;
  };
  const int64_t most = staging_.size() / 4;
  Piece last;
  int64_t asked = 0, got = 0;
  // One piece ahead.
  while (got < bytes) {
    Piece piece;
    if (asked < bytes) {
      piece.size = bytes - asked < most ? bytes - asked : most;
      Status status = begin();
      if (status == kOk) status = take(staging_, piece.size, &piece.at);
      if (status != kOk) return status;
      const Access access = {from, offset + asked, offset + asked + piece.size, false};
      order(&access, 1);
      const VkBufferCopy copy = {from->offset + offset + asked, staging_.memory()->offset + piece.at,
                                 static_cast<VkDeviceSize>(piece.size)};
      vkCmdCopyBuffer(recorded_[at_].buffer, from->chunk->buffer, staging_.memory()->chunk->buffer, 1, &copy);
      asked += piece.size;
      status = flush();
      if (status != kOk) return status;
      piece.value = submitted_;
    }
    if (last.size) {
      const Status status = wait_for(last.value);
      if (status != kOk) return status;
      memcpy(static_cast<char*>(to) + got, staging_.memory()->host + last.at, last.size);
      got += last.size;
    }
    last = piece;
  }
  return kOk;
}

}  // namespace brasa::vk
