#pragma once

#include <cstdint>

#include <ring_attention/models/checked_options.hpp>
#include <ring_attention/models/model.hpp>
#include <ring_attention/models/transformer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

template <class Checked, class T>
struct ModelOf {
    static constexpr TransformerOptions of_layers = for_layers(Checked::options);
    using type = Model<Transformer<of_layers, T>, Checked::options.output>;
};

// g++ 12 cannot see through these in one step, where the options depend on template arguments.
template <TransformerOptions options, class T>
struct TransformerModelOf : ModelOf<Checked<options>, T> {};
template <Options options, class T>
struct SequenceModelOf : ModelOf<CheckedOptions<options>, T> {};
template <LanguageOptions options, class T>
struct LanguageModelOf : ModelOf<CheckedLanguageOptions<options>, T> {};

}  // namespace detail

/// [batch, seq_len, embed_dim] or tokens [batch, seq_len] => hidden states, or logits in place of them, in
/// the shape of options.output.
template <TransformerOptions options, class T = float>
using TransformerModel = typename detail::TransformerModelOf<options, T>::type;

/// [batch, seq_len, embed_dim] => the shape of options.output.
template <Options options, class T = float>
using SequenceModel = typename detail::SequenceModelOf<options, T>::type;

/// Tokens [batch, seq_len] => logits [batch, seq_len, vocabulary].
template <LanguageOptions options, class T = float>
using LanguageModel = typename detail::LanguageModelOf<options, T>::type;

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

template <TransformerOptions options, class T = float>
TransformerModel<options, T> build(std::uint64_t seed = 0) {
    return detail::built<TransformerModel<options, T>>(options, seed);
}

template <LanguageOptions options, class T = float>
LanguageModel<options, T> build(std::uint64_t seed = 0) {
    return detail::built<LanguageModel<options, T>>(options, seed);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
