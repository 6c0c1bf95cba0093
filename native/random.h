// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011), for all backends:
// plain C++, usable in CUDA. Element i of a random tensor, in row-major order, is lane i % 4 of counter offset + i / 4
// under key = seed. What a lane w means:
//   uniform     (w >> (32 - b)) * 2^-b, in [0, 1), with b = 24 bits for f32, 11 for f16, 8 for bf16, 32 for f64
//   normal      Box-Muller of lanes (0, 1) and of (2, 3): sqrt(-2 ln u) * cos(t) for the even lane, * sin(t) for the
//   odd one,
//               u = ((w_even >> 1) + 1/2) * 2^-31, t = 2 pi (w_odd >> 8) * 2^-24
//   integers    low + (w * (high - low) >> 32)
//   bernoulli   (w >> 8) * 2^-24 < p; dropout drops the same elements
#pragma once
#include <stdint.h>

#ifdef __CUDACC__
#define BRASA_RANDOM static __host__ __device__ inline
#else
#define BRASA_RANDOM static inline
#endif

namespace brasa {

constexpr uint32_t kPhiloxM0 = 0xD2511F53, kPhiloxM1 = 0xCD9E8D57;  // multipliers
constexpr uint32_t kPhiloxW0 = 0x9E3779B9, kPhiloxW1 = 0xBB67AE85;  // added to the key every round
constexpr int kPhiloxRounds = 10;

struct Philox {
  uint32_t lane[4];
};

BRASA_RANDOM Philox philox(uint64_t seed, uint64_t counter) {
  Philox c = {{uint32_t(counter), uint32_t(counter >> 32), 0, 0}};
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round, k0 += kPhiloxW0, k1 += kPhiloxW1) {
    const uint64_t p = uint64_t(kPhiloxM0) * c.lane[0], q = uint64_t(kPhiloxM1) * c.lane[2];
    c = {{uint32_t(q >> 32) ^ c.lane[1] ^ k0, uint32_t(q), uint32_t(p >> 32) ^ c.lane[3] ^ k1, uint32_t(p)}};
  }
  return c;
}

}  // namespace brasa
