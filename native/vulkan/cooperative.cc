#include "cooperative.h"

#include <vector>

namespace brasa::vk {

MatrixUnits find_matrix_units(VkPhysicalDevice physical, bool bf16) {
  const auto list = reinterpret_cast<PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR>(
      vkGetInstanceProcAddr(volkGetLoadedInstance(), "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  if (!list) return {};
  VkPhysicalDeviceShaderBfloat16FeaturesKHR has_bf16 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR};
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR has = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
                                                      bf16 ? &has_bf16 : nullptr};
  VkPhysicalDeviceFeatures2 features = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &has};
  vkGetPhysicalDeviceFeatures2(physical, &features);
  VkPhysicalDeviceCooperativeMatrixPropertiesKHR stages = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
  VkPhysicalDeviceProperties2 properties = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &stages};
  vkGetPhysicalDeviceProperties2(physical, &properties);
  if (!has.cooperativeMatrix || !(stages.cooperativeMatrixSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT)) return {};
  uint32_t count = 0;
  if (list(physical, &count, nullptr) != VK_SUCCESS) return {};
  std::vector<VkCooperativeMatrixPropertiesKHR> all(count, {VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR});
  if (list(physical, &count, all.data()) != VK_SUCCESS) return {};
  all.resize(count);
  // The largest up to 16 each way; shared memory is read by eights.
  const auto largest = [&](auto element) {
    MatrixUnit best;
    for (const VkCooperativeMatrixPropertiesKHR& one : all) {
      const auto fits = [](uint32_t size) { return size == 8 || size == 16; };
      if (one.AType == element && one.BType == element && one.CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
          one.ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && one.scope == VK_SCOPE_SUBGROUP_KHR &&
          !one.saturatingAccumulation && fits(one.MSize) && fits(one.NSize) && fits(one.KSize) &&
          one.MSize * one.NSize * one.KSize > best.m * best.n * best.k)
        best = {one.MSize, one.NSize, one.KSize};
    }
    return best;
  };
  MatrixUnits units;
  units.f16 = largest(VK_COMPONENT_TYPE_FLOAT16_KHR);
  if (bf16 && has_bf16.shaderBFloat16Type && has_bf16.shaderBFloat16CooperativeMatrix)
    units.bf16 = largest(VK_COMPONENT_TYPE_BFLOAT16_KHR);
  return units;
}

}  // namespace brasa::vk
