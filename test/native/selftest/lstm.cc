// lstm and its gradient: either direction, sizes around those of a panel, a batch of several tiles.
#include <math.h>

#include "check.h"

namespace brasa::selftest {
namespace {

double sigmoid(double x) { return 1 / (1 + exp(-x)); }

Tensor draw_small(Shape shape, int32_t dtype) {
  Tensor x = draw(std::move(shape), dtype);
  for (double& v : x.values) v /= 16;
  return x;
}

void check_case(Checker& check, int64_t T, int64_t B, int64_t H, bool reverse, int32_t dtype) {
  const Tensor x = draw(Shape{T, B, 4 * H}, dtype), w = draw_small({4 * H, H}, dtype), h0 = draw_small({B, H}, dtype),
               c0 = draw_small({B, H}, dtype), dy = draw_small({T, B, H}, dtype), dcells = draw_small({T, B, H}, dtype),
               dgates = draw_small({T, B, 4 * H}, dtype);
  Tensor y({T, B, H}, dtype), cells({T, B, H}, dtype), gates({T, B, 4 * H}, dtype), dx({T, B, 4 * H}, dtype),
      dh = Tensor({B, H}, dtype), dc = Tensor({B, H}, dtype);
  const auto time = [&](int64_t step) { return reverse ? T - 1 - step : step; };
  for (int64_t step = 0; step < T; ++step) {
    const int64_t t = time(step);
    each<2>({B, H}, [&](auto at) {
      const auto [b, j] = at;
      double gate[4];
      for (int64_t g = 0; g < 4; ++g) {
        double sum = x.values[(t * B + b) * 4 * H + g * H + j];
        for (int64_t k = 0; k < H; ++k)
          sum += (step == 0 ? h0.values[b * H + k] : y(time(step - 1), b, k)) * w.values[(g * H + j) * H + k];
        gate[g] = g == 2 ? tanh(sum) : sigmoid(sum);
        gates(t, b, g * H + j) = gate[g];
      }
      const double past = step == 0 ? c0.values[b * H + j] : cells(time(step - 1), b, j);
      cells(t, b, j) = gate[1] * past + gate[0] * gate[2];
      y(t, b, j) = gate[3] * tanh(cells(t, b, j));
    });
  }
  for (int64_t step = T - 1; step >= 0; --step) {
    const int64_t t = time(step);
    each<2>({B, H}, [&](auto at) {
      const auto [b, j] = at;
      const double i = gates(t, b, j), f = gates(t, b, H + j), g = gates(t, b, 2 * H + j), o = gates(t, b, 3 * H + j);
      const double through = tanh(cells(t, b, j)),
                   past = step == 0 ? c0.values[b * H + j] : cells(time(step - 1), b, j);
      const int64_t state = (t * B + b) * H + j, gate = (t * B + b) * 4 * H + j;
      const double flow = dh(b, j) + dy.values[state];
      const double cell = dc(b, j) + dcells.values[state] + flow * o * (1 - through * through);
      dx(t, b, j) = (cell * g + dgates.values[gate]) * i * (1 - i);
      dx(t, b, H + j) = (cell * past + dgates.values[gate + H]) * f * (1 - f);
      dx(t, b, 2 * H + j) = (cell * i + dgates.values[gate + 2 * H]) * (1 - g * g);
      dx(t, b, 3 * H + j) = (flow * through + dgates.values[gate + 3 * H]) * o * (1 - o);
      dc(b, j) = cell * f;
    });
    each<2>({B, H}, [&](auto at) {
      const auto [b, j] = at;
      dh(b, j) = 0;
      for (int64_t k = 0; k < 4 * H; ++k) dh(b, j) += dx(t, b, k) * w.values[k * H + j];
    });
  }
  const Numbers params = {double(reverse)};
  check.slack = 20;
  check.expect("lstm", {x, w, h0, c0}, {y, cells, gates}, params);
  check.expect("lstmGrad", {dy, dcells, dgates, gates, cells, w, c0}, {dx, dh, dc}, params);
  check.slack = 1;
}

}  // namespace

void check_lstm(Checker& check) {
  for (const int32_t dtype : {int32_t(k_f32), int32_t(k_f64)}) {
    check_case(check, 3, 2, 3, false, dtype);
    check_case(check, 1, 1, 1, true, dtype);
    check_case(check, 4, 33, 37, true, dtype);
    check_case(check, 2, 5, 150, false, dtype);
    check_case(check, 0, 2, 3, false, dtype);
  }
}

}  // namespace brasa::selftest
