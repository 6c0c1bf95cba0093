// A Vulkan device: what it can do, its memory, its line of work, and the pipelines that were made for it.
#pragma once
#include <mutex>
#include <string>
#include <unordered_map>

#include "cooperative.h"
#include "spirv.h"
#include "stream.h"

namespace brasa::vk {

// Which numbers in memory a shader can add to while others do.
struct AtomicAdds {
  bool i32 = false, i64 = false, f32 = false, f64 = false;
};

// What kernels may count on. Device addresses, timeline semaphores and 64-bit integers are required.
struct Features {
  TargetDevice target = {};
  uint32_t group = 256;  // invocations in a work group of one dimension
  uint32_t most_groups = 65535;
  uint32_t most_invocations = 256;  // of a work group
  uint32_t shared_bytes = 16384;
  // Invocations of a subgroup, when those of a work group can be had full and exchange values; 0: they cannot.
  uint32_t subgroup = 0;
  bool subgroup_i64 = false;  // values of 64-bit integers too
  MatrixUnits matrix;         // of subgroups of that size
  AtomicAdds atomic;
  // Turns of all the loops of an invocation: llvmpipe leaves them, silently, after 65535.
  int64_t most_turns = INT64_MAX;
};

// Where kernels leave the first fault of the data: an index and the size that it must stay below.
struct FaultWord {
  uint32_t set, unused;
  int64_t index, size;
};

// A shader that was compiled with the library.
struct Shader {
  const uint32_t* words;
  size_t bytes;
};

class Gpu {
 public:
  explicit Gpu(VkPhysicalDevice physical);
  // Why it cannot be used; null when it can.
  const char* missing() const { return missing_; }
  Status open();  // at the first use, and at the first after close()
  void close();   // gives all back to the driver; nothing of `held` may be alive
  void info(DeviceInfo* out) const;

  // Made at the first call for this key. words: the shader, of which `constants` specialises the first ones.
  template <class Words>
  Status pipeline(const std::string& key, const Words& words, VkPipeline* out) {
    const auto known = pipelines_.find(key);
    if (known != pipelines_.end()) return *out = known->second, kOk;
    const std::vector<uint32_t> code = words();
    return code.empty() ? kUnsupported : make_pipeline(key, code.data(), code.size() * 4, {}, out);
  }
  // For a shader that was just written, which is its own key.
  Status pipeline(const std::vector<uint32_t>& words, VkPipeline* out);
  Status pipeline(const Shader& shader, const std::vector<uint32_t>& constants, VkPipeline* out);

  // Writes what the driver compiled to where the next process finds it.
  void keep_cache();

  // kIndexOutOfRange when a kernel left a fault, which is then forgotten.
  Status take_fault(int64_t* fault);
  void explain(char* text, int64_t size) const;

  const Features& features() const { return features_; }
  void forget_matrices() { features_.matrix = {}; }
  Memory* fault() const { return fault_; }
  VkDevice device() const { return device_; }
  uint32_t family() const { return family_; }
  VkPipelineLayout layout() const { return layout_; }
  Heap heap;
  Stream stream;
  int64_t held = 0;  // buffers, plans and programs that the backend has given out
  std::mutex mutex;  // held by whoever uses any of this

 private:
  Status make_pipeline(const std::string& key, const uint32_t* words, size_t bytes,
                       const std::vector<uint32_t>& constants, VkPipeline* out);
  void look_at_subgroups(uint32_t size);
  Status open_cache();
  Status fail(const char* what, VkResult result);

  VkPhysicalDevice physical_;
  VkPhysicalDeviceProperties properties_ = {};
  const char* missing_ = nullptr;
  Features features_;
  int64_t memory_ = 0;  // bytes of the device's own
  uint32_t memory_heap_ = 0;
  bool budget_ = false;
  uint32_t family_ = 0;
  VkDevice device_ = VK_NULL_HANDLE;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  std::vector<uint8_t> kept_;  // what the cache began with
  Status opened_ = kOk;
  Memory* fault_ = nullptr;
  std::unordered_map<std::string, VkPipeline> pipelines_;
  char failure_[256] = {};
};

// How many messages the validation layers have sent; 0 where they are not switched on (BRASA_VULKAN_VALIDATION=1).
int64_t validation_messages();

}  // namespace brasa::vk
