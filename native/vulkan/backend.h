#pragma once
#include "gpu.h"

namespace brasa::vk {
Backend backend_of(Gpu& gpu);
}  // namespace brasa::vk
