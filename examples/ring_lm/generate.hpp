#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "model.hpp"
#include "output.hpp"
#include "text.hpp"

namespace ring_lm {

struct GenerateArguments {
    std::filesystem::path weights;
    std::string prompt = "\n";
    ra::Index length = 400;
    double temperature = 0.8;
    std::uint64_t seed = 0;
};

/// Draws a byte from softmax(logits / temperature) with a number in (0, 1); the likeliest byte at temperature
/// 0. Throws ra::Error where a logit is not finite.
inline std::uint8_t draw_byte(const float* logits, double temperature, double uniform) {
    if (!std::all_of(logits, logits + options.vocabulary, [](float x) { return std::isfinite(x); }))
        throw ra::Error("the weights are of no use: what they make of the text is not finite");
    const float* best = std::max_element(logits, logits + options.vocabulary);
    if (temperature == 0) return std::uint8_t(best - logits);
    std::vector<double> cumulative;
    for (int j = 0; j < options.vocabulary; ++j)
        cumulative.push_back((cumulative.empty() ? 0 : cumulative.back()) +
                             std::exp(double(logits[j] - *best) / temperature));
    const auto drawn = std::upper_bound(cumulative.begin(), cumulative.end(), uniform * cumulative.back());
    return std::uint8_t(std::min<std::ptrdiff_t>(drawn - cumulative.begin(), options.vocabulary - 1));
}

/// Writes the prompt and `length` bytes that follow it. The model sees as many bytes as it was trained with,
/// and no more, for it has not learnt what stands further on: when it has seen them it starts again, from the
/// later half of them.
inline void generate(const GenerateArguments& arguments) {
    const TrainedModel trained = load_model(arguments.weights);
    const ra::CounterRandom random(arguments.seed, ra::RandomPurpose::sampling);
    Bytes text(arguments.prompt.begin(), arguments.prompt.end());
    if (text.empty()) text.push_back('\n');
    say(arguments.prompt);
    ra::Stream stream{trained.model};
    const auto start_from_last = [&](ra::Index count) {
        ra::Tensor<ra::Token, 2> tokens(1, count);
        std::copy(text.end() - count, text.end(), tokens.data());
        stream.reset();
        return stream.push(tokens);
    };
    ra::Tensor<float, 2> logits = start_from_last(std::min(ra::Index(text.size()), trained.context));
    for (ra::Index i = 0; i < arguments.length; ++i) {
        text.push_back(draw_byte(logits.data(), arguments.temperature, random.uniform(std::uint64_t(i))));
        say(std::string(1, char(text.back())));
        require_output();
        logits = stream.size() < trained.context ? stream.push(text.back())
                                                 : start_from_last((trained.context + 1) / 2);
    }
    say("\n");
}

}  // namespace ring_lm
