// selftest [isa | library]: checks every kernel against plain loops: the CPU's, of an x86 instruction set that may be
// named, or those of the devices that a library (brasa_vulkan.so) gives, which may leave ops to their decompositions.
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "cpu/isa.h"
#include "device.h"

using namespace brasa;

int main(int argc, char** argv) {
  const bool library = argc > 1 && strchr(argv[1], '/');
  char reason[256];
  if (library && !open_library(argv[1], reason, sizeof reason)) {
    fprintf(stderr, "selftest: %s gives no device: %s\n", argv[1], reason);
    return 2;
  }
  if (argc > 1 && !library && !cpu::limit_isa(argv[1])) {
    fprintf(stderr, "selftest: this machine, or this build, has no instruction set %s\n", argv[1]);
    return 2;
  }
  int64_t failures = 0;
  for (int i = library ? 1 : 0; i < device_count(); ++i) {
    const Backend& backend = device(i)->backend;
    DeviceInfo info;
    backend.info(backend.self, &info);
    selftest::Checker check(backend);
    selftest::check_elementwise(check);
    selftest::check_reductions(check);
    selftest::check_products(check);
    selftest::check_attention(check);
    selftest::check_lstm(check);
    selftest::check_windows(check);
    selftest::check_norms(check);
    selftest::check_indices(check);
    selftest::check_random(check);
    if (i == 0) selftest::check_code(backend, check);
    for (const std::string& op : check.unchecked()) {
      fprintf(stderr, library ? "%s: no kernel\n" : "FAILED %s: never checked\n", op.c_str());
      if (!library) ++check.failures;
    }
    printf("%s (%s): %lld checks, %lld failed, %lld without a kernel\n", backend.name, info.isa,
           static_cast<long long>(check.checks), static_cast<long long>(check.failures),
           static_cast<long long>(check.unsupported));
    failures += check.failures;
  }
  return failures > 0;
}
