#pragma once

#include <cstdint>

#include <ring_attention/models/language_body.hpp>
#include <ring_attention/models/model.hpp>
#include <ring_attention/models/sequence_body.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// [batch, seq_len, embed_dim] => the shape of options.output.
template <Options options, class T = float>
using SequenceModel = Model<SequenceBody<detail::Checked<options>::of_layers, T>, options.output>;

/// Tokens [batch, seq_len] => logits [batch, seq_len, vocabulary].
template <LanguageOptions options, class T = float>
using LanguageModel = Model<LanguageBody<detail::CheckedLanguage<options>::of_layers, T>, Output::all>;

namespace detail {

template <Visitable L>
void initialise_parts(L& layer, const CounterRandom& random, std::uint64_t& stream) {
    if constexpr (requires { layer.initialise(random, stream); })
        layer.initialise(random, stream++);
    else
        for_each_part(
            [&](std::string_view, auto& part) {
                if constexpr (Visitable<std::remove_cvref_t<decltype(part)>>)
                    initialise_parts(part, random, stream);
            },
            layer);
}

}  // namespace detail

/// Gives every layer its initial values: a function of the seed and of the layer's place in the model.
template <Visitable Model>
void initialise(Model& model, std::uint64_t seed) {
    const CounterRandom random(seed, RandomPurpose::initial_values);
    std::uint64_t stream = 0;
    detail::initialise_parts(model, random, stream);
}

namespace detail {

/// With what the options say beyond the type.
template <class Model>
Model built(const auto& options, std::uint64_t seed) {
    Model model;
    model.num_chunks = options.num_chunks;
    model.layout = options.layout;
    initialise(model, seed);
    return model;
}

}  // namespace detail

/// auto model = build<options>(); build<options, double>(seed)
template <Options options, class T = float>
SequenceModel<options, T> build(std::uint64_t seed = 0) {
    return detail::built<SequenceModel<options, T>>(options, seed);
}

template <LanguageOptions options, class T = float>
LanguageModel<options, T> build(std::uint64_t seed = 0) {
    return detail::built<LanguageModel<options, T>>(options, seed);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
