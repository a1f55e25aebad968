#pragma once

// The one place that states the version: CMakeLists.txt reads these three lines.
#define RING_ATTENTION_VERSION_MAJOR 0
#define RING_ATTENTION_VERSION_MINOR 1
#define RING_ATTENTION_VERSION_PATCH 0

namespace ring_attention {

struct Version {
    int major, minor, patch;
};

/// The version of the headers that this program was compiled with.
inline constexpr Version version{RING_ATTENTION_VERSION_MAJOR, RING_ATTENTION_VERSION_MINOR,
                                 RING_ATTENTION_VERSION_PATCH};

}  // namespace ring_attention
