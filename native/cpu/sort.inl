// sort and topk. An element becomes an item: an unsigned key in the order of the elements (NaN above all, -0 as 0; all
// bits flipped when descending) and its place. Items are sorted by key and stay in order of place among equals.
#include "nest.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kWork = 1 << 15;   // elements of a parallel chunk of rows
constexpr int64_t kChunk = 1 << 16;  // elements of a parallel chunk of one row
constexpr int64_t kFewRows = 16;     // fewer rows than this, when long, are sorted one after another by all threads
constexpr int64_t kWide = 4096;      // items from which on digits of 11 bits are better than bytes
constexpr int64_t kRanked = 64;      // items that are best sorted by counting, for each, the smaller ones

// ---- keys and items

// Bits: how an element is stored; infinity: its bits, 0 for an integer.
template <class B, bool is_signed, uint64_t infinity>
struct Order {
  using Bits = B;
  using Key = uint_of<sizeof(B) == 8 ? 8 : 4>;
  static constexpr int kBits = 8 * sizeof(B);
  static constexpr Key kSign = Key(1) << (kBits - 1), kAll = kSign | (kSign - 1);

  // `exact` is cleared when the element cannot be had back from its key: it is a NaN or -0.
  static BRASA_INLINE Key key(Key x, Key& exact) {
    if constexpr (infinity != 0) {
      const Key magnitude = x & ~kSign;
      const bool nan = magnitude > infinity, negative_zero = x == kSign;
      exact &= Key(nan | negative_zero) - 1;
      x = negative_zero ? 0 : x;
      return nan ? kAll : x & kSign ? x ^ kAll : x | kSign;
    } else {
      return is_signed ? x ^ kSign : x;
    }
  }
  static BRASA_INLINE B element(Key key) {
    if constexpr (infinity != 0)
      return static_cast<B>(key & kSign ? key ^ kSign : key ^ kAll);
    else
      return static_cast<B>(is_signed ? key ^ kSign : key);
  }
};

template <class F>
auto by_order(int32_t dtype, const F& f) {
  switch (dtype) {
    case k_f32:
      return f(Order<uint32_t, true, 0x7f800000>{});
    case k_f64:
      return f(Order<uint64_t, true, 0x7ff0000000000000>{});
    case k_f16:
      return f(Order<uint16_t, true, 0x7c00>{});
    case k_bf16:
      return f(Order<uint16_t, true, 0x7f80>{});
    case k_i8:
      return f(Order<uint8_t, true, 0>{});
    case k_i32:
      return f(Order<uint32_t, true, 0>{});
    case k_i64:
      return f(Order<uint64_t, true, 0>{});
    default:
      return f(Order<uint8_t, false, 0>{});  // u8, bool
  }
}

template <class Key>
struct Item;
template <>
struct Item<uint32_t> {
  uint64_t bits;
  static BRASA_INLINE Item of(uint32_t key, int64_t index) {
    return {uint64_t{key} << 32 | static_cast<uint64_t>(index)};
  }
  BRASA_INLINE uint32_t key() const { return static_cast<uint32_t>(bits >> 32); }
  BRASA_INLINE int32_t index() const { return static_cast<int32_t>(bits); }
  BRASA_INLINE bool before(Item other) const { return bits < other.bits; }
};
template <>
struct Item<uint64_t> {
  uint64_t high, low;
  static BRASA_INLINE Item of(uint64_t key, int64_t index) { return {key, static_cast<uint64_t>(index)}; }
  BRASA_INLINE uint64_t key() const { return high; }
  BRASA_INLINE int32_t index() const { return static_cast<int32_t>(low); }
  BRASA_INLINE bool before(Item other) const {
    return (high < other.high) | ((high == other.high) & (low < other.low));
  }
};

// ---- sorting items

template <class I>
void rank_sort(const I* from, I* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    uint64_t rank = 0;
    for (int64_t j = 0; j < n; ++j) rank += from[j].before(from[i]);
    to[rank] = from[i];
  }
}

// Least digit first, bytes, all counted in one go.
template <int bits, class I>
I* radix_sort(I* from, I* to, int64_t n) {
  constexpr int kPasses = bits / 8;
  uint32_t place[kPasses][256] = {};
  for (int64_t i = 0; i < n; ++i)
    for (int p = 0; p < kPasses; ++p) ++place[p][from[i].key() >> 8 * p & 255];
  for (int p = 0; p < kPasses; ++p) {
    const auto digit = [=](I item) { return item.key() >> 8 * p & 255; };
    if (place[p][digit(from[0])] == n) continue;
    uint32_t total = 0;
    for (uint32_t& d : place[p]) {
      const uint32_t count = d;
      d = total;
      total += count;
    }
    for (int64_t i = 0; i < n; ++i) to[place[p][digit(from[i])]++] = from[i];
    I* swap = from;
    from = to, to = swap;
  }
  return from;
}

// The same for many items, in parallel and by wider digits. A pass counts the digits of each chunk of items, then moves
// the chunks' items to where they belong; both in parallel. Where all items agree in a digit there is no pass. Uses
// scratch slot 2.
template <int bits, class I>
I* parallel_radix_sort(I* from, I* to, int64_t n) {
  constexpr int kPasses = (bits + 10) / 11, kWidth = (bits + kPasses - 1) / kPasses;
  constexpr int64_t kDigits = int64_t{1} << kWidth;
  const int64_t chunk = most(kChunk, (n + 63) / 64), chunks = (n + chunk - 1) / chunk;
  uint32_t* counts = static_cast<uint32_t*>(scratch(2, chunks * kDigits * sizeof(uint32_t)));
  if (!counts) return nullptr;
  for (int shift = 0; shift < bits; shift += kWidth) {
    const auto digit = [=](I item) { return item.key() >> shift & (kDigits - 1); };
    parallel(n, chunk, [&](int64_t begin, int64_t end) {
      uint32_t* count = counts + begin / chunk * kDigits;
      __builtin_memset(count, 0, kDigits * sizeof(uint32_t));
      for (int64_t i = begin; i < end; ++i) ++count[digit(from[i])];
    });
    uint32_t next[kDigits] = {};
    for (int64_t c = 0; c < chunks; ++c)
      for (int64_t d = 0; d < kDigits; ++d) next[d] += counts[c * kDigits + d];
    if (next[digit(from[0])] == n) continue;
    uint32_t total = 0;
    for (int64_t d = 0; d < kDigits; ++d) {
      const uint32_t count = next[d];
      next[d] = total;
      total += count;
    }
    for (int64_t c = 0; c < chunks; ++c) {
      for (int64_t d = 0; d < kDigits; ++d) {
        const uint32_t count = counts[c * kDigits + d];
        counts[c * kDigits + d] = next[d];
        next[d] += count;
      }
    }
    parallel(n, chunk, [&](int64_t begin, int64_t end) {
      uint32_t* place = counts + begin / chunk * kDigits;
      for (int64_t i = begin; i < end; ++i) to[place[digit(from[i])]++] = from[i];
    });
    I* swap = from;
    from = to, to = swap;
  }
  return from;
}

// Sorts items that are in order of place; the result is in one of the two buffers. Null when out of memory.
template <int bits, class I>
I* sort_items(I* items, I* spare, int64_t n) {
  if (n >= kWide) return parallel_radix_sort<bits>(items, spare, n);
  if (n > kRanked) return radix_sort<bits>(items, spare, n);
  rank_sort(items, spare, n);
  return spare;
}

// ---- sort

// The rows along dim of x, values and indices.
struct Sorting {
  Nest<3> rows;  // of the other dims
  int64_t n, k, step[3], grain;
  bool descending;
};

template <class F>
BRASA_INLINE void in_chunks(int64_t n, const F& body) {
  if (n <= kChunk)
    body(0, n);
  else
    parallel(n, kChunk, body);
}

template <class O>
Status sort_row(const Sorting& s, const typename O::Bits* x, typename O::Bits* values, int32_t* indices) {
  using Key = typename O::Key;
  using I = Item<Key>;
  I* items = static_cast<I*>(scratch(0, s.n * sizeof(I)));
  I* spare = static_cast<I*>(scratch(1, s.n * sizeof(I)));
  if (!items || !spare) return kOutOfMemory;
  const Key flip = s.descending ? O::kAll : 0;
  int inexact = 0;
  in_chunks(s.n, [&](int64_t begin, int64_t end) {
    Key exact = ~Key(0);
    const auto fill = [&](int64_t step) {
      for (int64_t i = begin; i < end; ++i) items[i] = I::of(O::key(x[i * step], exact) ^ flip, i);
    };
    s.step[0] == 1 ? fill(1) : fill(s.step[0]);
    if (!exact) __atomic_store_n(&inexact, 1, __ATOMIC_RELAXED);
  });
  const I* sorted = sort_items<O::kBits>(items, spare, s.n);
  if (!sorted) return kOutOfMemory;
  in_chunks(s.k, [&](int64_t begin, int64_t end) {
    const auto write = [&](int64_t value_step, int64_t index_step) {
      for (int64_t i = begin; i < end; ++i) {
        values[i * value_step] = inexact ? x[sorted[i].index() * s.step[0]] : O::element(sorted[i].key() ^ flip);
        indices[i * index_step] = sorted[i].index();
      }
    };
    s.step[1] == 1 && s.step[2] == 1 ? write(1, 1) : write(s.step[1], s.step[2]);
  });
  return kOk;
}

// ---- topk

constexpr int64_t kScan = 16;

// The k first items of x[begin..end), sorted: candidates gather in a buffer, and each time it is full its k first are
// kept and what does not come before the last of them is passed over. Uses scratch slots 0 to 2; null when out of
// memory.
template <class O>
const Item<typename O::Key>* first_items(const typename O::Bits* x, int64_t step, int64_t begin, int64_t end, int64_t k,
                                         typename O::Key flip) {
  using Key = typename O::Key;
  using I = Item<Key>;
  const int64_t full = most(kRanked, 2 * k + kScan);
  I* items = static_cast<I*>(scratch(0, full * sizeof(I)));
  I* spare = static_cast<I*>(scratch(1, full * sizeof(I)));
  if (!items || !spare) return nullptr;
  int64_t count = 0;
  Key bound = ~Key(0), unused = 0;  // the greatest key that still matters
  const auto keep_first = [&] {
    I* sorted = sort_items<O::kBits>(items, spare, count);
    if (sorted == spare) spare = items;
    items = sorted;
    count = least(count, k);
  };
  for (int64_t i = begin; i < end; i += kScan) {
    const int64_t n = least(kScan, end - i);
    Key keys[kScan], matters = 0;
    const auto load = [&](int64_t stride) {
      for (int64_t j = 0; j < n; ++j) {
        keys[j] = O::key(x[(i + j) * stride], unused) ^ flip;
        matters |= keys[j] <= bound;
      }
    };
    step == 1 ? load(1) : load(step);
    if (!matters) continue;
    for (int64_t j = 0; j < n; ++j) {
      items[count] = I::of(keys[j], i + j);
      count += keys[j] <= bound;
    }
    if (count + kScan <= full) continue;
    keep_first();
    if (!items) return nullptr;
    const Key last = items[k - 1].key();
    if (last == 0) return items;  // nothing comes before it
    bound = last - 1;
  }
  keep_first();
  return items;
}

template <class O>
Status topk_row(const Sorting& s, const typename O::Bits* x, typename O::Bits* values, int32_t* indices) {
  using I = Item<typename O::Key>;
  const typename O::Key flip = s.descending ? O::kAll : 0;
  const int64_t chunk = most(kChunk, 16 * s.k), chunks = (s.n + chunk - 1) / chunk;
  const I* sorted;
  if (chunks == 1) {
    sorted = first_items<O>(x, s.step[0], 0, s.n, s.k, flip);
  } else {
    I* items = static_cast<I*>(scratch(3, chunks * s.k * sizeof(I)));
    if (!items) return kOutOfMemory;
    int failed = 0;
    parallel(s.n, chunk, [&](int64_t begin, int64_t end) {
      const I* first = first_items<O>(x, s.step[0], begin, end, s.k, flip);
      if (first)
        __builtin_memcpy(items + begin / chunk * s.k, first, least(s.k, end - begin) * sizeof(I));
      else
        __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    });
    const int64_t count = (chunks - 1) * s.k + least(s.k, s.n - (chunks - 1) * chunk);
    I* spare = static_cast<I*>(scratch(0, count * sizeof(I)));
    sorted = failed || !spare ? nullptr : sort_items<O::kBits>(items, spare, count);
  }
  if (!sorted) return kOutOfMemory;
  for (int64_t j = 0; j < s.k; ++j) {
    values[j * s.step[1]] = x[sorted[j].index() * s.step[0]];
    indices[j * s.step[2]] = sorted[j].index();
  }
  return kOk;
}

// ---- rows

template <class O, bool topk>
Status run_rows(const CpuPlan& plan, const Args& args) {
  using B = typename O::Bits;
  const Sorting& s = *static_cast<const Sorting*>(plan.state);
  if (s.n == 0 || s.k == 0) return kOk;
  int failed = 0;
  parallel(s.rows.units, s.grain, [&](int64_t begin, int64_t end) {
    s.rows.each(begin, end, [&](const int64_t* at, int64_t rows) {
      for (int64_t j = 0; j < rows; ++j) {
        const B* x = static_cast<const B*>(args.in[0]) + at[0] + j * s.rows.step[0];
        B* values = static_cast<B*>(args.out[0]) + at[1] + j * s.rows.step[1];
        int32_t* indices = static_cast<int32_t*>(args.out[1]) + at[2] + j * s.rows.step[2];
        const Status status = topk ? topk_row<O>(s, x, values, indices) : sort_row<O>(s, x, values, indices);
        if (status != kOk) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      }
    });
  });
  return failed ? kOutOfMemory : kOk;
}

Status make_rows(CpuPlan& plan, int dim, int64_t k, bool descending) {
  const Call& call = plan.call;
  const Layout &x = call.in[0], &values = call.out[0], &indices = call.out[1];
  if (values.dtype != x.dtype || indices.dtype != k_i32) return kUnsupported;
  if (dim < 0 || call.nout != 2 || values.ndim != x.ndim || indices.ndim != x.ndim) return kInvalid;
  for (int d = 0; d < x.ndim; ++d) {
    const int64_t size = d == dim ? least(k, x.shape[d]) : x.shape[d];
    if (values.shape[d] != size || indices.shape[d] != size) return kInvalid;
  }
  Sorting* s = static_cast<Sorting*>(plan_alloc(plan, sizeof(Sorting)));
  if (!s) return kOutOfMemory;
  plan.state = s;
  s->n = size_at(x, dim);
  s->k = least(k, s->n);
  s->descending = descending;
  const Layout* layouts[] = {&x, &values, &indices};
  for (int i = 0; i < 3; ++i) s->step[i] = stride_at(*layouts[i], dim);
  if (s->n > INT32_MAX) return kUnsupported;
  for (int d = 0; d < x.ndim; ++d)
    if (d != dim) s->rows.push(x.shape[d], x.strides[d], values.strides[d], indices.strides[d]);
  const int64_t n = most<int64_t>(1, s->n);
  s->rows.finish(least(kFewRows, most<int64_t>(1, kWork / n)));
  const bool one_by_one = s->rows.units < kFewRows && n > kChunk;
  s->grain = one_by_one ? s->rows.units : s->rows.grain(kWork, n);
  return kOk;
}

Status make_sort(CpuPlan& plan) {
  const Layout& x = plan.call.in[0];
  plan.run = by_order(x.dtype, [](auto order) -> RunFn { return run_rows<decltype(order), false>; });
  return make_rows(plan, dim_of(plan.call.params[0], x), INT64_MAX, plan.call.params[1] != 0);
}

// params: k, dim, largest. The result is always sorted; a k that is not small against the row takes the first of a
// sorted row.
Status make_topk(CpuPlan& plan) {
  const Layout& x = plan.call.in[0];
  const int64_t k = static_cast<int64_t>(plan.call.params[0]);
  const int dim = dim_of(plan.call.params[1], x);
  if (k < 0 || dim < 0 || k > size_at(x, dim)) return kInvalid;
  const bool sorts = k > size_at(x, dim) / 8;
  plan.run = by_order(x.dtype, [&](auto order) -> RunFn {
    using O = decltype(order);
    return sorts ? run_rows<O, false> : run_rows<O, true>;
  });
  return make_rows(plan, dim, k, plan.call.params[2] != 0);
}

}  // namespace

void register_sort() {
  register_kernel("sort", make_sort, "sort");
  register_kernel("topk", make_topk, "topk");
}

}  // namespace brasa::cpu::BRASA_ISA
