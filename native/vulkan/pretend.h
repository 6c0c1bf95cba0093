// What devices are to pretend, for tests: BRASA_VULKAN_PRETEND is a list such as no-f64,no-16bit,lost=20,memory=64.
#pragma once
#include <stdint.h>

namespace brasa::vk {

// Whether the word stands in the list.
bool pretends(const char* word);
// What stands in it as NAME=NUMBER.
int64_t pretended(const char* name, int64_t otherwise);

}  // namespace brasa::vk
