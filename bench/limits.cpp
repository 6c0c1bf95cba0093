// What this machine can do at most: `limits NAME THREADS` prints one rate, the median of 7 repeats of at least 15 ms.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__AVX512VNNI__) || defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
constexpr int kLanes = kBytes / 4;
typedef float Vec __attribute__((vector_size(kBytes)));

static volatile float sink;

static void keep(Vec v) {
  float sum = 0;
  for (int i = 0; i < kLanes; i++) sum += v[i];
  sink = sum;
}

// Independent chains hide the latency: 4 cycles on 2 units need 8.
constexpr int kChains = 12;
// Unknown to the compiler, which would drop a chain that it can see to stand still.
static volatile float factor = 0.9999f, term = 1e-3f;

static void fma(long n) {
  const Vec a = Vec{} + factor, b = Vec{} + term;
  Vec c[kChains];
  for (int k = 0; k < kChains; k++) c[k] = Vec{} + float(k);
  for (long i = 0; i < n; i++) {
#pragma GCC unroll 12
    for (int k = 0; k < kChains; k++) c[k] = c[k] * a + b;
  }
  for (int k = 1; k < kChains; k++) c[0] += c[k];
  keep(c[0]);
}

// f(0), f(1), ... in the source, so that an array of chains becomes registers.
template <class F, size_t... I>
static inline void chains(const F& f, std::index_sequence<I...>) {
  (f(std::integral_constant<size_t, I>{}), ...);
}
constexpr std::make_index_sequence<kChains> kEach;

// The same chains of dot products: 64 bytes of u8 times i8, 32 pairs of bf16. What the machine lacks has no rate.
// In assembler: g++ would move each sum to another register and back.
#ifdef __AVX512VNNI__
static void vnni(long n) {
  const __m512i a = _mm512_set1_epi8(char(factor + 1)), b = _mm512_set1_epi8(char(term + 1));
  __m512i c[kChains];
  chains([&](auto k) { c[k] = _mm512_set1_epi32(k); }, kEach);
  for (long i = 0; i < n; i++) {
    chains([&](auto k) { asm("vpdpbusd %2, %1, %0" : "+v"(c[k]) : "v"(a), "v"(b)); }, kEach);
  }
  chains([&](auto k) { sink = float(_mm512_reduce_add_epi32(c[k])); }, kEach);
}
#endif
#ifdef __AVX512BF16__
static void bf16(long n) {
  const __m512 one = _mm512_set1_ps(factor), other = _mm512_set1_ps(term);
  const __m512bh a = _mm512_cvtne2ps_pbh(one, one), b = _mm512_cvtne2ps_pbh(other, other);
  __m512 c[kChains];
  chains([&](auto k) { c[k] = _mm512_set1_ps(float(k)); }, kEach);
  for (long i = 0; i < n; i++) {
    chains([&](auto k) { asm("vdpbf16ps %2, %1, %0" : "+v"(c[k]) : "v"(a), "v"(b)); }, kEach);
  }
  chains([&](auto k) { sink = _mm512_reduce_add_ps(c[k]); }, kEach);
}
#endif

static void read(const float* p, size_t n) {
  const Vec* v = reinterpret_cast<const Vec*>(p);
  Vec c[8] = {};
  for (size_t i = 0; i + 8 <= n / kLanes; i += 8) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) c[k] += v[i + k];
  }
  for (int k = 1; k < 8; k++) c[0] += c[k];
  keep(c[0]);
}

static void triad(float* a, const float* b, const float* c, size_t n) {
  for (size_t i = 0; i < n; i += kLanes) {
    *reinterpret_cast<Vec*>(a + i) = *reinterpret_cast<const Vec*>(b + i) + *reinterpret_cast<const Vec*>(c + i) * 3.0f;
  }
}

// Seconds from the moment that all threads are there until the last is done.
static double timed(int threads, const std::function<void(int)>& work) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> pool;
  for (int t = 0; t < threads; t++) {
    pool.emplace_back([&, t] {
      ready++;
      while (!go) std::this_thread::yield();
      work(t);
    });
  }
  while (ready < threads) std::this_thread::yield();
  const auto start = std::chrono::steady_clock::now();
  go = true;
  for (std::thread& thread : pool) thread.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Billions a second of what one repeat of `work` does `amount` of.
static double rate(int threads, double amount, const std::function<void(int, long)>& work) {
  long repeats = 1;
  while (timed(threads, [&](int t) { work(t, repeats); }) < 0.015) repeats *= 2;
  std::vector<double> rates;
  for (int r = 0; r < 7; r++)
    rates.push_back(amount * repeats / timed(threads, [&](int t) { work(t, repeats); }) / 1e9);
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

static float* floats(size_t n) {
  void* p = aligned_alloc(2 << 20, n * sizeof(float));
  if (p == nullptr) exit(1);
  memset(p, 0, n * sizeof(float));
  return static_cast<float*>(p);
}

int main(int argc, char** argv) {
  const std::string name = argc == 3 ? argv[1] : "";
  const int threads = argc == 3 ? std::max(1, atoi(argv[2])) : 1;
  double result = 0;
  if (name == "fma") {
    constexpr long kSteps = 100000;
    result = rate(threads, double(threads) * kSteps * kChains * kLanes * 2,
                  [](int, long repeats) { fma(repeats * kSteps); });
#ifdef __AVX512VNNI__
  } else if (name == "vnni") {
    constexpr long kSteps = 100000;
    result = rate(threads, double(threads) * kSteps * kChains * kBytes * 2,
                  [](int, long repeats) { vnni(repeats * kSteps); });
#endif
#ifdef __AVX512BF16__
  } else if (name == "bf16") {
    constexpr long kSteps = 100000;
    result =
        rate(threads, double(threads) * kSteps * kChains * kBytes, [](int, long repeats) { bf16(repeats * kSteps); });
#endif
  } else if (name == "read") {
    const size_t n = size_t{64} << 20, part = n / threads / 4096 * 4096;
    const float* p = floats(n);
    result = rate(threads, double(part) * threads * 4, [&](int t, long repeats) {
      for (long r = 0; r < repeats; r++) read(p + t * part, part);
    });
  } else if (name == "triad") {
    const size_t n = size_t{32} << 20, part = n / threads / 4096 * 4096;
    float *a = floats(n), *b = floats(n), *c = floats(n);
    result = rate(threads, double(part) * threads * 12, [&](int t, long repeats) {
      for (long r = 0; r < repeats; r++) triad(a + t * part, b + t * part, c + t * part, part);
    });
  } else if (name == "touch") {
    const size_t bytes = (size_t{64} << 20) / threads;
    result = rate(threads, double(bytes) * threads, [&](int, long repeats) {
      for (long r = 0; r < repeats; r++) {
        std::unique_ptr<char[]> fresh(new char[bytes]);
        volatile char* p = fresh.get();
        for (size_t i = 0; i < bytes; i += 4096) p[i] = 1;
      }
    });
  } else if (name == "vnni" || name == "bf16") {
    // The machine lacks them: 0.
  } else {
    fprintf(stderr, "usage: limits fma|vnni|bf16|read|triad|touch THREADS\n");
    return 2;
  }
  printf("%.4g\n", result);
}
