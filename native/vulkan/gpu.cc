#include "gpu.h"

#include <stdio.h>
#include <string.h>

#include "cache.h"
#include "pretend.h"

namespace brasa::vk {
namespace {

// Whether a shader counts on full subgroups of the device's size: its capabilities say so, which come first.
bool exchanges(const uint32_t* words, size_t count) {
  for (size_t i = 5; i + 1 < count && (words[i] & 0xffff) == spv::Capability; i += words[i] >> 16)
    if (words[i + 1] == spv::SubgroupShuffle) return true;
  return false;
}

constexpr auto kAtomicFloats = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_ATOMIC_FLOAT_FEATURES_EXT;

// floats: it has VK_EXT_shader_atomic_float.
AtomicAdds find_atomic_adds(VkPhysicalDevice physical, bool i64, bool floats) {
  VkPhysicalDeviceShaderAtomicFloatFeaturesEXT can = {kAtomicFloats};
  VkPhysicalDeviceFeatures2 features = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &can};
  if (floats) vkGetPhysicalDeviceFeatures2(physical, &features);
  return {true, i64, can.shaderBufferFloat32AtomicAdd == VK_TRUE, can.shaderBufferFloat64AtomicAdd == VK_TRUE};
}

}  // namespace

Gpu::Gpu(VkPhysicalDevice physical) : physical_(physical) {
  VkPhysicalDeviceVulkan12Features features12 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  VkPhysicalDeviceVulkan11Features features11 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, &features12};
  VkPhysicalDeviceFeatures2 has = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &features11};
  VkPhysicalDeviceSubgroupProperties subgroups = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
  VkPhysicalDeviceFloatControlsProperties controls = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES,
                                                      &subgroups};
  VkPhysicalDeviceProperties2 properties = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &controls};
  vkGetPhysicalDeviceProperties(physical, &properties_);
  if (properties_.apiVersion < VK_API_VERSION_1_2) {
    missing_ = "its driver is older than Vulkan 1.2";
    return;
  }
  vkGetPhysicalDeviceFeatures2(physical, &has);
  vkGetPhysicalDeviceProperties2(physical, &properties);
  missing_ = !features12.bufferDeviceAddress                   ? "it has no buffer device addresses"
             : !features12.timelineSemaphore                   ? "it has no timeline semaphores"
             : !has.features.shaderInt64 || pretends("no-i64") ? "it has no 64-bit integers"
                                                               : nullptr;
  features_.target = {
      {controls.shaderSignedZeroInfNanPreserveFloat32 == VK_TRUE,
       controls.shaderSignedZeroInfNanPreserveFloat64 == VK_TRUE},
      {controls.shaderRoundingModeRTEFloat32 == VK_TRUE, controls.shaderRoundingModeRTEFloat64 == VK_TRUE},
      has.features.shaderFloat64 && !pretends("no-f64"),
      features12.storageBuffer8BitAccess && !pretends("no-8bit"),
      features11.storageBuffer16BitAccess && !pretends("no-16bit")};
  const VkPhysicalDeviceLimits& limits = properties_.limits;
  while (features_.group > limits.maxComputeWorkGroupInvocations || features_.group > limits.maxComputeWorkGroupSize[0])
    features_.group /= 2;
  if (properties_.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU) features_.most_turns = 60000;
  features_.most_invocations = limits.maxComputeWorkGroupInvocations < limits.maxComputeWorkGroupSize[0]
                                   ? limits.maxComputeWorkGroupInvocations
                                   : limits.maxComputeWorkGroupSize[0];
  features_.most_groups = limits.maxComputeWorkGroupCount[0];
  features_.shared_bytes = limits.maxComputeSharedMemorySize;

  uint32_t count = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, families.data());
  for (family_ = 0; family_ < count && !(families[family_].queueFlags & VK_QUEUE_COMPUTE_BIT);) ++family_;
  if (family_ == count && !missing_) missing_ = "it has no queue that computes";

  VkPhysicalDeviceMemoryProperties memory;
  vkGetPhysicalDeviceMemoryProperties(physical, &memory);
  for (uint32_t i = 0; i < memory.memoryHeapCount; ++i) {
    const auto size = static_cast<int64_t>(memory.memoryHeaps[i].size);
    if (!(memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) || size <= memory_) continue;
    memory_ = size;
    memory_heap_ = i;
  }
  vkEnumerateDeviceExtensionProperties(physical, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  vkEnumerateDeviceExtensionProperties(physical, nullptr, &count, extensions.data());
  const auto extension = [&](const char* name) {
    for (const VkExtensionProperties& one : extensions)
      if (strcmp(one.extensionName, name) == 0) return true;
    return false;
  };
  budget_ = extension(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  constexpr VkSubgroupFeatureFlags exchange = VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
  if (extension(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME) &&
      (subgroups.supportedOperations & exchange) == exchange &&
      (subgroups.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT))
    look_at_subgroups(subgroups.subgroupSize);
  features_.subgroup_i64 = features12.shaderSubgroupExtendedTypes;
  if (extension(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) && features_.subgroup && features12.vulkanMemoryModel &&
      features12.vulkanMemoryModelDeviceScope && features12.shaderFloat16 && features_.target.storage16 &&
      !pretends("no-matrices"))
    features_.matrix = find_matrix_units(physical, extension(VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME));
  if (!pretends("no-atomics"))
    features_.atomic = find_atomic_adds(physical, features12.shaderBufferInt64Atomics,
                                        extension(VK_EXT_SHADER_ATOMIC_FLOAT_EXTENSION_NAME));
  features_.atomic.f64 &= features_.target.float64;
}

// Full subgroups of that size, in work groups of as many invocations as there may be.
void Gpu::look_at_subgroups(uint32_t size) {
  VkPhysicalDeviceSubgroupSizeControlFeatures can = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
  VkPhysicalDeviceFeatures2 features = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &can};
  vkGetPhysicalDeviceFeatures2(physical_, &features);
  VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
  VkPhysicalDeviceProperties2 properties = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &sizes};
  vkGetPhysicalDeviceProperties2(physical_, &properties);
  if (can.subgroupSizeControl && can.computeFullSubgroups && size >= sizes.minSubgroupSize &&
      size <= sizes.maxSubgroupSize && size <= features_.group && (size & (size - 1)) == 0 &&
      (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
      size * sizes.maxComputeWorkgroupSubgroups >= features_.group) {
    features_.subgroup = size;
    if (features_.most_invocations > size * sizes.maxComputeWorkgroupSubgroups)
      features_.most_invocations = size * sizes.maxComputeWorkgroupSubgroups;
  }
}

Status Gpu::fail(const char* what, VkResult result) {
  snprintf(failure_, sizeof failure_, "%s failed (VkResult %d)", what, result);
  return result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY ? kOutOfMemory : kDeviceLost;
}

Status Gpu::open() {
  if (device_ || opened_ != kOk) return opened_;
  VkPhysicalDeviceVulkan12Features features12 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  features12.bufferDeviceAddress = features12.timelineSemaphore = VK_TRUE;
  features12.storageBuffer8BitAccess = features_.target.storage8;
  VkPhysicalDeviceVulkan11Features features11 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, &features12};
  features11.storageBuffer16BitAccess = features_.target.storage16;
  features12.shaderSubgroupExtendedTypes = features_.subgroup_i64;
  VkPhysicalDeviceSubgroupSizeControlFeatures subgroups = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
  subgroups.subgroupSizeControl = subgroups.computeFullSubgroups = VK_TRUE;
  if (features_.subgroup) features12.pNext = &subgroups;
  const bool bf16 = features_.matrix.bf16.m != 0, matrices = features_.matrix.f16.m || bf16;
  VkPhysicalDeviceShaderBfloat16FeaturesKHR bfloat16 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR};
  bfloat16.shaderBFloat16Type = bfloat16.shaderBFloat16CooperativeMatrix = VK_TRUE;
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR cooperative = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, bf16 ? &bfloat16 : nullptr};
  cooperative.cooperativeMatrix = VK_TRUE;
  if (matrices) subgroups.pNext = &cooperative;
  features12.vulkanMemoryModel = features12.vulkanMemoryModelDeviceScope = features12.shaderFloat16 = matrices;
  const AtomicAdds& atomic = features_.atomic;
  features12.shaderBufferInt64Atomics = atomic.i64;
  VkPhysicalDeviceShaderAtomicFloatFeaturesEXT atomic_floats = {kAtomicFloats, features12.pNext};
  atomic_floats.shaderBufferFloat32AtomicAdd = atomic.f32;
  atomic_floats.shaderBufferFloat64AtomicAdd = atomic.f64;
  if (atomic.f32 || atomic.f64) features12.pNext = &atomic_floats;
  VkPhysicalDeviceFeatures2 wanted = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &features11};
  wanted.features.shaderInt64 = VK_TRUE;
  wanted.features.shaderFloat64 = features_.target.float64;
  const float priority = 1;
  VkDeviceQueueCreateInfo queue = {VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO};
  queue.queueFamilyIndex = family_;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  std::vector<const char*> extensions;
  if (budget_) extensions.push_back(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  if (features_.subgroup) extensions.push_back(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
  if (matrices) extensions.push_back(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
  if (bf16) extensions.push_back(VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME);
  if (atomic.f32 || atomic.f64) extensions.push_back(VK_EXT_SHADER_ATOMIC_FLOAT_EXTENSION_NAME);
  VkDeviceCreateInfo info = {VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, &wanted};
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  VkResult result = vkCreateDevice(physical_, &info, nullptr, &device_);
  if (result != VK_SUCCESS) return opened_ = fail("vkCreateDevice", result);

  const VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(VkDeviceAddress)};
  VkPipelineLayoutCreateInfo layout = {VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &push;
  result = vkCreatePipelineLayout(device_, &layout, nullptr, &layout_);
  if (result != VK_SUCCESS) return opened_ = fail("vkCreatePipelineLayout", result);
  opened_ = open_cache();
  if (opened_ != kOk) return opened_;
  heap.open(physical_, device_);
  opened_ = stream.open(device_, family_, layout_, heap);
  if (opened_ == kOk) opened_ = heap.alloc(sizeof(FaultWord), Kind::kStaging, &fault_);
  if (opened_ == kOk) memset(fault_->host, 0, sizeof(FaultWord));
  return opened_;
}

void Gpu::close() {
  if (device_) {
    keep_cache();
    vkDeviceWaitIdle(device_);
    for (const auto& [key, pipeline] : pipelines_) vkDestroyPipeline(device_, pipeline, nullptr);
    live_objects -= static_cast<int64_t>(pipelines_.size());
    if (fault_) heap.free(fault_);
    stream.close();
    heap.close();
    vkDestroyPipelineCache(device_, cache_, nullptr);
    vkDestroyPipelineLayout(device_, layout_, nullptr);
    vkDestroyDevice(device_, nullptr);
  }
  pipelines_.clear();
  stream = Stream();
  device_ = VK_NULL_HANDLE;
  layout_ = VK_NULL_HANDLE;
  cache_ = VK_NULL_HANDLE;
  fault_ = nullptr;
  opened_ = kOk;
}

Status Gpu::open_cache() {
  kept_ = read_cache(cache_path(properties_), properties_);
  VkPipelineCacheCreateInfo info = {VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
  info.initialDataSize = kept_.size();
  info.pInitialData = kept_.data();
  VkResult result = vkCreatePipelineCache(device_, &info, nullptr, &cache_);
  if (result != VK_SUCCESS && !kept_.empty()) {
    info.initialDataSize = 0;
    result = vkCreatePipelineCache(device_, &info, nullptr, &cache_);
  }
  return result == VK_SUCCESS ? kOk : fail("vkCreatePipelineCache", result);
}

void Gpu::keep_cache() {
  const std::string path = cache_path(properties_);
  if (!cache_ || pipelines_.empty() || path.empty()) return;
  size_t bytes = 0;
  if (vkGetPipelineCacheData(device_, cache_, &bytes, nullptr) != VK_SUCCESS || bytes == 0) return;
  std::vector<uint8_t> data(bytes);
  if (vkGetPipelineCacheData(device_, cache_, &bytes, data.data()) != VK_SUCCESS) return;
  data.resize(bytes);
  if (data == kept_) return;
  write_cache(path, properties_, data);
  kept_ = std::move(data);
}

void Gpu::info(DeviceInfo* out) const {
  memset(out, 0, sizeof *out);
  snprintf(out->name, sizeof out->name, "%.120s", properties_.deviceName);
  const uint32_t version = properties_.apiVersion;
  snprintf(out->isa, sizeof out->isa, "Vulkan %u.%u.%u%s", VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version),
           VK_API_VERSION_PATCH(version), features_.matrix.f16.m ? ", matrices" : "");
  out->memory_total = memory_;
  out->memory_free = memory_ - heap.allocated();
  if (budget_) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, &budget};
    vkGetPhysicalDeviceMemoryProperties2(physical_, &memory);
    out->memory_free =
        static_cast<int64_t>(budget.heapBudget[memory_heap_]) - static_cast<int64_t>(budget.heapUsage[memory_heap_]);
  }
  const char* const types[] = {"other", "integrated", "discrete", "virtual", "cpu"};
  const auto type = static_cast<size_t>(properties_.deviceType);
  snprintf(out->type, sizeof out->type, "%s", types[type < 5 ? type : 0]);
  out->objects = live_objects.load();
  out->emulated = properties_.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  out->messages = validation_messages();
  out->dtypes = (1 << kDTypeCount) - 1;
  if (!features_.target.float64) out->dtypes &= ~(1 << k_f64);
}

Status Gpu::make_pipeline(const std::string& key, const uint32_t* words, size_t bytes,
                          const std::vector<uint32_t>& constants, VkPipeline* out) {
  VkShaderModuleCreateInfo code = {VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
  code.codeSize = bytes;
  code.pCode = words;
  VkShaderModule module = VK_NULL_HANDLE;
  VkResult result = vkCreateShaderModule(device_, &code, nullptr, &module);
  if (result != VK_SUCCESS) return fail("vkCreateShaderModule", result);
  std::vector<VkSpecializationMapEntry> entries;
  for (uint32_t i = 0; i < constants.size(); ++i) entries.push_back({i, i * 4, 4});
  const VkSpecializationInfo special = {static_cast<uint32_t>(entries.size()), entries.data(), constants.size() * 4,
                                        constants.data()};
  VkComputePipelineCreateInfo info = {VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO};
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &special;
  info.layout = layout_;
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroups = {
      VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO, nullptr, features_.subgroup};
  if (exchanges(words, bytes / 4)) {
    info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    info.stage.pNext = &subgroups;
  }
  VkPipeline made = VK_NULL_HANDLE;
  result = vkCreateComputePipelines(device_, cache_, 1, &info, nullptr, &made);
  vkDestroyShaderModule(device_, module, nullptr);
  if (result != VK_SUCCESS) return fail("vkCreateComputePipelines", result);
  live_objects++;
  pipelines_[key] = *out = made;
  return kOk;
}

Status Gpu::pipeline(const std::vector<uint32_t>& words, VkPipeline* out) {
  return pipeline(
      std::string(reinterpret_cast<const char*>(words.data()), words.size() * 4), [&] { return words; }, out);
}

Status Gpu::pipeline(const Shader& shader, const std::vector<uint32_t>& constants, VkPipeline* out) {
  std::string key(reinterpret_cast<const char*>(&shader.words), sizeof shader.words);
  key.append(reinterpret_cast<const char*>(constants.data()), constants.size() * 4);
  const auto known = pipelines_.find(key);
  if (known != pipelines_.end()) return *out = known->second, kOk;
  return make_pipeline(key, shader.words, shader.bytes, constants, out);
}

Status Gpu::take_fault(int64_t* fault) {
  FaultWord& word = *reinterpret_cast<FaultWord*>(fault_->host);
  if (!word.set) return kOk;
  fault[0] = word.index;
  fault[1] = word.size;
  word.set = 0;
  return kIndexOutOfRange;
}

void Gpu::explain(char* text, int64_t size) const {
  snprintf(text, size, "%s", *stream.failure() ? stream.failure() : failure_);
}

}  // namespace brasa::vk
