#pragma once

#include <algorithm>
#include <span>
#include <string>

#include "draw.hpp"
#include "model.hpp"
#include "output.hpp"
#include "ranks.hpp"
#include "text.hpp"

namespace ring_lm {

struct GenerateArguments {
    std::filesystem::path weights;
    std::string prompt = "\n";
    ra::Index length = 400;
    double temperature = 0.8;
    std::uint64_t seed = 0;
};

/// Writes the prompt and `length` bytes that follow it. The model sees as many bytes as it was trained with,
/// and no more, for it has not learnt what stands further on: when it has seen them it starts again, from the
/// later half of them. All ranks call it: they compute the prompt together, share the keys and values, and
/// draw the same bytes, which one of them writes.
inline void generate(const GenerateArguments& arguments, const Ranks& ranks) {
    const TrainedModel trained = load_model(arguments.weights);
    const ra::CounterRandom random(arguments.seed, ra::RandomPurpose::sampling);
    Bytes text(arguments.prompt.begin(), arguments.prompt.end());
    if (text.empty()) text.push_back('\n');
    const auto write = [&](const std::string& bytes) {
        if (!ranks.speaks()) return;
        say(bytes);
        require_output();
    };
    ra::Stream stream{trained.model, ranks.ring};
    write(arguments.prompt);
    const auto start_from_last = [&](ra::Index count) {
        ra::Tensor<ra::Token, 2> tokens(1, count);
        std::copy(text.end() - count, text.end(), tokens.data());
        stream.reset();
        return stream.prefill(ra::tokens_of(tokens, trained.model.share(ranks.ring, count)));
    };
    ra::Tensor<float, 2> logits = start_from_last(std::min(ra::Index(text.size()), trained.context));
    for (ra::Index i = 0; i < arguments.length; ++i) {
        text.push_back(std::uint8_t(draw_token(std::span(logits.data(), options.vocabulary),
                                               arguments.temperature, random.uniform(std::uint64_t(i)))));
        write(std::string(1, char(text.back())));
        logits = stream.size() < trained.context ? stream.push(text.back())
                                                 : start_from_last((trained.context + 1) / 2);
    }
    write("\n");
}

}  // namespace ring_lm
