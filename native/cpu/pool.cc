// The thread pool of the process: every thread takes chunks from one ticket; idle ones spin for a while, then park.
#include <sched.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "backend.h"
#include "kernel.h"

namespace brasa::cpu {
namespace {

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int count_threads() {
  if (const char* text = getenv("BRASA_THREADS")) {
    int n = atoi(text);
    if (n >= 1 && n <= 1024) return n;
  }
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  int n = static_cast<int>(std::thread::hardware_concurrency());
  return n > 0 ? n : 1;
}

constexpr uint64_t kClosed = 0xffffffffu;  // a chunk number that no job has

class Pool {
 public:
  explicit Pool(int threads) { resize(threads); }

  int threads() const { return threads_.load(std::memory_order_relaxed); }

  // Threads beyond the number wait until it grows again.
  void resize(int threads) {
    std::lock_guard<std::mutex> owner(owner_);  // no job is running
    std::lock_guard<std::mutex> lock(park_);
    threads_.store(threads, std::memory_order_seq_cst);
    for (; started_ < threads; ++started_) std::thread([this, index = started_] { work(index); }).detach();
    wake_.notify_all();
    grown_.notify_all();
  }

  // False when the pool is taken: the caller then runs its chunks itself.
  bool run(int64_t n, int64_t grain, int64_t chunks, Body body, void* ctx) {
    std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    // Close the ticket of the last job before its fields change: a late worker's compare-and-swap then fails.
    const uint64_t epoch = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
    ticket_.store(epoch << 32 | kClosed, std::memory_order_seq_cst);
    n_.store(n, std::memory_order_relaxed);
    grain_.store(grain, std::memory_order_relaxed);
    chunks_.store(chunks, std::memory_order_relaxed);
    body_.store(body, std::memory_order_relaxed);
    ctx_.store(ctx, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    ticket_.store(epoch << 32, std::memory_order_seq_cst);
    if (parked_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard<std::mutex> lock(park_);
      wake_.notify_all();
    }
    take_chunks();
    for (int spins = 0; done_.load(std::memory_order_acquire) < chunks; ++spins) {
      if (spins < 4096)
        pause_cpu();
      else
        std::this_thread::yield();
    }
    return true;
  }

 private:
  // Takes chunks of the current job until none is left. A ticket is (epoch, next chunk); taking one by compare-and-swap
  // proves that the fields read before it belonged to that epoch.
  bool take_chunks() {
    bool any = false;
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    for (;;) {
      const int64_t n = n_.load(std::memory_order_relaxed), grain = grain_.load(std::memory_order_relaxed);
      const int64_t chunks = chunks_.load(std::memory_order_relaxed);
      const Body body = body_.load(std::memory_order_relaxed);
      void* ctx = ctx_.load(std::memory_order_relaxed);
      const int64_t chunk = static_cast<int64_t>(ticket & 0xffffffffu);
      if (chunk >= chunks) return any;
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire))
        continue;
      const int64_t begin = chunk * grain, end = begin + grain;
      body(ctx, begin, end < n ? end : n);
      any = true;
      done_.fetch_add(1, std::memory_order_acq_rel);
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  void work(int index);

  std::atomic<int> threads_{1};
  int started_ = 1;  // the caller is one
  std::mutex owner_, park_;
  std::condition_variable wake_, grown_;
  alignas(64) std::atomic<uint64_t> ticket_{kClosed};
  alignas(64) std::atomic<int64_t> done_{0};
  alignas(64) std::atomic<int> parked_{0};
  std::atomic<int64_t> n_{0}, grain_{1}, chunks_{0};
  std::atomic<Body> body_{nullptr};
  std::atomic<void*> ctx_{nullptr};
};

thread_local bool inside = false;

void Pool::work(int index) {
  inside = true;
  constexpr auto kSpin = std::chrono::microseconds(150);
  auto idle_since = std::chrono::steady_clock::now();
  for (int spins = 0;; ++spins) {
    if (index >= threads()) {
      std::unique_lock<std::mutex> lock(park_);
      grown_.wait(lock, [this, index] { return index < threads(); });
    }
    if (take_chunks()) {
      idle_since = std::chrono::steady_clock::now();
      continue;
    }
    pause_cpu();
    if (spins % 16 || std::chrono::steady_clock::now() - idle_since < kSpin) continue;
    std::unique_lock<std::mutex> lock(park_);
    parked_.fetch_add(1, std::memory_order_seq_cst);
    wake_.wait(lock, [this, index] {
      const uint64_t ticket = ticket_.load(std::memory_order_seq_cst);
      return index >= threads() || static_cast<int64_t>(ticket & 0xffffffffu) < chunks_.load(std::memory_order_relaxed);
    });
    parked_.fetch_sub(1, std::memory_order_seq_cst);
    lock.unlock();
    idle_since = std::chrono::steady_clock::now();
  }
}

Pool& pool() {
  static Pool* instance = new Pool(count_threads());  // never destroyed: its threads outlive static destructors
  return *instance;
}

}  // namespace

int thread_count() { return pool().threads(); }

void set_thread_count(int n) { pool().resize(n); }

void parallel_for(int64_t n, int64_t grain, Body body, void* ctx) {
  if (n <= 0) return;
  if (n <= grain) return body(ctx, 0, n);
  if (grain < 1) grain = 1;
  const int64_t chunks = quotient(n + grain - 1, grain);
  if (chunks > 1 && !inside && pool().threads() > 1 && chunks < static_cast<int64_t>(kClosed)) {
    inside = true;
    const bool ran = pool().run(n, grain, chunks, body, ctx);
    inside = false;
    if (ran) return;
  }
  for (int64_t i = 0; i < n; i += grain) body(ctx, i, i + grain < n ? i + grain : n);
}

}  // namespace brasa::cpu
