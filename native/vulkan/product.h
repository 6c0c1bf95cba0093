// Matrix products by strides, and convolutions as such products, for the kernels that are made of them.
#pragma once
#include "kernel.h"

namespace brasa::vk {

// A matrix operand: where it lies, how many bytes it reaches, and its strides in elements.
struct Matrix {
  Source source;
  int64_t bytes;
  int64_t row, column;
};

// How the elements of b are found in an image instead of by strides. A table has four words for each index: an offset
// in the image (of a channel, of an image of the batch), a place down and across it, and the offset that a (inner) or y
// (column) has there. An element lies at the sum of both offsets and the sum, or difference, of both places.
struct Gather {
  enum Kind : uint32_t { kNo, kWindows, kTurned, kTransposed };  // which index is whose: see conv.cc
  Kind kind = kNo;
  Source inner, column;  // tables
  int64_t height, width, by_row, by_column, stride[2];
};

// y (M,N) = a (M,K) b (K,N) (+ c), of a batch.
struct Product {
  int32_t in, out;  // dtypes, of one compute type
  int64_t m, n, inner;
  Matrix a, b, y, c;
  bool has_c = false;
  struct Dim {
    int64_t size, a, b, y, c;  // strides
  };
  std::vector<Dim> batch;
  Gather gather;
};

// Appends it to the plan.
Status add_product(Maker& m, const Product& p);
// The same by the device's matrix units; kUnsupported, and nothing done, where it has none for this.
Status add_matrix_product(Maker& m, const Product& p, int64_t batches);

constexpr int64_t kTiles = 256;  // as many keep a device busy

// K in parts, each of a length that is a multiple of a kernel's step.
struct Cut {
  int64_t parts, length;
};
// Where tiles are fewer than wanted, and as long as a part is worth its sums; or where a loop, of so many turns a step,
// would be too long.
Cut cut_of(const Gpu& gpu, const Product& p, int64_t tiles, int64_t step, int64_t turns, int64_t wanted = kTiles);
// The sum of the parts (parts, M N of all batches, dense), of the compute type, (+ c) into y.
Status add_parts(Maker& m, const Product& p, const Source& parts, int64_t count);

}  // namespace brasa::vk
