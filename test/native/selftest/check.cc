#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

namespace brasa::selftest {
namespace {

struct Row {
  int32_t id;
  const char* name;
};
const Row kKernels[] = {
#define UNARY(...)
#define BINARY(...)
#define TERNARY(...)
#define KERNEL(id, name) {id, #name},
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
};
int32_t id_of(const char* op) {
  for (const Row& row : kKernels)
    if (strcmp(row.name, op) == 0) return row.id;
  return -1;
}

const char* const kNames[] = {
#define DTYPE(id, name, ctype, bytes, compute) #name,
#include "dtypes.def"
#undef DTYPE
};
constexpr int64_t kBytes[] = {
#define DTYPE(id, name, ctype, bytes, compute) bytes,
#include "dtypes.def"
#undef DTYPE
};

// Halves by arithmetic: 16 bits with so many of mantissa, and the exponent's bias.
struct Half {
  int mantissa, bias;
};
constexpr Half kF16 = {10, 15}, kBf16 = {7, 127};

uint16_t encode(Half h, double value) {
  const int infinity = (2 * h.bias + 1) << h.mantissa, sign = signbit(value) ? 0x8000 : 0;
  const double a = fabs(value);
  if (a != a) return static_cast<uint16_t>(infinity | 1 << (h.mantissa - 1));
  if (a >= ldexp(1, h.bias + 1)) return static_cast<uint16_t>(sign | infinity);
  const int exponent = a > 0 && ilogb(a) > 1 - h.bias ? ilogb(a) : 1 - h.bias;
  const int bits =
      ((exponent + h.bias - 1) << h.mantissa) + static_cast<int>(nearbyint(ldexp(a, h.mantissa - exponent)));
  return static_cast<uint16_t>(sign | (bits < infinity ? bits : infinity));
}
double decode(Half h, uint16_t bits) {
  const int exponent = (bits & 0x7fff) >> h.mantissa, fraction = bits & ((1 << h.mantissa) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 2 * h.bias + 1) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * ldexp(fraction, 1 - h.bias - h.mantissa);
  return sign * ldexp(fraction + (1 << h.mantissa), exponent - h.bias - h.mantissa);
}

template <class T>
T read(const char* at) {
  T value;
  memcpy(&value, at, sizeof value);
  return value;
}
template <class T>
void write(char* at, T value) {
  memcpy(at, &value, sizeof value);
}

double load(int32_t dtype, const char* at) {
  switch (dtype) {
    case k_f32:
      return static_cast<double>(read<float>(at));
    case k_f64:
      return read<double>(at);
    case k_f16:
      return decode(kF16, read<uint16_t>(at));
    case k_bf16:
      return decode(kBf16, read<uint16_t>(at));
    case k_i8:
      return read<int8_t>(at);
    case k_i32:
      return read<int32_t>(at);
    case k_i64:
      return static_cast<double>(read<int64_t>(at));
    default:
      return read<uint8_t>(at);
  }
}
void store(int32_t dtype, char* at, double value) {
  const int64_t whole = fabs(value) < 0x1p62 ? static_cast<int64_t>(value) : 0;
  switch (dtype) {
    case k_f32:
      return write(at, static_cast<float>(value));
    case k_f64:
      return write(at, value);
    case k_f16:
      return write(at, encode(kF16, value));
    case k_bf16:
      return write(at, encode(kBf16, value));
    case k_i32:
      return write(at, static_cast<int32_t>(whole));
    case k_i64:
      return write(at, whole);
    case k_bool:
      return write(at, static_cast<uint8_t>(value != 0));
    default:
      return write(at, static_cast<uint8_t>(whole));
  }
}

int64_t count(const Shape& shape) {
  int64_t n = 1;
  for (int64_t size : shape) n *= size;
  return n;
}

std::string text(const Tensor& x) {
  std::string s = std::string(kNames[x.dtype]) + "(";
  for (size_t d = 0; d < x.shape.size(); ++d) s += (d ? "," : "") + std::to_string(x.shape[d]);
  return s + ")";
}

// Where the values lie: side by side; rows a little apart, from an odd place on; the first dim innermost and every
// other element.
enum Arrangement { kDense, kRows, kColumns, kArrangements };
const char* const kArrangementNames[] = {"dense", "rows apart", "columns apart"};
constexpr char kUntouched = 0x5a;
constexpr int64_t kGuard = 64;  // bytes after an output, which no kernel may write

}  // namespace

Tensor::Tensor(Shape s, int32_t d) : shape(std::move(s)), dtype(d), values(count(shape)) {}
Tensor::Tensor(Shape s, int32_t d, Numbers v) : shape(std::move(s)), dtype(d), values(std::move(v)) {}

bool is_float(int32_t dtype) { return dtype <= k_bf16; }

double as_stored(int32_t dtype, double value) {
  char bytes[8];
  store(dtype, bytes, value);
  return load(dtype, bytes);
}

Tensor draw_whole(Shape shape, int32_t dtype, int64_t low, int64_t high) {
  static uint64_t state = 1;
  Tensor x(std::move(shape), dtype);
  for (double& value : x.values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = static_cast<double>(low + static_cast<int64_t>((state >> 33) % static_cast<uint64_t>(high - low)));
  }
  return x;
}

Tensor draw(Shape shape, int32_t dtype) {
  if (dtype == k_bool) return draw_whole(std::move(shape), dtype, 0, 2);
  if (!is_float(dtype)) return draw_whole(std::move(shape), dtype, dtype == k_u8 ? 0 : -9, 10);
  Tensor x = draw_whole(std::move(shape), dtype, -32, 33);
  for (double& value : x.values) value /= 8;
  return x;
}

Tensor expand(Tensor x, int dim) {
  for (const Group& group : groups(x.shape, dim_bit(dim)))
    for (int64_t place : group) x[place] = x[group[0]];
  x.expanded |= dim_bit(dim);
  return x;
}

std::vector<Group> groups(const Shape& shape, uint32_t mask) {
  std::vector<Group> out(count(reduced(shape, mask)));
  for (int64_t i = 0; i < count(shape); ++i) {
    int64_t rest = i, group = 0, stride = 1;
    for (int d = static_cast<int>(shape.size()) - 1; d >= 0; --d) {
      if (!(mask & dim_bit(d))) {
        group += rest % shape[d] * stride;
        stride *= shape[d];
      }
      rest /= shape[d];
    }
    out[group].push_back(i);
  }
  return out;
}

Shape reduced(Shape shape, uint32_t mask) {
  for (size_t d = 0; d < shape.size(); ++d)
    if (mask & dim_bit(d)) shape[d] = 1;
  return shape;
}

// A tensor's bytes as they lie in a buffer of the backend.
struct Checker::Place {
  Layout layout{};
  int64_t offset = 0;  // elements
  std::vector<char> bytes;
  std::vector<int64_t> at;  // byte of each value
  Buffer* buffer = nullptr;

  Place(const Tensor& x, Arrangement arrangement, bool output) {
    const int n = static_cast<int>(x.shape.size());
    const int64_t item = kBytes[x.dtype];
    layout.dtype = x.dtype;
    layout.ndim = n;
    offset = arrangement == kDense ? 0 : 3;
    int64_t stride = arrangement == kColumns ? 2 : 1;
    for (int i = 0; i < n; ++i) {
      const int near = x.crossed && n > 1 && i < 2 ? 1 - i : i;
      const int d = arrangement == kColumns ? i : n - 1 - near;
      layout.shape[d] = x.shape[d];
      layout.strides[d] = x.expanded & dim_bit(d) ? 0 : stride;
      stride *= x.expanded & dim_bit(d) ? 1 : x.shape[d];
      if (arrangement == kRows && i == 0) stride += 3;
    }
    bytes.assign((offset + stride) * item + (output ? kGuard : 0), kUntouched);
    for (int64_t i = 0; i < x.size(); ++i) {
      int64_t place = offset, rest = i;
      for (int d = n - 1; d >= 0; --d) {
        place += rest % x.shape[d] * layout.strides[d];
        rest /= x.shape[d];
      }
      at.push_back(place * item);
      if (!output) store(x.dtype, &bytes[place * item], x[i]);
    }
  }
};

Status Checker::run(int32_t op, std::vector<Place>& in, std::vector<Place>& out, const Numbers& params,
                    const Numbers& scalars) {
  Call call = {};
  std::vector<Layout> layouts;
  for (auto* list : {&in, &out})
    for (Place& place : *list) layouts.push_back(place.layout);
  call.op = op;
  call.nin = static_cast<int32_t>(in.size());
  call.nout = static_cast<int32_t>(out.size());
  call.nparams = static_cast<int32_t>(params.size());
  call.nscalars = static_cast<int32_t>(scalars.size());
  call.in = layouts.data();
  call.out = layouts.data() + in.size();
  call.params = params.data();
  Plan* plan = nullptr;
  Status status = backend_.plan(backend_.self, &call, &plan);
  if (status != kOk) return status;
  std::vector<Operand> operands;
  for (auto* list : {&in, &out}) {
    for (Place& place : *list) {
      const int64_t bytes = static_cast<int64_t>(place.bytes.size());
      if (status == kOk) status = backend_.alloc(backend_.self, bytes, &place.buffer);
      if (status == kOk) status = backend_.write(backend_.self, place.buffer, 0, place.bytes.data(), bytes);
      operands.push_back({place.buffer, place.offset});
    }
  }
  int64_t fault[4] = {};
  const Run run = {operands.data(), operands.data() + in.size(), scalars.data(), fault};
  if (status == kOk) status = backend_.run(backend_.self, plan, &run);
  if (status == kOk) status = backend_.wait(backend_.self, fault);
  for (auto* list : {&in, &out}) {
    for (Place& place : *list) {
      if (!place.buffer) continue;
      if (status == kOk)
        status = backend_.read(backend_.self, place.buffer, 0, place.bytes.data(),
                               static_cast<int64_t>(place.bytes.size()), fault);
      backend_.free(backend_.self, place.buffer);
    }
  }
  backend_.drop(backend_.self, plan);
  return status;
}

bool Checker::compare(const Tensor& got, const Tensor& want, std::string* difference) const {
  const double allowed = want.dtype == k_f64    ? 1e-11
                         : want.dtype == k_f32  ? 1e-5
                         : want.dtype == k_f16  ? 1e-3
                         : want.dtype == k_bf16 ? 8e-3
                                                : 0;
  for (int64_t i = 0; i < want.size(); ++i) {
    const double a = got[i], b = as_stored(want.dtype, want[i]);
    if (a == b || (a != a && b != b) || fabs(a - b) <= slack * allowed * (1 + fabs(b))) continue;
    char line[128];
    snprintf(line, sizeof line, "element %lld is %.9g, not %.9g", static_cast<long long>(i), a, b);
    *difference = line;
    return false;
  }
  return true;
}

void Checker::fail(const char* op, const std::vector<Tensor>& in, int arrangement, const std::string& what) {
  if (++failures > 50) return;
  fprintf(stderr, "FAILED %s %s", op, note.c_str());
  for (const Tensor& x : in) fprintf(stderr, " %s", text(x).c_str());
  fprintf(stderr, ", %s: %s\n", kArrangementNames[arrangement], what.c_str());
}

void Checker::expect(const char* op, const std::vector<Tensor>& in, const std::vector<Tensor>& want,
                     const Numbers& params, const Numbers& scalars, bool any_out) {
  for (int arrangement = 0; arrangement < kArrangements; ++arrangement) {
    std::vector<Place> from, to;
    for (const Tensor& x : in) from.emplace_back(x, static_cast<Arrangement>(arrangement), false);
    for (const Tensor& y : want) to.emplace_back(y, any_out ? static_cast<Arrangement>(arrangement) : kDense, true);
    const std::vector<Place> before = from;
    const Status status = run(id_of(op), from, to, params, scalars);
    if (status == kUnsupported) {
      ++unsupported;
      continue;
    }
    ++checks;
    checked_.insert(op);
    if (status != kOk) {
      fail(op, in, arrangement, "status " + std::to_string(status));
      continue;
    }
    for (size_t i = 0; i < from.size(); ++i)
      if (from[i].bytes != before[i].bytes) fail(op, in, arrangement, "an input was changed");
    for (size_t i = 0; i < to.size(); ++i) {
      Place& place = to[i];
      Tensor got = want[i];
      const int64_t item = kBytes[got.dtype];
      for (int64_t k = 0; k < got.size(); ++k) {
        got[k] = load(got.dtype, &place.bytes[place.at[k]]);
        memset(&place.bytes[place.at[k]], kUntouched, item);
      }
      std::string what;
      const bool outside = place.bytes != std::vector<char>(place.bytes.size(), kUntouched);
      if (outside) what = "memory beside the output was written";
      if (outside || !compare(got, want[i], &what))
        fail(op, in, arrangement, "output " + std::to_string(i) + " " + text(got) + ": " + what);
    }
  }
}

void Checker::expect_status(Status want, const char* op, const std::vector<Tensor>& in, const std::vector<Tensor>& out,
                            const Numbers& params, const Numbers& scalars) {
  std::vector<Place> from, to;
  for (const Tensor& x : in) from.emplace_back(x, kDense, false);
  for (const Tensor& y : out) to.emplace_back(y, kDense, true);
  const Status status = run(id_of(op), from, to, params, scalars);
  ++checks;
  if (status != want) fail(op, in, kDense, "status " + std::to_string(status) + ", not " + std::to_string(want));
}

std::vector<std::string> Checker::unchecked() const {
  std::vector<std::string> out;
  for (const Row& row : kKernels)
    if (!checked_.count(row.name)) out.push_back(row.name);
  return out;
}

}  // namespace brasa::selftest
