// What a program does, as a list of instructions: runs of plans, jumps forward, and loops. An operand of a run is a
// place: a buffer's number and an offset, which may move with the index of loops around it. Reading the list checks
// that every place lies in its buffer and every jump in the list, at whatever index: what was read cannot go astray.
#pragma once
#include <atomic>
#include <chrono>
#include <vector>

#include "plans.h"

namespace brasa {

constexpr int kMaxLoops = 1024;

inline double microseconds() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// When a run began and when each instruction ended the last time, in microseconds from `origin`; null: nobody asks.
struct Times {
  double* at = nullptr;
  double origin = 0;

  explicit Times(double* to) : at(to), origin(to ? microseconds() : 0) {}
  void note(size_t i) const {
    if (__builtin_expect(at != nullptr, 0)) at[i] = microseconds() - origin;
  }
};

constexpr double kLargest = 9007199254740992.0;  // 2^53

// The next number, if it lies in [low, high].
inline bool read_number(const double*& text, const double* end, double low, double high, double* out) {
  if (text >= end || !(*text >= low && *text <= high)) return false;
  *out = *text++;
  return true;
}

struct Move {
  int32_t loop = 0;    // whose index
  int64_t stride = 0;  // elements, or for a scalar what is added, an index
};

struct Place {
  int32_t buffer = 0;
  int32_t move = 0, nmoves = 0;
  int64_t offset = 0;  // in elements of the operand's dtype
};

struct ScalarMove {
  int32_t scalar = 0;  // which of the run's
  Move move;
};

enum class Code : int32_t {
  kRun,     // plan, first scalar, count of moved scalars, those (which, loop, stride), then the operands' places
  kJump,    // to
  kUnless,  // to, place of a bool: jumps when it is false
  kBegin,   // loop, most iterations, reverse, to, counted[, place of an i64]: jumps when there is no iteration
  kNext,    // loop: back to behind its kBegin while iterations are left
  kCount,   // loop, place of an i64: writes how often a forward loop ran
};

struct Instruction {
  Code code = Code::kRun;
  int32_t plan = -1;  // kRun
  Plan* kernel = nullptr;
  int32_t nin = 0, noperands = 0, nscalars = 0;
  int32_t place = 0;   // of the first operand; inputs, then outputs
  int32_t scalar = 0;  // where its scalars begin
  int32_t moved = 0, nmoved = 0;
  bool moves = false;    // any of its operands
  bool reverse = false;  // kBegin
  int32_t to = 0, loop = 0;
  int64_t most = 0;  // iterations
};

struct Need {  // what a buffer must hold
  int64_t bytes = 0;
  int32_t item = 1;
};

class Instructions {
 public:
  std::vector<Instruction> list;
  size_t most_operands = 0;
  std::vector<Need> needs;  // by buffer; of those whose size is known when they are read, checked by then

  // sizes: of the buffers in bytes, -1 for those that are bound later. Moves text to behind what was read.
  Status read(const double*& text, const double* end, int64_t count, const std::vector<int64_t>& sizes, int32_t device,
              const Plans& plans, int64_t nscalars) {
    needs.assign(sizes.size(), Need{});
    sizes_ = &sizes;
    std::vector<int32_t> around;  // for each instruction, the kBegin of the innermost loop that it is in; -1: none
    std::vector<int32_t> parent;  // for each kBegin, the one around it
    std::vector<int32_t> open;
    for (int64_t i = 0; i < count; ++i) {
      Instruction in;
      double code;
      if (!read_number(text, end, 0, 5, &code)) return kInvalid;
      in.code = static_cast<Code>(static_cast<int32_t>(code));
      const int32_t innermost = open.empty() ? -1 : open.back();
      around.push_back(innermost);
      parent.push_back(innermost);
      open_ = &open;
      bool good = false;
      switch (in.code) {
        case Code::kRun:
          good = read_run(in, text, end, device, plans, nscalars);
          break;
        case Code::kJump:
          good = integer(text, end, i + 1, count, &in.to);
          break;
        case Code::kUnless:
          good = integer(text, end, i + 1, count, &in.to) && read_place(in, text, end, {1, 1});
          break;
        case Code::kBegin:
          good = read_begin(in, text, end, i, count);
          if (good) open.push_back(static_cast<int32_t>(i));
          break;
        case Code::kNext:
          good = integer(text, end, 0, kMaxLoops - 1, &in.loop) && !open.empty() && list[open.back()].loop == in.loop;
          if (good) {
            in.to = open.back() + 1;
            open.pop_back();
          }
          break;
        case Code::kCount:
          good = integer(text, end, 0, kMaxLoops - 1, &in.loop) && read_place(in, text, end, {1, 8});
          break;
      }
      if (!good) return kInvalid;
      list.push_back(in);
    }
    if (!open.empty()) return kInvalid;
    // A jump leaves loops, but enters none.
    for (int64_t i = 0; i < count; ++i) {
      const Instruction& in = list[i];
      if (in.code != Code::kJump && in.code != Code::kUnless && in.code != Code::kBegin) continue;
      const int32_t target = in.to < count ? around[in.to] : -1;
      int32_t here = around[i];
      while (here != target && here >= 0) here = parent[here];
      if (here != target) return kInvalid;
    }
    return kOk;
  }

  // The list as steps for Backend::capture, whose operands lie in the two vectors; false where it has control flow or
  // moves.
  bool straight(std::vector<Step>* steps, std::vector<int32_t>* buffers, std::vector<int64_t>* offsets) const {
    for (const Instruction& in : list)
      if (in.code != Code::kRun || in.moves || in.nmoved) return false;
    for (const Place& place : places_) {
      buffers->push_back(place.buffer);
      offsets->push_back(place.offset);
    }
    for (const Instruction& in : list)
      steps->push_back({in.kernel, buffers->data() + in.place, offsets->data() + in.place, in.scalar});
    return true;
  }

  // On any thread. operands: room for most_operands. Ends early when `stop`, if not null, is set. When an instruction
  // failed, `failed` is which.
  Status run(const Backend& backend, Buffer* const* buffers, const int64_t* base, Operand* operands,
             const double* scalars, int64_t* fault, int32_t* failed, Times times, const std::atomic<bool>* stop) const {
    int64_t index[kMaxLoops], left[kMaxLoops];
    for (int32_t k = 0; k < nloops_; ++k) index[k] = left[k] = 0;
    times.note(0);
    const int32_t count = static_cast<int32_t>(list.size());
    for (int32_t i = 0; i < count;) {
      if (stop && stop->load(std::memory_order_relaxed)) return kOk;
      const Instruction& in = list[i];
      Status status = kOk;
      int32_t next = i + 1;
      switch (in.code) {
        case Code::kRun: {
          const Place* place = places_.data() + in.place;
          for (int32_t k = 0; k < in.noperands; ++k)
            operands[k] = {buffers[place[k].buffer], place[k].offset + base[place[k].buffer]};
          if (in.moves)
            for (int32_t k = 0; k < in.noperands; ++k) operands[k].offset += moved(place[k], index);
          double own[kMaxScalars];
          const double* given = scalars + in.scalar;
          if (in.nmoved) {
            for (int32_t k = 0; k < in.nscalars; ++k) own[k] = given[k];
            for (int32_t k = 0; k < in.nmoved; ++k) {
              const ScalarMove& m = scalar_moves_[in.moved + k];
              own[m.scalar] += static_cast<double>(m.move.stride * index[m.move.loop]);
            }
            given = own;
          }
          const Run call = {operands, operands + in.nin, given, fault};
          status = backend.run(backend.self, in.kernel, &call);
          break;
        }
        case Code::kJump:
          next = in.to;
          break;
        case Code::kUnless: {
          uint8_t value = 0;
          const Place& place = places_[in.place];
          status = backend.read(backend.self, buffers[place.buffer],
                                place.offset + base[place.buffer] + moved(place, index), &value, sizeof value, fault);
          if (!value) next = in.to;
          break;
        }
        case Code::kBegin: {
          int64_t n = in.most;
          if (in.noperands) {
            const Place& place = places_[in.place];
            status = backend.read(backend.self, buffers[place.buffer],
                                  8 * (place.offset + base[place.buffer] + moved(place, index)), &n, sizeof n, fault);
            n = n < 0 ? 0 : n > in.most ? in.most : n;
          }
          index[in.loop] = in.reverse && n > 0 ? n - 1 : 0;
          left[in.loop] = n;
          if (n == 0) next = in.to;
          break;
        }
        case Code::kNext:
          index[in.loop] += list[in.to - 1].reverse ? -1 : 1;
          if (--left[in.loop] > 0) next = in.to;
          break;
        case Code::kCount: {
          const Place& place = places_[in.place];
          status = backend.write(backend.self, buffers[place.buffer],
                                 8 * (place.offset + base[place.buffer] + moved(place, index)), &index[in.loop],
                                 sizeof(int64_t));
          break;
        }
      }
      times.note(i + 1);
      if (status != kOk) {
        *failed = i;
        return status;
      }
      i = next;
    }
    // What was jumped over took no time.
    for (int32_t i = 0; times.at && i < count; ++i)
      if (times.at[i + 1] < times.at[i]) times.at[i + 1] = times.at[i];
    return kOk;
  }

 private:
  static bool integer(const double*& text, const double* end, int64_t low, int64_t high, int32_t* out) {
    double value;
    if (!read_number(text, end, static_cast<double>(low), static_cast<double>(high), &value)) return false;
    *out = static_cast<int32_t>(value);
    return true;
  }

  int64_t moved(const Place& place, const int64_t* index) const {
    int64_t offset = 0;
    for (int32_t k = 0; k < place.nmoves; ++k) {
      const Move& move = moves_[place.move + k];
      offset += move.stride * index[move.loop];
    }
    return offset;
  }

  // The open loop of that number; null when there is none.
  const Instruction* around(int32_t loop) const {
    for (int32_t at : *open_)
      if (list[at].loop == loop) return &list[at];
    return nullptr;
  }

  bool read_move(const double*& text, const double* end, Move* move, double* reach) {
    double stride;
    if (!integer(text, end, 0, kMaxLoops - 1, &move->loop)) return false;
    if (!read_number(text, end, -kLargest, kLargest, &stride)) return false;
    const Instruction* loop = around(move->loop);
    if (!loop) return false;
    move->stride = static_cast<int64_t>(stride);
    *reach = static_cast<double>(move->stride) * static_cast<double>(loop->most > 0 ? loop->most - 1 : 0);
    return *reach >= -kLargest && *reach <= kLargest;
  }

  bool read_place(Instruction& in, const double*& text, const double* end, Reach reach) {
    Place place;
    double offset, low, high;
    if (!integer(text, end, 0, static_cast<int64_t>(sizes_->size()) - 1, &place.buffer)) return false;
    if (!read_number(text, end, 0, kLargest, &offset)) return false;
    place.offset = static_cast<int64_t>(offset);
    place.move = static_cast<int32_t>(moves_.size());
    if (!integer(text, end, 0, kMaxLoops, &place.nmoves)) return false;
    low = high = static_cast<double>(place.offset);
    for (int32_t k = 0; k < place.nmoves; ++k) {
      Move move;
      double by;
      if (!read_move(text, end, &move, &by)) return false;
      by < 0 ? low += by : high += by;
      moves_.push_back(move);
    }
    for (int32_t at : *open_)
      if (list[at].most == 0) reach.elements = 0;  // it never runs
    const double bytes = (high + static_cast<double>(reach.elements)) * reach.item;
    if (low < 0 || bytes > kLargest) return false;
    const int64_t size = (*sizes_)[place.buffer];
    if (place.buffer == 0 && size == 0) return false;
    if (reach.elements > 0) {
      if (size >= 0 && bytes > static_cast<double>(size)) return false;
      Need& need = needs[place.buffer];
      if (bytes > static_cast<double>(need.bytes)) need = {static_cast<int64_t>(bytes), reach.item};
    }
    if (in.noperands++ == 0) in.place = static_cast<int32_t>(places_.size());
    in.moves = in.moves || place.nmoves > 0;
    places_.push_back(place);
    return true;
  }

  bool read_run(Instruction& in, const double*& text, const double* end, int32_t device, const Plans& plans,
                int64_t nscalars) {
    if (!integer(text, end, 0, INT32_MAX, &in.plan) || !integer(text, end, 0, INT32_MAX, &in.scalar)) return false;
    const PlanEntry* plan = plans.find(in.plan);
    if (!plan || plan->device != device || int64_t{in.scalar} + plan->nscalars > nscalars) return false;
    in.kernel = plan->plan;
    in.nin = plan->nin;
    in.nscalars = plan->nscalars;
    in.moved = static_cast<int32_t>(scalar_moves_.size());
    if (!integer(text, end, 0, kMaxScalars * kMaxLoops, &in.nmoved)) return false;
    for (int32_t k = 0; k < in.nmoved; ++k) {
      ScalarMove m;
      double unused;
      if (!integer(text, end, 0, plan->nscalars - 1, &m.scalar) || !read_move(text, end, &m.move, &unused))
        return false;
      scalar_moves_.push_back(m);
    }
    for (const Reach& reach : plan->reach)
      if (!read_place(in, text, end, reach)) return false;
    if (static_cast<size_t>(in.noperands) > most_operands) most_operands = in.noperands;
    return true;
  }

  bool read_begin(Instruction& in, const double*& text, const double* end, int64_t i, int64_t count) {
    double most, reverse, counted;
    if (!integer(text, end, 0, kMaxLoops - 1, &in.loop) || around(in.loop)) return false;
    if (!read_number(text, end, 0, kLargest, &most) || !read_number(text, end, 0, 1, &reverse)) return false;
    if (!integer(text, end, i + 1, count, &in.to) || !read_number(text, end, 0, 1, &counted)) return false;
    in.most = static_cast<int64_t>(most);
    in.reverse = reverse == 1;
    if (in.loop >= nloops_) nloops_ = in.loop + 1;
    return counted != 1 || read_place(in, text, end, {1, 8});
  }

  std::vector<Place> places_;
  std::vector<Move> moves_;
  std::vector<ScalarMove> scalar_moves_;
  int32_t nloops_ = 0;
  const std::vector<int64_t>* sizes_ = nullptr;  // while reading
  const std::vector<int32_t>* open_ = nullptr;
};

}  // namespace brasa
