// Compiled programs of one environment: calls of plans, in order, over an arena. What a call reads and writes are
// places: a buffer's number and an offset. Buffer 0 is the arena, then come those that are bound at each run (inputs
// and state, by slot), then the outputs, allocated at each run.
#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

#include "plans.h"
#include "slots.h"

namespace brasa {

constexpr int kMaxBound = 2040, kMaxProgramOut = 2040;

struct Place {
  int32_t buffer = 0;
  int64_t offset = 0;  // in elements of the operand's dtype
};

struct Step {
  int32_t plan = 0;  // its number, and what it names: the program holds it
  Plan* kernel = nullptr;
  int32_t nin = 0, nout = 0;
  int32_t place = 0;   // of its first operand; inputs, then outputs
  int32_t scalar = 0;  // where its scalars begin
};

inline double microseconds() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// When a run began and when each step ended, in microseconds from `origin`; null: nobody asks.
struct Times {
  double* at = nullptr;
  double origin = 0;

  explicit Times(double* to) : at(to), origin(to ? microseconds() : 0) {}
  void note(size_t i) const {
    if (__builtin_expect(at != nullptr, 0)) at[i] = microseconds() - origin;
  }
};

// What one run works on; reused.
struct Binding {
  std::vector<Buffer*> buffers;   // by number
  std::vector<int64_t> base;      // their offsets
  std::vector<Operand> operands;  // of one step
  std::vector<Block*> fresh;      // the outputs'
};

struct Program {
  int32_t device = 0, nbound = 0;
  std::vector<int64_t> out_bytes;
  std::vector<Step> steps;
  std::vector<Place> places;
  size_t noperands = 0;  // of the step that has most
  Block* arena = nullptr;
  const double* scalars = nullptr;  // JavaScript's, which `held` keeps
  int64_t nscalars = 0;
  void* held = nullptr;
  Binding bound;    // of calls that block
  int64_t job = 0;  // the last that runs it: native/jobs.h

  // On any thread, one at a time: touches nothing of the environment. When a step failed, `failed` is which. Ends early
  // when `stop`, if not null, is set.
  Status run(Binding& b, const double* numbers, int64_t* fault, int32_t* failed, Times times,
             const std::atomic<bool>* stop) const {
    const Backend& backend = brasa::device(device)->backend;
    times.note(0);
    for (size_t i = 0; i < steps.size(); ++i) {
      if (stop && stop->load(std::memory_order_relaxed)) return kOk;
      const Step& step = steps[i];
      const Place* place = places.data() + step.place;
      for (int k = 0; k < step.nin + step.nout; ++k) {
        b.operands[k] = {b.buffers[place[k].buffer], place[k].offset + b.base[place[k].buffer]};
      }
      const Run call = {b.operands.data(), b.operands.data() + step.nin, numbers + step.scalar, fault};
      const Status status = backend.run(step.kernel, &call);
      times.note(i + 1);
      if (status == kOk) continue;
      *failed = static_cast<int32_t>(i);
      return status;
    }
    return kOk;
  }
};

class Programs {
 public:
  Programs(Slots* slots, Plans* plans) : slots_(slots), plans_(plans) {}
  ~Programs() {
    for (size_t id = 0; id < entries_.size(); ++id) drop(static_cast<int32_t>(id));
  }

  Program* find(int32_t id) {
    return id >= 0 && id < static_cast<int32_t>(entries_.size()) ? entries_[id].get() : nullptr;
  }

  // text: arena bytes, bound buffers, outputs, their bytes, steps; then for each step: plan, first scalar, and buffer
  // and offset of each operand. The number of the program, or -status.
  int32_t make(int32_t on, const double* text, const double* end, const double* scalars, int64_t nscalars, void* held) {
    auto program = std::make_unique<Program>();
    program->device = on;
    const Status status = read(*program, text, end, nscalars);
    if (status != kOk) return -status;
    const int64_t arena = static_cast<int64_t>(text[0]);
    if (arena > 0) {
      const Status given = slots_->alloc(on, arena, &program->arena);
      if (given != kOk) return -given;
    }
    program->scalars = scalars;
    program->nscalars = nscalars;
    program->held = held;
    for (const Step& step : program->steps) plans_->hold(step.plan);
    size_t id = 0;
    while (id < entries_.size() && entries_[id]) ++id;
    if (id == entries_.size()) entries_.emplace_back();
    entries_[id] = std::move(program);
    return static_cast<int32_t>(id);
  }

  // What was given to make as `held`.
  void* drop(int32_t id) {
    Program* program = find(id);
    if (!program) return nullptr;
    for (const Step& step : program->steps) plans_->drop(step.plan);
    if (program->arena) slots_->free(program->arena, program->device);
    void* held = program->held;
    entries_[id].reset();
    return held;
  }

  // slots: of the bound buffers, whose offsets are added to those of their places. On success `fresh` holds new blocks
  // for the outputs.
  Status bind(const Program& p, Binding& b, const int32_t* slots, const double* offsets) {
    const size_t count = 1 + p.nbound + p.out_bytes.size();
    b.buffers.assign(count, nullptr);
    b.base.assign(count, 0);
    b.operands.resize(p.noperands);
    b.fresh.assign(p.out_bytes.size(), nullptr);
    if (p.arena) b.buffers[0] = p.arena->buffer;
    for (int i = 0; i < p.nbound; ++i) {
      if (!slots_->valid(slots[i])) return kInvalid;
      b.buffers[1 + i] = (*slots_)[slots[i]].block->buffer;
      b.base[1 + i] = static_cast<int64_t>(offsets[i]);
    }
    for (size_t i = 0; i < p.out_bytes.size(); ++i) {
      const Status status = slots_->alloc(p.device, p.out_bytes[i], &b.fresh[i]);
      if (status != kOk) {
        discard(p, b);
        return status;
      }
      b.buffers[1 + p.nbound + i] = b.fresh[i]->buffer;
    }
    return kOk;
  }

  // Gives the outputs' blocks back.
  void discard(const Program& p, Binding& b) {
    for (Block*& block : b.fresh) {
      if (block) slots_->free(block, p.device);
      block = nullptr;
    }
  }

 private:
  Status read(Program& p, const double* text, const double* end, int64_t nscalars) {
    if (end - text < 4 || text[0] < 0) return kInvalid;
    const int64_t arena = static_cast<int64_t>(text[0]);
    p.nbound = static_cast<int32_t>(text[1]);
    const int64_t nout = static_cast<int64_t>(text[2]), nsteps = static_cast<int64_t>(text[3]);
    text += 4;
    if (p.nbound < 0 || p.nbound > kMaxBound || nout < 0 || nout > kMaxProgramOut || nsteps < 0) return kInvalid;
    if (end - text < nout) return kInvalid;
    for (int64_t i = 0; i < nout; ++i) p.out_bytes.push_back(static_cast<int64_t>(*text++));
    const int64_t buffers = 1 + p.nbound + nout;
    for (int64_t i = 0; i < nsteps; ++i) {
      if (end - text < 2) return kInvalid;
      Step step;
      step.plan = static_cast<int32_t>(*text++);
      step.scalar = static_cast<int32_t>(*text++);
      step.place = static_cast<int32_t>(p.places.size());
      const PlanEntry* plan = plans_->find(step.plan);
      if (!plan || plan->device != p.device || step.scalar < 0 || step.scalar + plan->nscalars > nscalars)
        return kInvalid;
      step.kernel = plan->plan;
      step.nin = plan->nin;
      step.nout = plan->nout;
      const int operands = plan->nin + plan->nout;
      if (end - text < 2 * operands) return kInvalid;
      for (int k = 0; k < operands; ++k, text += 2) {
        Place place;
        place.buffer = static_cast<int32_t>(text[0]);
        place.offset = static_cast<int64_t>(text[1]);
        if (place.buffer < 0 || place.buffer >= buffers || place.offset < 0) return kInvalid;
        if (place.buffer == 0 && arena <= 0) return kInvalid;
        p.places.push_back(place);
      }
      if (static_cast<size_t>(operands) > p.noperands) p.noperands = operands;
      p.steps.push_back(step);
    }
    return text == end ? kOk : kInvalid;
  }

  Slots* slots_;
  Plans* plans_;
  std::vector<std::unique_ptr<Program>> entries_;
};

}  // namespace brasa
