// What the driver compiled, kept between processes in a file of the user's cache folder for each device and driver.
#pragma once
#include <volk.h>

#include <string>
#include <vector>

namespace brasa::vk {

// $XDG_CACHE_HOME/brasa or ~/.cache/brasa; empty when there is neither, or with BRASA_VULKAN_CACHE=0.
std::string cache_path(const VkPhysicalDeviceProperties& device);
// Empty unless the file is there and whole, and was written for this device, driver and version of brasa.
std::vector<uint8_t> read_cache(const std::string& path, const VkPhysicalDeviceProperties& device);
// In the place of the file that was there, at once; whatever fails leaves that one.
void write_cache(const std::string& path, const VkPhysicalDeviceProperties& device, const std::vector<uint8_t>& data);

}  // namespace brasa::vk
