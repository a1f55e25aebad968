#include <string>

#include <doctest/doctest.h>

#include <ring_attention/version.hpp>

TEST_CASE("the version is that of the CMake project") {
    const auto [major, minor, patch] = ring_attention::version;
    CHECK(std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch) ==
          RING_ATTENTION_PROJECT_VERSION);
}
