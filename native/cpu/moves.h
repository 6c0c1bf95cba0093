// What the kernels that move elements by index are made of: staged indices, additions, strided copies.
// An index is staged before use: made non-negative, checked, and scaled to an offset, one L1-sized run at a time, so
// that the loops that move elements know neither its type nor its faults.
#pragma once
#include "nest.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kStage = 1024;    // offsets staged at once: 8 KB
constexpr int64_t kWork = 1 << 15;  // elements of a parallel chunk

template <class S>
S* new_state(CpuPlan& plan) {
  plan.state = plan_alloc(plan, sizeof(S));
  return static_cast<S*>(plan.state);
}
template <class S>
const S& state_of(const CpuPlan& plan) {
  return *static_cast<const S*>(plan.state);
}

// ---- staging

template <class I>
bool stage_as(const I* index, int64_t step, int64_t n, int64_t size, int64_t scale, int64_t slope, int64_t* offset) {
  uint64_t outside = 0;
  const auto run = [&](int64_t stride) {
    for (int64_t j = 0; j < n; ++j) {
      const int64_t given = index[j * stride];
      const uint64_t i = static_cast<uint64_t>(given) + (given < 0 ? size : 0);
      outside |= i | (static_cast<uint64_t>(size) - 1 - i);  // the sign bit: i < 0, or i >= size
      offset[j] = static_cast<int64_t>(i * scale + static_cast<uint64_t>(j) * slope);
    }
  };
  step == 1 ? run(1) : run(step);
  return static_cast<int64_t>(outside) >= 0;
}

// offset[j] = index[first + j * step] * scale + j * slope; false when an index is outside of [-size, size).
bool stage(const void* index, int32_t dtype, int64_t first, int64_t step, int64_t n, int64_t size, int64_t scale,
           int64_t slope, int64_t* offset) {
  switch (dtype) {
#define STAGE(id, type) \
  case id:              \
    return stage_as(static_cast<const type*>(index) + first, step, n, size, scale, slope, offset);
    STAGE(k_i8, int8_t)
    STAGE(k_u8, uint8_t)
    STAGE(k_i32, int32_t)
    default:
      STAGE(k_i64, int64_t)
#undef STAGE
  }
}

// Runs of an index as offsets; a run that was staged last, because the index is expanded, is there already.
struct Stager {
  const void* index;
  int32_t dtype;
  int64_t size;
  int64_t at = -1, count = 0;
  int64_t offset[kStage];

  Stager(const void* index, int32_t dtype, int64_t size) : index(index), dtype(dtype), size(size) {}
  // As stage, into `offset`; n <= kStage.
  bool operator()(int64_t first, int64_t step, int64_t n, int64_t scale, int64_t slope) {
    if (first == at && n == count) return true;
    at = -1;
    if (!stage(index, dtype, first, step, n, size, scale, slope, offset)) return false;
    at = first, count = n;
    return true;
  }
};

inline bool is_index(const Layout& l) {
  return l.dtype == k_i8 || l.dtype == k_u8 || l.dtype == k_i32 || l.dtype == k_i64;
}

// Names the first index, in row-major order, that is out of range.
Status out_of_range(const Layout& l, const void* index, int64_t size, int64_t* fault) {
  int64_t at[kMaxDims] = {}, place = 0;
  for (int64_t left = count_of(l); left > 0; --left) {
    int64_t value = 0, unused;
    if (!stage(index, l.dtype, place, 1, 1, size, 1, 0, &unused)) {
      by_width(l.dtype, [&](auto zero) {
        using U = decltype(zero);
        const U bits = static_cast<const U*>(index)[place];
        const int shift = 64 - 8 * static_cast<int>(sizeof(U));
        value = l.dtype == k_u8 ? static_cast<int64_t>(bits) : static_cast<int64_t>(uint64_t{bits} << shift) >> shift;
      });
      fault[0] = value, fault[1] = size;
      return kIndexOutOfRange;
    }
    for (int d = l.ndim - 1; d >= 0; --d) {
      place += l.strides[d];
      if (++at[d] < l.shape[d]) break;
      place -= l.strides[d] * l.shape[d];
      at[d] = 0;
    }
  }
  return kOk;
}

// ---- adding, in the compute type

template <class S>
BRASA_INLINE S sum_of(S a, S b) {
  if constexpr (kSame<S, bool8_t>) {
    return {static_cast<uint8_t>((a.value | b.value) != 0)};
  } else if constexpr (kSame<S, half_t> || kSame<S, bfloat16_t>) {
    const F32 sum = from_storage(S{}, Narrow16{a.bits}) + from_storage(S{}, Narrow16{b.bits});
    return {to_storage(S{}, sum)[0]};
  } else if constexpr (kSame<S, float> || kSame<S, double>) {
    return a + b;
  } else {
    return static_cast<S>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));  // wraps
  }
}

template <class S>
void add_row(S* __restrict out, int64_t so, const S* __restrict src, int64_t ss, int64_t n) {
  using T = Compute<S>;
  int64_t i = 0;
  if (so == 1 && ss == 1) {
    if constexpr (kNative<S>)
      for (; i < n; ++i) out[i] = sum_of(out[i], src[i]);
    else
      for (; i + Vec<T>::N <= n; i += Vec<T>::N) store_as<T>(out + i, load_as<T>(out + i) + load_as<T>(src + i));
  }
  for (; i < n; ++i) out[i * so] = sum_of(out[i * so], src[i * ss]);
}

// ---- copying (out, x): runs where both are dense, tiles where each is dense in another dim

constexpr int64_t kRun = 1 << 15, kTile = 64, kLine = 16;

struct Copy {
  Nest<2> nest;
  int64_t across, across_step[2];  // a dim that forms tiles with the row; its size is 0 without tiles

  void make(const Layout& shape, const Layout& out) {
    for (int d = 0; d < shape.ndim; ++d) nest.push(shape.shape[d], out.strides[d], shape.strides[d]);
    nest.finish(kRun);
    across = 0;
    if (nest.units == 0 || nest.step[0] != 1 || nest.step[1] < 2) return;
    for (int i = nest.ndim - 1; i >= 0; --i) {
      if (nest.stride[i][1] != 1) continue;
      if (nest.size[i] > nest.row) nest.swap_row(i);
      across = nest.size[i];
      for (int k = 0; k < 2; ++k) across_step[k] = nest.stride[i][k];
      nest.drop(i);
      return nest.set_block(kTile);
    }
  }
  int64_t units() const { return nest.units; }
  int64_t grain(int64_t work) const { return nest.grain(work, most<int64_t>(1, across)); }
};

template <class T>
void copy_row(T* out, int64_t so, const T* x, int64_t sx, int64_t n) {
  if (so == 1 && sx == 1) {
    __builtin_memcpy(out, x, n * sizeof(T));
  } else if (so == 1 && sx == 0) {
    const T value = *x;
    for (int64_t j = 0; j < n; ++j) out[j] = value;
  } else if (so == 1) {
    for (int64_t j = 0; j < n; ++j) out[j] = x[j * sx];
  } else {
    for (int64_t j = 0; j < n; ++j) out[j * so] = x[j * sx];
  }
}

// out[i * so + j] = x[j * sx + i], i < rows, j < columns; by lines of x.
template <class T>
void transpose(T* out, int64_t so, const T* x, int64_t sx, int64_t rows, int64_t columns) {
  T tile[kTile][kLine];
  for (int64_t j0 = 0; j0 < columns; j0 += kTile) {
    const int64_t width = least(kTile, columns - j0);
    for (int64_t i0 = 0; i0 < rows; i0 += kLine) {
      const int64_t height = least(kLine, rows - i0);
      const T* from = x + j0 * sx + i0;
      if (height == kLine) {
        for (int64_t j = 0; j < width; ++j) __builtin_memcpy(tile[j], from + j * sx, sizeof tile[j]);
      } else {
        for (int64_t j = 0; j < width; ++j) __builtin_memcpy(tile[j], from + j * sx, height * sizeof(T));
      }
      for (int64_t i = 0; i < height; ++i)
        for (int64_t j = 0; j < width; ++j) out[(i0 + i) * so + j0 + j] = tile[j][i];
    }
  }
}

template <class T>
void copy_units(const Copy& copy, T* out, const T* x, int64_t begin, int64_t end) {
  const int64_t *step = copy.nest.step, *across = copy.across_step;
  copy.nest.each(begin, end, [&](const int64_t* at, int64_t n) {
    if (!copy.across)
      copy_row(out + at[0], step[0], x + at[1], step[1], n);
    else if (step[1] == 1)
      transpose(out + at[0], step[0], x + at[1], across[1], n, copy.across);
    else
      transpose(out + at[0], across[0], x + at[1], step[1], copy.across, n);
  });
}

// What a writer into a copy of x starts with: nothing when it writes in place.
struct Fill {
  bool same;  // x and out have the same layout
  Copy copy;

  bool make(const Layout& x, const Layout& out) {
    if (x.ndim != out.ndim) return false;
    same = true;
    for (int d = 0; d < x.ndim; ++d) {
      if (x.shape[d] != out.shape[d]) return false;
      same &= x.shape[d] == 1 || x.strides[d] == out.strides[d];
    }
    copy.make(x, out);
    return true;
  }
  bool in_place(const Args& args) const { return same && args.in[0] == args.out[0]; }
  template <class T>
  void run(const Args& args) const {
    if (in_place(args)) return;
    parallel(copy.units(), copy.grain(kWork), [&](int64_t begin, int64_t end) {
      copy_units(copy, static_cast<T*>(args.out[0]), static_cast<const T*>(args.in[0]), begin, end);
    });
  }
};

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
