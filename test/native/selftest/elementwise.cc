// Elementwise programs: every expression of ops.def, evaluated on single numbers in f64 or i64.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

namespace brasa::selftest {
namespace {

// ---- the intrinsics of expressions (cpu/math.inl), on numbers

template <class T>
T select(bool condition, T yes, T no) {
  return condition ? yes : no;
}
template <class T>
T max(T x, T y) {
  return x > y ? x : y;
}
template <class T>
T min(T x, T y) {
  return x < y ? x : y;
}
template <class T>
T maximum(T x, T y) {
  return x != x ? x : max(x, y);
}
template <class T>
T minimum(T x, T y) {
  return x != x ? x : min(x, y);
}
template <class T>
T sign(T x) {
  return x > 0 ? 1 : x < 0 ? -1 : 0;
}
template <class T>
T relu(T x) {
  return max(T(0), x);
}

using ::fmod;
using ::pow;
inline double abs(double x) { return fabs(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline double root(double x) { return sqrt(x); }
inline double gelu(double x) { return x * (0.5 + 0.5 * erf(x * M_SQRT1_2)); }
inline double sigmoid(double x) { return 1 / (1 + exp(-x)); }
inline double rounded(double x) { return nearbyint(x); }
inline double remainder_of(double x, double y) {
  const double r = fmod(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
inline double floor_divide(double x, double y) {
  const double r = fmod(x, y), q = rounded((x - r) / y);
  return y == 0 ? x / y : r != 0 && (r < 0) != (y < 0) ? q - 1 : q;
}

inline int64_t abs(int64_t x) { return x < 0 ? -x : x; }
inline int64_t fmod(int64_t x, int64_t y) { return y == 0 ? 0 : x % y; }
inline int64_t remainder_of(int64_t x, int64_t y) {
  const int64_t r = fmod(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
inline int64_t floor_divide(int64_t x, int64_t y) { return y == 0 ? 0 : (x - remainder_of(x, y)) / y; }
inline int64_t pow(int64_t x, int64_t y) {
  if (y < 0) return x == 1 || x == -1 ? (y & 1 ? x : 1) : 0;
  int64_t r = 1;
  for (; y > 0; --y) r *= x;
  return r;
}
inline int64_t shift_left(int64_t x, int64_t y) { return y < 0 ? 0 : x * (int64_t(1) << y); }
inline int64_t shift_right(int64_t x, int64_t y) { return x >> (y < 0 ? 63 : y); }

// One instruction on one element; T is double or int64_t.
template <class T>
double evaluate(int32_t op, T x, [[maybe_unused]] T y, [[maybe_unused]] T z) {
  constexpr bool kFloating = T(0.5) != T(0);
  constexpr bool kFLOAT = kFloating, kINT = !kFloating, kALL = true;
  switch (op) {
#define round rounded
#define remainder remainder_of
#define UNARY(id, name, types, result, expr)                  \
  case id:                                                    \
    if constexpr (k##types) return static_cast<double>(expr); \
    break;
#define BINARY UNARY
#define TERNARY UNARY
#define KERNEL(id, name)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
#undef round
#undef remainder
  }
  return 0;
}

struct Row {
  int32_t id;
  const char* name;
  int arity;
  bool floats, whole, boolean;
};
constexpr bool kFLOAT[] = {true, false}, kINT[] = {false, true}, kALL[] = {true, true};
constexpr bool kSAME = false, kBOOL = true;
const Row kRows[] = {
#define UNARY(id, name, types, result, expr) {id, #name, 1, k##types[0], k##types[1], k##result},
#define BINARY(id, name, types, result, expr) {id, #name, 2, k##types[0], k##types[1], k##result},
#define TERNARY(id, name, types, result, expr) {id, #name, 3, k##types[0], k##types[1], k##result},
#define KERNEL(id, name)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
};

int32_t compute_type(int32_t dtype) {
  return dtype == k_f64 || dtype == k_i64 ? dtype : is_float(dtype) ? k_f32 : k_i32;
}

// A program of one instruction over tensors.
void check_instruction(Checker& check, const Row& row, std::vector<Tensor> in) {
  const int32_t dtype = in[0].dtype, compute = compute_type(dtype);
  Tensor want(in[0].shape, row.boolean ? static_cast<int32_t>(k_bool) : dtype);
  const auto value = [&](size_t k, int64_t i) { return k < in.size() ? in[k][i] : 0; };
  const auto whole = [&](size_t k, int64_t i) { return static_cast<int64_t>(value(k, i)); };
  for (int64_t i = 0; i < want.size(); ++i) {
    want[i] = is_float(dtype) ? evaluate<double>(row.id, value(0, i), value(1, i), value(2, i))
                              : evaluate<int64_t>(row.id, whole(0, i), whole(1, i), whole(2, i));
  }
  Numbers params(in.size(), compute);
  const auto reg = [&](int k) { return k < row.arity ? double(k) : -1.; };
  for (double p : {1., double(row.id), double(compute), reg(0), reg(1), reg(2), double(row.arity)}) params.push_back(p);
  check.note = row.name;
  check.slack = check.note == "divRoot" ? 100 : 1;  // z may cancel the root
  check.expect("elementwise", in, {want}, params, {}, true);
  check.slack = 1;
}

void add_specials(Tensor& x, int64_t step) {
  const double specials[] = {INFINITY, -INFINITY, NAN, 0.};
  for (int64_t i = 0; i < 16; ++i) x[(7 + i * step) % x.size()] = specials[(i + i / 4 * (step & 3)) % 4];
}

double id_of(const char* name) {
  for (const Row& row : kRows)
    if (strcmp(row.name, name) == 0) return row.id;
  return -1;
}

// y0 = x * s + z in f32 from f16 and i32, y1 = y0 > 0 as bool: casts, a scalar, two outputs.
void check_program(Checker& check) {
  for (const Shape& shape : {Shape{3000}, Shape{3, 5, 71}}) {
    const Tensor x = draw(shape, k_f16), z = expand(draw(shape, k_i32), 0);
    Tensor y0(shape, k_f32), y1(shape, k_bool);
    for (int64_t i = 0; i < x.size(); ++i) {
      y0[i] = x[i] * 0.75 + z[i];
      y1[i] = y0[i] > 0;
    }
    const double f32 = k_f32;  // registers: x z s 0 | x*s y0 y1
    check.note = "program";
    check.expect("elementwise", {x, z}, {y0, y1},
                 {f32, f32, f32, f32, 3,           id_of("mul"), f32, 0, 2,  -1, id_of("add"),
                  f32, 4,   1,   -1,  id_of("gt"), f32,          5,   3, -1, 5,  6},
                 {0.75, 0}, true);
  }
}

// y = x + z of two pairs; and y = x * x, s = the mean of x over the middle dim.
void check_several(Checker& check) {
  const double f32 = k_f32;
  const Tensor x0 = draw({3000}, k_f32), z0 = draw({3000}, k_f32);
  const Tensor x1 = draw({6, 70, 5}, k_f32), z1 = draw({6, 70, 5}, k_f32);
  Tensor y0(x0.shape, k_f32), y1(x1.shape, k_f32), square(x1.shape, k_f32), mean({6, 1, 5}, k_f32);
  for (int64_t i = 0; i < y0.size(); ++i) y0[i] = x0[i] + z0[i];
  for (int64_t i = 0; i < y1.size(); ++i) {
    y1[i] = x1[i] + z1[i];
    square[i] = x1[i] * x1[i];
    mean[i / 350 * 5 + i % 5] += x1[i] / 70;
  }
  check.note = "several";
  check.expect("elementwiseMany", {x0, z0, x1, z1}, {y0, y1}, {2, 2, 1, f32, f32, 1, id_of("add"), f32, 0, 1, -1, 2});
  check.expect("elementwiseSum", {x1}, {square, mean}, {1, 70, f32, 1, id_of("mul"), f32, 0, 0, -1, 1, 0});
}

}  // namespace

void check_elementwise(Checker& check) {
  for (const Row& row : kRows) {
    for (int32_t dtype : kAll) {
      if (is_float(dtype) ? !row.floats : !row.whole) continue;
      for (const Shape& shape : {Shape{1037}, Shape{4, 3, 19}, Shape{3, 70}}) {
        std::vector<Tensor> in;
        for (int k = 0; k < row.arity; ++k) {
          in.push_back(draw(shape, dtype));
          if (is_float(dtype)) add_specials(in.back(), 5 + k);
          if (k == 1 && shape.size() == 3) in[1] = expand(in[1], 1);
        }
        check_instruction(check, row, in);
      }
    }
  }
  check_program(check);
  check_several(check);
  check.note.clear();
}

}  // namespace brasa::selftest
