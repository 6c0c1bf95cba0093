#include "cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

namespace brasa::vk {
namespace {

// Before the data: drivers check little more of theirs than that it is theirs.
struct Head {
  char magic[8];
  char abi[16];  // of this library
  uint8_t uuid[VK_UUID_SIZE];
  uint32_t vendor, device, driver, zero;
  uint64_t bytes, hash;
};

uint64_t hash_of(const std::vector<uint8_t>& data) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : data) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

Head head_of(const VkPhysicalDeviceProperties& device, const std::vector<uint8_t>& data) {
  Head head = {};
  memcpy(head.magic, "brasavk1", sizeof head.magic);
  static_assert(sizeof BRASA_ABI > sizeof head.abi, "a hash of 16 digits");
  memcpy(head.abi, BRASA_ABI, sizeof head.abi);
  memcpy(head.uuid, device.pipelineCacheUUID, sizeof head.uuid);
  head.vendor = device.vendorID;
  head.device = device.deviceID;
  head.driver = device.driverVersion;
  head.bytes = data.size();
  head.hash = hash_of(data);
  return head;
}

constexpr uint64_t kMostBytes = uint64_t{1} << 30;

}  // namespace

std::string cache_path(const VkPhysicalDeviceProperties& device) {
  const char* const asked = getenv("BRASA_VULKAN_CACHE");
  const char* const base = getenv("XDG_CACHE_HOME");
  const char* const home = getenv("HOME");
  if (asked && strcmp(asked, "0") == 0) return "";
  std::string path;
  if (base && *base == '/')
    path = base;
  else if (home && *home == '/')
    path = std::string(home) + "/.cache";
  else
    return "";
  path += "/brasa/vulkan-";
  char hex[3];
  for (const uint8_t byte : device.pipelineCacheUUID) {
    snprintf(hex, sizeof hex, "%02x", byte);
    path += hex;
  }
  return path;
}

std::vector<uint8_t> read_cache(const std::string& path, const VkPhysicalDeviceProperties& device) {
  std::vector<uint8_t> data;
  FILE* const file = path.empty() ? nullptr : fopen(path.c_str(), "rb");
  if (!file) return data;
  Head head;
  if (fread(&head, sizeof head, 1, file) == 1 && head.bytes <= kMostBytes) {
    struct stat about;
    if (fstat(fileno(file), &about) == 0 && static_cast<uint64_t>(about.st_size) == sizeof head + head.bytes) {
      data.resize(head.bytes);
      if (fread(data.data(), 1, data.size(), file) != data.size()) data.clear();
    }
  }
  fclose(file);
  const Head wanted = head_of(device, data);
  if (data.empty() || memcmp(&head, &wanted, sizeof head) != 0) data.clear();
  return data;
}

void write_cache(const std::string& path, const VkPhysicalDeviceProperties& device, const std::vector<uint8_t>& data) {
  if (path.empty() || data.empty()) return;
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    if (mkdir(path.substr(0, at).c_str(), 0700) != 0 && errno != EEXIST) return;
  const std::string fresh = path + "." + std::to_string(getpid());
  FILE* const file = fopen(fresh.c_str(), "wb");
  if (!file) return;
  const Head head = head_of(device, data);
  bool good = fwrite(&head, sizeof head, 1, file) == 1 && fwrite(data.data(), 1, data.size(), file) == data.size();
  good = fclose(file) == 0 && good;
  if (!good || rename(fresh.c_str(), path.c_str()) != 0) unlink(fresh.c_str());
}

}  // namespace brasa::vk
