// dynamicSlice and dynamicUpdateSlice: a window whose place is read where the values are.
#pragma once
#include "moves.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct Window {
  Fill fill;                   // of dynamicUpdateSlice
  Copy copy;                   // the window as it lies at the starts 0
  int32_t ndim, first, kinds;  // first: the input that starts begin with; kinds: 0, one input holds them all
  bool scalar[kMaxDims];
  int64_t room[kMaxDims], stride[kMaxDims];  // of x: the largest start, and its stride
};

int64_t integer_at(const void* data, int32_t dtype, int64_t i) {
  switch (dtype) {
    case k_i8:
      return static_cast<const int8_t*>(data)[i];
    case k_u8:
      return static_cast<const uint8_t*>(data)[i];
    case k_i32:
      return static_cast<const int32_t*>(data)[i];
    default:
      return static_cast<const int64_t*>(data)[i];
  }
}

// Where the window begins, in elements of x.
int64_t window_offset(const CpuPlan& plan, const Window& w, const Args& args) {
  int64_t offset = 0;
  int32_t in = w.first, scalar = 0;
  for (int d = 0; d < w.ndim; ++d) {
    int64_t start;
    if (!w.kinds) {
      const Layout& starts = plan.call.in[w.first];
      start = integer_at(args.in[w.first], starts.dtype, d * stride_at(starts, 0));
    } else if (w.scalar[d]) {
      const double given = args.scalars[scalar++], most_room = static_cast<double>(w.room[d]);
      start = given > 0 ? static_cast<int64_t>(given < most_room ? given : most_room) : 0;
    } else {
      start = integer_at(args.in[in], plan.call.in[in].dtype, 0);
      ++in;
    }
    offset += most<int64_t>(0, least(start, w.room[d])) * w.stride[d];
  }
  return offset;
}

template <class T>
Status run_dynamic_slice(const CpuPlan& plan, const Args& args) {
  const Window& w = state_of<Window>(plan);
  const T* x = static_cast<const T*>(args.in[0]) + window_offset(plan, w, args);
  T* out = static_cast<T*>(args.out[0]);
  parallel(w.copy.units(), w.copy.grain(kWork),
           [&](int64_t begin, int64_t end) { copy_units(w.copy, out, x, begin, end); });
  return kOk;
}

template <class T>
Status run_dynamic_update(const CpuPlan& plan, const Args& args) {
  const Window& w = state_of<Window>(plan);
  const int64_t offset = window_offset(plan, w, args);
  w.fill.run<T>(args);
  T* out = static_cast<T*>(args.out[0]) + offset;
  const T* update = static_cast<const T*>(args.in[1]);
  parallel(w.copy.units(), w.copy.grain(kWork),
           [&](int64_t begin, int64_t end) { copy_units(w.copy, out, update, begin, end); });
  return kOk;
}

// whole: the tensor that the window lies in; part: what has the window's shape.
Status make_window(CpuPlan& plan, const Layout& whole, const Layout& part, int32_t first, Window** made) {
  const Call& call = plan.call;
  if (part.dtype != whole.dtype || call.out[0].dtype != whole.dtype) return kUnsupported;
  if (part.ndim != whole.ndim || (call.nparams != 0 && call.nparams != whole.ndim)) return kInvalid;
  Window* w = new_state<Window>(plan);
  if (!w) return kOutOfMemory;
  w->ndim = whole.ndim, w->first = first, w->kinds = call.nparams;
  int32_t tensors = call.nparams == 0 && whole.ndim > 0 ? 1 : 0, scalars = 0;
  for (int d = 0; d < whole.ndim; ++d) {
    w->scalar[d] = call.nparams && call.params[d] == 1;
    if (call.nparams) ++(w->scalar[d] ? scalars : tensors);
    w->room[d] = whole.shape[d] - part.shape[d];
    w->stride[d] = whole.strides[d];
    if (w->room[d] < 0) return kInvalid;
  }
  if (call.nscalars != scalars || call.nin != first + tensors) return kInvalid;
  for (int32_t i = first; i < call.nin; ++i) {
    if (!is_index(call.in[i])) return kUnsupported;
    if (count_of(call.in[i]) != (call.nparams ? 1 : whole.ndim)) return kInvalid;
  }
  *made = w;
  return kOk;
}

Status make_dynamic_slice(CpuPlan& plan) {
  Layout x = plan.call.in[0];
  const Layout& out = plan.call.out[0];
  Window* w = nullptr;
  const Status status = make_window(plan, x, out, 1, &w);
  if (status != kOk) return status;
  for (int d = 0; d < x.ndim; ++d) x.shape[d] = out.shape[d];
  w->copy.make(x, out);
  plan.run = by_width(x.dtype, [](auto zero) -> RunFn { return run_dynamic_slice<decltype(zero)>; });
  return kOk;
}

Status make_dynamic_update(CpuPlan& plan) {
  if (plan.call.nin < 2) return kInvalid;
  const Layout &x = plan.call.in[0], &update = plan.call.in[1], &out = plan.call.out[0];
  Window* w = nullptr;
  const Status status = make_window(plan, out, update, 2, &w);
  if (status != kOk) return status;
  if (x.dtype != out.dtype) return kUnsupported;
  if (!w->fill.make(x, out)) return kInvalid;
  Layout window = out;
  for (int d = 0; d < out.ndim; ++d) window.shape[d] = update.shape[d];
  w->copy.make(update, window);
  plan.run = by_width(x.dtype, [](auto zero) -> RunFn { return run_dynamic_update<decltype(zero)>; });
  return kOk;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
