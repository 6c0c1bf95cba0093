// Matrix products by strides, for the kernels that are made of them.
#pragma once
#include "kernel.h"

namespace brasa::vk {

constexpr int64_t kStep = 16;   // of K at a time
constexpr int64_t kTurns = 49;  // of loops, in a step

// A matrix operand: where it lies, how many bytes it reaches, and its strides in elements.
struct Matrix {
  Source source;
  int64_t bytes;
  int64_t row, column;
  int64_t outer = 0;  // of a and b, along the outer part of K
};

// y (M,N) = a (M,K) b (K,N) (+ c), of a batch. K is outer * inner steps.
struct Product {
  int32_t in, out;  // dtypes, of one compute type
  int64_t m, n, inner, outer = 1;
  Matrix a, b, y, c;
  bool has_c = false;
  struct Dim {
    int64_t size, a, b, y, c;  // strides
  };
  std::vector<Dim> batch;
};

// Appends it to the plan.
Status add_product(Maker& m, const Product& p);

}  // namespace brasa::vk
