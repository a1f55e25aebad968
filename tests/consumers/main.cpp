#include <cmath>
#include <iostream>
#include <string>

#include <ring_attention/ring_attention.hpp>

namespace ra = ring_attention;

ra::Tensor<float, 3> logits_from_elsewhere();

int main(int argc, char** argv) {
    const auto [major, minor, patch] = ra::version;
    const std::string version =
        std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);

    ra::Tensor<ra::Token, 2> targets(1, 5);
    targets.setConstant(3);
    const double loss = ra::cross_entropy(logits_from_elsewhere(), targets).loss;

    std::cout << "ring_attention " << version << ": of 12 alike, " << loss << " nats\n";
    const bool as_expected = argc == 2 && argv[1] == version && std::abs(loss - std::log(12)) < 1e-6;
    return as_expected ? 0 : 1;
}
