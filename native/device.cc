#include "device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <atomic>
#include <mutex>

#include "cpu/backend.h"

namespace brasa {
namespace {

constexpr int kMaxDevices = 64;

// Never destroyed: threads may still hold blocks at exit.
struct Devices {
  Device* list[kMaxDevices] = {new Device(cpu::backend())};
  std::atomic<int> count{1};
  std::mutex opening;
};

Devices& devices() {
  static Devices* all = new Devices();
  return *all;
}

void log_line(const char* text) { fprintf(stderr, "brasa: %s\n", text); }

// The library stays open whatever it answers: its drivers may have started threads.
bool add_devices(const char* path, char* reason, size_t size) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(reason, size, "%s", dlerror());
    return false;
  }
  const auto enter = reinterpret_cast<LibraryFn>(dlsym(library, "brasa_library"));
  if (!enter) {
    snprintf(reason, size, "%s is no backend of brasa", path);
    return false;
  }
  static const Host host = {BRASA_ABI, log_line};
  Library answer = {};
  enter(&host, &answer);
  if (!answer.abi || strcmp(answer.abi, BRASA_ABI) != 0) {
    snprintf(reason, size, "%s was built from other sources than this package: install or build both together", path);
    return false;
  }
  snprintf(reason, size, "%s", answer.reason);
  Devices& all = devices();
  int count = all.count.load(std::memory_order_relaxed);
  for (int32_t i = 0; i < answer.count && count < kMaxDevices; ++i) all.list[count++] = new Device(*answer.devices[i]);
  all.count.store(count, std::memory_order_release);
  return answer.count > 0;
}

}  // namespace

int device_count() { return devices().count.load(std::memory_order_acquire); }

Device* device(int index) {
  static Devices& all = devices();
  return index >= 0 && index < all.count.load(std::memory_order_acquire) ? all.list[index] : nullptr;
}

bool open_library(const char* path, char* reason, size_t size) {
  struct Opened {
    char path[4096], reason[512];
    bool good;
  };
  static Opened opened[8];
  static int count = 0;
  std::lock_guard<std::mutex> lock(devices().opening);
  for (int i = 0; i < count; ++i) {
    if (strcmp(opened[i].path, path) != 0) continue;
    snprintf(reason, size, "%s", opened[i].reason);
    return opened[i].good;
  }
  if (count == 8 || strlen(path) >= sizeof opened[0].path) {
    snprintf(reason, size, "too many libraries, or too long a path");
    return false;
  }
  Opened& one = opened[count++];
  strcpy(one.path, path);
  one.good = add_devices(path, one.reason, sizeof one.reason);
  snprintf(reason, size, "%s", one.reason);
  return one.good;
}

int32_t item_bytes(int32_t dtype) {
  static const int32_t bytes[] = {
#define DTYPE(id, name, ctype, size, compute) size,
#include "dtypes.def"
#undef DTYPE
  };
  return dtype >= 0 && dtype < kDTypeCount ? bytes[dtype] : 0;
}

int64_t layout_bytes(const Layout& layout) {
  int64_t bytes = item_bytes(layout.dtype);
  for (int i = 0; i < layout.ndim; ++i) {
    if (__builtin_mul_overflow(bytes, layout.shape[i], &bytes)) return -1;
  }
  return bytes;
}

}  // namespace brasa
