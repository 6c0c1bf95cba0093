// How Vulkan kernels are found and run. A kernel of an op plans a call as dispatches, which are data: a pipeline, how
// many groups, and its argument block, into which a run writes addresses and numbers. Nothing of it is code at run
// time, so a program can keep it.
#pragma once
#include <string.h>

#include <vector>

#include "gpu.h"

namespace brasa::vk {

// A memory that a dispatch reads or writes. Its address stands in the argument block, in the order of the ports.
struct Port {
  int32_t operand;       // inputs first, then outputs; or one of those below
  int64_t begin, bytes;  // from the operand's place
  bool written;
};
constexpr int32_t kScratch = -1, kFaultWord = -2;

// A number of the run that goes into the argument block, as a compute type.
struct ScalarPort {
  int32_t scalar, dtype;
  int32_t at;  // bytes
};

struct Dispatch {
  VkPipeline pipeline = VK_NULL_HANDLE;
  uint32_t groups[3] = {1, 1, 1};
  std::vector<Port> ports;
  std::vector<ScalarPort> scalars;
  std::vector<uint8_t> block;  // addresses (8 bytes each), then what the kernel put there

  void port(int32_t operand, int64_t begin, int64_t bytes, bool written) {
    ports.push_back({operand, begin, bytes, written});
    block.insert(block.end(), 8, 0);
  }
  template <class T>
  int32_t put(const T& value) {
    const size_t at = block.size();
    block.resize(at + sizeof value);
    memcpy(block.data() + at, &value, sizeof value);
    return static_cast<int32_t>(at);
  }
};

struct VkPlan {
  Gpu* gpu;
  int32_t nin = 0, nout = 0;
  std::vector<int32_t> item;  // bytes, of inputs and outputs
  std::vector<Dispatch> dispatches;
  int64_t scratch = 0;  // bytes
};

// A call that is planned: the whole of a plan, or a part whose operands and scalars are some of the plan's.
struct Maker {
  Gpu& gpu;
  VkPlan& plan;
  const Call& call;
  std::vector<int32_t> operands;  // of this call -> the plan's
  int32_t first_scalar = 0;

  int32_t in(int i) const { return operands[i]; }
  int32_t out(int i) const { return operands[call.nin + i]; }
  Dispatch& add() {
    plan.dispatches.emplace_back();
    return plan.dispatches.back();
  }
};

// Appends dispatches to the plan, or answers kUnsupported.
using Make = Status (*)(Maker& m);

struct Kernel {
  const char* op;
  Make make;
};

int32_t op_id(const char* name);
Status make_call(Maker& m);  // by the kernel of call.op

// ---- layouts

int32_t item_bytes(int32_t dtype);
int32_t compute_dtype(int32_t dtype);
int64_t count_of(const Layout& layout);
int64_t reach_of(const Layout& layout);  // elements from the first to behind the last
// As many groups as n elements, `each` a group, need or the device takes: kernels go round.
inline uint32_t groups_for(const Gpu& gpu, int64_t n, int64_t each) {
  const int64_t groups = (n + each - 1) / each, most = gpu.features().most_groups;
  return static_cast<uint32_t>(groups < 1 ? 1 : groups < most ? groups : most);
}

// The families: one file each.
Status make_elementwise(Maker& m);
Status make_elementwise_many(Maker& m);

}  // namespace brasa::vk
