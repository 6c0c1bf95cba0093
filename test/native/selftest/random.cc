// arange, and random numbers as random.h defines them, one at a time.
#include "random.h"

#include <math.h>

#include "check.h"

namespace brasa::selftest {
namespace {

constexpr double kSeed = 1234567890123, kOffset = 4294967290;  // the counter passes 2^32
constexpr double kPi = 3.14159265358979323846;
enum Kind { kUniform, kNormal, kIntegers, kBernoulli };

uint32_t word(int64_t i, int64_t lane) {
  return philox(static_cast<uint64_t>(kSeed), static_cast<uint64_t>(kOffset) + static_cast<uint64_t>(i / 4)).lane[lane];
}

double number(Kind kind, int64_t i, int32_t dtype, double low, double high) {
  const int64_t lane = i % 4;
  const uint32_t w = word(i, lane);
  if (kind == kIntegers) return low + floor(w * (high - low) * 0x1p-32);
  if (kind == kBernoulli) return (w >> 8) * 0x1p-24 < low;
  if (kind == kUniform) {
    const int bits = dtype == k_f16 ? 11 : dtype == k_bf16 ? 8 : dtype == k_f64 ? 32 : 24;
    const double value = low + (w >> (32 - bits)) * ldexp(1, -bits) * (high - low);
    return as_stored(dtype, value) >= high ? low : value;
  }
  const double u = ((word(i, lane & ~1) >> 1) + 0.5) * 0x1p-31, t = 2 * kPi * (word(i, lane | 1) >> 8) * 0x1p-24;
  return low + high * sqrt(-2 * log(u)) * (lane % 2 ? sin(t) : cos(t));
}

void check_random(Checker& check, Kind kind, const Shape& shape, int32_t dtype, double low, double high) {
  Tensor y(shape, dtype);
  for (int64_t i = 0; i < y.size(); ++i) y[i] = number(kind, i, dtype, low, high);
  check.expect("random", {}, {y}, {double(kind)}, {kSeed, kOffset, low, high});
}

void check_dropout(Checker& check, const Shape& shape, int32_t dtype, double p) {
  const Tensor x = draw(shape, dtype);
  Tensor y(shape, dtype);
  for (int64_t i = 0; i < y.size(); ++i) y[i] = number(kBernoulli, i, dtype, p, 0) != 0 ? 0 : x[i] / (1 - p);
  check.expect("dropout", {x}, {y}, {}, {kSeed, kOffset, p});
}

}  // namespace

void check_random(Checker& check) {
  for (int32_t dtype : kAll) {
    Tensor steps({100}, dtype);
    for (int64_t i = 0; i < steps.size(); ++i) steps[i] = double(i) + 2;
    check.expect("arange", {}, {steps}, {}, {2, 1});
    for (const Shape& shape : {Shape{2051}, Shape{3, 5, 77}}) {
      check_random(check, kIntegers, shape, dtype, dtype == k_u8 || dtype == k_bool ? 0 : -5, 13);
      check_random(check, kBernoulli, shape, dtype, 0.3, 0);
      if (!is_float(dtype)) continue;
      check_random(check, kUniform, shape, dtype, -2, 3);
      check_random(check, kNormal, shape, dtype, 1, 2);
      check_dropout(check, shape, dtype, 0.25);
    }
  }
}

}  // namespace brasa::selftest
