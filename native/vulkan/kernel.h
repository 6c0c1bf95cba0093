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

// A number of the run that goes into the argument block, as a compute type: itself, or what is made of it in f64.
enum class Of {
  kItself,
  kBar,    // ceil(2^24 p): random words of 24 bits below it have probability p
  kScale,  // 1 / (1 - p)
  kRange,  // the next number less this one
};
struct ScalarPort {
  int32_t scalar, dtype;
  int32_t at;  // bytes
  Of of = Of::kItself;
};

// Writes it; scalars: from the port's own on.
void put_scalar(uint8_t* to, const ScalarPort& port, const double* scalars);

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

// An operand of a call as the plan has it: one of its own, or a part of its scratch memory.
struct Source {
  int32_t operand;
  int64_t begin = 0;  // bytes
};

// A call that is planned: the whole of a plan, or a part whose operands and scalars are some of the plan's.
struct Maker {
  Gpu& gpu;
  VkPlan& plan;
  const Call& call;
  std::vector<Source> operands;
  int32_t first_scalar = 0;

  const Source& in(int i) const { return operands[i]; }
  const Source& out(int i) const { return operands[call.nin + i]; }
  // More scratch memory.
  Source scratch(int64_t bytes) {
    const Source source = {kScratch, plan.scratch};
    plan.scratch += (bytes + 255) / 256 * 256;
    return source;
  }
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
// Whether an elementwise program's registers are there and of the types that its instructions want.
bool sane_program(const Call& call);
bool has_kernel(int32_t op);
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

// Sums or products along a dim of all elements up to each: of x, as integers or floats of the output's compute type.
Status add_scan(Maker& m, const Source& from, const Layout& x, const Source& to, const Layout& y, int dim,
                bool product);

// The families: one file each.
Status make_elementwise(Maker& m);
Status make_elementwise_many(Maker& m);
Status make_elementwise_sum(Maker& m);
Status make_sum(Maker& m);
Status make_mean(Maker& m);
Status make_prod(Maker& m);
Status make_amax(Maker& m);
Status make_amin(Maker& m);
Status make_argmax(Maker& m);
Status make_argmin(Maker& m);
Status make_variance(Maker& m);
Status make_sum_squares(Maker& m);
Status make_softmax(Maker& m);
Status make_softmax_grad(Maker& m);
Status make_log_softmax(Maker& m);
Status make_log_softmax_grad(Maker& m);
Status make_cross_entropy(Maker& m);
Status make_cross_entropy_grad(Maker& m);
Status make_layer_norm(Maker& m);
Status make_layer_norm_grad(Maker& m);
Status make_batch_norm(Maker& m);
Status make_batch_norm_grad(Maker& m);
Status make_attention(Maker& m);
Status make_attention_grad(Maker& m);
Status make_arange(Maker& m);
Status make_random(Maker& m);
Status make_dropout(Maker& m);
Status make_gather(Maker& m);
Status make_index_select(Maker& m);
Status make_scatter(Maker& m);
Status make_scatter_add(Maker& m);
Status make_index_add(Maker& m);
Status make_cat(Maker& m);
Status make_dynamic_slice(Maker& m);
Status make_dynamic_update(Maker& m);
Status make_cumsum(Maker& m);
Status make_cumprod(Maker& m);
Status make_matmul(Maker& m);
Status make_matmul_then(Maker& m);
Status make_conv2d_then(Maker& m);
Status make_conv2d_grad_input_then(Maker& m);
Status make_conv2d(Maker& m);
Status make_conv2d_grad_input(Maker& m);
Status make_conv2d_grad_weight(Maker& m);
Status make_max_pool(Maker& m);
Status make_max_pool_grad(Maker& m);
Status make_avg_pool(Maker& m);
Status make_avg_pool_grad(Maker& m);
Status make_adaptive_pool(Maker& m);
Status make_adaptive_pool_grad(Maker& m);
Status make_sort(Maker& m);
Status make_topk(Maker& m);
Status make_nonzero(Maker& m);

}  // namespace brasa::vk
