// Elementwise programs as machine code against the interpreter: the same bytes, but for which NaN it is.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <memory>
#include <random>

#include "check.h"
#include "cpu/jit/jit.h"

namespace brasa::selftest {
namespace {

using cpu::jit::Mode;

struct Row {
  int32_t id;
  const char* name;
  int arity;
  bool floats, whole;
};
constexpr bool kFLOAT[] = {true, false}, kINT[] = {false, true}, kALL[] = {true, true};
const Row kRows[] = {
#define UNARY(id, name, types, result, expr) {id, #name, 1, k##types[0], k##types[1]},
#define BINARY(id, name, types, result, expr) {id, #name, 2, k##types[0], k##types[1]},
#define TERNARY(id, name, types, result, expr) {id, #name, 3, k##types[0], k##types[1]},
#define KERNEL(id, name)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
};
const Row& row_of(const char* name) {
  for (const Row& row : kRows)
    if (strcmp(row.name, name) == 0) return row;
  abort();
}

constexpr int32_t kComputes[] = {k_f32, k_f64, k_i32, k_i64};
constexpr int32_t kBytes[] = {4, 8, 2, 2, 1, 1, 4, 8, 1};  // by dtype

std::mt19937_64 random_bits(11);
int64_t below(int64_t n) { return static_cast<int64_t>(random_bits() % static_cast<uint64_t>(n)); }

// ---- operands: memory, and how a layout walks it

// It ends where a page begins that nobody may touch.
struct Memory {
  char* pages;
  size_t size;
  Buffer buffer;
  explicit Memory(int64_t bytes) {
    const size_t page = 4096, whole = (static_cast<size_t>(bytes) + page - 1) / page * page;
    size = whole + page;
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(static_cast<char*>(memory) + whole, page, PROT_NONE) != 0) abort();
    pages = static_cast<char*>(memory);
    buffer = {pages + whole - bytes, bytes};
  }
  ~Memory() { munmap(pages, size); }
  Memory(const Memory&) = delete;
};

template <class T>
void put(void* at, int64_t i, T value) {
  memcpy(static_cast<char*>(at) + i * static_cast<int64_t>(sizeof value), &value, sizeof value);
}

// Numbers of every magnitude, all that floats can hold, and most often such as one computes with.
void fill(Memory& memory, int32_t dtype, int kind) {
  const int64_t n = memory.buffer.bytes / kBytes[dtype];
  const double specials[] = {0., -0., 1., -1., 2., 0.5, INFINITY, -INFINITY, NAN, 1e-40, -1e-310, 3e38, 1e300};
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t bits = random_bits();
    const int how = kind < 3 ? kind : static_cast<int>(below(4));
    double value = (static_cast<double>(bits % 2000001) - 1e6) / (how == 0 ? 2.5e5 : how == 1 ? 1e4 : 1e7);
    if (below(40) == 0) value = specials[below(13)];
    switch (dtype) {
      case k_f32:
        how == 3 ? put(memory.buffer.data, i, static_cast<uint32_t>(bits)) : put(memory.buffer.data, i, float(value));
        break;
      case k_f64:
        how == 3 ? put(memory.buffer.data, i, bits) : put(memory.buffer.data, i, value);
        break;
      case k_bf16: {
        const float f = static_cast<float>(value);
        uint32_t word;
        memcpy(&word, &f, 4);
        put(memory.buffer.data, i, static_cast<uint16_t>(how == 3 ? bits : word >> 16));
        break;
      }
      case k_i64:
        put(memory.buffer.data, i, how == 3 ? static_cast<int64_t>(bits) : static_cast<int64_t>(bits % 41) - 20);
        break;
      case k_i32:
        put(memory.buffer.data, i, how == 3 ? static_cast<int32_t>(bits) : static_cast<int32_t>(bits % 41) - 20);
        break;
      case k_f16:
        put(memory.buffer.data, i, static_cast<uint16_t>(how == 3 ? bits : (bits & 0x83ff) | (bits % 20 + 6) << 10));
        break;
      case k_bool:
        put(memory.buffer.data, i, static_cast<uint8_t>(bits & 1));
        break;
      default:
        put(memory.buffer.data, i, static_cast<uint8_t>(bits));
    }
  }
}

bool is_nan(const char* at, int32_t dtype) {
  uint64_t word = 0;
  memcpy(&word, at, kBytes[dtype]);
  switch (dtype) {
    case k_f32:
      return (word & 0x7fffffff) > 0x7f800000;
    case k_f64:
      return (word & (~uint64_t(0) >> 1)) > uint64_t(0x7ff) << 52;
    case k_f16:
      return (word & 0x7fff) > 0x7c00;
    case k_bf16:
      return (word & 0x7fff) > 0x7f80;
  }
  return false;
}

// Where two results differ first; -1: nowhere.
int64_t difference(const Memory& a, const Memory& b, int32_t dtype) {
  const char *x = static_cast<char*>(a.buffer.data), *y = static_cast<char*>(b.buffer.data);
  for (int64_t i = 0, size = kBytes[dtype]; i < a.buffer.bytes / size; ++i)
    if (memcmp(x + i * size, y + i * size, size) != 0 && !(is_nan(x + i * size, dtype) && is_nan(y + i * size, dtype)))
      return i;
  return -1;
}

// ---- programs

struct Program {
  Shape shape;
  std::vector<Layout> in, out;
  Numbers types, code, results, scalars;  // as ops.def says; code: 5 numbers an instruction
  std::vector<int> over;                  // for each output the input that it lies over; -1: none
  std::string text() const {
    std::string s;
    for (const Layout& l : in) s += " in" + std::to_string(l.dtype);
    for (size_t i = 0; i < code.size(); i += 5) {
      for (const Row& row : kRows)
        if (row.id == code[i]) s += std::string("; ") + row.name;
      for (int j = 1; j < 5; ++j) s += " " + std::to_string(static_cast<int>(code[i + j]));
    }
    for (size_t i = 0; i < out.size(); ++i)
      s += " out" + std::to_string(out[i].dtype) + "=r" + std::to_string(static_cast<int>(results[i]));
    s += " shape";
    for (int64_t d : shape) s += " " + std::to_string(d);
    return s;
  }
};

Layout dense(const Shape& shape, int32_t dtype) {
  Layout l = {};
  l.dtype = dtype;
  l.ndim = static_cast<int32_t>(shape.size());
  int64_t stride = 1;
  for (int32_t d = l.ndim - 1; d >= 0; --d) {
    l.shape[d] = shape[d];
    l.strides[d] = stride;
    stride *= shape[d];
  }
  return l;
}
// Dense, transposed, rows apart, or with one dim or all expanded.
Layout any_layout(const Shape& shape, int32_t dtype, int64_t how) {
  Layout l = dense(shape, dtype);
  if (how == 0 || l.ndim == 0) return l;
  if (how == 1) {
    for (int32_t d = 0; d < l.ndim; ++d) l.strides[d] = 0;
  } else if (how == 2) {
    l.strides[below(l.ndim)] = 0;
  } else if (how == 3 && l.ndim > 1) {
    l.strides[l.ndim - 1] = l.shape[l.ndim - 2];
    l.strides[l.ndim - 2] = 1;
  } else {
    for (int32_t d = 0; d < l.ndim - 1; ++d) l.strides[d] *= 2;
  }
  return l;
}
int64_t extent(const Layout& l) {
  int64_t last = 0;
  for (int32_t d = 0; d < l.ndim; ++d) last += (l.shape[d] - 1) * l.strides[d];
  return last + 1;
}

class Runner {
 public:
  Runner(const Backend& backend, Checker& check) : backend_(backend), check_(check) {}

  // Plans and runs under a mode over copies of the inputs; false: the plan was refused.
  bool run(const Program& p, Mode mode, const std::vector<std::unique_ptr<Memory>>& given,
           std::vector<std::unique_ptr<Memory>>& results) {
    cpu::jit::set_mode(mode);
    Numbers params = p.types;
    params.push_back(static_cast<double>(p.code.size() / 5));
    params.insert(params.end(), p.code.begin(), p.code.end());
    params.insert(params.end(), p.results.begin(), p.results.end());
    const Call call = {row_of_elementwise,
                       static_cast<int32_t>(p.in.size()),
                       static_cast<int32_t>(p.out.size()),
                       static_cast<int32_t>(params.size()),
                       static_cast<int32_t>(p.scalars.size()),
                       p.in.data(),
                       p.out.data(),
                       params.data()};
    Plan* plan = nullptr;
    if (backend_.plan(backend_.self, &call, &plan) != kOk) return false;
    std::vector<std::unique_ptr<Memory>> inputs;
    std::vector<Operand> in, out;
    for (const auto& from : given) {
      inputs.emplace_back(new Memory(from->buffer.bytes));
      memcpy(inputs.back()->buffer.data, from->buffer.data, from->buffer.bytes);
      in.push_back({&inputs.back()->buffer, 0});
    }
    results.clear();
    for (size_t i = 0; i < p.out.size(); ++i) {
      const int64_t bytes = extent(p.out[i]) * kBytes[p.out[i].dtype];
      results.emplace_back(new Memory(bytes));
      memset(results.back()->buffer.data, 0x5a, bytes);
      out.push_back({p.over[i] >= 0 ? &inputs[p.over[i]]->buffer : &results.back()->buffer, 0});
    }
    int64_t fault[4] = {};
    const Run call_run = {in.data(), out.data(), p.scalars.data(), fault};
    const Status status = backend_.run(backend_.self, plan, &call_run);
    for (size_t i = 0; i < p.out.size(); ++i)
      if (p.over[i] >= 0) memcpy(results[i]->buffer.data, inputs[p.over[i]]->buffer.data, results[i]->buffer.bytes);
    backend_.drop(backend_.self, plan);
    return status == kOk;
  }

  // True when there was code.
  bool compare(const Program& p, int kind) {
    std::vector<std::unique_ptr<Memory>> given, want, got;
    for (const Layout& l : p.in) {
      given.emplace_back(new Memory(extent(l) * kBytes[l.dtype]));
      fill(*given.back(), l.dtype, kind);
    }
    ++check_.checks;
    if (!run(p, Mode::kOff, given, want) || !run(p, Mode::kOn, given, got)) {
      fail(p, "is refused");
      return false;
    }
    const bool code = cpu::jit::kernels() > 0;
    for (size_t i = 0; i < p.out.size(); ++i) {
      const int64_t at = difference(*want[i], *got[i], p.out[i].dtype);
      if (at < 0) continue;
      uint64_t a = 0, b = 0;
      const int size = kBytes[p.out[i].dtype];
      memcpy(&a, static_cast<char*>(want[i]->buffer.data) + at * size, size);
      memcpy(&b, static_cast<char*>(got[i]->buffer.data) + at * size, size);
      char text[160];
      snprintf(text, sizeof text, "output %zu differs at %lld: %llx, code gives %llx", i, static_cast<long long>(at),
               static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
      fail(p, text);
      break;
    }
    return code;
  }

 private:
  static constexpr int32_t row_of_elementwise = 120;
  void fail(const Program& p, const char* what) {
    ++check_.failures;
    if (check_.failures < 20) fprintf(stderr, "FAILED code:%s: %s\n", p.text().c_str(), what);
  }
  const Backend& backend_;
  Checker& check_;
};

bool fits(const Row& row, int32_t compute) { return compute == k_f32 || compute == k_f64 ? row.floats : row.whole; }

// y = op(x...), and a copy of it, so that it is no single instruction.
Program one(const Row& row, int32_t compute, int64_t n) {
  Program p;
  p.shape = {n};
  for (int k = 0; k < row.arity; ++k) {
    p.in.push_back(dense(p.shape, compute));
    p.types.push_back(compute);
  }
  const auto reg = [&](int k) { return k < row.arity ? double(k) : -1.; };
  p.code = {double(row.id), double(compute), reg(0), reg(1), reg(2)};
  p.results = {double(row.arity), double(row.arity)};
  p.out = {dense(p.shape, compute), dense(p.shape, compute)};
  p.over = {-1, -1};
  return p;
}

Program any_program() {
  Program p;
  const Shape shapes[] = {{1}, {7}, {100}, {1037}, {5000}, {3, 5, 71}, {40, 33}, {6, 300}, {2, 3, 4, 5}, {70000}};
  p.shape = shapes[below(10)];
  const int64_t nin = 1 + below(5), nscalars = below(3), count = 1 + below(14);
  std::vector<int32_t> type;
  const bool flat = below(2) == 0;
  for (int64_t i = 0; i < nin; ++i) {
    const int32_t dtype = below(2) ? int32_t(k_f32) : kAll[below(9)];
    p.in.push_back(any_layout(p.shape, dtype, flat ? below(2) * below(2) : below(6)));
    type.push_back(below(3) ? (dtype == k_f64 || dtype == k_i64 ? dtype
                               : is_float(dtype)                ? int32_t(k_f32)
                                                                : int32_t(k_i32))
                            : kComputes[below(4)]);
  }
  for (int64_t i = 0; i < nscalars; ++i) {
    type.push_back(kComputes[below(3) ? 0 : below(4)]);
    p.scalars.push_back(static_cast<double>(below(65) - 32) / 8);
  }
  for (int32_t t : type) p.types.push_back(t);
  while (static_cast<int64_t>(p.code.size()) < 5 * count) {
    const Row& row = kRows[below(sizeof kRows / sizeof *kRows)];
    const bool cast = row.id == row_of("cast").id;
    const int32_t compute = cast ? kComputes[below(4)] : type[below(static_cast<int64_t>(type.size()))];
    if (!fits(row, compute)) continue;
    Numbers code = {double(row.id), double(compute), -1, -1, -1};
    for (int k = 0; k < row.arity; ++k) {
      int64_t r = below(static_cast<int64_t>(type.size()));
      while (!cast && type[r] != compute) r = below(static_cast<int64_t>(type.size()));
      code[2 + k] = static_cast<double>(r);
    }
    p.code.insert(p.code.end(), code.begin(), code.end());
    type.push_back(compute);
  }
  for (int64_t i = 0, nout = 1 + below(3); i < nout; ++i) {
    const int64_t r = i == 0 ? static_cast<int64_t>(type.size()) - 1 : below(static_cast<int64_t>(type.size()));
    const int32_t dtype = below(2) ? type[r] : kAll[below(9)];
    p.results.push_back(static_cast<double>(r));
    p.out.push_back(any_layout(p.shape, dtype, flat || below(2) ? 0 : 3 + below(3)));
    p.over.push_back(-1);
    for (size_t k = 0; k < p.in.size(); ++k) {
      bool free = memcmp(&p.in[k], &p.out.back(), sizeof(Layout)) == 0 && below(3) == 0;
      for (int j : p.over) free &= j != static_cast<int>(k);
      if (free && p.over.back() < 0) p.over.back() = static_cast<int>(k);
    }
  }
  return p;
}

}  // namespace

void check_code(const Backend& backend, Checker& check) {
  Runner runner(backend, check);
  cpu::jit::set_mode(Mode::kOn);
  const bool expected = strncmp(cpu::jit::state(), "AVX", 3) == 0;
  for (const Row& row : kRows) {
    for (int32_t compute : kComputes) {
      if (!fits(row, compute)) continue;
      for (int kind = 0; kind < (expected ? 4 : 1); ++kind) {
        const bool code = runner.compare(one(row, compute, kind == 3 ? 20011 : 3003), kind);
        if (code == expected) continue;
        ++check.failures;
        fprintf(stderr, "FAILED code: %s of dtype %d: %s\n", row.name, compute,
                code ? "there is some" : "there is none");
      }
    }
  }
  const int programs = expected ? 1500 : 50;
  int compiled = 0;
  for (int i = 0; i < programs; ++i) compiled += runner.compare(any_program(), static_cast<int>(below(4)));
  // Without executable memory everything is interpreted.
  const Program p = one(row_of("exp"), k_f32, 100);
  std::vector<std::unique_ptr<Memory>> given, results;
  given.emplace_back(new Memory(400));
  fill(*given.back(), k_f32, 0);
  ++check.checks;
  if (!runner.run(p, Mode::kRefused, given, results) || cpu::jit::kernels() != 0 ||
      strncmp(cpu::jit::state(), "none", 4) != 0) {
    ++check.failures;
    fprintf(stderr, "FAILED code: without executable memory\n");
  }
  cpu::jit::set_mode(Mode::kOn);
  printf("code for %s: %d of %d programs\n", cpu::jit::state(), compiled, programs);
  // With AVX2 alone, casts between floats and 64-bit integers have none.
  if (expected && compiled < programs * 3 / 4) {
    ++check.failures;
    fprintf(stderr, "FAILED code: too few programs have any\n");
  }
}

}  // namespace brasa::selftest
