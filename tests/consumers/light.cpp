// A program for those ways to use the library that differ from others in CMake alone: a header for each of the
// packages that the library needs.

#include <string>

#include <ring_attention/core/random.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/io/safetensors_json.hpp>
#include <ring_attention/version.hpp>

namespace ra = ring_attention;

int main(int argc, char** argv) {
    const auto [major, minor, patch] = ra::version;
    const std::string version =
        std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
    ra::Matrix<float> numbers = ra::Matrix<float>::Zero(2, 3);
    numbers(1, 2) = float(ra::CounterRandom(1, ra::RandomPurpose::sampling).bits(0, 0, 0, 0)[0] | 1u);
    return argc == 2 && argv[1] == version && numbers.sum() > 0 ? 0 : 1;
}
