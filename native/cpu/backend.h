#pragma once
#include "../backend.h"

namespace brasa::cpu {
const Backend& backend();
}
