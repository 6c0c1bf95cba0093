// Rows of contiguous elements folded to one, by operations that know scalars and vectors.
#pragma once
#include "rows.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct Add {
  template <class T>
  static constexpr T identity() {
    return T(0);
  }
  template <class T>
  static BRASA_INLINE T of(T a, T b) {
    return a + b;
  }
  template <class C>
  static BRASA_INLINE C across(Vec<C> x) {
    return hsum(x);
  }
};
struct Multiply {
  template <class T>
  static constexpr T identity() {
    return T(1);
  }
  template <class T>
  static BRASA_INLINE T of(T a, T b) {
    return a * b;
  }
  template <class C>
  static BRASA_INLINE C across(Vec<C> x) {
    return hprod(x);
  }
};
template <class T>
constexpr T lowest_of() {
  if constexpr (kFloating<T>)
    return -T(__builtin_inf());
  else
    return T(1) << (sizeof(T) * 8 - 1);
}
// NaN wins.
template <bool kMax>
struct Extreme {
  template <class T>
  static constexpr T identity() {
    return kMax ? lowest_of<T>() : -(lowest_of<T>() + 1);
  }
  template <class C>
  static BRASA_INLINE Vec<C> of(Vec<C> a, Vec<C> b) {
    if constexpr (!kFloating<C>)
      return kMax ? max(a, b) : min(a, b);
    else
      return select(b != b, b, kMax ? max(b, a) : min(b, a));  // max gives its second operand, a, when a is NaN
  }
  template <class T>
  static BRASA_INLINE T of(T a, T b) {
    return better(b, a) ? b : a;
  }
  template <class T>
  static BRASA_INLINE bool better(T b, T a) {
    return (kMax ? b > a : b < a) || (b != b && a == a);
  }
  template <class C>
  static BRASA_INLINE C across(Vec<C> x) {
    C r = x[0];
    for (int i = 1; i < Vec<C>::N; ++i) r = of(r, x[i]);
    return r;
  }
};

// What is folded: the elements, or their squares.
struct Itself {
  template <class T>
  static BRASA_INLINE T of(T x) {
    return x;
  }
};
struct Square {
  template <class T>
  static BRASA_INLINE T of(T x) {
    return x * x;
  }
};

// All of a row, in a tree of 8 vectors and then their lanes.
template <class Op, class Term = Itself, class C>
inline C fold(const C* x, int64_t n) {
  using V = Vec<C>;
  constexpr int N = V::N;
  if (n < 8 * N) {
    V r(Op::template identity<C>());
    for_vectors<C>(
        n, [&](int64_t j, auto k) { r = Op::of(r, only(Term::of(get(x + j, k)), k, Op::template identity<C>())); });
    return Op::across(r);
  }
  V a[8];
  for (V& v : a) v = V(Op::template identity<C>());
  int64_t i = 0;
  for (; i + 8 * N <= n; i += 8 * N)
    for (int j = 0; j < 8; ++j) a[j] = Op::of(a[j], Term::of(V::load(x + i + j * N)));
  for (; i + N <= n; i += N) a[0] = Op::of(a[0], Term::of(V::load(x + i)));
  if (i < n)
    a[1] = Op::of(
        a[1], only(Term::of(get(x + i, static_cast<int>(n - i))), static_cast<int>(n - i), Op::template identity<C>()));
  for (int w = 4; w; w /= 2)
    for (int j = 0; j < w; ++j) a[j] = Op::of(a[j], a[j + w]);
  return Op::across(a[0]);
}

// acc[j] = op(acc[j], term(x[0][j]), ..., term(x[m-1][j])); m <= 8, combined as a tree.
template <class Op, class Term = Itself, class C>
inline void fold_rows(C* acc, const C* const* x, int64_t m, int64_t n) {
  if (m == kGroup) {
    map_row(
        acc, n,
        [](auto a, auto b, auto c, auto d, auto e, auto f, auto g, auto h, auto i) {
          const auto two = [](auto p, auto q) { return Op::of(Term::of(p), Term::of(q)); };
          return Op::of(a, Op::of(Op::of(two(b, c), two(d, e)), Op::of(two(f, g), two(h, i))));
        },
        static_cast<const C*>(acc), x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]);
  } else {
    for (int64_t j = 0; j < m; ++j)
      map_row(
          acc, n, [](auto a, auto b) { return Op::of(a, Term::of(b)); }, static_cast<const C*>(acc), x[j]);
  }
}

// The sum of f(j, k) over a row; f gives zeros beyond the rest.
template <class C, class F>
BRASA_INLINE C sum_of(int64_t n, const F& f) {
  using V = Vec<C>;
  constexpr int N = V::N;
  V a[4] = {V(C(0)), V(C(0)), V(C(0)), V(C(0))};
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N)
    for (int j = 0; j < 4; ++j) a[j] += f(i + j * N, Whole{});
  for (; i + N <= n; i += N) a[0] += f(i, Whole{});
  if (i < n) a[1] += f(i, static_cast<int>(n - i));
  return hsum((a[0] + a[1]) + (a[2] + a[3]));
}

template <class C>
inline C deviations(const C* x, int64_t n, C mean) {
  return sum_of<C>(n, [&](int64_t j, auto k) {
    const Vec<C> d = only(get(x + j, k) - Vec<C>(mean), k, C(0));
    return d * d;
  });
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
