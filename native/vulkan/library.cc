// The library's one entry: opens libvulkan and lists the devices, GPUs first. Nothing here ends before the process.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <atomic>

#include "backend.h"
#define VOLK_IMPLEMENTATION
#include <volk.h>

namespace brasa::vk {
namespace {

const Host* host = nullptr;
std::atomic<int64_t> messages{0};

VKAPI_ATTR VkBool32 VKAPI_CALL hear(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                                    const VkDebugUtilsMessengerCallbackDataEXT* data, void*) {
  messages++;
  host->log(data->pMessage);
  return VK_FALSE;
}

constexpr const char* kChecker = "VK_LAYER_KHRONOS_validation";

bool has_checker() {
  uint32_t count = 0;
  vkEnumerateInstanceLayerProperties(&count, nullptr);
  std::vector<VkLayerProperties> layers(count);
  vkEnumerateInstanceLayerProperties(&count, layers.data());
  for (const VkLayerProperties& one : layers)
    if (strcmp(one.layerName, kChecker) == 0) return true;
  return false;
}

// Of several kinds of device the one to prefer comes first; what computes on the CPU comes last.
int rank_of(VkPhysicalDevice device) {
  VkPhysicalDeviceProperties properties;
  vkGetPhysicalDeviceProperties(device, &properties);
  switch (properties.deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
      return 4;
    default:
      return 3;
  }
}

// Messages are warnings and errors. hazards: of reads and writes that nothing orders, too.
VkResult make_instance(bool checked, bool hazards, VkInstance* out) {
  VkApplicationInfo application = {VK_STRUCTURE_TYPE_APPLICATION_INFO};
  application.pApplicationName = "brasa";
  application.apiVersion = VK_API_VERSION_1_2;
  VkDebugUtilsMessengerCreateInfoEXT messenger = {VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT};
  messenger.messageSeverity =
      VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  messenger.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
  messenger.pfnUserCallback = hear;
  const VkValidationFeatureEnableEXT synchronization = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
  VkValidationFeaturesEXT features = {VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT};
  features.enabledValidationFeatureCount = 1;
  features.pEnabledValidationFeatures = &synchronization;
  const char* const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
  VkInstanceCreateInfo info = {VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
  info.pApplicationInfo = &application;
  if (checked) {
    info.pNext = &messenger;
    if (hazards) messenger.pNext = &features;
    info.enabledLayerCount = 1;
    info.enabledExtensionCount = hazards ? 2 : 1;
    info.ppEnabledLayerNames = &kChecker;
    info.ppEnabledExtensionNames = extensions;
  }
  const VkResult result = vkCreateInstance(&info, nullptr, out);
  if (result != VK_SUCCESS) return result;
  volkLoadInstance(*out);
  VkDebugUtilsMessengerEXT made = VK_NULL_HANDLE;
  messenger.pNext = nullptr;
  return checked ? vkCreateDebugUtilsMessengerEXT(*out, &messenger, nullptr, &made) : VK_SUCCESS;
}

void list_devices(Library* out) {
  const auto because = [out](const char* why) { snprintf(out->reason, sizeof out->reason, "%s", why); };
  if (volkInitialize() != VK_SUCCESS)
    return because("libvulkan is not installed: it comes with the graphics driver, or as libvulkan1 or vulkan-loader");
  if (volkGetInstanceVersion() < VK_API_VERSION_1_2) return because("libvulkan is older than Vulkan 1.2");
  const char* const asked = getenv("BRASA_VULKAN_VALIDATION");
  const bool checked = asked && *asked && strcmp(asked, "0") != 0;
  if (checked && !has_checker())
    return because("BRASA_VULKAN_VALIDATION needs the validation layers (Debian: vulkan-validationlayers)");
  VkInstance instance = VK_NULL_HANDLE;
  if (make_instance(checked, checked && strcmp(asked, "sync") == 0, &instance) != VK_SUCCESS)
    return because("no Vulkan driver: install that of the GPU (Mesa: mesa-vulkan-drivers)");
  uint32_t count = 0;
  vkEnumeratePhysicalDevices(instance, &count, nullptr);
  std::vector<VkPhysicalDevice> found(count);
  vkEnumeratePhysicalDevices(instance, &count, found.data());
  std::stable_sort(found.begin(), found.end(), [](auto a, auto b) { return rank_of(a) < rank_of(b); });
  because("no device has a Vulkan driver");
  static std::vector<const Backend*> devices;
  for (VkPhysicalDevice physical : found) {
    Gpu* gpu = new Gpu(physical);
    if (!gpu->missing()) {
      devices.push_back(new Backend(backend_of(*gpu)));
      continue;
    }
    DeviceInfo info;
    gpu->info(&info);
    snprintf(out->reason, sizeof out->reason, "%s cannot be used: %s", info.name, gpu->missing());
    delete gpu;
  }
  out->devices = devices.data();
  out->count = static_cast<int32_t>(devices.size());
}

}  // namespace

int64_t validation_messages() { return messages.load(); }

}  // namespace brasa::vk

// Whatever happens in here stays in here: no exception crosses.
extern "C" __attribute__((visibility("default"))) void brasa_library(const brasa::Host* host,
                                                                     brasa::Library* out) noexcept {
  out->abi = BRASA_ABI;
  if (strcmp(host->abi, BRASA_ABI) != 0) return;
  brasa::vk::host = host;
  brasa::vk::list_devices(out);
}
