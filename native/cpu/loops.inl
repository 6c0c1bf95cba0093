// The op table as vector loops over tiles; casts, conversions of rows, and numbers spread over a vector.
#pragma once
#include "convert.inl"
#include "math.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// Where an operand of an instruction lies: element i at p[i & mask]. A broadcast number has mask 0 and fills a whole
// vector.
struct Source {
  char* p;
  int64_t mask;
};
using Loop = void (*)(int64_t n, void* out, const Source& x, const Source& y, const Source& z);

// ---- the op table as loops

#define UNARY(id, name, types, result, expr) \
  struct Op_##name {                         \
    template <class T>                       \
    static BRASA_INLINE T apply(T x) {       \
      return as_##result<T>(expr);           \
    }                                        \
  };
#define BINARY(id, name, types, result, expr) \
  struct Op_##name {                          \
    template <class T>                        \
    static BRASA_INLINE T apply(T x, T y) {   \
      return as_##result<T>(expr);            \
    }                                         \
  };
#define TERNARY(id, name, types, result, expr)   \
  struct Op_##name {                             \
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

template <class Op, class T>
void unary_loop(int64_t n, void* out, const Source& x, const Source&, const Source&) {
  using V = Vec<T>;
  const T* px = reinterpret_cast<const T*>(x.p);
  T* to = static_cast<T*>(out);
  const int64_t mx = x.mask;
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) {
    prefetch_ahead(px + (i & mx));
    prefetch_ahead(to + i);
    Op::apply(V::load(px + (i & mx))).store(to + i);
  }
  if (i < n) Op::apply(V::load(px + (i & mx), int(n - i))).store(to + i, int(n - i));
}

template <class Op, class T>
void binary_loop(int64_t n, void* out, const Source& x, const Source& y, const Source&) {
  using V = Vec<T>;
  const T *px = reinterpret_cast<const T*>(x.p), *py = reinterpret_cast<const T*>(y.p);
  T* to = static_cast<T*>(out);
  const int64_t mx = x.mask, my = y.mask;
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) {
    prefetch_ahead(px + (i & mx));
    prefetch_ahead(py + (i & my));
    prefetch_ahead(to + i);
    Op::apply(V::load(px + (i & mx)), V::load(py + (i & my))).store(to + i);
  }
  if (i < n) {
    const int m = int(n - i);
    Op::apply(V::load(px + (i & mx), m), V::load(py + (i & my), m)).store(to + i, m);
  }
}

template <class Op, class T>
void ternary_loop(int64_t n, void* out, const Source& x, const Source& y, const Source& z) {
  using V = Vec<T>;
  const T *px = reinterpret_cast<const T*>(x.p), *py = reinterpret_cast<const T*>(y.p);
  const T* pz = reinterpret_cast<const T*>(z.p);
  T* to = static_cast<T*>(out);
  const int64_t mx = x.mask, my = y.mask, mz = z.mask;
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) {
    prefetch_ahead(px + (i & mx));
    prefetch_ahead(py + (i & my));
    prefetch_ahead(pz + (i & mz));
    prefetch_ahead(to + i);
    Op::apply(V::load(px + (i & mx)), V::load(py + (i & my)), V::load(pz + (i & mz))).store(to + i);
  }
  if (i < n) {
    const int m = int(n - i);
    Op::apply(V::load(px + (i & mx), m), V::load(py + (i & my), m), V::load(pz + (i & mz), m)).store(to + i, m);
  }
}

template <class From, class To>
void cast_loop(int64_t n, void* out, const Source& x, const Source&, const Source&) {
  const From* px = reinterpret_cast<const From*>(x.p);
  To* to = static_cast<To*>(out);
  if (x.mask) {
    for (int64_t i = 0; i < n; ++i) to[i] = To(px[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = To(px[0]);
  }
}
template <class From>
void truth_loop(int64_t n, void* out, const Source& x, const Source&, const Source&) {
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
#define UNARY(id, name, types, result, expr)                      \
  case id:                                                        \
    if constexpr (TYPES_##types) return unary_loop<Op_##name, T>; \
    break;
#define BINARY(id, name, types, result, expr)                      \
  case id:                                                         \
    if constexpr (TYPES_##types) return binary_loop<Op_##name, T>; \
    break;
#define TERNARY(id, name, types, result, expr)                      \
  case id:                                                          \
    if constexpr (TYPES_##types) return ternary_loop<Op_##name, T>; \
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
