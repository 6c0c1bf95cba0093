// Moving elements by index, joining, finding and sorting them.
#include <math.h>

#include <algorithm>

#include "check.h"

namespace brasa::selftest {
namespace {

int64_t wrap(double index, int64_t n) { return static_cast<int64_t>(index) + (index < 0 ? n : 0); }

// ---- gather and scatter: index differs from x along dim only

void check_gather(Checker& check, const Shape& shape, int dim, int64_t count, int32_t dtype, int32_t index_type) {
  const int64_t n = shape[dim];
  Shape index_shape = shape;
  index_shape[dim] = count;
  const Tensor x = draw(shape, dtype), src = draw(index_shape, dtype);
  const Tensor index = draw_whole(index_shape, index_type, index_type == k_u8 ? 0 : -n, n);
  Tensor taken(index_shape, dtype), put = x, added = x;
  const std::vector<Group> lines = groups(shape, dim_bit(dim)), index_lines = groups(index_shape, dim_bit(dim));
  for (size_t k = 0; k < lines.size(); ++k) {
    for (int64_t i : index_lines[k]) {
      const int64_t place = lines[k][wrap(index[i], n)];
      taken[i] = x[place];
      put[place] = src[i];
      added[place] += src[i];
    }
  }
  const Numbers params = {double(dim)};
  check.expect("gather", {x, index}, {taken}, params);
  check.expect("scatter", {x, index, src}, {put}, params);
  check.expect("scatterAdd", {x, index, src}, {added}, params);
  Tensor wrong = index;
  wrong[wrong.size() - 1] = double(n);
  check.expect_status(kIndexOutOfRange, "gather", {x, wrong}, {taken}, params);
  check.expect_status(kIndexOutOfRange, "scatterAdd", {x, wrong, src}, {added}, params);
}

void check_select(Checker& check, const Shape& shape, int dim, int64_t count, int32_t dtype, int32_t index_type) {
  const int64_t n = shape[dim];
  Shape some = shape;
  some[dim] = count;
  const Tensor x = draw(shape, dtype), src = draw(some, dtype);
  const Tensor index = draw_whole({count}, index_type, index_type == k_u8 ? 0 : -n, n);
  Tensor taken(some, dtype), added = x;
  const std::vector<Group> lines = groups(shape, dim_bit(dim)), some_lines = groups(some, dim_bit(dim));
  for (size_t k = 0; k < lines.size(); ++k) {
    for (int64_t i = 0; i < count; ++i) {
      taken[some_lines[k][i]] = x[lines[k][wrap(index[i], n)]];
      added[lines[k][wrap(index[i], n)]] += src[some_lines[k][i]];
    }
  }
  check.expect("indexSelect", {x, index}, {taken}, {double(dim)});
  check.expect("indexAdd", {x, index, src}, {added}, {double(dim)});
}

// ---- cat, nonzero

void check_cat(Checker& check, int64_t outer, int64_t inner, int32_t dtype) {
  std::vector<Tensor> parts;
  Tensor y({outer, 0, inner}, dtype);
  for (int64_t n : {3, 1, 0, 8}) {
    parts.push_back(draw({outer, n, inner}, dtype));
    y.shape[1] += n;
  }
  for (int64_t i = 0; i < outer; ++i)
    for (Tensor& part : parts)
      for (int64_t j = 0; j < part.shape[1]; ++j)
        for (int64_t k = 0; k < inner; ++k) y.values.push_back(part(i, j, k));
  check.expect("cat", parts, {y}, {1});
}

void check_nonzero(Checker& check, int32_t dtype) {
  Tensor x = draw_whole({7, 4, 33}, dtype, 0, 2), y({0, 3}, k_i32);
  each<3>({7, 4, 33}, [&](auto at) {
    if (x(at[0], at[1], at[2]) == 0) return;
    for (int64_t i : at) y.values.push_back(double(i));
    ++y.shape[0];
  });
  check.expect("nonzero", {x}, {y});
}

// ---- windows; starts far outside are clamped

void check_window(Checker& check, const Shape& shape, const Shape& sizes, int32_t dtype, int32_t index_type) {
  Tensor x = draw(shape, dtype), update = draw(sizes, dtype);
  Tensor starts = draw_whole({3}, index_type, index_type == k_u8 ? 0 : -4, 9);
  int64_t at[3];
  Numbers kinds = {0, 1, 0}, scalars;
  for (int d = 0; d < 3; ++d) {
    at[d] = std::max<int64_t>(0, std::min<int64_t>(static_cast<int64_t>(starts[d]), shape[d] - sizes[d]));
    if (kinds[d] == 1) scalars.push_back(starts[d]);
  }
  Tensor part(sizes, dtype), whole = x;
  each<3>({sizes[0], sizes[1], sizes[2]}, [&](auto i) {
    part(i[0], i[1], i[2]) = x(at[0] + i[0], at[1] + i[1], at[2] + i[2]);
    whole(at[0] + i[0], at[1] + i[1], at[2] + i[2]) = update(i[0], i[1], i[2]);
  });
  Tensor first({}, index_type), last({}, index_type);
  first[0] = starts[0], last[0] = starts[2];
  check.expect("dynamicSlice", {x, starts}, {part});
  check.expect("dynamicSlice", {x, first, last}, {part}, kinds, scalars);
  check.expect("dynamicUpdateSlice", {x, update, starts}, {whole});
  check.expect("dynamicUpdateSlice", {x, update, first, last}, {whole}, kinds, scalars);
}

// ---- sort, topk

void check_sort(Checker& check, const Shape& shape, int dim, int32_t dtype, bool descending) {
  Tensor x = draw(shape, dtype);
  if (is_float(dtype)) {
    for (int64_t i = 0; i < x.size(); i += 11) x[i] = NAN;
    for (int64_t i = 5; i < x.size(); i += 13) x[i] = i % 2 ? INFINITY : -INFINITY;
  }
  const auto less = [](double a, double b) { return a < b || (a == a && b != b); };
  const int64_t n = shape[dim], k = std::min<int64_t>(n, n > 64 ? 5 : 3);
  Shape top_shape = shape;
  top_shape[dim] = k;
  Tensor values(shape, dtype), indices(shape, k_i32), top(top_shape, dtype), top_indices(top_shape, k_i32);
  const std::vector<Group> lines = groups(shape, dim_bit(dim)), top_lines = groups(top_shape, dim_bit(dim));
  for (size_t l = 0; l < lines.size(); ++l) {
    std::vector<int64_t> order(n);
    for (int64_t i = 0; i < n; ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      const double p = x[lines[l][a]], q = x[lines[l][b]];
      return descending ? less(q, p) : less(p, q);
    });
    for (int64_t i = 0; i < n; ++i) {
      values[lines[l][i]] = x[lines[l][order[i]]];
      indices[lines[l][i]] = double(order[i]);
      if (i >= k) continue;
      top[top_lines[l][i]] = x[lines[l][order[i]]];
      top_indices[top_lines[l][i]] = double(order[i]);
    }
  }
  check.expect("sort", {x}, {values, indices}, {double(dim), double(descending)});
  check.expect("topk", {x}, {top, top_indices}, {double(k), double(dim), double(descending), 1});
}

}  // namespace

void check_indices(Checker& check) {
  const int32_t index_types[] = {k_i64, k_i32, k_u8};
  int turn = 0;
  for (int32_t dtype : kAll) {
    for (int dim = 0; dim < 3; ++dim) {
      const int32_t index_type = index_types[turn++ % 3];
      check_gather(check, {6, 9, 41}, dim, 11, dtype, index_type);
      check_select(check, {6, 9, 41}, dim, 11, dtype, index_type);
    }
    check_gather(check, {300}, 0, 700, dtype, k_i32);
    check_select(check, {50, 64}, 0, 200, dtype, k_i64);
    check_cat(check, 1, 37, dtype);
    check_cat(check, 5, 3, dtype);
    check_nonzero(check, dtype);
    check_window(check, {6, 9, 41}, {2, 9, 7}, dtype, index_types[turn % 3]);
    check_window(check, {3, 50, 64}, {3, 20, 64}, dtype, k_i32);
    for (bool descending : {false, true}) {
      check_sort(check, {4, 50, 3}, 1, dtype, descending);
      check_sort(check, {3, 7}, 1, dtype, descending);
      check_sort(check, {2, 300}, 1, dtype, descending);
      check_sort(check, {5000}, 0, dtype, descending);
    }
  }
}

}  // namespace brasa::selftest
