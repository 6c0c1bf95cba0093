// Calls of programs beside JavaScript: in order, on one thread of the environment. That thread touches buffers and
// kernels; slots, blocks and the list of plans stay with the environment's own thread, which starts a call, waits where
// it must, and collects what is done.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "programs.h"

namespace brasa {

struct Job {
  int64_t number = 0;  // counts from 1
  int32_t device = 0;
  const Program* program = nullptr;
  Binding bound;
  std::vector<double> scalars;
  Times times{nullptr};
  std::vector<Block*> held;  // what is bound and the outputs: dropping them meanwhile is safe
  Status status = kOk;
  int32_t failed = -1;
  int64_t fault[4] = {};
  Job* next = nullptr;
};

struct JobQueue {
  Job *first = nullptr, *last = nullptr;

  void push(Job* job) {
    job->next = nullptr;
    (first ? last->next : first) = job;
    last = job;
  }
  Job* pop() {
    Job* job = first;
    if (job) first = job->next;
    return job;
  }
};

class Jobs {
 public:
  using Wake = void (*)(void*);

  Jobs(Slots* slots, Programs* programs) : slots_(slots), programs_(programs) {}
  ~Jobs() {
    stop();
    for (auto& job : jobs_) release(*job);
  }

  // Whether calls are not collected yet. While none is, storages need no look.
  bool pending() const { return pending_ > 0; }

  // Until the job of this number, and all before it, are done. After stop() nothing runs any more.
  void wait(int64_t number) {
    if (done_.load(std::memory_order_acquire) >= number || !thread_.joinable()) return;
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, [&] { return done_.load(std::memory_order_relaxed) >= number; });
  }
  void wait_all() { wait(submitted_); }

  // The program over these slots, once all that was submitted before is done; `wake` is called on the thread when a job
  // is done and none since the last collect() was. On success `fresh` of the answer's binding holds the outputs'
  // blocks, which the caller owns.
  Status submit(Program& program, const int32_t* slots, const double* offsets, Times times, Wake wake, void* context,
                Job** out) {
    if (!thread_.joinable()) {
      wake_ = wake;
      context_ = context;
      try {
        thread_ = std::thread([this] { work(); });
      } catch (const std::system_error&) {
        return kOutOfMemory;
      }
    }
    Job& job = take();
    const Status status = programs_->bind(program, job.bound, slots, offsets);
    if (status != kOk) {
      idle_.push(&job);
      return status;
    }
    job.number = ++submitted_;
    job.device = program.device;
    job.program = &program;
    job.scalars.assign(program.scalars, program.scalars + program.nscalars);
    job.times = times;
    job.status = kOk;
    job.failed = -1;
    program.job = job.number;
    for (int i = 0; i < program.nbound; ++i) {
      Slot& slot = (*slots_)[slots[i]];
      slot.job = job.number;
      hold(job, slot.block);
    }
    for (Block* block : job.bound.fresh) hold(job, block);
    pending_++;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      queue_.push(&job);
    }
    ready_.notify_one();
    *out = &job;
    return kOk;
  }

  // Call before collect() until that answers null: what is done later wakes again.
  void hear() { woken_.store(false, std::memory_order_seq_cst); }

  // The next job that is done, or null; good until the next submit.
  const Job* collect() {
    std::lock_guard<std::mutex> lock(mutex_);
    Job* job = finished_jobs_.pop();
    if (!job) return nullptr;
    release(*job);
    idle_.push(job);
    pending_--;
    return job;
  }

  // Ends the thread after the kernel that it runs; what is queued is not run.
  void stop() {
    if (!thread_.joinable()) return;
    stop_.store(true, std::memory_order_relaxed);
    { std::lock_guard<std::mutex> lock(mutex_); }
    ready_.notify_one();
    thread_.join();
  }

 private:
  Job& take() {
    if (Job* job = idle_.pop()) return *job;
    jobs_.push_back(std::make_unique<Job>());
    return *jobs_.back();
  }

  void hold(Job& job, Block* block) {
    Slots::retain(block, job.device);
    job.held.push_back(block);
  }

  void release(Job& job) {
    for (Block* block : job.held) slots_->free(block, job.device);
    job.held.clear();
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      ready_.wait(lock, [this] { return queue_.first || stop_.load(std::memory_order_relaxed); });
      if (stop_.load(std::memory_order_relaxed)) return;
      Job* job = queue_.pop();
      lock.unlock();
      job->status = job->program->run(job->bound, job->scalars.data(), job->fault, &job->failed, job->times, &stop_);
      lock.lock();
      finished_jobs_.push(job);
      done_.store(job->number, std::memory_order_release);
      finished_.notify_all();
      lock.unlock();
      if (!stop_.load(std::memory_order_relaxed) && !woken_.exchange(true, std::memory_order_seq_cst)) wake_(context_);
      lock.lock();
    }
  }

  Slots* slots_;
  Programs* programs_;
  Wake wake_ = nullptr;
  void* context_ = nullptr;
  // The environment's own thread.
  std::vector<std::unique_ptr<Job>> jobs_;
  JobQueue idle_;
  int64_t submitted_ = 0, pending_ = 0;
  // Shared: queues under the mutex.
  std::mutex mutex_;
  std::condition_variable ready_, finished_;
  JobQueue queue_, finished_jobs_;
  std::atomic<int64_t> done_{0};
  std::atomic<bool> stop_{false}, woken_{false};
  std::thread thread_;
};

}  // namespace brasa
