// Pooling.
#include "check.h"

namespace brasa::selftest {
namespace {

struct Pool {
  int64_t N, C, H, W, KH, KW, stride, pad, dilation;
  int64_t out(int64_t n, int64_t k) const { return (n + 2 * pad - dilation * (k - 1) - 1) / stride + 1; }
};

// f(n, c, i, j, row, column) for every element inside a window.
template <class F>
void each_tap(const Pool& p, const F& f) {
  each<6>({p.N, p.C, p.out(p.H, p.KH), p.out(p.W, p.KW), p.KH, p.KW}, [&](auto at) {
    const auto [n, c, i, j, u, v] = at;
    const int64_t row = i * p.stride - p.pad + u * p.dilation, column = j * p.stride - p.pad + v * p.dilation;
    if (row >= 0 && row < p.H && column >= 0 && column < p.W) f(n, c, i, j, row, column);
  });
}
Numbers params_of(const Pool& p) {
  const double s = double(p.stride), q = double(p.pad), d = double(p.dilation);
  return {double(p.KH), double(p.KW), s, s, q, q, d, d};
}

void check_max(Checker& check, const Pool& p, int32_t dtype) {
  Tensor x = draw({p.N, p.C, p.H, p.W}, dtype), y({p.N, p.C, p.out(p.H, p.KH), p.out(p.W, p.KW)}, dtype);
  Tensor indices(y.shape, k_i32), g = draw(y.shape, dtype), dx(x.shape, dtype);
  for (double& value : y.values) value = -1e300;
  each_tap(p, [&](auto n, auto c, auto i, auto j, auto row, auto column) {
    if (x(n, c, row, column) <= y(n, c, i, j)) return;
    y(n, c, i, j) = x(n, c, row, column);
    indices(n, c, i, j) = double(row * p.W + column);
  });
  check.expect("maxPool2d", {x}, {y, indices}, params_of(p));
  const int64_t plane = p.H * p.W, pooled = y.size() / (p.N * p.C);
  for (int64_t i = 0; i < y.size(); ++i) dx[i / pooled * plane + static_cast<int64_t>(indices[i])] += g[i];
  check.expect("maxPool2dGrad", {g, indices}, {dx}, params_of(p));
}

void check_average(Checker& check, const Pool& p, int32_t dtype, bool include_pad, double divisor) {
  Tensor x = draw({p.N, p.C, p.H, p.W}, dtype), y({p.N, p.C, p.out(p.H, p.KH), p.out(p.W, p.KW)}, dtype);
  Tensor g = draw(y.shape, dtype), dx(x.shape, dtype), taps(y.shape, k_f64);
  each_tap(p, [&](auto n, auto c, auto i, auto j, auto, auto) { taps(n, c, i, j) += 1; });
  for (double& n : taps.values) n = divisor != 0 ? divisor : include_pad ? double(p.KH * p.KW) : n;
  each_tap(p, [&](auto n, auto c, auto i, auto j, auto row, auto column) {
    y(n, c, i, j) += x(n, c, row, column) / taps(n, c, i, j);
    dx(n, c, row, column) += g(n, c, i, j) / taps(n, c, i, j);
  });
  Numbers params = params_of(p);
  params.push_back(include_pad);
  params.push_back(divisor);
  check.expect("avgPool2d", {x}, {y}, params);
  check.expect("avgPool2dGrad", {g}, {dx}, params);
}

void check_adaptive(Checker& check, int64_t H, int64_t W, int64_t OH, int64_t OW, int32_t dtype) {
  Tensor x = draw({2, 3, H, W}, dtype), y({2, 3, OH, OW}, dtype), g = draw(y.shape, dtype), dx(x.shape, dtype);
  each<6>({2, 3, OH, OW, H, W}, [&](auto at) {
    const auto [n, c, i, j, row, column] = at;
    const int64_t top = i * H / OH, bottom = ((i + 1) * H + OH - 1) / OH;
    const int64_t left = j * W / OW, right = ((j + 1) * W + OW - 1) / OW;
    if (row < top || row >= bottom || column < left || column >= right) return;
    const double taps = double((bottom - top) * (right - left));
    y(n, c, i, j) += x(n, c, row, column) / taps;
    dx(n, c, row, column) += g(n, c, i, j) / taps;
  });
  check.expect("adaptiveAvgPool2d", {x}, {y});
  check.expect("adaptiveAvgPool2dGrad", {g}, {dx});
}

}  // namespace

void check_windows(Checker& check) {
  for (int32_t dtype : kFloats) {
    for (const Pool& p : {Pool{2, 3, 13, 21, 2, 2, 2, 0, 1}, Pool{1, 2, 10, 9, 3, 3, 2, 1, 1},
                          Pool{2, 2, 8, 40, 3, 2, 1, 1, 1}, Pool{1, 3, 11, 12, 2, 3, 1, 1, 2}}) {
      check_max(check, p, dtype);
      if (p.dilation != 1) continue;
      check_average(check, p, dtype, true, 0);
      check_average(check, p, dtype, false, 0);
      check_average(check, p, dtype, true, 7);
    }
    check_adaptive(check, 7, 9, 3, 4, dtype);
    check_adaptive(check, 16, 16, 1, 1, dtype);
    check_adaptive(check, 3, 4, 5, 4, dtype);
  }
}

}  // namespace brasa::selftest
