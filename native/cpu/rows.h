// Strided tensors walked as rows: dims that several operands share, and runs of elements brought to the compute type
// and back.
#pragma once
#include "convert.inl"
#include "math.inl"
#include "nest.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int kOperands = 3;
constexpr int64_t kTask = 1 << 16;  // elements that are worth a task of their own
constexpr int64_t kGroup = 8;       // rows read together

// Scratch for n elements; null when out of memory.
template <class T>
inline T* room(int slot, int64_t n) {
  return static_cast<T*>(scratch(slot, sizeof(T) * most<int64_t>(n, 1)));
}

inline int64_t ceil_div(int64_t a, int64_t b) { return quotient(a + b - 1, b); }

// Lines of so many elements that are worth a task of their own.
inline int64_t lines_of(int64_t length) { return most<int64_t>(1, quotient(kTask, most<int64_t>(1, length))); }

inline bool float_dtype(int32_t dtype) { return dtype == k_f32 || dtype == k_f64 || dtype == k_f16 || dtype == k_bf16; }

inline bool same_shape(const Layout& a, const Layout& b) {
  if (a.ndim != b.ndim) return false;
  for (int d = 0; d < a.ndim; ++d)
    if (a.shape[d] != b.shape[d]) return false;
  return true;
}

// Dims walked together, the last one fastest; dims that continue each other in all operands are one.
struct Axes {
  int n;
  int64_t count;
  int64_t size[kMaxDims];
  int64_t stride[kMaxDims][kOperands];

  // The dims of `mask`, in order of decreasing stride of the first operand when `sorted` (expanded dims outermost).
  static Axes of(uint32_t mask, bool sorted, const Layout* const* layouts, int noperands) {
    Axes axes{};
    axes.count = 1;
    const Layout& first = *layouts[0];
    int dims[kMaxDims], ndims = 0;
    for (int d = 0; d < first.ndim; ++d) {
      if (!(mask >> d & 1)) continue;
      axes.count *= first.shape[d];
      if (first.shape[d] != 1) dims[ndims++] = d;
    }
    const auto key = [&](int d) { return first.strides[d] ? first.strides[d] : INT64_MAX; };
    for (int i = 1; sorted && i < ndims; ++i)
      for (int j = i; j > 0 && key(dims[j]) > key(dims[j - 1]); --j) {
        const int swap = dims[j];
        dims[j] = dims[j - 1];
        dims[j - 1] = swap;
      }
    for (int i = 0; i < ndims; ++i) {
      const int64_t size = first.shape[dims[i]];
      bool joins = axes.n > 0;
      for (int k = 0; k < noperands && joins; ++k)
        joins = axes.stride[axes.n - 1][k] == layouts[k]->strides[dims[i]] * size;
      if (!joins) axes.size[axes.n++] = 1;
      axes.size[axes.n - 1] *= size;
      for (int k = 0; k < noperands; ++k) axes.stride[axes.n - 1][k] = layouts[k]->strides[dims[i]];
    }
    return axes;
  }

  int64_t at(int64_t index, int operand) const {
    int64_t offset = 0;
    for (int i = n - 1; i > 0; --i) {
      offset += index % size[i] * stride[i][operand];
      index /= size[i];
    }
    return n ? offset + index * stride[0][operand] : 0;
  }

  int64_t inner() const { return n ? size[n - 1] : 1; }
  int64_t inner_stride(int operand) const { return n ? stride[n - 1][operand] : 1; }

  // Takes the last axis off, for a caller who walks it himself.
  Axes outer() const {
    Axes axes = *this;
    if (n) axes.count = size[n - 1] ? count / size[--axes.n] : 0;
    return axes;
  }
  Axes last() const {
    Axes axes{};
    axes.n = n > 0;
    axes.count = axes.size[0] = inner();
    for (int k = 0; k < kOperands; ++k) axes.stride[0][k] = inner_stride(k);
    return axes;
  }
};

// Calls f(offset, stride, first, n) for each strided run of the elements [begin, begin + n) of the axes.
template <class F>
inline void for_runs(const Axes& axes, int operand, int64_t begin, int64_t n, const F& f) {
  const int64_t inner = axes.inner(), stride = axes.inner_stride(operand);
  for (int64_t i = 0; i < n;) {
    const int64_t within = axes.n > 1 ? (begin + i) % inner : begin + i, run = least<int64_t>(n - i, inner - within);
    f(axes.at(begin + i, operand), stride, i, run);
    i += run;
  }
}

// n elements, `stride` apart, to C and back; floats to floats, integers to integers.
template <class C>
__attribute__((noinline)) void load_run(int32_t dtype, const char* data, int64_t offset, int64_t stride, int64_t n,
                                        C* to) {
  visit_dtype(dtype, [&](auto s) {
    using S = decltype(s);
    using T = Compute<S>;
    constexpr int64_t kPart = 256;
    if constexpr (kFloating<T> != kFloating<C>)
      return;
    else
      for (int64_t i = 0; i < n; i += kPart) {
        const int64_t m = least(kPart, n - i);
        S part[kPart];
        T values[kPart];
        const S* x = reinterpret_cast<const S*>(data) + offset + i * stride;
        if (stride != 1) {
          for (int64_t j = 0; j < m; ++j) part[j] = x[j * stride];
          x = part;
        }
        if constexpr (kSame<T, C>) {
          load_row(to + i, x, m);
        } else {
          load_row(values, x, m);
          for (int64_t j = 0; j < m; ++j) to[i + j] = static_cast<C>(values[j]);
        }
      }
  });
}
template <class C>
__attribute__((noinline)) void store_run(int32_t dtype, char* data, int64_t offset, int64_t stride, int64_t n,
                                         const C* from) {
  visit_dtype(dtype, [&](auto s) {
    using S = decltype(s);
    using T = Compute<S>;
    constexpr int64_t kPart = 256;
    if constexpr (kFloating<T> != kFloating<C>)
      return;
    else
      for (int64_t i = 0; i < n; i += kPart) {
        const int64_t m = least(kPart, n - i);
        S part[kPart];
        T values[kPart];
        const T* x = values;
        if constexpr (kSame<T, C>)
          x = from + i;
        else
          for (int64_t j = 0; j < m; ++j) values[j] = static_cast<T>(from[i + j]);
        S* y = reinterpret_cast<S*>(data) + offset + i * stride;
        store_row(stride == 1 ? y : part, x, m);
        if (stride != 1)
          for (int64_t j = 0; j < m; ++j) y[j * stride] = part[j];
      }
  });
}

template <class C>
constexpr int32_t dtype_of();
template <>
constexpr int32_t dtype_of<float>() {
  return k_f32;
}
template <>
constexpr int32_t dtype_of<double>() {
  return k_f64;
}
template <>
constexpr int32_t dtype_of<int32_t>() {
  return k_i32;
}
template <>
constexpr int32_t dtype_of<int64_t>() {
  return k_i64;
}

// An operand and the axes along which its rows run.
template <class C>
struct Rows {
  const Axes* axes;
  int operand;
  int32_t dtype;
  char* data;

  Rows(const Axes& axes, int operand, const Layout& layout, const void* data)
      : axes(&axes), operand(operand), dtype(layout.dtype), data(static_cast<char*>(const_cast<void*>(data))) {}

  bool direct() const {
    return dtype == dtype_of<C>() && axes->n <= 1 && (axes->inner_stride(operand) == 1 || axes->count <= 1);
  }

  // Elements [begin, begin + n) of the row at `offset`, as C: where they lie when that will do, else in the buffer.
  const C* load(int64_t offset, int64_t begin, int64_t n, C* buffer) const {
    if (direct()) return reinterpret_cast<const C*>(data) + offset + begin;
    for_runs(*axes, operand, begin, n, [&](int64_t at, int64_t stride, int64_t i, int64_t run) {
      load_run(dtype, data, offset + at, stride, run, buffer + i);
    });
    return buffer;
  }
  // Where to put them, and the end of putting them there.
  C* open(int64_t offset, int64_t begin, C* buffer) const {
    return direct() ? reinterpret_cast<C*>(data) + offset + begin : buffer;
  }
  void close(int64_t offset, int64_t begin, int64_t n, const C* values) const {
    if (direct()) return;
    for_runs(*axes, operand, begin, n, [&](int64_t at, int64_t stride, int64_t i, int64_t run) {
      store_run(dtype, data, offset + at, stride, run, values + i);
    });
  }
  void store(int64_t offset, int64_t begin, int64_t n, const C* values) const {
    C* to = open(offset, begin, nullptr);
    if (!to) return close(offset, begin, n, values);
    for (int64_t i = 0; i < n; ++i) to[i] = values[i];
  }
};

// ---- contiguous rows, a vector at a time: f(j, k) with k a whole vector, at last k the rest of the row

struct Whole {};
template <class C>
BRASA_INLINE Vec<C> get(const C* p, Whole) {
  return Vec<C>::load(p);
}
template <class C>
BRASA_INLINE Vec<C> get(const C* p, int n) {
  return Vec<C>::load(p, n);
}  // zeros beyond
template <class C>
BRASA_INLINE void put(C* p, Vec<C> v, Whole) {
  v.store(p);
}
template <class C>
BRASA_INLINE void put(C* p, Vec<C> v, int n) {
  v.store(p, n);
}
// v, and the fill beyond the rest.
template <class C>
BRASA_INLINE Vec<C> only(Vec<C> v, Whole, C) {
  return v;
}
template <class C>
BRASA_INLINE Vec<C> only(Vec<C> v, int n, C fill) {
  using I = typename Vec<C>::Int;
  return select(I::iota() < I(n), v, Vec<C>(fill));
}

template <class C, class F>
BRASA_INLINE void for_vectors(int64_t n, const F& f) {
  constexpr int N = Vec<C>::N;
  int64_t j = 0;
  for (; j + N <= n; j += N) f(j, Whole{});
  if (j < n) f(j, static_cast<int>(n - j));
}

// y[j] = f(x[j]...)
template <class C, class F, class... X>
BRASA_INLINE void map_row(C* y, int64_t n, const F& f, const X*... x) {
  for_vectors<C>(n, [&](int64_t j, auto k) { put(y + j, f(get(x + j, k)...), k); });
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
