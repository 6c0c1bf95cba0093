// The kernels by op, and what they all need of layouts.
#include <math.h>

#include "kernel.h"

namespace brasa::vk {
namespace {

const Kernel kKernels[] = {
    {"elementwise", make_elementwise},
    {"elementwiseMany", make_elementwise_many},
    {"elementwiseSum", make_elementwise_sum},
    {"sum", make_sum},
    {"mean", make_mean},
    {"prod", make_prod},
    {"amax", make_amax},
    {"amin", make_amin},
    {"argmax", make_argmax},
    {"argmin", make_argmin},
    {"variance", make_variance},
    {"sumSquares", make_sum_squares},
    {"softmax", make_softmax},
    {"softmaxGrad", make_softmax_grad},
    {"logSoftmax", make_log_softmax},
    {"logSoftmaxGrad", make_log_softmax_grad},
    {"crossEntropy", make_cross_entropy},
    {"crossEntropyGrad", make_cross_entropy_grad},
    {"layerNorm", make_layer_norm},
    {"layerNormGrad", make_layer_norm_grad},
    {"batchNorm", make_batch_norm},
    {"batchNormGrad", make_batch_norm_grad},
    {"attention", make_attention},
    {"attentionGrad", make_attention_grad},
    {"arange", make_arange},
    {"random", make_random},
    {"dropout", make_dropout},
    {"gather", make_gather},
    {"indexSelect", make_index_select},
    {"scatter", make_scatter},
    {"scatterAdd", make_scatter_add},
    {"indexAdd", make_index_add},
    {"cat", make_cat},
    {"dynamicSlice", make_dynamic_slice},
    {"dynamicUpdateSlice", make_dynamic_update},
    {"cumsum", make_cumsum},
    {"cumprod", make_cumprod},
    {"matmul", make_matmul},
    {"matmulThen", make_matmul_then},
    {"conv2dThen", make_conv2d_then},
    {"conv2dGradInputThen", make_conv2d_grad_input_then},
    {"conv2d", make_conv2d},
    {"conv2dGradInput", make_conv2d_grad_input},
    {"conv2dGradWeight", make_conv2d_grad_weight},
    {"maxPool2d", make_max_pool},
    {"maxPool2dGrad", make_max_pool_grad},
    {"avgPool2d", make_avg_pool},
    {"avgPool2dGrad", make_avg_pool_grad},
    {"adaptiveAvgPool2d", make_adaptive_pool},
    {"adaptiveAvgPool2dGrad", make_adaptive_pool_grad},
    {"sort", make_sort},
    {"topk", make_topk},
    {"nonzero", make_nonzero},
};

constexpr int kMostOps = 512;

const Make* table() {
  static Make by_id[kMostOps] = {};
  static const bool filled = [] {
    for (const Kernel& kernel : kKernels) {
      const int id = op_id(kernel.op);
      if (id >= 0 && id < kMostOps) by_id[id] = kernel.make;
    }
    return true;
  }();
  (void)filled;
  return by_id;
}

double value_of(Of of, const double* scalars) {
  switch (of) {
    case Of::kBar:
      return ceil(scalars[0] * 0x1p24);
    case Of::kScale:
      return scalars[0] < 1 ? 1 / (1 - scalars[0]) : 0;
    case Of::kRange:
      return scalars[1] - scalars[0];
    default:
      return scalars[0];
  }
}

}  // namespace

void put_scalar(uint8_t* to, const ScalarPort& port, const double* scalars) {
  const double value = value_of(port.of, scalars);
  const auto put = [&](auto typed) { memcpy(to, &typed, sizeof typed); };
  if (port.dtype == k_f64)
    put(value);
  else if (port.dtype == k_i64)
    put(static_cast<int64_t>(value));
  else if (port.dtype == k_i32)
    put(static_cast<int32_t>(static_cast<int64_t>(value)));
  else
    put(static_cast<float>(value));
}

int32_t op_id(const char* name) {
#define UNARY(id, op, types, result, expr) \
  if (strcmp(name, #op) == 0) return id;
#define BINARY UNARY
#define TERNARY UNARY
#define KERNEL(id, op) \
  if (strcmp(name, #op) == 0) return id;
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
  return -1;
}

bool has_kernel(int32_t op) { return op >= 0 && op < kMostOps && table()[op]; }

Status make_call(Maker& m) {
  if (m.call.op < 0 || m.call.op >= kMostOps) return kInvalid;
  const Make make = table()[m.call.op];
  return make ? make(m) : kUnsupported;
}

int32_t item_bytes(int32_t dtype) {
  static const int32_t bytes[] = {
#define DTYPE(id, name, ctype, size, compute) size,
#include "../dtypes.def"
#undef DTYPE
  };
  return bytes[dtype];
}

int32_t compute_dtype(int32_t dtype) {
  static const int32_t computes[] = {
#define DTYPE(id, name, ctype, size, compute) k_##compute,
#include "../dtypes.def"
#undef DTYPE
  };
  return computes[dtype];
}

int64_t count_of(const Layout& layout) {
  int64_t count = 1;
  for (int d = 0; d < layout.ndim; ++d) count *= layout.shape[d];
  return count;
}

int64_t reach_of(const Layout& layout) {
  int64_t last = 0;
  for (int d = 0; d < layout.ndim; ++d) {
    if (layout.shape[d] == 0) return 0;
    last += (layout.shape[d] - 1) * layout.strides[d];
  }
  return last + 1;
}

}  // namespace brasa::vk
