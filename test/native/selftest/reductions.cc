// Reductions over any dims, and scans along one.
#include <math.h>

#include "check.h"

namespace brasa::selftest {
namespace {

int32_t sum_type(int32_t dtype) { return is_float(dtype) ? dtype : static_cast<int32_t>(k_i64); }

// Small powers of two, so that products stay exact.
Tensor factors(const Shape& shape, int32_t dtype) {
  Tensor x = draw(shape, dtype);
  for (int64_t i = 0; i < x.size(); ++i) {
    const double sign = x[i] < 0 ? -1 : 1;
    x[i] = sign * (i % 37 == 0 ? 2 : 1);
  }
  return x;
}

// f(values of a group) for every group, into a tensor of size 1 along the dims of the mask.
template <class F>
Tensor fold(const Tensor& x, uint32_t mask, int32_t dtype, const F& f) {
  Tensor y(reduced(x.shape, mask), dtype);
  const std::vector<Group> all = groups(x.shape, mask);
  for (size_t g = 0; g < all.size(); ++g) {
    Numbers values;
    for (int64_t place : all[g]) values.push_back(x[place]);
    y[static_cast<int64_t>(g)] = f(values);
  }
  return y;
}

double sum(const Numbers& x) {
  double total = 0;
  for (double value : x) total += value;
  return total;
}
double product(const Numbers& x) {
  double total = 1;
  for (double value : x) total *= value;
  return total;
}
// The place of the first of the greatest (or, negated, least); NaN wins.
double extreme(const Numbers& x, double sign) {
  size_t best = 0;
  for (size_t i = 1; i < x.size() && x[best] == x[best]; ++i)
    if (x[i] != x[i] || sign * x[i] > sign * x[best]) best = i;
  return static_cast<double>(best);
}
double variance(const Numbers& x, double correction) {
  const double n = static_cast<double>(x.size()), mean = sum(x) / n;
  double total = 0;
  for (double value : x) total += (value - mean) * (value - mean);
  return total / (n - correction);
}

void check_scan(Checker& check, const char* op, const Tensor& x, int dim, bool products) {
  Tensor y(x.shape, sum_type(x.dtype));
  for (const Group& line : groups(x.shape, dim_bit(dim))) {
    double total = products;
    for (int64_t place : line) y[place] = total = products ? total * x[place] : total + x[place];
  }
  check.expect(op, {x}, {y}, {double(dim)});
}

}  // namespace

void check_reductions(Checker& check) {
  const struct {
    Shape shape;
    std::vector<uint32_t> masks;
  } cases[] = {{{1500}, {1}}, {{7, 300}, {1, 2, 3}}, {{5, 6, 37}, {1, 2, 4, 5, 6}}, {{130, 67}, {1, 2}}};
  for (const auto& [shape, masks] : cases) {
    for (uint32_t mask : masks) {
      for (int32_t dtype : kAll) {
        Tensor x = draw(shape, dtype);
        check.expect("sum", {x}, {fold(x, mask, sum_type(dtype), sum)});
        const Tensor f = factors(shape, dtype == k_u8 || dtype == k_bool ? static_cast<int32_t>(k_i8) : dtype);
        check.expect("prod", {f}, {fold(f, mask, sum_type(dtype), product)});
        if (is_float(dtype)) {
          const auto squares = [](const Numbers& v) {
            double total = 0;
            for (double one : v) total += one * one;
            return total;
          };
          const auto average = [](const Numbers& v) { return sum(v) / static_cast<double>(v.size()); };
          check.expect("mean", {x}, {fold(x, mask, dtype, average)});
          check.expect("sumSquares", {x}, {fold(x, mask, dtype, squares)});
          for (double correction : {0., 1.}) {
            const auto spread = [&](const Numbers& v) { return variance(v, correction); };
            check.expect("variance", {x}, {fold(x, mask, dtype, spread)}, {correction});
          }
          x[x.size() / 2] = NAN;
        }
        for (double sign : {1., -1.}) {
          const auto place = [&](const Numbers& v) { return extreme(v, sign); };
          const auto value = [&](const Numbers& v) { return v[static_cast<size_t>(extreme(v, sign))]; };
          check.expect(sign > 0 ? "amax" : "amin", {x}, {fold(x, mask, dtype, value)});
          for (int dim = 0; dim < static_cast<int>(shape.size()); ++dim)
            if (mask == dim_bit(dim))
              check.expect(sign > 0 ? "argmax" : "argmin", {x}, {fold(x, mask, k_i32, place)}, {double(dim)});
        }
      }
    }
    for (int32_t dtype : kAll) {
      for (int dim = 0; dim < static_cast<int>(shape.size()); ++dim) {
        check_scan(check, "cumsum", draw(shape, dtype), dim, false);
        check_scan(check, "cumprod",
                   factors(shape, dtype == k_u8 || dtype == k_bool ? static_cast<int32_t>(k_i8) : dtype), dim, true);
      }
    }
  }
}

}  // namespace brasa::selftest
