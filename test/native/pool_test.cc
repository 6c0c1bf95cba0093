// The thread pool under load from several threads at once: every element visited exactly once, in chunks that depend on
// n and grain only; nested calls; writes of the chunks visible to the caller; while the number of threads changes.
// Meant to run under ThreadSanitizer.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "cpu/backend.h"
#include "cpu/kernel.h"

namespace {

using brasa::cpu::parallel_for;

void expect(bool ok, const char* what, int64_t n, int64_t grain) {
  if (ok) return;
  fprintf(stderr, "FAILED: %s (n %lld, grain %lld)\n", what, static_cast<long long>(n), static_cast<long long>(grain));
  exit(1);
}

template <class F>
void parallel(int64_t n, int64_t grain, const F& body) {
  parallel_for(
      n, grain, [](void* ctx, int64_t begin, int64_t end) { (*static_cast<const F*>(ctx))(begin, end); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Plain, not atomic, writes: ThreadSanitizer sees a race if a chunk runs twice or the caller returns too early.
void check_visits(int64_t n, int64_t grain) {
  std::vector<int> visits(n);
  std::atomic<bool> aligned{true};
  parallel(n, grain, [&](int64_t begin, int64_t end) {
    if (begin % grain != 0 || end != (begin + grain < n ? begin + grain : n)) aligned = false;
    for (int64_t i = begin; i < end; ++i) ++visits[i];
  });
  expect(aligned, "chunks depend on n and grain only", n, grain);
  for (int64_t i = 0; i < n; ++i) expect(visits[i] == 1, "each element once", n, grain);
}

void check_nested(int64_t n, int64_t grain) {
  std::vector<int64_t> sums(n);
  parallel(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::vector<int64_t> squares(100);
      parallel(100, 7, [&](int64_t b, int64_t e) {
        for (int64_t j = b; j < e; ++j) squares[j] = j * j + i;
      });
      for (int64_t square : squares) sums[i] += square;
    }
  });
  for (int64_t i = 0; i < n; ++i) expect(sums[i] == 328350 + 100 * i, "nested sums", n, grain);
}

}  // namespace

int main() {
  constexpr int kCallers = 4, kRounds = 300;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([caller] {
      for (int round = 0; round < kRounds; ++round) {
        const int64_t n = (round * 37 + caller * 11) % 1000;
        check_visits(n, 1 + round % 64);
        if (round % 10 == 0) check_nested(n % 50, 1 + round % 3);
        if (round % 100 == 99) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // let the workers park
      }
    });
  }
  std::atomic<bool> done{false};
  std::thread resizer([&] {
    for (int n = 1; !done; n = n % 5 + 1) {
      brasa::cpu::set_thread_count(n);
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
    brasa::cpu::set_thread_count(2);
  });
  for (std::thread& caller : callers) caller.join();
  done = true;
  resizer.join();
  expect(brasa::cpu::thread_count() == 2, "the number of threads", 0, 1);
  printf("pool_test passed: %d threads, %d callers\n", brasa::cpu::thread_count(), kCallers);
}
