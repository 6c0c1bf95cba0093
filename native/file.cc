#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace brasa {

int map_file(const char* path, void** data, int64_t* size) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno;
  struct stat st;
  int error = 0;
  *data = nullptr;
  if (fstat(file, &st) != 0 || !S_ISREG(st.st_mode)) {
    error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
  } else {
    *size = st.st_size;
    if (st.st_size > 0) *data = mmap(nullptr, st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (*data == MAP_FAILED) error = errno;
  }
  close(file);
  return error;
}

void unmap_file(void* data, int64_t size) { munmap(data, size); }

}  // namespace brasa
