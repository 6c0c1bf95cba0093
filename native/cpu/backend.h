#pragma once
#include "../backend.h"

namespace brasa::cpu {
const Backend& backend();
void set_thread_count(int n);  // at least 1; waits for the job that is running
}  // namespace brasa::cpu
