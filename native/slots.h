// The storages of one environment, by number: JavaScript knows a storage as its slot. A slot lives as long as one
// JavaScript object, through a weak reference that the caller makes, asks and deletes; nothing here knows Node-API.
#pragma once
#include <vector>

#include "device.h"

namespace brasa {

// What a storage costs beside its bytes, for the sweep budget: JavaScript objects.
constexpr double kSlotCost = 3200;
// Small storages share a weak reference, to an object that all of them hold: making one for each would cost as much as
// the op.
constexpr int kGroup = 8;
constexpr int kSpare = 4096;  // slots and groups that there is room for from the start
// Freed blocks up to this class (16 KB) stay with the environment, up to so many a class: no lock on the way.
constexpr int kLocalClasses = 32, kLocalBlocks = 2048;

struct Slot {
  Block* block = nullptr;
  int32_t device = 0;
  int32_t next_free = -1;
  int64_t job = 0;  // the last that touches it: native/jobs.h
};

// Slots that live as long as one JavaScript object: a storage, or what up to kGroup small storages hold.
struct Group {
  void* ref = nullptr;  // the caller's weak reference: dead as soon as the collector has taken the object
  int32_t count = 0;
  int32_t slots[kGroup];
};

class Slots {
 public:
  explicit Slots(double* budget) : budget_(budget) {
    slots_.reserve(kSpare);
    young_[0].reserve(kSpare);
  }
  ~Slots() {
    flush();
    for (Slot& slot : slots_) {
      if (slot.block) device(slot.device)->allocator.release(slot.block);
    }
  }

  bool valid(int32_t id) const { return id >= 0 && id < static_cast<int32_t>(slots_.size()) && slots_[id].block; }
  const Slot& operator[](int32_t id) const { return slots_[id]; }
  Slot& operator[](int32_t id) { return slots_[id]; }
  int64_t live_bytes() const { return live_bytes_; }
  int64_t live_slots() const { return live_slots_; }
  int64_t local_bytes() const { return local_bytes_; }

  // ---- blocks, not yet in a slot

  Status alloc(int32_t on, int64_t bytes, Block** out) {
    const int size_class = Allocator::class_of(bytes);
    if (on == 0 && size_class < kLocalClasses && !local_[size_class].empty()) {
      *out = local_[size_class].back();
      local_[size_class].pop_back();
      local_bytes_ -= (*out)->bytes;
      return kOk;
    }
    const Status status = device(on)->allocator.alloc(bytes, out);
    if (status != kOutOfMemory || local_bytes_ == 0) return status;
    flush();
    return device(on)->allocator.alloc(bytes, out);
  }

  void free(Block* block, int32_t on) {
    const bool keep = on == 0 && block->size_class < kLocalClasses && local_[block->size_class].size() < kLocalBlocks;
    if (!keep || block->owners.load(std::memory_order_relaxed) != 1) return device(on)->allocator.release(block);
    local_[block->size_class].push_back(block);
    local_bytes_ += block->bytes;
  }

  // One owner more, who calls free too.
  static void retain(Block* block, int32_t on) { device(on)->allocator.retain(block); }

  // Gives the blocks that are kept here back to the device's allocator.
  void flush() {
    for (auto& list : local_) {
      for (Block* block : list) device(0)->allocator.release(block);
      list.clear();
    }
    local_bytes_ = 0;
  }

  // ---- slots: they join the group made last, which the caller has opened for their object

  void open_group(void* ref) {
    young_[0].emplace_back();
    young_[0].back().ref = ref;
  }
  bool group_is_full() const { return young_[0].empty() || young_[0].back().count == kGroup; }

  int32_t take(Block* block, int32_t on) {
    int32_t id = free_slot_;
    if (id >= 0) {
      free_slot_ = slots_[id].next_free;
    } else {
      id = static_cast<int32_t>(slots_.size());
      slots_.emplace_back();
    }
    slots_[id].block = block;
    slots_[id].device = on;
    slots_[id].job = 0;
    Group& group = young_[0].back();
    group.slots[group.count++] = id;
    live_bytes_ += block->bytes;
    live_slots_++;
    *budget_ -= static_cast<double>(block->bytes) + kSlotCost;
    return id;
  }

  // Gives the memory back. The slot's number is reused only after its group has been polled off the lists.
  void release(int32_t id) {
    Slot& slot = slots_[id];
    live_bytes_ -= slot.block->bytes;
    live_slots_--;
    free(slot.block, slot.device);
    slot.block = nullptr;
  }

  // Frees what the collector has taken: weak.alive(ref) asks, weak.forget(ref) deletes a reference. After a minor
  // collection `all` is false: only what is young can have died.
  template <class Weak>
  void sweep(bool all, Weak& weak) {
    if (all) {
      poll(old_, spare_, weak);
      old_.swap(spare_);
    }
    poll(young_[1], old_, weak);
    poll(young_[0], young_[1], weak);
  }

 private:
  // What lives goes to the next list. Lists keep their memory: hardly any is asked for between sweeps.
  template <class Weak>
  void poll(std::vector<Group>& from, std::vector<Group>& survivors, Weak& weak) {
    for (const Group& group : from) {
      // Slots that were all released need no answer from the collector: their storages hold -1 by now.
      bool any = false;
      for (int k = 0; k < group.count; ++k) any = any || slots_[group.slots[k]].block;
      if (any && (!group.ref || weak.alive(group.ref))) {
        survivors.push_back(group);
        continue;
      }
      for (int k = 0; k < group.count; ++k) {
        const int32_t id = group.slots[k];
        if (slots_[id].block) release(id);
        slots_[id].next_free = free_slot_;
        free_slot_ = id;
      }
      if (group.ref) weak.forget(group.ref);
    }
    from.clear();
  }

  std::vector<Slot> slots_;
  int32_t free_slot_ = -1;
  std::vector<Group> young_[2], old_;  // to poll: made since the last sweep, since the one before, earlier
  std::vector<Group> spare_;
  std::vector<Block*> local_[kLocalClasses];
  int64_t live_bytes_ = 0, live_slots_ = 0, local_bytes_ = 0;
  double* budget_;  // bytes that may still be taken until the next sweep
};

}  // namespace brasa
