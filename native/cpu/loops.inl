// The op table as vector loops over tiles; casts, conversions of rows, and numbers spread over a vector.
#pragma once
#include "convert.inl"
#include "jit/jit.h"
#include "math.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// Where an operand of an instruction lies: element i at p[i & mask]. A broadcast number has mask 0 and fills a whole
// vector.
using jit::Source;
// far: some operand lies in memory rather than in a register, so fetch ahead.
using jit::Loop;

// ---- the op table as loops

#define UNARY(id, name, types, result, expr) \
  struct Op_##name {                         \
    static constexpr int arity = 1;          \
    template <class T>                       \
    static BRASA_INLINE T apply(T x) {       \
      return as_##result<T>(expr);           \
    }                                        \
  };
#define BINARY(id, name, types, result, expr) \
  struct Op_##name {                          \
    static constexpr int arity = 2;           \
    template <class T>                        \
    static BRASA_INLINE T apply(T x, T y) {   \
      return as_##result<T>(expr);            \
    }                                         \
  };
#define TERNARY(id, name, types, result, expr)   \
  struct Op_##name {                             \
    static constexpr int arity = 3;              \
    template <class T>                           \
    static BRASA_INLINE T apply(T x, T y, T z) { \
      return as_##result<T>(expr);               \
    }                                            \
  };
#define KERNEL(id, name)
template <class T>
BRASA_INLINE T as_SAME(T x) {
  return x;
}
template <class T>
BRASA_INLINE T as_BOOL(typename T::Int mask) {
  return select(mask, T(1), T(0));
}
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY

template <class Op, class T, bool far>
BRASA_INLINE void run_loop(int64_t n, T* to, const Source& x, const Source& y, const Source& z) {
  using V = Vec<T>;
  const auto start = [](const Source& s) { return reinterpret_cast<const T*>(s.p); };
  const T *px = start(x), *py = Op::arity > 1 ? start(y) : nullptr, *pz = Op::arity > 2 ? start(z) : nullptr;
  // A number stays where it is.
  const int64_t dx = V::N & x.mask, dy = Op::arity > 1 ? V::N & y.mask : 0, dz = Op::arity > 2 ? V::N & z.mask : 0;
  for (; n >= V::N; n -= V::N, px += dx, py += dy, pz += dz, to += V::N) {
    if (far) {
      prefetch_ahead(px);
      if (Op::arity > 1) prefetch_ahead(py);
      if (Op::arity > 2) prefetch_ahead(pz);
      prefetch_ahead(to);
    }
    if constexpr (Op::arity == 1)
      Op::apply(V::load(px)).store(to);
    else if constexpr (Op::arity == 2)
      Op::apply(V::load(px), V::load(py)).store(to);
    else
      Op::apply(V::load(px), V::load(py), V::load(pz)).store(to);
  }
  const int m = int(n);
  if (m == 0) return;
  if constexpr (Op::arity == 1)
    Op::apply(V::load(px, m)).store(to, m);
  else if constexpr (Op::arity == 2)
    Op::apply(V::load(px, m), V::load(py, m)).store(to, m);
  else
    Op::apply(V::load(px, m), V::load(py, m), V::load(pz, m)).store(to, m);
}
template <class Op, class T>
void op_loop(int64_t n, void* out, const Source& x, const Source& y, const Source& z, bool far) {
  T* to = static_cast<T*>(out);
  far ? run_loop<Op, T, true>(n, to, x, y, z) : run_loop<Op, T, false>(n, to, x, y, z);
}

template <class From, class To>
void cast_loop(int64_t n, void* out, const Source& x, const Source&, const Source&, bool far) {
  const From* px = reinterpret_cast<const From*>(x.p);
  To* to = static_cast<To*>(out);
  if (x.mask) {
    constexpr int64_t kStep = 64;
    int64_t i = 0;
    for (; far && i + kStep <= n; i += kStep) {
      for (int64_t b = 0; b < kStep * int64_t(sizeof(From)); b += 64) prefetch_ahead((const char*)(px + i) + b);
      for (int64_t b = 0; b < kStep * int64_t(sizeof(To)); b += 64) prefetch_ahead((const char*)(to + i) + b);
      for (int64_t j = i; j < i + kStep; ++j) to[j] = To(px[j]);
    }
    for (; i < n; ++i) to[i] = To(px[i]);  // out of range: what the machine does
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = To(px[0]);
  }
}
template <class From>
void truth_loop(int64_t n, void* out, const Source& x, const Source&, const Source&, bool) {
  const From* px = reinterpret_cast<const From*>(x.p);
  int32_t* to = static_cast<int32_t*>(out);
  if (x.mask) {
    for (int64_t i = 0; i < n; ++i) to[i] = px[i] != From(0);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = px[0] != From(0);
  }
}

template <class T>
constexpr bool allowed(bool floats) {
  return floats == (kSame<T, float> || kSame<T, double>);
}
#define TYPES_FLOAT allowed<T>(true)
#define TYPES_INT allowed<T>(false)
#define TYPES_ALL true

enum OpId : int32_t {
#define UNARY(id, name, types, result, expr) kOp_##name = id,
#define BINARY UNARY
#define TERNARY UNARY
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
};

int arity(int32_t op) {
  switch (op) {
#define UNARY(id, name, types, result, expr) \
  case id:                                   \
    return 1;
#define BINARY(id, name, types, result, expr) \
  case id:                                    \
    return 2;
#define TERNARY(id, name, types, result, expr) \
  case id:                                     \
    return 3;
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
  }
  return 0;
}

template <class T>
Loop find_loop(int op) {
  switch (op) {
#define UNARY(id, name, types, result, expr)                   \
  case id:                                                     \
    if constexpr (TYPES_##types) return op_loop<Op_##name, T>; \
    break;
#define BINARY(id, name, types, result, expr)                  \
  case id:                                                     \
    if constexpr (TYPES_##types) return op_loop<Op_##name, T>; \
    break;
#define TERNARY(id, name, types, result, expr)                 \
  case id:                                                     \
    if constexpr (TYPES_##types) return op_loop<Op_##name, T>; \
    break;
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
  }
  return nullptr;
}

// Calls f with a value of the compute type.
template <class F>
auto visit_compute(int32_t dtype, const F& f) {
  switch (dtype) {
    case k_f64:
      return f(double{});
    case k_i32:
      return f(int32_t{});
    case k_i64:
      return f(int64_t{});
    default:
      return f(float{});
  }
}
bool is_compute(int32_t dtype) { return dtype == k_f32 || dtype == k_f64 || dtype == k_i32 || dtype == k_i64; }

Loop find_loop(int op, int32_t type) {
  return visit_compute(type, [&](auto t) { return find_loop<decltype(t)>(op); });
}
Loop find_truth(int32_t type) {
  return visit_compute(type, [](auto t) -> Loop { return truth_loop<decltype(t)>; });
}
Loop find_cast(int32_t from, int32_t to) {
  return visit_compute(from, [&](auto f) {
    return visit_compute(to, [&](auto t) -> Loop { return cast_loop<decltype(f), decltype(t)>; });
  });
}

// ---- whole rows and single numbers

using Convert = void (*)(void* to, const void* from, int64_t n);
Convert find_load(int32_t dtype) {
  return visit_dtype(dtype, [](auto s) -> Convert {
    using S = decltype(s);
    return [](void* to, const void* from, int64_t n) {
      load_row(static_cast<Compute<S>*>(to), static_cast<const S*>(from), n);
    };
  });
}
Convert find_store(int32_t dtype) {
  return visit_dtype(dtype, [](auto s) -> Convert {
    using S = decltype(s);
    return [](void* to, const void* from, int64_t n) {
      store_row(static_cast<S*>(to), static_cast<const Compute<S>*>(from), n);
    };
  });
}

// A number in every lane of a cell of 64 bytes.
constexpr int64_t kCell = 64;
template <class T, class N>
void fill_cell(char* cell, N value) {
  for (int64_t i = 0; i < kCell; i += BRASA_SIMD_BYTES) Vec<T>(T(value)).store(reinterpret_cast<T*>(cell + i));
}
void fill_cell(char* cell, int32_t compute, int32_t dtype, const void* from) {
  visit_dtype(dtype, [&](auto s) {
    const auto value = load_one(static_cast<const decltype(s)*>(from));
    visit_compute(compute, [&](auto t) { fill_cell<decltype(t)>(cell, value); });
  });
}
void fill_cell(char* cell, int32_t compute, double value) {
  visit_compute(compute, [&](auto t) { fill_cell<decltype(t)>(cell, value); });
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
