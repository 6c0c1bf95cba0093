#include "device.h"

#include "cpu/backend.h"

namespace brasa {

int device_count() { return 1; }

Device* device(int index) {
  static Device* cpu = new Device(cpu::backend());  // never destroyed: threads may still hold blocks at exit
  return index == 0 ? cpu : nullptr;
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
