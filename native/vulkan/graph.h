// A program as a command buffer that is recorded once. Its argument blocks are its own; a replay writes the addresses
// of what is bound and the numbers of the run into them. There are two of it, so that one can be prepared while the
// device still works on the other.
#pragma once
#include "kernel.h"

namespace brasa::vk {

class Program {
 public:
  explicit Program(Gpu& gpu) : gpu_(gpu) {}
  ~Program();
  Status record(const Step* steps, int32_t count, Memory* arena);
  Status replay(Buffer* const* buffers, const int64_t* base, const double* scalars);

 private:
  static constexpr int kCopies = 2;
  struct Copy {
    VkCommandBuffer buffer = VK_NULL_HANDLE;
    Memory* blocks = nullptr;
    uint64_t value = 0;  // of its last submission
  };
  struct Address {  // of a place in a buffer that is bound at each run
    int64_t at;     // in the blocks
    int32_t buffer;
    int32_t item;   // bytes of an element of the buffer's own offset
    int64_t begin;  // bytes
  };
  struct Number {
    int64_t at;
    int32_t scalar;
    ScalarPort port;
  };
  struct Place {
    VkPipeline pipeline;
    const uint32_t* groups;
    int64_t block;
    bool ordered;  // after all before it
  };
  Status record_copy(Copy& copy, const std::vector<Place>& places, const std::vector<uint8_t>& blocks);

  Gpu& gpu_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  Copy copies_[kCopies];
  int next_ = 0;
  Memory *arena_ = nullptr, *scratch_ = nullptr;
  std::vector<Address> addresses_;
  std::vector<Number> numbers_;
  std::vector<int32_t> bound_;  // which buffers it touches
};

}  // namespace brasa::vk
