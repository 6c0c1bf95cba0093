// Moving elements by index: gather, scatter, scatterAdd, indexSelect, indexAdd; cat, nonzero; dynamic.h.
#include "dynamic.h"
#include "moves.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kShortRow = 16;  // rows shorter than this are walked the other way
constexpr int64_t kGroups = 32;    // of rows, each added to by one thread

// ---- gather: out[.., i, ..] = x[.., index[.., i, ..], ..]

struct Gather {
  Nest<3> nest;  // out, index, x without dim
  int64_t size, scale;
};

template <class T>
Status run_gather(const CpuPlan& plan, const Args& args) {
  const Gather& s = state_of<Gather>(plan);
  const Layout& index = plan.call.in[1];
  const T* x = static_cast<const T*>(args.in[0]);
  T* out = static_cast<T*>(args.out[0]);
  int failed = 0;
  parallel(s.nest.units, s.nest.grain(kWork), [&](int64_t begin, int64_t end) {
    Stager stage(args.in[1], index.dtype, s.size);
    const int64_t step = s.nest.step[0];
    s.nest.each(begin, end, [&](const int64_t* at, int64_t n) {
      if (!stage(at[1], s.nest.step[1], n, s.scale, s.nest.step[2])) {
        __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        return;
      }
      T* __restrict to = out + at[0];
      const int64_t* offset = stage.offset;
      const T* __restrict from = x + at[2];
      if (step == 1) {
        for (int64_t j = 0; j < n; ++j) to[j] = from[offset[j]];
      } else {
        for (int64_t j = 0; j < n; ++j) to[j * step] = from[offset[j]];
      }
    });
  });
  return failed ? out_of_range(index, args.in[1], s.size, args.fault) : kOk;
}

Status make_gather(CpuPlan& plan, const Layout& index) {
  const Layout &x = plan.call.in[0], &out = plan.call.out[0];
  if (!is_index(index) || out.dtype != x.dtype) return kUnsupported;
  const int dim = dim_of(plan.call.params[0], x);
  if (dim < 0 || index.ndim != x.ndim || out.ndim != x.ndim) return kInvalid;
  for (int d = 0; d < x.ndim; ++d)
    if (out.shape[d] != index.shape[d] || (d != dim && index.shape[d] > x.shape[d])) return kInvalid;
  Gather* s = new_state<Gather>(plan);
  if (!s) return kOutOfMemory;
  for (int d = 0; d < out.ndim; ++d)
    s->nest.push(out.shape[d], out.strides[d], index.strides[d], d == dim ? 0 : x.strides[d]);
  s->nest.finish(kStage, kShortRow);
  s->size = size_at(x, dim);
  s->scale = stride_at(x, dim);
  plan.run = by_width(x.dtype, [](auto zero) -> RunFn { return run_gather<decltype(zero)>; });
  return kOk;
}

// ---- scatter, scatterAdd: out[.., index[.., i, ..], ..] = or += src[.., i, ..], in the order of i
// Threads own different slices along dim. A slice is walked along dim by itself (`along`), or, where another dim is
// dense, a block of neighbouring slices is walked together, place by place.

struct Scatter {
  Fill fill;
  Nest<3> slices;  // out, index, src, without dim
  Nest<1> check;   // all of index
  bool along;
  int64_t size, scale, count, index_step,
      src_step;  // out's size and stride at dim, and index's and src's shape and strides
};

// Whether all of a strided index is in range.
bool in_range(const Nest<1>& nest, const void* index, int32_t dtype, int64_t size) {
  int failed = 0;
  parallel(nest.units, nest.grain(kWork), [&](int64_t begin, int64_t end) {
    Stager stage(index, dtype, size);
    nest.each(begin, end, [&](const int64_t* at, int64_t n) {
      if (!stage(at[0], nest.step[0], n, 1, 0)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    });
  });
  return !failed;
}

template <class T, bool add>
Status run_scatter(const CpuPlan& plan, const Args& args) {
  const Scatter& s = state_of<Scatter>(plan);
  const Layout& index = plan.call.in[1];
  // In place, nothing may be written before all of the index is known to be good.
  if (s.fill.in_place(args) && !in_range(s.check, args.in[1], index.dtype, s.size))
    return out_of_range(index, args.in[1], s.size, args.fault);
  int failed = 0;
  s.fill.run<uint_of<sizeof(T)>>(args);
  T* out = static_cast<T*>(args.out[0]);
  const T* src = static_cast<const T*>(args.in[2]);
  const Nest<3>& slices = s.slices;
  parallel(slices.units, slices.grain(kWork, s.count), [&](int64_t begin, int64_t end) {
    Stager stage(args.in[1], index.dtype, s.size);
    const auto move = [&](int64_t to, int64_t slope, int64_t from, int64_t step, int64_t i, int64_t i_step, int64_t n) {
      if (!stage(i, i_step, n, s.scale, slope)) {
        __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        return;
      }
      T* row = out + to;
      const T* given = src + from;
      const int64_t* offset = stage.offset;
      const auto put = [&](int64_t stride) {
        for (int64_t j = 0; j < n; ++j) {
          T& place = row[offset[j]];
          place = add ? sum_of(place, given[j * stride]) : given[j * stride];
        }
      };
      step == 1 ? put(1) : put(step);
    };
    slices.each(begin, end, [&](const int64_t* at, int64_t n) {
      if (s.along) {
        for (int64_t j = 0; j < n; ++j)
          for (int64_t i = 0; i < s.count; i += kStage)
            move(at[0] + j * slices.step[0], 0, at[2] + j * slices.step[2] + i * s.src_step, s.src_step,
                 at[1] + j * slices.step[1] + i * s.index_step, s.index_step, least(kStage, s.count - i));
      } else {
        for (int64_t i = 0; i < s.count; ++i)
          move(at[0], slices.step[0], at[2] + i * s.src_step, slices.step[2], at[1] + i * s.index_step, slices.step[1],
               n);
      }
    });
  });
  return failed ? out_of_range(index, args.in[1], s.size, args.fault) : kOk;
}

Status make_scatter(CpuPlan& plan, const Layout& index, bool add) {
  const Layout &x = plan.call.in[0], &src = plan.call.in[2], &out = plan.call.out[0];
  if (!is_index(index) || out.dtype != x.dtype || src.dtype != x.dtype) return kUnsupported;
  const int dim = dim_of(plan.call.params[0], x);
  if (dim < 0 || index.ndim != x.ndim || src.ndim != x.ndim || out.ndim != x.ndim) return kInvalid;
  for (int d = 0; d < x.ndim; ++d)
    if (out.shape[d] != x.shape[d] || index.shape[d] > src.shape[d] || (d != dim && index.shape[d] > x.shape[d]))
      return kInvalid;
  Scatter* s = new_state<Scatter>(plan);
  if (!s) return kOutOfMemory;
  if (!s->fill.make(x, out)) return kInvalid;
  for (int d = 0; d < x.ndim; ++d) {
    if (index.strides[d] != 0 || index.shape[d] == 0) s->check.push(index.shape[d], index.strides[d]);
    if (d != dim) s->slices.push(index.shape[d], out.strides[d], index.strides[d], src.strides[d]);
  }
  s->check.finish(kStage);
  s->slices.finish(256);
  s->size = size_at(x, dim);
  s->scale = stride_at(out, dim);
  s->count = size_at(index, dim);
  s->index_step = stride_at(index, dim);
  s->src_step = stride_at(src, dim);
  s->along = s->slices.row < kShortRow || s->scale < s->slices.step[0];
  if (s->along) s->slices.set_block(kShortRow);
  plan.run = add ? visit_dtype(x.dtype, [](auto zero) -> RunFn { return run_scatter<decltype(zero), true>; })
                 : by_width(x.dtype, [](auto zero) -> RunFn { return run_scatter<decltype(zero), false>; });
  return kOk;
}

// ---- indexSelect, indexAdd: one index for all slices
// Rows of another dim, where there are any, are copied or added as a whole; else they are gather and scatterAdd with
// the index expanded.

struct Select {
  Fill fill;       // of indexAdd
  Nest<2> slices;  // without dim: out and x, or out and src
  int64_t size, count, out_step, in_step;
};

// in: x or src; counted: the tensor that has as many places at dim as the index. Leaves the plan's state null when
// there are no rows, and `index` expanded.
Status make_select(CpuPlan& plan, const Layout& in, const Layout& counted, Layout* index) {
  const Layout &x = plan.call.in[0], &out = plan.call.out[0];
  const int dim = dim_of(plan.call.params[0], x);
  plan.state = nullptr;
  *index = plan.call.in[1];
  if (!is_index(*index) || out.dtype != in.dtype || x.dtype != in.dtype) return kUnsupported;
  if (dim < 0 || index->ndim > 1 || out.ndim != x.ndim || in.ndim != x.ndim) return kInvalid;
  for (int d = 0; d < x.ndim; ++d)
    if (d != dim && (out.shape[d] != in.shape[d] || x.shape[d] != in.shape[d])) return kInvalid;
  const int64_t count = size_at(*index, 0), step = stride_at(*index, 0);
  if (size_at(counted, dim) != count) return kInvalid;
  Nest<2> slices = {};
  for (int d = 0; d < x.ndim; ++d)
    if (d != dim) slices.push(out.shape[d], out.strides[d], in.strides[d]);
  slices.finish(kRun);
  index->ndim = x.ndim;
  for (int d = 0; d < x.ndim; ++d) {
    index->shape[d] = counted.shape[d];
    index->strides[d] = d == dim ? step : 0;
  }
  if (slices.units == 0 || slices.row < kShortRow / 2 || stride_at(out, dim) < slices.step[0]) return kOk;
  Select* s = new_state<Select>(plan);
  if (!s) return kOutOfMemory;
  s->slices = slices;
  s->size = size_at(x, dim);
  s->count = count;
  s->out_step = stride_at(out, dim);
  s->in_step = stride_at(in, dim);
  return kOk;
}

// All of the index as offsets along a stride, in scratch slot 0; null with a status otherwise.
const int64_t* stage_all(const CpuPlan& plan, const Args& args, int64_t scale, Status* status) {
  const Select& s = state_of<Select>(plan);
  const Layout& index = plan.call.in[1];
  int64_t* offsets = static_cast<int64_t*>(scratch(0, most<int64_t>(1, s.count) * sizeof(int64_t)));
  *status = kOutOfMemory;
  if (!offsets) return nullptr;
  int failed = 0;
  const int64_t step = stride_at(index, 0);
  parallel(s.count, kWork, [&](int64_t begin, int64_t end) {
    if (!stage(args.in[1], index.dtype, begin * step, step, end - begin, s.size, scale, 0, offsets + begin))
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  *status = failed ? out_of_range(index, args.in[1], s.size, args.fault) : kOk;
  return failed ? nullptr : offsets;
}

template <class T>
Status run_index_select(const CpuPlan& plan, const Args& args) {
  const Select& s = state_of<Select>(plan);
  Status status;
  const int64_t* offsets = stage_all(plan, args, s.in_step, &status);
  if (!offsets) return status;
  const T* x = static_cast<const T*>(args.in[0]);
  T* out = static_cast<T*>(args.out[0]);
  const Nest<2>& slices = s.slices;
  parallel(slices.units * s.count, slices.grain(kWork), [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end;) {
      const int64_t unit = u / s.count, first = u % s.count, n = least(s.count - first, end - u);
      slices.each(unit, unit + 1, [&](const int64_t* at, int64_t row) {
        for (int64_t i = first; i < first + n; ++i)
          copy_row(out + at[0] + i * s.out_step, slices.step[0], x + at[1] + offsets[i], slices.step[1], row);
      });
      u += n;
    }
  });
  return kOk;
}

Status make_index_select(CpuPlan& plan) {
  const Layout &x = plan.call.in[0], &out = plan.call.out[0];
  Layout index;
  const Status status = make_select(plan, x, out, &index);
  if (status != kOk) return status;
  if (!plan.state) return make_gather(plan, index);
  plan.run = by_width(x.dtype, [](auto zero) -> RunFn { return run_index_select<decltype(zero)>; });
  return kOk;
}

// Positions grouped by the rows they add to, in their order within a group: a counting sort by the low bits of the row.
// Group b is order[start[b]..start[b + 1]).
void group_positions(const int64_t* rows, int64_t count, int64_t groups, int64_t* order, int64_t* start) {
  int64_t at[kGroups] = {};
  for (int64_t i = 0; i < count; ++i) ++at[rows[i] & (groups - 1)];
  start[0] = 0;
  for (int64_t b = 0; b < groups; ++b) {
    start[b + 1] = start[b] + at[b];
    at[b] = start[b];
  }
  for (int64_t i = 0; i < count; ++i) order[at[rows[i] & (groups - 1)]++] = i;
}

// Each row of out is added to by one thread, in index order.
template <class S>
Status run_index_add(const CpuPlan& plan, const Args& args) {
  const Select& s = state_of<Select>(plan);
  Status status;
  const int64_t* rows = stage_all(plan, args, 1, &status);
  if (!rows) return status;
  const Nest<2>& slices = s.slices;
  const bool grouped = slices.block * s.count > kWork;
  int64_t groups = 1, start[kGroups + 1] = {0, s.count};
  int64_t* order = nullptr;
  if (grouped) {
    order = static_cast<int64_t*>(scratch(1, s.count * sizeof(int64_t)));
    if (!order) return kOutOfMemory;
    while (groups < kGroups && groups < s.size) groups *= 2;
    group_positions(rows, s.count, groups, order, start);
  }
  s.fill.run<uint_of<sizeof(S)>>(args);
  S* out = static_cast<S*>(args.out[0]);
  const S* src = static_cast<const S*>(args.in[2]);
  const int64_t grain = grouped ? 1 : slices.grain(kWork, s.count);
  parallel(slices.units * groups, grain, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      slices.each(u / groups, u / groups + 1, [&](const int64_t* at, int64_t n) {
        for (int64_t i = start[u % groups]; i < start[u % groups + 1]; ++i) {
          const int64_t from = order ? order[i] : i;
          S* to = out + at[0] + rows[from] * s.out_step;
          const S* add = src + at[1] + from * s.in_step;
          add_row(to, slices.step[0], add, slices.step[1], n);
        }
      });
    }
  });
  return kOk;
}

Status make_index_add(CpuPlan& plan) {
  const Layout &x = plan.call.in[0], &src = plan.call.in[2], &out = plan.call.out[0];
  Layout index;
  const Status status = make_select(plan, src, src, &index);
  if (status != kOk) return status;
  if (!plan.state) return make_scatter(plan, index, true);
  if (!static_cast<Select*>(plan.state)->fill.make(x, out)) return kInvalid;
  plan.run = visit_dtype(x.dtype, [](auto zero) -> RunFn { return run_index_add<decltype(zero)>; });
  return kOk;
}

// ---- cat: each input is copied to its place in out, all in one parallel loop

struct Cat {
  int64_t units, grain;
  struct Part {
    Copy copy;
    int64_t first, place;  // of its units; in out
  } parts[1];
};

template <class T>
Status run_cat(const CpuPlan& plan, const Args& args) {
  const Cat& s = state_of<Cat>(plan);
  parallel(s.units, s.grain, [&](int64_t begin, int64_t end) {
    int i = 0;
    while (s.parts[i].first + s.parts[i].copy.units() <= begin) ++i;
    for (int64_t u = begin; u < end; ++i) {
      const Cat::Part& part = s.parts[i];
      const int64_t stop = least(end, part.first + part.copy.units());
      copy_units(part.copy, static_cast<T*>(args.out[0]) + part.place, static_cast<const T*>(args.in[i]),
                 u - part.first, stop - part.first);
      u = stop;
    }
  });
  return kOk;
}

Status make_cat(CpuPlan& plan) {
  const Call& call = plan.call;
  const Layout& out = call.out[0];
  const int dim = dim_of(call.params[0], out);
  if (dim < 0 || call.nin < 1) return kInvalid;
  plan.state = plan_alloc(plan, sizeof(Cat) + call.nin * sizeof(Cat::Part));
  if (!plan.state) return kOutOfMemory;
  Cat* s = static_cast<Cat*>(plan.state);
  int64_t place = 0, elements = 0;
  for (int i = 0; i < call.nin; ++i) {
    const Layout& x = call.in[i];
    if (x.dtype != out.dtype) return kUnsupported;
    if (x.ndim != out.ndim) return kInvalid;
    for (int d = 0; d < x.ndim; ++d)
      if (d != dim && x.shape[d] != out.shape[d]) return kInvalid;
    Cat::Part& part = s->parts[i];
    part.copy.make(x, out);
    part.first = s->units;
    part.place = place * stride_at(out, dim);
    s->units += part.copy.units();
    place += size_at(x, dim);
    elements += count_of(x);
  }
  if (place != size_at(out, dim)) return kInvalid;
  s->grain = most<int64_t>(1, kWork * s->units / most<int64_t>(1, elements));
  plan.run = by_width(out.dtype, [](auto zero) -> RunFn { return run_cat<decltype(zero)>; });
  return kOk;
}

// ---- nonzero: blocks of x in row-major order are counted, then written from where the ones before them end

constexpr int64_t kCountBlock = 1 << 14;

struct Nonzero {
  bool dense;
  int64_t count;  // elements of x
};

// f(coordinates, offset, elements) for each piece of a row of x among its elements [begin, end) in row-major order.
template <class F>
BRASA_INLINE void each_row(const Layout& x, int64_t begin, int64_t end, const F& f) {
  const int last = x.ndim - 1;
  int32_t at[kMaxDims] = {};
  int64_t offset = 0;
  for (int64_t d = last, rest = begin; d >= 0; --d) {
    at[d] = static_cast<int32_t>(rest % x.shape[d]);
    rest /= x.shape[d];
    offset += at[d] * x.strides[d];
  }
  while (begin < end) {
    const int64_t n = last < 0 ? 1 : least(end - begin, x.shape[last] - at[last]);
    f(static_cast<const int32_t*>(at), offset, n);
    begin += n;
    if (last < 0) return;
    offset -= at[last] * x.strides[last];
    at[last] = 0;
    for (int d = last - 1; d >= 0; --d) {
      offset += x.strides[d];
      if (++at[d] < x.shape[d]) break;
      offset -= x.strides[d] * x.shape[d];
      at[d] = 0;
    }
  }
}

template <class U>
int64_t count_row(const U* x, int64_t step, int64_t n, U mask) {
  int64_t count = 0;
  if (step == 1) {
    for (int64_t j = 0; j < n; ++j) count += (x[j] & mask) != 0;
  } else {
    for (int64_t j = 0; j < n; ++j) count += (x[j * step] & mask) != 0;
  }
  return count;
}

template <class U>
Status run_nonzero(const CpuPlan& plan, const Args& args) {
  const Nonzero& s = state_of<Nonzero>(plan);
  const Layout &x = plan.call.in[0], &out = plan.call.out[0];
  const U* data = static_cast<const U*>(args.in[0]);
  const int last = x.ndim - 1;
  const int64_t step = last < 0 ? 1 : x.strides[last], blocks = (s.count + kCountBlock - 1) / kCountBlock;
  const bool floating = x.dtype == k_f32 || x.dtype == k_f64 || x.dtype == k_f16 || x.dtype == k_bf16;
  const U mask = static_cast<U>(floating ? U(~U(0)) >> 1 : U(~U(0)));  // -0 is zero
  int64_t* first = static_cast<int64_t*>(scratch(0, (blocks + 1) * sizeof(int64_t)));
  if (!first) return kOutOfMemory;
  parallel(blocks, 2, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t from = b * kCountBlock, to = least(s.count, from + kCountBlock);
      first[b] = 0;
      if (s.dense)
        first[b] = count_row<U>(data + from, 1, to - from, mask);
      else
        each_row(x, from, to,
                 [&](const int32_t*, int64_t at, int64_t n) { first[b] += count_row<U>(data + at, step, n, mask); });
    }
  });
  int64_t total = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t count = first[b];
    first[b] = total;
    total += count;
  }
  if (total != size_at(out, 0)) return kInvalid;
  const int64_t so = out.strides[0], sd = out.strides[1];
  parallel(blocks, 2, [&](int64_t begin, int64_t end) {
    int32_t hits[kStage + 1];
    int32_t* to = static_cast<int32_t*>(args.out[0]) + first[begin] * so;
    each_row(x, begin * kCountBlock, least(s.count, end * kCountBlock),
             [&](const int32_t* at, int64_t offset, int64_t n) {
               for (int64_t i = 0; i < n; i += kStage) {
                 const int64_t m = least(kStage, n - i);
                 int found = 0;
                 for (int64_t j = 0; j < m; ++j) {
                   hits[found] = static_cast<int32_t>(i + j);
                   found += (data[offset + (i + j) * step] & mask) != 0;
                 }
                 for (int h = 0; h < found; ++h, to += so) {
                   for (int d = 0; d < last; ++d) to[d * sd] = at[d];
                   if (last >= 0) to[last * sd] = at[last] + hits[h];
                 }
               }
             });
  });
  return kOk;
}

Status make_nonzero(CpuPlan& plan) {
  const Layout &x = plan.call.in[0], &out = plan.call.out[0];
  if (out.dtype != k_i32) return kUnsupported;
  if (out.ndim != 2 || out.shape[1] != x.ndim) return kInvalid;
  for (int d = 0; d < x.ndim; ++d)
    if (x.shape[d] > INT32_MAX) return kUnsupported;
  Nonzero* s = new_state<Nonzero>(plan);
  if (!s) return kOutOfMemory;
  s->count = count_of(x);
  s->dense = true;
  for (int64_t d = x.ndim - 1, stride = 1; d >= 0; stride *= x.shape[d--])
    s->dense &= x.shape[d] == 1 || x.strides[d] == stride;
  plan.run = by_width(x.dtype, [](auto zero) -> RunFn { return run_nonzero<decltype(zero)>; });
  return kOk;
}

}  // namespace

void register_index() {
  register_kernel(
      "gather", [](CpuPlan& plan) { return make_gather(plan, plan.call.in[1]); }, "gather");
  register_kernel(
      "scatter", [](CpuPlan& plan) { return make_scatter(plan, plan.call.in[1], false); }, "scatter");
  register_kernel(
      "scatterAdd", [](CpuPlan& plan) { return make_scatter(plan, plan.call.in[1], true); }, "scatterAdd");
  register_kernel("indexSelect", make_index_select, "indexSelect");
  register_kernel("indexAdd", make_index_add, "indexAdd");
  register_kernel("cat", make_cat, "cat");
  register_kernel("nonzero", make_nonzero, "nonzero");
  register_kernel("dynamicSlice", make_dynamic_slice, "dynamicSlice");
  register_kernel("dynamicUpdateSlice", make_dynamic_update, "dynamicUpdateSlice");
}

}  // namespace brasa::cpu::BRASA_ISA
