// Preloaded by test/allocations.test.ts: counts the calls of malloc and its like, and of mmap, that come from brasa.node.
// getppid() answers the count, since a script has no other way to ask.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

static uintptr_t low, high;
static int count;

static void seen(void* caller) {
  const uintptr_t at = (uintptr_t)caller;
  if (at >= low && at < high) __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
}

static int find(struct dl_phdr_info* info, size_t size, void* data) {
  (void)size, (void)data;
  if (!info->dlpi_name || !strstr(info->dlpi_name, "brasa.node")) return 0;
  uintptr_t end = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const uintptr_t to = info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
    if (info->dlpi_phdr[i].p_type == PT_LOAD && to > end) end = to;
  }
  low = info->dlpi_addr;
  high = info->dlpi_addr + end;
  return 1;
}

void* dlopen(const char* path, int flags) {
  static void* (*real)(const char*, int);
  if (!real) real = dlsym(RTLD_NEXT, "dlopen");
  void* handle = real(path, flags);
  if (!low) dl_iterate_phdr(find, NULL);
  return handle;
}

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

void* malloc(size_t bytes) {
  seen(__builtin_return_address(0));
  return __libc_malloc(bytes);
}
void* calloc(size_t n, size_t bytes) {
  seen(__builtin_return_address(0));
  return __libc_calloc(n, bytes);
}
void* realloc(void* old, size_t bytes) {
  seen(__builtin_return_address(0));
  return __libc_realloc(old, bytes);
}
int posix_memalign(void** out, size_t alignment, size_t bytes) {
  seen(__builtin_return_address(0));
  *out = __libc_memalign(alignment, bytes);
  return *out ? 0 : 12;
}
void* mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  static void* (*real)(void*, size_t, int, int, int, off_t);
  if (!real) real = dlsym(RTLD_NEXT, "mmap");
  seen(__builtin_return_address(0));
  return real(at, bytes, protection, flags, fd, offset);
}

pid_t getppid(void) { return __atomic_load_n(&count, __ATOMIC_RELAXED); }
