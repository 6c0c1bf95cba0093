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
#include <vector>

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
  } else {
    fprintf(stderr, "usage: limits fma|read|triad|touch THREADS\n");
    return 2;
  }
  printf("%.4g\n", result);
}
