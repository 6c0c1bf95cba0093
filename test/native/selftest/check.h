// Checks a backend through its own interface: ops are planned by name on small tensors, and what they write is compared
// with plain loops over doubles. Nothing here knows which backend it is.
#pragma once
#include <array>
#include <set>
#include <string>
#include <vector>

#include "backend.h"

namespace brasa::selftest {

using Shape = std::vector<int64_t>;
using Numbers = std::vector<double>;

// Values in row-major order; the checker chooses where in memory they lie.
struct Tensor {
  Shape shape;
  int32_t dtype = k_f32;
  Numbers values;
  uint32_t expanded = 0;  // dims along which all values are equal: given with stride 0
  bool crossed = false;   // the last two dims change places in memory

  Tensor(Shape shape, int32_t dtype);  // zeros
  Tensor(Shape shape, int32_t dtype, Numbers values);
  int64_t size() const { return static_cast<int64_t>(values.size()); }
  double& operator[](int64_t i) { return values[i]; }
  double operator[](int64_t i) const { return values[i]; }
  template <class... I>
  double& operator()(I... index) {
    int64_t place = 0, d = 0;
    ((place = place * shape[d++] + index), ...);
    return values[place];
  }
};

// Reproducible numbers that every dtype holds exactly: eighths in [-4, 4], whole numbers in [-9, 9] (from 0 if
// unsigned).
Tensor draw(Shape shape, int32_t dtype);
Tensor draw_whole(Shape shape, int32_t dtype, int64_t low, int64_t high);  // in [low, high)
Tensor expand(Tensor x, int dim);                                          // repeats the slice 0 along dim
bool is_float(int32_t dtype);
double as_stored(int32_t dtype, double value);  // what remains of a number in a tensor of that dtype

constexpr int32_t kFloats[] = {k_f32, k_f64, k_f16, k_bf16};
constexpr int32_t kAll[] = {k_f32, k_f64, k_f16, k_bf16, k_i8, k_u8, k_i32, k_i64, k_bool};

// f(index) for every index of a shape of N dims, row-major.
template <size_t N, class F>
void each(const std::array<int64_t, N>& shape, const F& f) {
  std::array<int64_t, N> at{};
  for (int64_t n : shape)
    if (n == 0) return;
  for (;;) {
    f(at);
    size_t d = N;
    while (d > 0 && ++at[d - 1] == shape[d - 1]) at[--d] = 0;
    if (d == 0) return;
  }
}

// Places in a row-major tensor, grouped by what the dims in `mask` (bit d: dim d) run over: groups and the places in
// one are in row-major order.
using Group = std::vector<int64_t>;
std::vector<Group> groups(const Shape& shape, uint32_t mask);
Shape reduced(Shape shape, uint32_t mask);  // size 1 along the dims in mask
inline uint32_t dim_bit(int64_t dim) { return 1u << dim; }

class Checker {
 public:
  explicit Checker(const Backend& backend) : backend_(backend) {}

  // Runs an op and compares its outputs with `want`, on dense inputs, on rows apart and on columns apart. `any_out`:
  // so for outputs. A backend without such a kernel answers kUnsupported, which is counted only.
  void expect(const char* op, const std::vector<Tensor>& in, const std::vector<Tensor>& want,
              const Numbers& params = {}, const Numbers& scalars = {}, bool any_out = false);
  // The run must answer this status.
  void expect_status(Status status, const char* op, const std::vector<Tensor>& in, const std::vector<Tensor>& out,
                     const Numbers& params = {}, const Numbers& scalars = {});
  // Kernels of ops.def that have been checked at no dtype.
  std::vector<std::string> unchecked() const;
  // Allowed differences are multiplied by it until it is set again.
  double slack = 1;
  std::string note;  // told with a failure
  int64_t checks = 0, failures = 0, unsupported = 0;

 private:
  struct Place;
  Status run(int32_t op, std::vector<Place>& in, std::vector<Place>& out, const Numbers& params,
             const Numbers& scalars);
  bool compare(const Tensor& got, const Tensor& want, std::string* difference) const;
  void fail(const char* op, const std::vector<Tensor>& in, int arrangement, const std::string& what);

  const Backend& backend_;
  std::set<std::string> checked_;
};

// The families, a file each.
void check_elementwise(Checker&);
void check_reductions(Checker&);
void check_products(Checker&);
void check_attention(Checker&);
void check_lstm(Checker&);
void check_windows(Checker&);
void check_norms(Checker&);
void check_indices(Checker&);
void check_random(Checker&);
void check_code(const Backend&, Checker&);  // of the CPU

}  // namespace brasa::selftest
