// A loop nest over K operands of one shape: dims of size 1 dropped, the rest ordered by the first operand's strides and
// merged where all operands allow it. The innermost dim is the row; rows are cut into blocks, and a unit is one such
// piece. Included only by per-ISA sources.
#pragma once
#include "convert.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

template <class T>
BRASA_INLINE T least(T a, T b) {
  return a < b ? a : b;
}
template <class T>
BRASA_INLINE T most(T a, T b) {
  return a < b ? b : a;
}

// Zeroed memory is an empty nest: it may live in plan_alloc's.
template <int K>
struct Nest {
  int ndim;  // outside of the row
  int64_t size[kMaxDims], stride[kMaxDims][K];
  int64_t row, step[K];  // the row's size and strides
  int64_t block, outer, units;

  template <class... S>
  void push(int64_t n, S... strides) {
    const int64_t s[K] = {strides...};
    if (n == 1) return;
    size[ndim] = n;
    for (int k = 0; k < K; ++k) stride[ndim][k] = s[k];
    ++ndim;
  }

  // Call once, after the pushes. A row below `short_row` changes places with the longest dim.
  void finish(int64_t max_block, int64_t short_row = 0) {
    for (int i = 1; i < ndim; ++i)
      for (int j = i; j > 0 && stride[j - 1][0] < stride[j][0]; --j) swap(j - 1, j);
    int last = 0;
    for (int i = 1; i < ndim; ++i) {
      if (merges(last, i)) {
        for (int k = 0; k < K; ++k) stride[last][k] = stride[i][k];
        size[last] *= size[i];
      } else if (++last != i) {
        swap(last, i);
      }
    }
    ndim = ndim ? last + 1 : 0;
    row = 1;
    if (ndim > 0) swap_row(--ndim);
    if (row < short_row)
      for (int i = 0; i < ndim; ++i)
        if (size[i] > row) swap_row(i);
    set_block(max_block);
  }

  void swap_row(int i) {
    const int64_t n = size[i];
    size[i] = row, row = n;
    for (int k = 0; k < K; ++k) {
      const int64_t s = stride[i][k];
      stride[i][k] = step[k], step[k] = s;
    }
  }
  void drop(int i) {
    for (; i < ndim - 1; ++i) swap(i, i + 1);
    --ndim;
  }

  void set_block(int64_t max_block) {
    block = most<int64_t>(1, least(row, max_block));
    outer = 1;
    for (int i = 0; i < ndim; ++i) outer *= size[i];
    units = outer * ((row + block - 1) / block);
  }

  // f(offsets of the K operands, elements) for units begin..end; the outer dims run faster than the blocks of a row, so
  // that neighbours in an outer dim are found in cache.
  template <class F>
  BRASA_INLINE void each(int64_t begin, int64_t end, const F& f) const {
    if (begin >= end) return;
    int64_t at[kMaxDims], base[K] = {}, rest = begin % outer, start = begin / outer * block;
    for (int i = ndim - 1; i >= 0; --i) {
      at[i] = rest % size[i];
      rest /= size[i];
      for (int k = 0; k < K; ++k) base[k] += at[i] * stride[i][k];
    }
    for (int64_t u = begin; u < end; ++u) {
      int64_t off[K];
      for (int k = 0; k < K; ++k) off[k] = base[k] + start * step[k];
      f(static_cast<const int64_t*>(off), least(block, row - start));
      int i = ndim - 1;
      for (; i >= 0; --i) {
        for (int k = 0; k < K; ++k) base[k] += stride[i][k];
        if (++at[i] < size[i]) break;
        for (int k = 0; k < K; ++k) base[k] -= size[i] * stride[i][k];
        at[i] = 0;
      }
      if (i < 0) start += block;
    }
  }

  // Units that make up at least `work` elements, when each element of a row stands for `each_costs`.
  int64_t grain(int64_t work, int64_t each_costs = 1) const {
    return most<int64_t>(1, quotient(work, most<int64_t>(1, block * each_costs)));
  }

  bool merges(int a, int b) const {
    for (int k = 0; k < K; ++k)
      if (stride[a][k] != stride[b][k] * size[b]) return false;
    return true;
  }
  void swap(int a, int b) {
    const int64_t n = size[a];
    size[a] = size[b], size[b] = n;
    for (int k = 0; k < K; ++k) {
      const int64_t s = stride[a][k];
      stride[a][k] = stride[b][k], stride[b][k] = s;
    }
  }
};

// Size and stride of a dim; a tensor without dims is seen as one of size 1.
BRASA_INLINE int64_t size_at(const Layout& l, int d) { return d < l.ndim ? l.shape[d] : 1; }
BRASA_INLINE int64_t stride_at(const Layout& l, int d) { return d < l.ndim ? l.strides[d] : 0; }
inline int64_t count_of(const Layout& l) {
  int64_t n = 1;
  for (int d = 0; d < l.ndim; ++d) n *= l.shape[d];
  return n;
}
// A dim given as a parameter; -1 when it is none of the layout's.
inline int dim_of(double param, const Layout& l) {
  const int rank = l.ndim ? l.ndim : 1, d = static_cast<int>(param);
  return d < -rank || d >= rank ? -1 : d < 0 ? d + rank : d;
}

template <int bytes>
struct UintOf;
template <>
struct UintOf<1> {
  using type = uint8_t;
};
template <>
struct UintOf<2> {
  using type = uint16_t;
};
template <>
struct UintOf<4> {
  using type = uint32_t;
};
template <>
struct UintOf<8> {
  using type = uint64_t;
};
template <int bytes>
using uint_of = typename UintOf<bytes>::type;

// f of an unsigned number as wide as an element: for what moves elements without reading them.
template <class F>
BRASA_INLINE auto by_width(int dtype, const F& f) {
  switch (dtype_bytes(dtype)) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
