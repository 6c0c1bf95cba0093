// How far the f32 functions of one argument are from the truth, in units of the last place, over all 2^32 inputs or
// every nth of them: `ulp [n] [function...]`. The truth is the C library's double. Fails above what is written here,
// and where an infinity, a NaN or the sign of a zero is wrong.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <functional>
#include <thread>
#include <vector>

#include "device.h"

using namespace brasa;

namespace {

constexpr int64_t kBatch = 1 << 22;

double sigmoid(double x) { return 1 / (1 + exp(-x)); }
double silu(double x) { return x == -INFINITY ? NAN : x / (1 + exp(-x)); }
double gelu(double x) { return x == -INFINITY ? NAN : 0.5 * x * erfc(-x * 0.70710678118654752440); }
double rsqrt(double x) { return 1 / sqrt(x); }

struct Function {
  int32_t op;
  const char* name;
  double (*truth)(double);
  double most;   // units
  double grain;  // of x: the least unit
};
// Those with a truth beside them; the rest (abs, floor and so on) are exact and tested elsewhere.
#define TRUTHS(f)                                                                                               \
  f(exp) f(expm1) f(log) f(log1p) f(log2) f(log10) f(sin) f(cos) f(tan) f(asin) f(acos) f(atan) f(sinh) f(cosh) \
      f(tanh) f(asinh) f(acosh) f(atanh) f(erf) f(erfc) f(sigmoid) f(sqrt) f(rsqrt)
enum {
#define UNARY(...)
#define BINARY(...)
#define TERNARY(...)
#define KERNEL(id, name) k_##name = id,
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
};
int32_t op_named(const char* name) {
#define UNARY(id, op, ...) \
  if (strcmp(name, #op) == 0) return id;
#define BINARY(...)
#define TERNARY(...)
#define KERNEL(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
  return -1;
}

struct Worst {
  double error = 0;
  float at = 0;
  int64_t wrong = 0;  // infinities, NaNs, signs of zeros
  float wrong_at = 0;
};

void compare(const float* x, const float* y, int64_t n, const Function& f, Worst* worst) {
  for (int64_t i = 0; i < n; ++i) {
    const double want = f.truth(x[i]), got = y[i];
    const float nearest = float(want);
    bool wrong = false;
    double error = 0;
    if (want != want || got != got)
      wrong = (want != want) != (got != got);
    else if (isinf(nearest) || isinf(got))
      wrong = fabs(nearest) < 3.4028234e38 || fabs(got) < 3.4028234e38 || (nearest > 0) != (got > 0);
    else if (want == 0)
      wrong = got != 0 || signbit(want) != signbit(got);
    else
      error = fabs(got - want) / std::max(ldexp(1, std::max(ilogb(want), -126) - 23), f.grain * fabs(x[i]));
    if (wrong && worst->wrong++ == 0) worst->wrong_at = x[i];
    if (error > worst->error) worst->error = error, worst->at = x[i];
  }
}

bool check(const Backend& b, const Function& f, int64_t step) {
  const int64_t total = (int64_t(1) << 32) / step;
  std::vector<float> x(kBatch), y(kBatch);
  Buffer *in = nullptr, *out = nullptr;
  Plan* plan = nullptr;
  const auto fails = [&](Status status) {
    if (status != kOk) fprintf(stderr, "%s: status %d\n", f.name, int(status));
    return status != kOk;
  };
  Layout layout = {};
  layout.dtype = k_f32, layout.ndim = 1, layout.shape[0] = kBatch, layout.strides[0] = 1;
  Call call = {};
  // An elementwise program of one instruction.
  const double params[] = {k_f32, 1, double(f.op), k_f32, 0, -1, -1, 1};
  call.op = k_elementwise, call.nin = call.nout = 1, call.in = call.out = &layout;
  call.params = params, call.nparams = sizeof params / sizeof *params;
  if (fails(b.plan(b.self, &call, &plan)) || fails(b.alloc(b.self, kBatch * 4, &in)) ||
      fails(b.alloc(b.self, kBatch * 4, &out)))
    return false;
  const int parts = std::max(1u, std::thread::hardware_concurrency());
  std::vector<Worst> worst(parts);
  for (int64_t first = 0; first < total; first += kBatch) {
    const int64_t n = std::min(kBatch, total - first);
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t bits = uint32_t((first + i) * step);
      memcpy(&x[i], &bits, 4);
    }
    const Operand operands[] = {{in, 0}, {out, 0}};
    int64_t fault[4] = {};
    const Run run = {operands, operands + 1, nullptr, fault};
    if (fails(b.write(b.self, in, 0, x.data(), kBatch * 4)) || fails(b.run(b.self, plan, &run)) ||
        fails(b.read(b.self, out, 0, y.data(), kBatch * 4, fault)))
      return false;
    std::vector<std::thread> threads;
    for (int p = 0; p < parts; ++p) {
      const int64_t begin = n * p / parts, end = n * (p + 1) / parts;
      threads.emplace_back(compare, &x[begin], &y[begin], end - begin, std::cref(f), &worst[p]);
    }
    for (std::thread& t : threads) t.join();
  }
  Worst all;
  for (const Worst& w : worst) {
    if (w.error > all.error) all.error = w.error, all.at = w.at;
    if (w.wrong > 0) all.wrong += w.wrong, all.wrong_at = w.wrong_at;
  }
  printf("%-8s %.3f ULP at %.9g", f.name, all.error, all.at);
  if (all.wrong > 0) printf(", %lld wrong infinities, NaNs or zeros, at %.9g", (long long)all.wrong, all.wrong_at);
  puts("");
  fflush(stdout);
  b.free(b.self, in), b.free(b.self, out), b.drop(b.self, plan);
  return all.error <= f.most && all.wrong == 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Of products of x, the unit is at least that of the other factor: a sigmoid that may be subnormal, a probability
  // that is 1/2 and a part.
#define TRUTH(name) {op_named(#name), #name, name, 2, 0},
  const Function functions[] = {TRUTHS(TRUTH){op_named("silu"), "silu", silu, 3, 0x1p-149},
                                {op_named("gelu"), "gelu", gelu, 3, 0x1p-24}};
  const int64_t step = argc > 1 ? std::max(1ll, atoll(argv[1])) : 1;
  bool good = true;
  for (const Function& f : functions) {
    bool asked = argc <= 2;
    for (int i = 2; i < argc; ++i) asked |= strcmp(argv[i], f.name) == 0;
    if (asked) good &= check(device(0)->backend, f, step);
  }
  return good ? 0 : 1;
}
