// Machine code of elementwise programs: kept by program, in memory that is written first and then made executable,
// never both.
#include "jit.h"

#include <stdlib.h>
#include <string.h>

#include "../isa.h"

#ifdef BRASA_XBYAK
#include <sys/mman.h>

#include <list>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>

#include "emitter.h"

namespace brasa::cpu::jit {
namespace {

constexpr size_t kMostIdle = 512;  // kernels that no plan holds

struct Entry : Compiled {
  void* memory = nullptr;
  size_t bytes = 0;
  int64_t holders = 0;
  const std::string* key = nullptr;
  std::list<Entry*>::iterator idle;
  ~Entry() {
    if (memory) munmap(memory, bytes);
  }
};

struct Cache {
  std::mutex mutex;
  std::unordered_map<std::string, Entry> entries;  // also of what has no code
  std::list<Entry*> idle;                          // held by nobody, longest ago first
  Mode mode;
  bool refused = false;  // executable memory was

  Cache() {
    const char* text = getenv("BRASA_JIT");
    mode = text && strcmp(text, "0") == 0 ? Mode::kOff : Mode::kOn;
  }
};

Cache& cache() {
  static Cache* instance = new Cache;  // plans of threads that end late still let go
  return *instance;
}

int32_t vector_bytes() {
  const char* isa = isa_name();
  return strcmp(isa, "v4") == 0 ? 64 : strcmp(isa, "avx2") == 0 ? 32 : 0;
}

// False when the system gives no executable memory.
bool install(const std::vector<uint8_t>& code, bool refuse, Entry& entry) {
  void* memory = mmap(nullptr, code.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  entry.memory = memory;
  entry.bytes = code.size();
  memcpy(memory, code.data(), code.size());
  if (refuse || mprotect(memory, code.size(), PROT_READ | PROT_EXEC) != 0) return false;
  entry.run = reinterpret_cast<Run>(memory);
  return true;
}

void compile(const Kernel& kernel, Cache& c, Entry& entry) {
  const int32_t bytes = vector_bytes();
  Trace trace;
  std::vector<uint8_t> code;
  if (!(bytes == 64 ? v4::record(kernel, &trace) : avx2::record(kernel, &trace))) return;
  if (!emit(kernel, trace, bytes, &code)) return;
  if (!install(code, c.mode == Mode::kRefused, entry)) c.refused = true;
}

template <class T>
void append(std::string& key, const T* items, int32_t count) {
  key.append(reinterpret_cast<const char*>(items), sizeof(T) * count);
}

}  // namespace

const Compiled* find(const Kernel& kernel) {
  Cache& c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  if (c.mode == Mode::kOff || c.refused || vector_bytes() == 0) return nullptr;
  std::string key;
  append(key, &kernel.noperands, 1);
  append(key, &kernel.nsteps, 1);
  append(key, kernel.operands, kernel.noperands);
  for (int32_t k = 0; k < kernel.nsteps; ++k) {  // without what pads them
    const Step& s = kernel.steps[k];
    const int32_t numbers[] = {s.op, s.type, s.out, s.x[0], s.x[1], s.x[2], s.arity};
    append(key, numbers, 7);
    append(key, &s.loop, 1);
  }
  append(key, kernel.types, kernel.nregs);
  const auto found = c.entries.try_emplace(std::move(key));
  Entry& entry = found.first->second;
  if (found.second) {
    entry.key = &found.first->first;
    compile(kernel, c, entry);
    c.idle.push_back(&entry);
    entry.idle = std::prev(c.idle.end());
    while (c.idle.size() > kMostIdle && c.idle.front() != &entry) {
      const std::string* oldest = c.idle.front()->key;
      c.idle.pop_front();
      c.entries.erase(*oldest);
    }
  }
  if (!entry.run) return nullptr;
  if (entry.holders++ == 0) c.idle.erase(entry.idle);
  return &entry;
}

void release(const Compiled* compiled) {
  Cache& c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  Entry& entry = *static_cast<Entry*>(const_cast<Compiled*>(compiled));
  if (--entry.holders > 0) return;
  c.idle.push_back(&entry);
  entry.idle = std::prev(c.idle.end());
}

void set_mode(Mode mode) {
  Cache& c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  c.mode = mode;
  c.refused = false;
  while (!c.idle.empty()) {  // what was found out under another mode
    const std::string* key = c.idle.front()->key;
    c.idle.pop_front();
    c.entries.erase(*key);
  }
}

const char* state() {
  Cache& c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  if (c.mode == Mode::kOff) return "off (BRASA_JIT=0)";
  Entry probe;
  c.refused = c.refused || !install({0xc3}, c.mode == Mode::kRefused, probe);
  if (c.refused) return "none (the system gives no executable memory)";
  const int32_t bytes = vector_bytes();
  return bytes == 64 ? "AVX-512" : bytes == 32 ? "AVX2" : "none (neither AVX2 nor AVX-512)";
}

int64_t kernels() {
  Cache& c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  int64_t count = 0;
  for (const auto& entry : c.entries) count += entry.second.run != nullptr;
  return count;
}

}  // namespace brasa::cpu::jit

#else

namespace brasa::cpu::jit {
const Compiled* find(const Kernel&) { return nullptr; }
void release(const Compiled*) {}
void set_mode(Mode) {}
const char* state() { return "none (built without Xbyak)"; }
int64_t kernels() { return 0; }
}  // namespace brasa::cpu::jit

#endif
