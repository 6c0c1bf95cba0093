// Files as memory.
#pragma once
#include <stdint.h>

namespace brasa {

// A private mapping of a regular file: writes stay in memory. Answers 0 or errno; an empty file has no mapping.
int map_file(const char* path, void** data, int64_t* size);
void unmap_file(void* data, int64_t size);

}  // namespace brasa
