// Programs beside the environment's own thread: jobs run in order and see what earlier ones wrote, waits are for what
// they name, blocks live as long as a job needs them, failures and the end of an environment with jobs in the queue
// leave nothing behind. Over a backend of one op, made here; meant to run under ThreadSanitizer.
#include "jobs.h"

#include <stdio.h>
#include <stdlib.h>

#include <atomic>

#include "cpu/kernel.h"

namespace brasa {
namespace {

constexpr int64_t kSize = 5000;  // elements of every buffer, doubles
std::atomic<int> buffers{0};

Status toy_alloc(void*, int64_t bytes, Buffer** out) {
  buffers++;
  *out = new Buffer{calloc(1, bytes), bytes};
  return kOk;
}
void toy_free(void*, Buffer* buffer) {
  buffers--;
  free(buffer->data);
  delete buffer;
}
// out = in * scalar + 1 on the pool; a negative scalar is refused.
Status toy_run(void*, Plan*, const Run* run) {
  const double* in = static_cast<double*>(run->in[0].buffer->data) + run->in[0].offset;
  double* out = static_cast<double*>(run->out[0].buffer->data) + run->out[0].offset;
  const double by = run->scalars[0];
  if (by < 0) {
    run->fault[0] = static_cast<int64_t>(by);
    return kIndexOutOfRange;
  }
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = in[i] * by + 1;
  };
  using F = decltype(body);
  cpu::parallel_for(
      kSize, 64, [](void* ctx, int64_t b, int64_t e) { (*static_cast<F*>(ctx))(b, e); },
      const_cast<void*>(static_cast<const void*>(&body)));
  return kOk;
}
Status toy_plan(void*, const Call*, Plan** out) {
  *out = reinterpret_cast<Plan*>(new char);
  return kOk;
}
void toy_drop(void*, Plan* plan) { delete reinterpret_cast<char*>(plan); }

const Backend toy = {nullptr,  "toy",   nullptr, toy_alloc, toy_free, nullptr, nullptr, toy_plan, toy_run,
                     toy_drop, nullptr, nullptr, nullptr,   nullptr,  nullptr, nullptr, nullptr,  nullptr};

void expect(bool ok, const char* what) {
  if (ok) return;
  fprintf(stderr, "FAILED: %s\n", what);
  exit(1);
}

// An environment: a program of `state = state * s + 1` twice through the arena, and an output of the result.
struct Environment {
  double budget = 0;
  Slots slots{&budget};
  Plans plans;
  Programs programs{&slots, &plans};
  Jobs jobs{&slots, &programs};
  std::atomic<int> wakes{0};
  int32_t plan = 0, program = 0;
  double scalars[3] = {1, 1, 1}, times[4] = {};

  Environment() {
    Layout layout = {k_f64, 1, {kSize}, {1}};
    Call call = {0, 1, 1, 0, 1, &layout, &layout, nullptr};
    plan = plans.make(0, call);
    const double bytes = kSize * sizeof(double), p = plan;
    // buffer 0 the arena, 1 the state, 2 the output: arena = f(state), state = f(arena), output = f(state)
    // A run: 0, plan, first scalar, moved scalars; a place: buffer, offset, moves.
    const double text[] = {bytes, 1, 1, 3, bytes,                 //
                           0,     p, 0, 0, 1,     0, 0, 0, 0, 0,  //
                           0,     p, 1, 0, 0,     0, 0, 1, 0, 0,  //
                           0,     p, 2, 0, 1,     0, 0, 2, 0, 0};
    program = programs.make(0, text, text + sizeof text / sizeof *text, scalars, 3, nullptr);
    expect(program >= 0, "a program");
  }

  int32_t fresh() {
    Block* block = nullptr;
    expect(slots.alloc(0, kSize * sizeof(double), &block) == kOk, "memory");
    for (int64_t i = 0; i < kSize; ++i) static_cast<double*>(block->buffer->data)[i] = 0;
    slots.open_group(nullptr);
    return slots.take(block, 0);
  }
  double* data(int32_t slot) { return static_cast<double*>(slots[slot].block->buffer->data); }

  // The slot of the output.
  int32_t submit(int32_t state) {
    const double offset = 0;
    Job* job = nullptr;
    const auto wake = [](void* context) { static_cast<Environment*>(context)->wakes++; };
    expect(jobs.submit(*programs.find(program), &state, &offset, Times(times), wake, this, &job) == kOk, "submitted");
    slots.open_group(nullptr);
    const int32_t out = slots.take(job->bound.fresh[0], 0);
    job->bound.fresh[0] = nullptr;
    return out;
  }
  // An op of this thread, which may meet the program's on the pool.
  void run_here(int32_t from, int32_t to) {
    Operand in = {slots[from].block->buffer, 0}, out = {slots[to].block->buffer, 0};
    int64_t fault[4];
    const double by = 2;
    const Run call = {&in, &out, &by, fault};
    expect(toy.run(nullptr, plans.find(plan)->plan, &call) == kOk, "an op");
  }
  int collect_all() {
    jobs.hear();
    int n = 0;
    while (jobs.collect()) n++;
    return n;
  }
};

void check_order() {
  Environment e;
  const int32_t state = e.fresh(), other = e.fresh(), result = e.fresh();
  for (int round = 0; round < 20; ++round) {
    std::vector<int32_t> outs;
    for (int i = 0; i < 10; ++i) outs.push_back(e.submit(state));  // adds 2; the output is one more
    expect(e.jobs.pending(), "pending");
    for (int i = 0; i < 5; ++i) e.run_here(other, result);  // unrelated: no wait
    e.jobs.wait(e.slots[other].job);
    e.jobs.wait(e.slots[state].job);
    expect(e.data(state)[kSize - 1] == 20 * (round + 1), "state after its jobs");
    e.run_here(state, result);
    expect(e.data(result)[7] == 40 * (round + 1) + 1, "an op of what a job wrote");
    for (int i = 0; i < 10; ++i) {
      expect(e.data(outs[i])[99] == 20 * round + 2 * (i + 1) + 1, "outputs in order");
      e.slots.release(outs[i]);
    }
    expect(e.collect_all() == 10 && !e.jobs.pending(), "collected");
  }
  expect(e.times[0] >= 0 && e.times[3] > e.times[0], "when the last job began and ended");
  expect(e.wakes > 0 && e.wakes <= 200, "woken");
}

// Scalars are those of the submission, failures do not stop what follows.
void check_scalars_and_failures() {
  Environment e;
  const int32_t state = e.fresh();
  for (int i = 0; i < 30; ++i) {
    e.scalars[2] = i % 3 == 1 ? -i : i;
    e.slots.release(e.submit(state));
  }
  e.scalars[2] = 0;
  e.jobs.wait_all();
  e.jobs.hear();
  for (int i = 0; i < 30; ++i) {
    const Job* job = e.jobs.collect();
    expect(job && job->number == i + 1, "each job once, in order");
    if (i % 3 == 1)
      expect(job->status == kIndexOutOfRange && job->failed == 2 && job->fault[0] == -i, "a failure");
    else
      expect(job->status == kOk && job->failed == -1, "a success after a failure");
  }
  expect(e.data(state)[0] == 60, "what failed later was written before");
}

// A slot that is released, and a program that is dropped, while jobs use them; jobs in the queue at the end.
void check_drops() {
  for (int round = 0; round < 30; ++round) {
    Environment e;
    const int32_t state = e.fresh();
    for (int i = 0; i < round; ++i) e.submit(state);
    Block* block = e.slots[state].block;
    e.slots.release(state);
    for (int i = 0; i < 3; ++i) expect(e.slots[e.fresh()].block != block || round == 0, "memory in use");
    if (round % 3 == 0) {
      e.jobs.wait(e.programs.find(e.program)->job);
      e.programs.drop(e.program);
      expect(e.collect_all() == round, "all were done before the drop");
    }
    if (round % 3 == 1) e.jobs.stop();
  }
}

}  // namespace

int device_count() { return 1; }
Device* device(int) {
  static Device* only = new Device(toy);
  return only;
}
int32_t item_bytes(int32_t) { return sizeof(double); }
int64_t layout_bytes(const Layout&) { return kSize * sizeof(double); }

}  // namespace brasa

int main() {
  brasa::check_order();
  brasa::check_scalars_and_failures();
  brasa::check_drops();
  const brasa::AllocatorStats stats = brasa::device(0)->allocator.stats();
  brasa::expect(stats.live_blocks == 0, "every block came back");
  brasa::device(0)->allocator.trim();
  brasa::expect(brasa::buffers == 0, "every buffer was freed");
  printf("jobs_test passed: %d threads\n", brasa::cpu::thread_count());
}
