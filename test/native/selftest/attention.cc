// Attention and its gradient: keys hidden by order, mask and length; heads that share keys; blocks of any size.
#include <math.h>

#include "check.h"

namespace brasa::selftest {
namespace {

struct Sizes {
  int64_t batch, heads, groups, queries, keys, depth, width;
};
enum class Mask { none, hides, adds };

void check_case(Checker& check, const Sizes& s, int causal, Mask kind, bool measured, int32_t dtype) {
  const int32_t wide = dtype == k_f64 ? dtype : static_cast<int32_t>(k_f32);
  const double scale = 0.25;
  const Tensor q = draw({s.batch, s.heads, s.queries, s.depth}, dtype),
               k = draw({s.batch, s.groups, s.keys, s.depth}, dtype),
               v = draw({s.batch, s.groups, s.keys, s.width}, dtype),
               g = draw({s.batch, s.heads, s.queries, s.width}, dtype);
  const Shape square = {s.batch, s.heads, s.queries, s.keys};
  const Tensor mask = kind == Mask::hides ? draw_whole(square, k_bool, 0, 2) : draw(square, dtype);
  const Tensor lengths = draw_whole({s.batch}, k_i32, 0, s.keys + 1);
  Tensor y(g.shape, dtype), lse({s.batch, s.heads, s.queries}, wide), dq(q.shape, dtype), dk(k.shape, dtype),
      dv(v.shape, dtype);
  each<3>({s.batch, s.heads, s.queries}, [&](auto at) {
    const auto [b, h, i] = at;
    const int64_t row = (b * s.heads + h) * s.queries + i, first = (b * s.groups + h / (s.heads / s.groups)) * s.keys;
    const int64_t n = measured ? int64_t(lengths[b]) : s.keys;
    const int64_t last = causal == 0 ? n : causal == 1 ? i + 1 : i + 1 + n - s.queries;
    Numbers p(s.keys, -INFINITY);
    double peak = -INFINITY, sum = 0, share = 0;
    for (int64_t j = 0; j < n && j < last; ++j) {
      if (kind == Mask::hides && mask[row * s.keys + j] == 0) continue;
      p[j] = kind == Mask::adds ? mask[row * s.keys + j] : 0;
      for (int64_t d = 0; d < s.depth; ++d) p[j] += scale * q[row * s.depth + d] * k[(first + j) * s.depth + d];
      peak = p[j] > peak ? p[j] : peak;
    }
    for (double x : p) sum += peak == -INFINITY ? 0 : exp(x - peak);
    lse[row] = as_stored(wide, sum == 0 ? -INFINITY : peak + log(sum));
    for (double& x : p) x = sum == 0 ? 0 : exp(x - peak) / sum;
    for (int64_t e = 0; e < s.width; ++e) {
      for (int64_t j = 0; j < s.keys; ++j) y[row * s.width + e] += p[j] * v[(first + j) * s.width + e];
      y[row * s.width + e] = as_stored(dtype, y[row * s.width + e]);
      share += g[row * s.width + e] * y[row * s.width + e];
    }
    for (int64_t j = 0; j < s.keys; ++j) {
      double dp = 0;
      for (int64_t e = 0; e < s.width; ++e) {
        dp += g[row * s.width + e] * v[(first + j) * s.width + e];
        dv[(first + j) * s.width + e] += p[j] * g[row * s.width + e];
      }
      const double ds = p[j] * (dp - share) * scale;
      for (int64_t d = 0; d < s.depth; ++d) {
        dq[row * s.depth + d] += ds * k[(first + j) * s.depth + d];
        dk[(first + j) * s.depth + d] += ds * q[row * s.depth + d];
      }
    }
  });
  std::vector<Tensor> in = {q, k, v};
  if (kind != Mask::none) in.push_back(mask);
  if (measured) in.push_back(lengths);
  const Numbers params = {scale, double(causal), double(kind != Mask::none), double(measured)};
  check.slack = 20;
  check.expect("attention", in, {y, lse}, params);
  in.insert(in.begin(), {g, y, lse});
  check.expect("attentionGrad", in, {dq, dk, dv}, params);
  check.slack = 1;
}

}  // namespace

void check_attention(Checker& check) {
  for (const int32_t dtype : kFloats) {
    check_case(check, {2, 2, 2, 9, 11, 4, 3}, 0, Mask::none, false, dtype);
    check_case(check, {1, 2, 1, 40, 300, 5, 7}, 2, Mask::none, false, dtype);
    check_case(check, {1, 1, 1, 150, 20, 17, 33}, 1, Mask::none, false, dtype);
    check_case(check, {2, 4, 2, 5, 19, 8, 8}, 2, Mask::hides, true, dtype);
    check_case(check, {2, 2, 1, 3, 30, 16, 16}, 0, Mask::adds, true, dtype);
    check_case(check, {1, 2, 2, 1, 33, 3, 5}, 0, Mask::none, false, dtype);
  }
}

}  // namespace brasa::selftest
