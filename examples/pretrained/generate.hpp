#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "../ring_lm/draw.hpp"
#include "../ring_lm/output.hpp"
#include "../ring_lm/progress.hpp"
#include "model.hpp"

namespace pretrained {

struct GenerateArguments {
    ModelArguments model;
    std::string tokens;
    ra::Index length = 64;
    double temperature = 0;
    std::uint64_t seed = 0;
};

/// "1 2 3", or with commas. Throws ra::Error where that is not one token or more.
inline ra::Tensor<ra::Token, 2> parse_tokens(std::string_view text) {
    std::vector<ra::Token> tokens;
    constexpr std::string_view between = " ,\t\n";
    while ((text = text.substr(std::min(text.size(), text.find_first_not_of(between)))).size() > 0) {
        const std::string_view word = text.substr(0, text.find_first_of(between));
        ra::Token token = -1;
        const auto [end, error] = std::from_chars(word.begin(), word.end(), token);
        if (error != std::errc() || end != word.end() || token < 0 || token >= options.vocabulary)
            throw ra::Error(fmt::format("--tokens has '{}', expected numbers from 0 to {}", word,
                                        options.vocabulary - 1));
        tokens.push_back(token);
        text.remove_prefix(word.size());
    }
    if (tokens.empty()) throw ra::Error("--tokens is empty, expected a token or more");
    ra::Tensor<ra::Token, 2> row(1, ra::Index(tokens.size()));
    std::copy(tokens.begin(), tokens.end(), row.data());
    return row;
}

inline void print_speed(const char* what, ra::Index tokens, double seconds) {
    fmt::print(stderr, "{}: {} tokens, {:.2f} tokens/s\n", what, tokens, double(tokens) / seconds);
}

/// Of a model M that has streams.
template <class M>
int generate_tokens(const GenerateArguments& arguments, ra::RingReference ring) {
    const ra::Tensor<ra::Token, 2> prompt = parse_tokens(arguments.tokens);
    // What follows the last token that is asked for is not looked at.
    const ra::Index capacity = prompt.size() + std::max<ra::Index>(0, arguments.length - 1);
    require_positions(capacity);
    const M model = load(arguments.model);
    const ra::CounterRandom random(arguments.seed, ra::RandomPurpose::sampling);

    ra::Stream stream{model, ring, {.capacity = capacity}};
    ring_lm::Stopwatch watch;
    ra::Tensor<float, 2> logits = stream.prefill(ra::tokens_of(prompt, model.share(ring, prompt.size())));
    const double prefill_seconds = watch.seconds();

    watch = {};
    for (ra::Index i = 0; i < arguments.length; ++i) {
        const auto token =
            ra::Token(ring_lm::draw_token(std::span(logits.data(), std::size_t(logits.size())),
                                          arguments.temperature, random.uniform(std::uint64_t(i))));
        if (ring.rank() == 0) {
            ring_lm::say(fmt::format("{}{}", i > 0 ? " " : "", token));
            ring_lm::require_output();
        }
        if (i + 1 < arguments.length) logits = stream.push(token);
    }
    if (ring.rank() > 0) return 0;
    ring_lm::say("\n");
    print_speed("prefill", prompt.size(), prefill_seconds);
    if (arguments.length > 1) print_speed("token by token", arguments.length - 1, watch.seconds());
    return 0;
}

/// Prints the tokens that the model lets follow, as numbers in one line, and how fast on stderr. All ranks
/// call it: they share the prompt, of which each computes its part, and the keys and values, of which each
/// keeps its own; all get the same tokens, and rank 0 speaks.
inline int generate(const GenerateArguments& arguments, ra::RingReference ring) {
    require_language_model("generate");
    if constexpr (is_language_model)
        return generate_tokens<Model>(arguments, ring);
    else
        return 2;
}

}  // namespace pretrained
