// The engine of all reductions: which elements meet in which order. What is done with them is a Reducer's:
//   C, kInputs, kSlots (totals an output has), kLanes (accumulators a column has)
//   clear(totals, ld, n)                          totals of nothing, for n outputs
//   row(o, x, n, begin, totals)                   takes elements [begin, begin + n) of output o's range; x[kInputs]
//   start(acc, ld, n), rows(o, x, m, n, i, acc, ld)  m <= 8 rows x[m][kInputs] of n columns, the i-th of their leaf,
//   for outputs o... flush(acc, ld, m, n, begin, done, totals, tld)   takes a leaf of m rows, accumulated in acc, after
//   `done` others merge(a, na, b, nb, ld, n)                    a takes b; they stand for na and nb elements finish(o,
//   n, totals, ld)                      writes outputs [o, o + n), consecutive in the kept dims
// Totals are f64 or i64: what precision a leaf of f32 sums has is kept.
#pragma once
#include "fold.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

template <class C>
struct TotalOf {
  using type = double;
};
template <>
struct TotalOf<int32_t> {
  using type = int64_t;
};
template <>
struct TotalOf<int64_t> {
  using type = int64_t;
};
template <class C>
using Total = typename TotalOf<C>::type;

constexpr int64_t kLeaf = 4096;     // elements of a row that are reduced in C
constexpr int64_t kLeafRows = 128;  // and rows of a column
constexpr int64_t kColumns = 1024;  // columns of a task
constexpr int64_t kBatch = 256;     // short rows finished together

struct Reduction {
  Axes kept, reduced;  // operands: the inputs, then out
  Axes outer, column;  // kept, split for the column walk
  Axes run;            // the last reduced axis
  bool columns;
  int64_t split;  // elements of the reduced range in a task; all of it when not split

  // Plans the reduction of the dims in `mask`. Rows walk the reduced dims, columns the last kept one.
  static Reduction of(uint32_t mask, const Layout* const* layouts, int ninputs, int noperands) {
    Reduction r{};
    const uint32_t all = (1u << layouts[0]->ndim) - 1;
    r.kept = Axes::of(all & ~mask, true, layouts, noperands);
    r.reduced = Axes::of(all & mask, true, layouts, ninputs);
    r.outer = r.kept.outer();
    r.column = r.kept.last();
    r.run = r.reduced.last();
    const int64_t range = r.reduced.count, outputs = r.kept.count, width = r.column.count;
    r.columns = width >= 8 && (range <= 8 || r.kept.inner_stride(0) < r.reduced.inner_stride(0));
    r.split = range;
    if (r.columns) {
      if (r.outer.count * ceil_div(width, kColumns) < 16)
        r.split = ceil_div(ceil_div(kTask, least<int64_t>(width, kColumns)), kLeafRows) * kLeafRows;
    } else if (outputs < 16) {
      r.split = kTask;
    }
    if (r.split > range || range * outputs < 2 * kTask) r.split = range;
    return r;
  }
};

template <class R>
struct Reducing {
  using C = typename R::C;
  using T = Total<C>;
  static constexpr int kInputs = R::kInputs, kSlots = R::kSlots, kLanes = R::kLanes;
  const Reduction& plan;
  const R& r;
  const Layout* in;
  const void* const* data;

  // Columns of a task: the pitch of its buffers.
  int64_t lanes() const { return least(plan.column.count, kColumns); }

  // Elements [begin, end) of the ranges of outputs o..., n of them. Where a range is made of runs, neighbouring outputs
  // take a run each in turn, as the runs lie in memory; short runs are gathered into a leaf instead.
  void rows(int64_t o, int64_t n, int64_t begin, int64_t end, C* buffer, T* totals, int64_t ld) const {
    const int64_t inner = plan.run.count;
    const bool runs = plan.reduced.n > 1 && inner >= 32;
    const Axes& axes = runs ? plan.run : plan.reduced;
    r.clear(totals, ld, n);
    const auto take = [&](int64_t j, const int64_t* at, int64_t first, int64_t length, int64_t i) {
      const C* x[kInputs];
      for (int k = 0; k < kInputs; ++k)
        x[k] = Rows<C>(axes, k, in[k], data[k]).load(plan.kept.at(o + j, k) + at[k], first, length, buffer + k * kLeaf);
      T t[kSlots];
      for (int s = 0; s < kSlots; ++s) t[s] = totals[s * ld + j];
      r.row(o + j, x, length, i, i - begin, t);
      for (int s = 0; s < kSlots; ++s) totals[s * ld + j] = t[s];
    };
    int64_t at[kInputs] = {};
    if (runs) {
      for (int64_t i = begin, length; i < end; i += length) {
        length = least(least(kLeaf, end - i), inner - i % inner);
        for (int k = 0; k < kInputs; ++k) at[k] = plan.reduced.at(i, k);
        for (int64_t j = 0; j < n; ++j) take(j, at, 0, length, i);
      }
    } else {
      for (int64_t j = 0; j < n; ++j)
        for (int64_t i = begin; i < end; i += kLeaf) take(j, at, i, least(kLeaf, end - i), i);
    }
  }

  // Rows [begin, end) of columns [first, first + n) below the outer index a. Buffer: acc, then the rows brought to C.
  void column(int64_t a, int64_t first, int64_t n, int64_t begin, int64_t end, C* buffer, T* totals) const {
    const int64_t ld = lanes();
    C* acc = buffer;
    C* loaded = acc + kLanes * ld;
    const int64_t o = a * plan.column.count + first;
    int64_t base[kInputs];
    for (int k = 0; k < kInputs; ++k) base[k] = plan.outer.at(a, k);
    r.clear(totals, ld, n);
    for (int64_t leaf = begin; leaf < end; leaf += kLeafRows) {
      const int64_t rows = least<int64_t>(kLeafRows, end - leaf);
      r.start(acc, ld, n);
      for (int64_t i = 0; i < rows; i += kGroup) {
        const int64_t m = least<int64_t>(kGroup, rows - i);
        const C* x[kGroup * kInputs];
        for (int64_t j = 0; j < m * kInputs; ++j) {
          const int k = j % kInputs;
          x[j] = Rows<C>(plan.column, k, in[k], data[k])
                     .load(base[k] + plan.reduced.at(leaf + i + j / kInputs, k), first, n, loaded + j * ld);
        }
        r.rows(o, x, m, n, i, acc, ld);
      }
      r.flush(acc, ld, rows, n, leaf, leaf - begin, totals, ld);
    }
  }

  Status run_rows() const {
    const int64_t outputs = plan.kept.count, range = plan.reduced.count, split = most<int64_t>(plan.split, 1);
    const int64_t parts = most<int64_t>(ceil_div(range, split), 1);
    const auto buffer = [] { return room<C>(0, kLeaf * kInputs); };
    if (parts == 1) {
      const int64_t grain = least<int64_t>(lines_of(range), 1 << 14);
      bool failed = false;
      parallel(outputs, grain, [&](int64_t begin, int64_t end) {
        C* const own = buffer();
        T* const totals = room<T>(1, kBatch * kSlots);
        if (!own || !totals) {
          failed = true;
          return;
        }
        for (int64_t o = begin; o < end; o += kBatch) {
          const int64_t n = least<int64_t>(kBatch, end - o);
          rows(o, n, 0, range, own, totals, kBatch);
          r.finish(o, n, totals, kBatch);
        }
      });
      return failed ? kOutOfMemory : kOk;
    }
    T* const partial = room<T>(3, outputs * parts * kSlots);
    if (!partial) return kOutOfMemory;
    bool failed = false;
    parallel(outputs * parts, 1, [&](int64_t begin, int64_t end) {
      C* const own = buffer();
      if (!own) {
        failed = true;
        return;
      }
      for (int64_t i = begin; i < end; ++i)
        rows(i / parts, 1, i % parts * split, least<int64_t>(range, (i % parts + 1) * split), own, partial + i * kSlots,
             1);
    });
    if (failed) return kOutOfMemory;
    for (int64_t o = 0; o < outputs; ++o) {
      T* const t = partial + o * parts * kSlots;
      for (int64_t p = 1; p < parts; ++p)
        r.merge(t, p * split, t + p * kSlots, least<int64_t>(split, range - p * split), 1, 1);
      r.finish(o, 1, t, 1);
    }
    return kOk;
  }

  Status run_columns() const {
    const int64_t width = plan.column.count, range = plan.reduced.count, split = most<int64_t>(plan.split, 1),
                  ld = lanes();
    const int64_t parts = most<int64_t>(ceil_div(range, split), 1), chunks = ceil_div(width, kColumns),
                  jobs = plan.outer.count * chunks;
    T* const partial = parts > 1 ? room<T>(3, jobs * parts * kSlots * ld) : nullptr;
    if (parts > 1 && !partial) return kOutOfMemory;
    bool failed = false;
    // Task i: part i / jobs of job i % jobs, so that tasks that run together read neighbouring memory.
    const auto place = [&](int64_t job, int64_t part) { return partial + (part * jobs + job) * kSlots * ld; };
    const int64_t grain = least<int64_t>(lines_of(ld * least<int64_t>(range, split)), 1 << 12);
    parallel(jobs * parts, grain, [&](int64_t begin, int64_t end) {
      C* const buffer = room<C>(0, ld * (kLanes + kGroup * kInputs));
      T* const own = room<T>(1, ld * kSlots);
      if (!buffer || !own) {
        failed = true;
        return;
      }
      for (int64_t i = begin; i < end; ++i) {
        const int64_t job = i % jobs, part = i / jobs, a = job / chunks, first = job % chunks * kColumns;
        const int64_t n = least<int64_t>(kColumns, width - first);
        T* const totals = partial ? place(job, part) : own;
        column(a, first, n, part * split, least<int64_t>(range, (part + 1) * split), buffer, totals);
        if (!partial) r.finish(a * width + first, n, totals, ld);
      }
    });
    if (failed || !partial) return failed ? kOutOfMemory : kOk;
    parallel(jobs, lines_of(parts * ld), [&](int64_t begin, int64_t end) {
      for (int64_t job = begin; job < end; ++job) {
        const int64_t a = job / chunks, first = job % chunks * kColumns, n = least<int64_t>(kColumns, width - first);
        T* const t = place(job, 0);
        for (int64_t p = 1; p < parts; ++p)
          r.merge(t, p * split, place(job, p), least<int64_t>(split, range - p * split), ld, n);
        r.finish(a * width + first, n, t, ld);
      }
    });
    return kOk;
  }
};

// Runs the reducer over the inputs' data; in[k] is the layout of data[k].
template <class R>
inline Status reduce(const Reduction& plan, const R& r, const Layout* in, const void* const* data) {
  const Reducing<R> reducing{plan, r, in, data};
  return plan.columns ? reducing.run_columns() : reducing.run_rows();
}

// Mean and sum of squared deviations, merged leaf by leaf (Chan, Golub, LeVeque 1983).
template <class C_>
struct Moments {
  using C = C_;
  static constexpr int kInputs = 1, kSlots = 2, kLanes = 3;

  void clear(double* t, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) t[j] = t[ld + j] = 0;
  }
  void row(int64_t, const C* const* x, int64_t n, int64_t, int64_t done, double* t) const {
    const C mean = fold<Add>(x[0], n) / C(n);
    const double leaf[] = {mean, deviations(x[0], n, mean)};
    merge(t, done, leaf, n, 1, 1);
  }
  // Columns: the leaf's first row is the pivot p of sums of x - p and of its square. As p is one of the leaf's own
  // values, what cancels is at most the leaf's length times the result.
  void start(C* acc, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) acc[ld + j] = acc[2 * ld + j] = 0;
  }
  void rows(int64_t, const C* const* x, int64_t m, int64_t n, int64_t first, C* acc, int64_t ld) const {
    using V = Vec<C>;
    for_vectors<C>(n, [&](int64_t j, auto k) {
      const V pivot = first == 0 ? get(x[0] + j, k) : get(acc + j, k);
      V sum = get(acc + ld + j, k), square = get(acc + 2 * ld + j, k);
      for (int64_t i = 0; i < m; ++i) {
        const V d = get(x[i] + j, k) - pivot;
        sum += d;
        square += d * d;
      }
      put(acc + j, pivot, k), put(acc + ld + j, sum, k), put(acc + 2 * ld + j, square, k);
    });
  }
  void flush(const C* acc, int64_t ld, int64_t m, int64_t n, int64_t, int64_t done, double* t, int64_t tld) const {
    for (int64_t j = 0; j < n; ++j) {
      const double sum = acc[ld + j], square = acc[2 * ld + j] - sum * sum / m;
      merge_one(t[j], t[tld + j], done, acc[j] + sum / m, square < 0 ? 0 : square, m);
    }
  }
  void merge(double* a, int64_t na, const double* b, int64_t nb, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) merge_one(a[j], a[ld + j], na, b[j], b[ld + j], nb);
  }
  static void merge_one(double& mean, double& m2, int64_t na, double mean_b, double m2_b, int64_t nb) {
    const double part = double(nb) / double(na + nb), delta = mean_b - mean;
    mean += delta * part;
    m2 += m2_b + (na ? delta * delta * part * na : 0);
  }
};

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
