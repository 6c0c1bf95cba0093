// VK_KHR_cooperative_matrix and of VK_KHR_shader_bfloat16 what it needs, for headers older than they are; and which
// matrices a device multiplies.
#pragma once
#include <volk.h>

#ifndef VK_KHR_cooperative_matrix
constexpr auto VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR =
    static_cast<VkStructureType>(1000506000);
constexpr auto VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR = static_cast<VkStructureType>(1000506001);
constexpr auto VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_PROPERTIES_KHR =
    static_cast<VkStructureType>(1000506002);
constexpr char VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME[] = "VK_KHR_cooperative_matrix";

using VkComponentTypeKHR = int32_t;
constexpr VkComponentTypeKHR VK_COMPONENT_TYPE_FLOAT16_KHR = 0, VK_COMPONENT_TYPE_FLOAT32_KHR = 1;
using VkScopeKHR = int32_t;
constexpr VkScopeKHR VK_SCOPE_SUBGROUP_KHR = 3;

struct VkCooperativeMatrixPropertiesKHR {
  VkStructureType sType;
  void* pNext;
  uint32_t MSize, NSize, KSize;
  VkComponentTypeKHR AType, BType, CType, ResultType;
  VkBool32 saturatingAccumulation;
  VkScopeKHR scope;
};
struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
  VkStructureType sType;
  void* pNext;
  VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
};
struct VkPhysicalDeviceCooperativeMatrixPropertiesKHR {
  VkStructureType sType;
  void* pNext;
  VkShaderStageFlags cooperativeMatrixSupportedStages;
};
using PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR = VkResult(VKAPI_PTR*)(VkPhysicalDevice, uint32_t*,
                                                                                   VkCooperativeMatrixPropertiesKHR*);
#endif

#ifndef VK_KHR_shader_bfloat16
constexpr auto VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR =
    static_cast<VkStructureType>(1000141000);
constexpr char VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME[] = "VK_KHR_shader_bfloat16";
constexpr auto VK_COMPONENT_TYPE_BFLOAT16_KHR = static_cast<VkComponentTypeKHR>(1000141000);

struct VkPhysicalDeviceShaderBfloat16FeaturesKHR {
  VkStructureType sType;
  void* pNext;
  VkBool32 shaderBFloat16Type, shaderBFloat16DotProduct, shaderBFloat16CooperativeMatrix;
};
#endif

namespace brasa::vk {

// A (m,k) by (k,n) that a subgroup multiplies, summed in f32; no m: the device has none.
struct MatrixUnit {
  uint32_t m = 0, n = 0, k = 0;
};
struct MatrixUnits {
  MatrixUnit f16, bf16;
};

// Of a device with the extension, and of bf16 only if it has that one too.
MatrixUnits find_matrix_units(VkPhysicalDevice physical, bool bf16);

}  // namespace brasa::vk
