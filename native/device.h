// The devices of the process: each a backend with its allocator, opened once, shared by all environments. The CPU is
// the first; those of a backend in a library of its own come when it is opened.
#pragma once
#include "allocator.h"
#include "backend.h"

namespace brasa {

struct Device {
  const Backend& backend;
  Allocator allocator;
  explicit Device(const Backend& b) : backend(b), allocator(b) {}
};

int device_count();
Device* device(int index);  // null when there is none
// Opens the library at this path; false, and the reason, when it gives no device.
bool open_library(const char* path, char* reason, size_t size);
int32_t item_bytes(int32_t dtype);
int64_t layout_bytes(const Layout& layout);  // of a dense buffer of this shape; -1 when that overflows

}  // namespace brasa
