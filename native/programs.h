// Compiled programs of one environment: instructions over an arena. What they read and write are places: a buffer's
// number and an offset. Buffer 0 is the arena, then come those that are bound at each run (inputs
// and state, by slot), then the outputs, allocated at each run.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "instructions.h"
#include "plans.h"
#include "slots.h"

namespace brasa {

constexpr int kMaxBound = 30000, kMaxProgramOut = 30000;

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
  Instructions code;
  Block* arena = nullptr;
  Graph* graph = nullptr;           // where the backend takes the whole
  const double* scalars = nullptr;  // JavaScript's, which `held` keeps
  int64_t nscalars = 0;
  void* held = nullptr;
  Binding bound;    // of calls that block
  int64_t job = 0;  // the last that runs it: native/jobs.h

  // On any thread, one at a time: touches nothing of the environment. When an instruction failed, `failed` is which.
  // Ends early when `stop`, if not null, is set.
  Status run(Binding& b, const double* numbers, int64_t* fault, int32_t* failed, Times times,
             const std::atomic<bool>* stop) const {
    const Backend& backend = brasa::device(device)->backend;
    // Asked for times, it goes step by step.
    if (graph && !times.at) {
      if (stop && stop->load(std::memory_order_relaxed)) return kOk;
      return backend.replay(backend.self, graph, b.buffers.data(), b.base.data(), numbers);
    }
    return code.run(backend, b.buffers.data(), b.base.data(), b.operands.data(), numbers, fault, failed, times, stop);
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

  // text: arena bytes, bound buffers, outputs, their bytes, instructions; then each instruction: its code and what
  // instructions.h says. A place is its buffer, offset, count of moves, those (loop, stride). The number of the
  // program, or -status.
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
    capture(*program);
    program->scalars = scalars;
    program->nscalars = nscalars;
    program->held = held;
    for (const Instruction& in : program->code.list)
      if (in.plan >= 0) plans_->hold(in.plan);
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
    const Backend& backend = device(program->device)->backend;
    if (program->graph) backend.drop_graph(backend.self, program->graph);
    for (const Instruction& in : program->code.list)
      if (in.plan >= 0) plans_->drop(in.plan);
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
    b.operands.resize(p.code.most_operands);
    b.fresh.assign(p.out_bytes.size(), nullptr);
    if (p.arena) b.buffers[0] = p.arena->buffer;
    for (int i = 0; i < p.nbound; ++i) {
      if (!slots_->valid(slots[i]) || (*slots_)[slots[i]].device != p.device) return kInvalid;
      b.buffers[1 + i] = (*slots_)[slots[i]].block->buffer;
      b.base[1 + i] = static_cast<int64_t>(offsets[i]);
      const Need& need = p.code.needs[1 + i];
      if (b.base[1 + i] < 0 || b.base[1 + i] * need.item + need.bytes > (*slots_)[slots[i]].block->bytes)
        return kInvalid;
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
  // Where that fails, programs run step by step.
  void capture(Program& p) {
    const Backend& backend = device(p.device)->backend;
    std::vector<Step> steps;
    std::vector<int32_t> buffers;
    std::vector<int64_t> offsets;
    if (!backend.capture || !p.code.straight(&steps, &buffers, &offsets)) return;
    Buffer* arena = p.arena ? p.arena->buffer : nullptr;
    const Status status =
        backend.capture(backend.self, steps.data(), static_cast<int32_t>(steps.size()), arena, &p.graph);
    if (status != kOk) p.graph = nullptr;
  }

  Status read(Program& p, const double* text, const double* end, int64_t nscalars) {
    double header[4];
    const double most[4] = {kLargest, kMaxBound, kMaxProgramOut, INT32_MAX};
    for (int i = 0; i < 4; ++i)
      if (!read_number(text, end, 0, most[i], &header[i])) return kInvalid;
    const int64_t arena = static_cast<int64_t>(header[0]), nsteps = static_cast<int64_t>(header[3]);
    p.nbound = static_cast<int32_t>(header[1]);
    for (int i = 0; i < header[2]; ++i) {
      double bytes;
      if (!read_number(text, end, 0, kLargest, &bytes)) return kInvalid;
      p.out_bytes.push_back(static_cast<int64_t>(bytes));
    }
    std::vector<int64_t> sizes(1 + p.nbound, -1);
    sizes[0] = arena;
    sizes.insert(sizes.end(), p.out_bytes.begin(), p.out_bytes.end());
    const Status status = p.code.read(text, end, nsteps, sizes, p.device, *plans_, nscalars);
    return status != kOk || text == end ? status : kInvalid;
  }

  Slots* slots_;
  Plans* plans_;
  std::vector<std::unique_ptr<Program>> entries_;
};

}  // namespace brasa
