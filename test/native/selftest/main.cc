// selftest [isa]: checks every kernel of every device against plain loops; an x86 instruction set may be named.
#include <stdio.h>

#include "check.h"
#include "cpu/isa.h"
#include "device.h"

using namespace brasa;

int main(int argc, char** argv) {
  if (argc > 1 && !cpu::limit_isa(argv[1])) {
    fprintf(stderr, "selftest: this machine has no instruction set %s\n", argv[1]);
    return 2;
  }
  int64_t failures = 0;
  for (int i = 0; i < device_count(); ++i) {
    const Backend& backend = device(i)->backend;
    DeviceInfo info;
    backend.info(backend.self, &info);
    selftest::Checker check(backend);
    selftest::check_elementwise(check);
    selftest::check_reductions(check);
    selftest::check_products(check);
    selftest::check_attention(check);
    selftest::check_windows(check);
    selftest::check_norms(check);
    selftest::check_indices(check);
    selftest::check_random(check);
    for (const std::string& op : check.unchecked()) {
      fprintf(stderr, "FAILED %s: never checked\n", op.c_str());
      ++check.failures;
    }
    printf("%s (%s): %lld checks, %lld failed, %lld without a kernel\n", backend.name, info.isa,
           static_cast<long long>(check.checks), static_cast<long long>(check.failures),
           static_cast<long long>(check.unsupported));
    failures += check.failures;
  }
  return failures > 0;
}
