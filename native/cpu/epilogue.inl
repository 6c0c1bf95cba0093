// What follows a product or convolution elementwise: a tile program over each block of the result y as soon as the
// block is final, while a cache still holds it. The program is planned for every size of block that occurs. Included
// by the families whose ops can be followed.
#pragma once
#include "convert.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int32_t kMostFollowed = 64, kMostFollowing = 16;  // inputs and outputs of a program

// A call of NAMEThen taken apart. The program's inputs are y, as number `at`, and those of the call from `first` on.
struct Followed {
  Call plain, program;
  int32_t y, own;  // the output where y is made; 1 if that output is y itself and not the program's
  int32_t first, at;

  // The program's operands; y is at the same place in both.
  void operands(const Args& args, const void** in, void** out) const {
    for (int32_t i = 0; i < program.nin; ++i) in[i] = i == at ? args.out[y] : args.in[first + i - (i > at)];
    for (int32_t i = 0; i < program.nout; ++i) out[i] = args.out[own + i];
  }
};

Status take_apart(CpuPlan& plan, const char* op, Followed* f) {
  const Call& call = plan.call;
  if (call.nparams < 4) return kInvalid;
  const int32_t nin = int32_t(call.params[0]), nparams = int32_t(call.params[1]), made = int32_t(call.params[2]);
  f->first = nin;
  f->at = int32_t(call.params[3]);
  f->own = made < 0;
  f->y = made < 0 ? 0 : made;
  const int32_t further = call.nin - nin;
  if (nin < 0 || further < 0 || nparams < 0 || 4 + nparams > call.nparams) return kInvalid;
  if (f->at < 0 || f->at > further || f->y >= call.nout || f->own >= call.nout) return kInvalid;
  if (further >= kMostFollowed || call.nout - f->own > kMostFollowing) return kInvalid;
  f->plain = {op_id(op), nin, 1, nparams, 0, call.in, call.out + f->y, call.params + 4};
  Layout* in = static_cast<Layout*>(plan_alloc(plan, (further + 1) * sizeof(Layout)));
  if (!in) return kOutOfMemory;
  for (int32_t i = 0; i <= further; ++i) in[i] = i == f->at ? call.out[f->y] : call.in[nin + i - (i > f->at)];
  Call& p = f->program;
  p = {op_id("elementwise"), further + 1, call.nout - f->own, call.nparams - 4 - nparams,
       call.nscalars,        in,          call.out + f->own,  call.params + 4 + nparams};
  const Layout& y = call.out[f->y];
  for (int32_t i = 0; i < p.nin + p.nout; ++i) {
    const Layout& layout = i < p.nin ? p.in[i] : p.out[i - p.nin];
    if (layout.ndim != y.ndim) return kInvalid;
    for (int32_t d = 0; d < y.ndim; ++d)
      if (layout.shape[d] != y.shape[d]) return kInvalid;
  }
  return kOk;
}

// ---- block by block

constexpr int32_t kMostSizes = 8;

struct Epilogue {
  Followed call;
  int32_t nd;                   // dims of a block
  int64_t (*stride)[kMaxDims];  // bytes, of the program's inputs and outputs along them
  int32_t nsizes;
  struct Sized {
    int64_t size[kMaxDims];
    CpuPlan plan;
  } part[kMostSizes];
};

// dims: those of y that blocks extend along.
Status make_epilogue(CpuPlan& plan, const Followed& call, int32_t nd, const int32_t* dims, Epilogue** out) {
  const Call& program = call.program;
  const int32_t nports = program.nin + program.nout;
  Epilogue* e = static_cast<Epilogue*>(plan_alloc(plan, sizeof(Epilogue)));
  void* strides = plan_alloc(plan, nports * sizeof *e->stride);
  if (!e || !strides) return kOutOfMemory;
  e->call = call;
  e->nd = nd;
  e->stride = static_cast<int64_t(*)[kMaxDims]>(strides);
  for (int32_t i = 0; i < nports; ++i) {
    const Layout& layout = i < program.nin ? program.in[i] : program.out[i - program.nin];
    for (int32_t d = 0; d < nd; ++d) e->stride[i][d] = layout.strides[dims[d]] * dtype_bytes(layout.dtype);
  }
  *out = e;
  return kOk;
}

const Epilogue::Sized* find_size(const Epilogue& e, const int64_t* size) {
  for (int32_t i = 0; i < e.nsizes; ++i) {
    bool same = true;
    for (int32_t d = 0; d < e.nd; ++d) same &= e.part[i].size[d] == size[d];
    if (same) return &e.part[i];
  }
  return nullptr;
}

// Plans the program for blocks of this size.
Status expect_block(CpuPlan& plan, Epilogue* e, const int64_t* size) {
  for (int32_t d = 0; d < e->nd; ++d)
    if (size[d] == 0) return kOk;
  if (find_size(*e, size)) return kOk;
  if (e->nsizes == kMostSizes) return kInvalid;
  const Call& program = e->call.program;
  const int32_t nports = program.nin + program.nout;
  Layout* layouts = static_cast<Layout*>(plan_alloc(plan, nports * sizeof(Layout)));
  if (!layouts) return kOutOfMemory;
  Epilogue::Sized& part = e->part[e->nsizes++];
  for (int32_t d = 0; d < e->nd; ++d) part.size[d] = size[d];
  for (int32_t i = 0; i < nports; ++i) {
    const int32_t dtype = i < program.nin ? program.in[i].dtype : program.out[i - program.nin].dtype;
    layouts[i].dtype = dtype;
    layouts[i].ndim = e->nd;
    for (int32_t d = 0; d < e->nd; ++d) {
      layouts[i].shape[d] = size[d];
      layouts[i].strides[d] = e->stride[i][d] / dtype_bytes(dtype);
    }
  }
  Call call = program;
  call.in = layouts;
  call.out = layouts + program.nin;
  return make_part(plan, call, &part.plan);
}

// The block of this size at this place of y is final.
Status finish_block(const Epilogue& e, const Args& args, const int64_t* at, const int64_t* size) {
  const Epilogue::Sized* part = find_size(e, size);
  if (!part) return kInvalid;
  const Call& program = e.call.program;
  const void* in[kMostFollowed];
  void* out[kMostFollowing];
  e.call.operands(args, in, out);
  for (int32_t i = 0; i < program.nin + program.nout; ++i) {
    int64_t bytes = 0;
    for (int32_t d = 0; d < e.nd; ++d) bytes += at[d] * e.stride[i][d];
    if (i < program.nin)
      in[i] = static_cast<const char*>(in[i]) + bytes;
    else
      out[i - program.nin] = static_cast<char*>(out[i - program.nin]) + bytes;
  }
  return part->plan.run(part->plan, {in, out, args.scalars, args.fault});
}

// ---- y first, whole: right for every call

struct Whole {
  Followed call;
  CpuPlan plain, program;
};

Status run_whole(const CpuPlan& plan, const Args& args) {
  const Whole& w = *static_cast<const Whole*>(plan.state);
  const Status status = w.plain.run(w.plain, {args.in, args.out + w.call.y, nullptr, args.fault});
  if (status != kOk) return status;
  const void* in[kMostFollowed];
  void* out[kMostFollowing];
  w.call.operands(args, in, out);
  return w.program.run(w.program, {in, out, args.scalars, args.fault});
}

Status make_whole(CpuPlan& plan, const char* op) {
  Whole* w = static_cast<Whole*>(plan_alloc(plan, sizeof(Whole)));
  if (!w) return kOutOfMemory;
  Status status = take_apart(plan, op, &w->call);
  if (status == kOk) status = make_part(plan, w->call.plain, &w->plain);
  if (status == kOk) status = make_part(plan, w->call.program, &w->program);
  plan.state = w;
  plan.run = run_whole;
  return status;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
