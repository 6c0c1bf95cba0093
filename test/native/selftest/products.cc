// Matrix products and convolutions.
#include "check.h"

namespace brasa::selftest {
namespace {

enum : int32_t {
#define UNARY(...)
#define BINARY(id, name, ...) kOp_##name = id,
#define TERNARY(...)
#define KERNEL(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
};

// The op, which gives y, and then z = y + r: y an output of its own, and z alone.
void check_then(Checker& check, const std::string& op, std::vector<Tensor> in, const Tensor& y, const Numbers& params) {
  const double nin = double(in.size()), nparams = double(params.size());
  const double type = y.dtype == k_f64 || y.dtype == k_i64 ? y.dtype : is_float(y.dtype) ? k_f32 : k_i32;
  const Tensor r = expand(draw(y.shape, y.dtype), 0);
  Tensor z(y.shape, y.dtype);
  for (int64_t i = 0; i < y.size(); ++i) z[i] = as_stored(y.dtype, y[i]) + r[i];
  in.push_back(r);
  for (double made : {-1., 0.}) {
    Numbers all = {nin, nparams, made, 1};
    all.insert(all.end(), params.begin(), params.end());
    for (double p : {type, type, 1., double(kOp_add), type, 0., 1., -1., 2.}) all.push_back(p);  // r y | r + y
    check.expect((op + "Then").c_str(), in, made < 0 ? std::vector<Tensor>{y, z} : std::vector<Tensor>{z}, all);
  }
}

void check_matmul(Checker& check, int64_t B, int64_t M, int64_t N, int64_t K, int32_t dtype, bool shared) {
  Tensor a = draw({B, M, K}, dtype), b = draw({B, K, N}, dtype), y({B, M, N}, dtype);
  if (shared) b = expand(b, 0);
  each<4>({B, M, N, K}, [&](auto at) {
    const auto [i, m, n, k] = at;
    y(i, m, n) += a(i, m, k) * b(i, k, n);
  });
  check.expect("matmul", {a, b}, {y});
  Tensor weight = b;  // as kept for x w^T
  weight.crossed = true;
  check.expect("matmul", {a, weight}, {y});
  const Tensor c = expand(draw({B, M, N}, dtype), 1);
  for (int64_t i = 0; i < y.size(); ++i) y[i] += c[i];
  check.expect("matmul", {a, b, c}, {y});
  check.expect("matmul", {a, weight, c}, {y});
  check_then(check, "matmul", {a, b, c}, y, {});
  check_then(check, "matmul", {a, weight, c}, y, {});
}

// Bytes of every sign, the extreme ones too, times bytes of every sign, in i32.
void check_integers(Checker& check, int64_t B, int64_t M, int64_t N, int64_t K) {
  for (int32_t left : {k_i8, k_u8}) {
    for (int32_t right : {k_i8, k_u8}) {
      const auto bytes = [](Shape shape, int32_t dtype) {
        const int64_t low = dtype == k_i8 ? -128 : 0;
        return draw_whole(std::move(shape), dtype, low, low + 256);
      };
      Tensor a = bytes({B, M, K}, left), b = bytes({B, K, N}, right), y({B, M, N}, k_i32);
      each<4>({B, M, N, K}, [&](auto at) {
        const auto [i, m, n, k] = at;
        y(i, m, n) += a(i, m, k) * b(i, k, n);
      });
      check.expect("matmulInteger", {a, b}, {y}, {}, {}, true);
      b.crossed = true;
      check.expect("matmulInteger", {a, b}, {y});
    }
  }
}

struct Conv {
  int64_t N, C, H, W, O, KH, KW, stride, pad, dilation, groups;
  bool fast = false;  // digits may be traded for speed
};

// The three convolutions are one loop nest: y += x w, dx += g w, dw += g x.
void check_conv(Checker& check, const Conv& p, int32_t dtype) {
  const auto out = [&](int64_t n, int64_t k) { return (n + 2 * p.pad - p.dilation * (k - 1) - 1) / p.stride + 1; };
  const int64_t OH = out(p.H, p.KH), OW = out(p.W, p.KW), C = p.C / p.groups, O = p.O / p.groups;
  Tensor x = draw({p.N, p.C, p.H, p.W}, dtype), w = draw({p.O, C, p.KH, p.KW}, dtype), bias = draw({p.O}, dtype);
  Tensor g = draw({p.N, p.O, OH, OW}, dtype), y(g.shape, dtype), dx(x.shape, dtype), dw(w.shape, dtype);
  each<7>({p.N, p.O, OH, OW, C, p.KH, p.KW}, [&](auto at) {
    const auto [n, o, i, j, k, u, v] = at;
    const int64_t row = i * p.stride - p.pad + u * p.dilation, column = j * p.stride - p.pad + v * p.dilation;
    if (row < 0 || row >= p.H || column < 0 || column >= p.W) return;
    const int64_t c = o / O * C + k;
    y(n, o, i, j) += x(n, c, row, column) * w(o, k, u, v);
    dx(n, c, row, column) += g(n, o, i, j) * w(o, k, u, v);
    dw(o, k, u, v) += g(n, o, i, j) * x(n, c, row, column);
  });
  const double s = double(p.stride), q = double(p.pad), d = double(p.dilation);
  Numbers params = {s, s, q, q, d, d, double(p.groups)};
  if (p.fast) params.push_back(1), check.slack = 400;
  check.expect("conv2d", {x, w}, {y}, params);
  each<4>({p.N, p.O, OH, OW}, [&](auto at) {
    const auto [n, o, i, j] = at;
    y(n, o, i, j) += bias[o];
  });
  check.expect("conv2d", {x, w, bias}, {y}, params);
  check_then(check, "conv2d", {x, w, bias}, y, params);
  check.expect("conv2dGradInput", {g, w}, {dx}, params);
  check_then(check, "conv2dGradInput", {g, w}, dx, params);
  check.expect("conv2dGradWeight", {g, x}, {dw}, params);
  check.slack = 1;
}

}  // namespace

void check_products(Checker& check) {
  const int64_t sizes[][4] = {{1, 1, 1, 1},      {1, 3, 5, 7},   {2, 17, 33, 65}, {1, 70, 130, 50}, {1, 1, 300, 64},
                              {1, 130, 200, 9},  {3, 9, 8, 40},  {1, 64, 1, 500}, {1, 37, 75, 600}, {1, 16, 300, 71},
                              {1, 150, 64, 513}, {1, 5, 90, 40}, {1, 11, 40, 300}};
  for (int32_t dtype : kAll) {
    if (dtype == k_bool) continue;
    for (const auto& [batch, m, n, k] : sizes) {
      check_matmul(check, batch, m, n, k, dtype, false);
      if (batch > 1) check_matmul(check, batch, m, n, k, dtype, true);
    }
  }
  for (int32_t dtype : kFloats) check_matmul(check, 1, 15, 1030, 530, dtype, false);  // a B that is large beside A
  for (const auto& [batch, m, n, k] : sizes) check_integers(check, batch, m, n, k);
  check_integers(check, 1, 3, 5, 0);
  check_integers(check, 1, 3, 33, 16384 + 70);  // K in parts
  const Conv convolutions[] = {
      {2, 3, 9, 8, 5, 3, 3, 1, 1, 1, 1},      // few channels
      {1, 16, 12, 12, 32, 3, 3, 1, 1, 1, 1},  // many
      {2, 8, 10, 11, 8, 3, 2, 2, 1, 2, 2},    // stride, dilation, groups
      {1, 8, 7, 9, 8, 3, 3, 1, 1, 1, 8},      // depthwise
      {2, 19, 9, 18, 19, 3, 3, 2, 1, 1, 19},  // stride
      {1, 6, 20, 11, 6, 5, 2, 3, 2, 2, 6},    // dilation
      {1, 19, 7, 41, 19, 3, 3, 1, 1, 1, 19},  // wide planes
      {2, 20, 6, 6, 24, 1, 1, 1, 0, 1, 1},    // pointwise
      {1, 9, 12, 13, 12, 1, 1, 2, 0, 1, 1},   // stride
      {2, 16, 5, 8, 24, 1, 1, 1, 0, 1, 2},    // groups
      {1, 24, 16, 15, 20, 5, 5, 2, 2, 1, 1},
  };
  for (int32_t dtype : kFloats)
    for (const Conv& p : convolutions) check_conv(check, p, dtype);
  // 3x3 by Winograd.
  const Conv larger[] = {
      {3, 70, 20, 20, 70, 3, 3, 1, 1, 1, 1},  // rows of tiles
      {8, 96, 14, 13, 96, 3, 3, 1, 1, 1, 1},  // whole images
      {1, 96, 39, 40, 96, 3, 3, 1, 2, 1, 2},  // groups
      {1, 48, 48, 50, 48, 3, 3, 1, 1, 1, 1, true},
  };
  for (const Conv& p : larger) check_conv(check, p, k_f32);
  check_conv(check, larger[0], k_bf16);
}

}  // namespace brasa::selftest
