// Reductions along any dims. An invocation folds every C-th element of what one output reduces; C partial results are
// folded again in the same way, until one is left. C depends on the shapes only, and so do the results.
#include "shade.h"

namespace brasa::vk {
namespace {

constexpr int64_t kInvocations = 1 << 16;  // enough to keep a device busy
constexpr int64_t kLongest = 32768;        // that it may fold at all
constexpr int64_t kSerial = 64;            // elements that one invocation may as well fold alone

// Dims of a nest, merged where one walk goes over both: sizes, and strides of the input and of the output.
struct Dims {
  std::vector<int64_t> shape, in, out;

  int64_t count() const {
    int64_t n = 1;
    for (const int64_t size : shape) n *= size;
    return n;
  }
  int64_t least() const {  // stride of the input
    int64_t stride = INT64_MAX;
    for (const int64_t s : in) stride = s < stride ? s : stride;
    return stride;
  }
  void push(int64_t size, int64_t in_stride, int64_t out_stride) {
    if (size == 1) return;
    if (!shape.empty() && in.back() == in_stride * size && out.back() == out_stride * size) {
      shape.back() *= size;
      in.back() = in_stride;
      out.back() = out_stride;
      return;
    }
    shape.push_back(size);
    in.push_back(in_stride);
    out.push_back(out_stride);
  }
};

enum class Fold { kSum, kProd, kMax, kMin };

template <class T>
Vec<T> identity(Fold fold) {
  if (fold == Fold::kSum) return Vec<T>(T(0));
  if (fold == Fold::kProd) return Vec<T>(T(1));
  T low, high;
  if constexpr (kIsFloat<T>) {
    high = T(__builtin_inf());
    low = -high;
  } else {
    high = T(sizeof(T) == 8 ? INT64_MAX : INT32_MAX);
    low = T(-high - 1);
  }
  return Vec<T>(fold == Fold::kMax ? low : high);
}
template <class T>
Vec<T> folded(Fold fold, Vec<T> a, Vec<T> b) {
  switch (fold) {
    case Fold::kSum:
      return a + b;
    case Fold::kProd:
      return a * b;
    case Fold::kMax:
      return maximum(a, b);
    default:
      return minimum(a, b);
  }
}

int64_t chunks_of(int64_t outputs, int64_t n) {
  const int64_t least = (n + kLongest - 1) / kLongest;
  if (n <= kSerial || outputs >= kInvocations / 4) return least < 1 ? 1 : least;
  const int64_t most = kInvocations / outputs, fit = n / (kSerial / 4);
  const int64_t chunks = most < fit ? most : fit;
  const int64_t some = chunks < 1 ? 1 : chunks < 1024 ? chunks : 1024;
  return some < least ? least : some;
}

struct Stage {
  Source from, to;
  Layout in, out;  // of one row of elements each that the nests walk over
  Dims kept, over;
  int64_t chunks;
  double divisor;
};

Layout row_of(int32_t dtype, int64_t n) { return {dtype, 1, {n}, {1}}; }

template <class T>
Status make_stage(Maker& m, const Stage& stage, Fold fold) {
  Shade s(m);
  const Shade::Tensor x = s.operand(stage.from, stage.in, false), y = s.operand(stage.to, stage.out, true);
  const auto arguments = [&](const std::vector<int64_t>& values) {
    std::vector<U32> list;
    for (const int64_t value : values) list.push_back(s.u32(value));
    return list;
  };
  const auto kept = arguments(stage.kept.shape), kept_in = arguments(stage.kept.in),
             kept_out = arguments(stage.kept.out);
  const auto over = arguments(stage.over.shape), over_in = arguments(stage.over.in);
  const int64_t outputs = stage.kept.count(), n = stage.over.count();
  const U32 chunks = s.u32(stage.chunks), rows = s.u32(outputs), length = s.u32(n);
  const Vec<T> divisor = s.number(static_cast<T>(stage.divisor));
  const bool split = stage.chunks > 1, along = stage.over.least() <= stage.kept.least();
  const auto dot = [](const std::vector<U32>& at, const std::vector<U32>& strides) {
    U32 sum(0);
    for (size_t d = 0; d < at.size(); ++d) sum = sum + at[d] * strides[d];
    return sum;
  };
  s.each(outputs * stage.chunks, [&](U32 index) {
    // Neighbours read neighbours.
    const U32 row = !split ? index : along ? index / chunks : index % rows;
    const U32 chunk = !split ? U32(0) : along ? index % chunks : index / rows;
    const std::vector<U32> at = s.unravel(row, kept);
    const U32 start = dot(at, kept_in);
    Var<T> sum(identity<T>(fold));
    s.loop(chunk, length, split ? chunks : U32(1), [&](U32 j) {
      const U32 element = start + dot(s.unravel(j, over), over_in);
      const Vec<T> value = Vec<T>::of(cast_value(compute_dtype(x.dtype), kDtypeOf<T>, s.load(x, element)));
      sum.set(folded(fold, sum.get(), value));
    });
    Vec<T> result = sum.get();
    if constexpr (kIsFloat<T>) {
      if (stage.divisor != 1 && !split) result = result / divisor;
    }
    const U32 to = split ? row * chunks + chunk : dot(at, kept_out);
    s.store(y, to, cast_value(kDtypeOf<T>, compute_dtype(y.dtype), result.id()));
  });
  return s.finish();
}

template <class T>
Status make_stages(Maker& m, const Source& from, const Layout& in, const Source& to, const Layout& out, Fold fold,
                   double divisor) {
  Stage stage = {from, to, in, out, {}, {}, 1, divisor};
  for (int d = 0; d < in.ndim; ++d) {
    const bool kept = out.shape[d] == in.shape[d];
    if (!kept && out.shape[d] != 1) return kInvalid;
    (kept ? stage.kept : stage.over).push(in.shape[d], in.strides[d], kept ? out.strides[d] : 0);
  }
  const int64_t outputs = stage.kept.count();
  const Dims kept = stage.kept;
  for (;;) {
    stage.chunks = chunks_of(outputs, stage.over.count());
    const bool last = stage.chunks == 1;
    stage.to = last ? to : m.scratch(outputs * stage.chunks * static_cast<int64_t>(sizeof(T)));
    stage.out = last ? out : row_of(kDtypeOf<T>, outputs * stage.chunks);
    const Status status = make_stage<T>(m, stage, fold);
    if (status != kOk || last) return status;
    // Next, the partial results: a row of them for each output.
    stage.from = stage.to;
    stage.in = stage.out;
    stage.kept = {};
    int64_t stride = outputs * stage.chunks;
    for (size_t d = 0; d < kept.shape.size(); ++d) {
      stride /= kept.shape[d];
      stage.kept.shape.push_back(kept.shape[d]);
      stage.kept.in.push_back(stride);
      stage.kept.out.push_back(kept.out[d]);
    }
    stage.over = {};
    stage.over.push(stage.chunks, 1, 0);
  }
}

Status make_fold(Maker& m, const Source& from, const Layout& in, const Source& to, const Layout& out, Fold fold,
                 double divisor) {
  if (in.ndim != out.ndim) return kInvalid;
  const bool extreme = fold == Fold::kMax || fold == Fold::kMin;
  const int32_t compute = compute_dtype(in.dtype);
  const bool floats = compute == k_f32 || compute == k_f64;
  if (floats || extreme ? out.dtype != in.dtype : out.dtype != k_i64) return kUnsupported;
  if (compute == k_f64) return make_stages<double>(m, from, in, to, out, fold, divisor);
  if (compute == k_f32) return make_stages<float>(m, from, in, to, out, fold, divisor);
  if (extreme && compute == k_i32) return make_stages<int32_t>(m, from, in, to, out, fold, divisor);
  return make_stages<int64_t>(m, from, in, to, out, fold, divisor);
}

Status make_whole(Maker& m, Fold fold, double divisor = 1) {
  if (m.call.nin != 1 || m.call.nout != 1) return kInvalid;
  return make_fold(m, m.in(0), m.call.in[0], m.out(0), m.call.out[0], fold, divisor);
}

}  // namespace

Status make_sum(Maker& m) { return make_whole(m, Fold::kSum); }
Status make_prod(Maker& m) { return make_whole(m, Fold::kProd); }
Status make_amax(Maker& m) { return make_whole(m, Fold::kMax); }
Status make_amin(Maker& m) { return make_whole(m, Fold::kMin); }
Status make_mean(Maker& m) {
  const int64_t outputs = count_of(m.call.out[0]);
  const double n = outputs > 0 ? static_cast<double>(count_of(m.call.in[0])) / static_cast<double>(outputs) : 1;
  return make_whole(m, Fold::kSum, n);
}

// The program into scratch memory where its outputs are sums, then those sums.
Status make_elementwise_sum(Maker& m) {
  const Call& call = m.call;
  const auto sums = static_cast<int32_t>(call.nparams > 0 ? call.params[0] : 0);
  if (sums < 1 || sums > call.nout || call.nparams < 1 + sums || call.nin < 1) return kInvalid;
  std::vector<Layout> out(call.out, call.out + call.nout);
  std::vector<Source> operands = m.operands;
  for (int32_t i = call.nout - sums; i < call.nout; ++i) {
    int64_t stride = 1;
    for (int d = call.in[0].ndim - 1; d >= 0; --d) {
      out[i].shape[d] = call.in[0].shape[d];
      out[i].strides[d] = stride;
      stride *= call.in[0].shape[d];
    }
    // A half type would lose bits: its sums are of f32.
    if (out[i].dtype == k_f16 || out[i].dtype == k_bf16) out[i].dtype = k_f32;
    operands[call.nin + i] = m.scratch(stride * item_bytes(out[i].dtype));
  }
  const Call program = {call.op,       call.nin, call.nout,  call.nparams - 1 - sums,
                        call.nscalars, call.in,  out.data(), call.params + 1 + sums};
  Maker part = {m.gpu, m.plan, program, operands, m.first_scalar};
  Status status = make_elementwise(part);
  for (int32_t i = 0; i < sums && status == kOk; ++i) {
    const int32_t at = call.nout - sums + i;
    const double divisor = call.params[1 + i];
    if (out[at].dtype == call.out[at].dtype) {
      status = make_fold(m, operands[call.nin + at], out[at], m.out(at), call.out[at], Fold::kSum, divisor);
    } else {
      status = make_stages<float>(m, operands[call.nin + at], out[at], m.out(at), call.out[at], Fold::kSum, divisor);
    }
  }
  return status;
}

}  // namespace brasa::vk
