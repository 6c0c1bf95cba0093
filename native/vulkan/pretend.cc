#include "pretend.h"

#include <stdlib.h>
#include <string.h>

namespace brasa::vk {
namespace {

// What follows the name in the list, up to the next comma or the end; null where it is not there.
const char* behind(const char* name) {
  const size_t size = strlen(name);
  for (const char* at = getenv("BRASA_VULKAN_PRETEND"); at; at = strchr(at, ',')) {
    at += *at == ',';
    if (strncmp(at, name, size) == 0 && (at[size] == 0 || at[size] == ',' || at[size] == '=')) return at + size;
  }
  return nullptr;
}

}  // namespace

bool pretends(const char* word) { return behind(word) != nullptr; }

int64_t pretended(const char* name, int64_t otherwise) {
  const char* const at = behind(name);
  return at && *at == '=' ? strtoll(at + 1, nullptr, 10) : otherwise;
}

}  // namespace brasa::vk
