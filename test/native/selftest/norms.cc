// softmax and cross-entropy, layer and batch normalisation, each with its gradient.
#include <math.h>

#include "check.h"

namespace brasa::selftest {
namespace {

int32_t statistics_type(int32_t dtype) { return dtype == k_f64 ? dtype : static_cast<int32_t>(k_f32); }

// ---- softmax

double log_sum_exp(const Tensor& x, const Group& line) {
  double peak = -INFINITY, sum = 0;
  for (int64_t i : line) peak = x[i] > peak ? x[i] : peak;
  for (int64_t i : line) sum += exp(x[i] - peak);
  return peak + log(sum);
}

void check_softmax(Checker& check, const Shape& shape, int dim, int32_t dtype) {
  const Tensor x = draw(shape, dtype), g = draw(shape, dtype);
  Tensor y(shape, dtype), log_y(shape, dtype), dx(shape, dtype), log_dx(shape, dtype);
  for (const Group& line : groups(shape, dim_bit(dim))) {
    const double lse = log_sum_exp(x, line);
    double dot = 0, total = 0;
    for (int64_t i : line) {
      y[i] = as_stored(dtype, exp(x[i] - lse));
      log_y[i] = as_stored(dtype, x[i] - lse);
      dot += g[i] * y[i];
      total += g[i];
    }
    for (int64_t i : line) {
      dx[i] = y[i] * (g[i] - dot);
      log_dx[i] = g[i] - exp(log_y[i]) * total;
    }
  }
  const Numbers params = {double(dim)};
  check.expect("softmax", {x}, {y}, params);
  check.expect("softmaxGrad", {g, y}, {dx}, params);
  check.expect("logSoftmax", {x}, {log_y}, params);
  check.expect("logSoftmaxGrad", {g, log_y}, {log_dx}, params);
}

void check_cross_entropy(Checker& check, int64_t N, int64_t C, int32_t dtype, double smoothing, bool weighted) {
  constexpr double kIgnore = -100;
  const int32_t statistics = statistics_type(dtype);
  const Tensor x = draw({N, C}, dtype), g = draw({N}, statistics);
  Tensor target = draw_whole({N}, k_i64, 0, C), w({C}, dtype), loss({N}, statistics), lse = loss, dx(x.shape, dtype);
  if (N > 2) target[2] = kIgnore;
  for (int64_t c = 0; c < C; ++c) w[c] = weighted ? double(1 + c % 3) : 1;
  const std::vector<Group> rows = groups(x.shape, dim_bit(1));
  for (int64_t n = 0; n < N; ++n) {
    lse[n] = as_stored(statistics, log_sum_exp(x, rows[n]));
    for (int64_t c = 0; c < C && target[n] != kIgnore; ++c) {
      const double share = w[c] * ((double(c) == target[n] ? 1 - smoothing : 0) + smoothing / double(C));
      loss[n] += share * (lse[n] - x[rows[n][c]]);
      for (int64_t k = 0; k < C; ++k) dx[rows[n][k]] += g[n] * share * (exp(x[rows[n][k]] - lse[n]) - (k == c ? 1 : 0));
    }
  }
  std::vector<Tensor> in = {x, target}, grad_in = {g, x, target, lse};
  if (weighted) in.push_back(w), grad_in.push_back(w);
  const Numbers params = {kIgnore, smoothing};
  check.expect("crossEntropy", in, {loss, lse}, params);
  check.expect("crossEntropyGrad", grad_in, {dx}, params);
  in[1][N - 1] = double(C);
  check.expect_status(kIndexOutOfRange, "crossEntropy", in, {loss, lse}, params);
}

// ---- normalisation: groups share statistics; element i of a group has the weight number weight_of(group, i)

struct Normal {
  Tensor y, mean, variance, rstd, dx, dweight, dbias;
};
template <class F>
Normal normalise(const Tensor& x, const Tensor& g, const Tensor& w, const Tensor& b, uint32_t mask, double eps,
                 const F& weight_of) {
  const std::vector<Group> all = groups(x.shape, mask);
  const Tensor statistics({static_cast<int64_t>(all.size())}, statistics_type(x.dtype)), like_w(w.shape, x.dtype);
  Normal r = {Tensor(x.shape, x.dtype), statistics, statistics, statistics, Tensor(x.shape, x.dtype), like_w, like_w};
  for (int64_t k = 0; k < static_cast<int64_t>(all.size()); ++k) {
    const Group& group = all[k];
    const double n = static_cast<double>(group.size());
    for (int64_t i : group) r.mean[k] += x[i] / n;
    for (int64_t i : group) r.variance[k] += (x[i] - r.mean[k]) * (x[i] - r.mean[k]) / n;
    r.rstd[k] = 1 / sqrt(r.variance[k] + eps);
    double mean_g = 0, mean_gx = 0;
    const auto standard = [&](int64_t i) { return (x[i] - r.mean[k]) * r.rstd[k]; };
    for (size_t j = 0; j < group.size(); ++j) {
      const int64_t i = group[j], at = weight_of(k, j);
      r.y[i] = standard(i) * w[at] + b[at];
      r.dweight[at] += g[i] * standard(i);
      r.dbias[at] += g[i];
      mean_g += g[i] * w[at] / n;
      mean_gx += g[i] * w[at] * standard(i) / n;
    }
    for (size_t j = 0; j < group.size(); ++j) {
      const int64_t i = group[j];
      r.dx[i] = r.rstd[k] * (g[i] * w[weight_of(k, j)] - mean_g - standard(i) * mean_gx);
    }
  }
  return r;
}

void check_layer_norm(Checker& check, const Shape& shape, int k, int32_t dtype, bool affine) {
  constexpr double kEps = 1e-5;
  const int ndim = static_cast<int>(shape.size());
  const Shape tail(shape.end() - k, shape.end());
  const Tensor x = draw(shape, dtype), g = draw(shape, dtype);
  Tensor w = draw(tail, dtype), b = draw(tail, dtype);
  if (!affine) {
    w = Tensor(tail, dtype, Numbers(w.values.size(), 1));
    b = Tensor(tail, dtype);
  }
  const uint32_t mask = (dim_bit(ndim) - 1) & ~(dim_bit(ndim - k) - 1);
  const Normal r = normalise(x, g, w, b, mask, kEps, [](int64_t, size_t j) { return static_cast<int64_t>(j); });
  std::vector<Tensor> in = {x}, grad_in = {g, x, r.mean, r.rstd};
  if (affine) in.push_back(w), in.push_back(b), grad_in.push_back(w);
  const double a = affine;
  check.expect("layerNorm", in, {r.y, r.mean, r.rstd}, {double(k), kEps, a, a});
  check.expect("layerNormGrad", grad_in, {r.dx, r.dweight, r.dbias}, {double(k), a});
}

void check_batch_norm(Checker& check, const Shape& shape, int32_t dtype) {
  constexpr double kEps = 1e-5;
  const Shape channels = {shape[1]};
  const Tensor x = draw(shape, dtype), g = draw(shape, dtype), w = draw(channels, dtype), b = draw(channels, dtype);
  const uint32_t mask = (dim_bit(static_cast<int64_t>(shape.size())) - 1) & ~dim_bit(1);
  const Normal r = normalise(x, g, w, b, mask, kEps, [](int64_t channel, size_t) { return channel; });
  check.expect("batchNorm", {x, w, b}, {r.y, r.mean, r.variance, r.rstd}, {kEps});
  check.expect("batchNormGrad", {g, x, w, r.mean, r.rstd}, {r.dx, r.dweight, r.dbias});
}

}  // namespace

void check_norms(Checker& check) {
  for (int32_t dtype : kFloats) {
    for (int dim = 0; dim < 3; ++dim) check_softmax(check, {5, 18, 7}, dim, dtype);
    check_softmax(check, {3, 1025}, 1, dtype);
    check_softmax(check, {70, 40}, 0, dtype);
    for (double smoothing : {0., 0.1}) {
      for (bool weighted : {false, true}) {
        check_cross_entropy(check, 9, 13, dtype, smoothing, weighted);
        check_cross_entropy(check, 3, 260, dtype, smoothing, weighted);
      }
    }
    for (bool affine : {false, true}) {
      check_layer_norm(check, {6, 5, 33}, 1, dtype, affine);
      check_layer_norm(check, {6, 5, 9}, 2, dtype, affine);
    }
    check_layer_norm(check, {3, 515}, 1, dtype, true);
    check_batch_norm(check, {4, 5, 3, 7}, dtype);
    check_batch_norm(check, {33, 19}, dtype);
  }
}

}  // namespace brasa::selftest
