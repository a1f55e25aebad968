#pragma once

#include <filesystem>
#include <string>

#include <ring_attention/io/pretrained.hpp>
#include <ring_attention/ring_attention.hpp>

// Written for one model by describe.cpp: constexpr ra::TransformerOptions options{...}, and model_folder.
#include "model_options.hpp"

namespace pretrained {

using Model = ra::TransformerModel<options>;

/// What every command is told of the model.
struct ModelArguments {
    std::filesystem::path folder = model_folder;
    ra::Index chunks = options.num_chunks;
    ra::Layout layout = options.layout;
};

/// Throws ra::FileError where the folder does not hold the weights of this model.
inline Model load(const ModelArguments& arguments) {
    Model model;
    model.num_chunks = arguments.chunks;
    model.layout = arguments.layout;
    ra::load_pretrained(model, arguments.folder);
    return model;
}

/// Whether it has gradients: weights kept as bfloat16 have none.
template <class AnyModel>
inline constexpr bool learns = decltype(AnyModel::body)::options.weights == ra::Storage::computing;

/// For whoever needs them. Throws ra::Error where the model has none.
inline void require_learning(const std::string& command) {
    if (!learns<Model>)
        throw ra::Error(command + ": this program was built with --bfloat16, and such weights do not learn");
}

/// Whether it says which token comes next, and tokens do not see those.
inline constexpr bool is_language_model = options.head && options.causal;

/// For whoever asks which token comes next. Throws ra::Error where this model does not say that.
inline void require_language_model(const std::string& command) {
    if (!options.head)
        throw ra::Error(command + ": this model has no head, so it does not say which token comes next");
    if (!options.causal)
        throw ra::Error(command + ": this model is not causal, so a token sees those that come next");
}

/// Throws ra::Error where the model has no positions for so many tokens.
inline void require_positions(ra::Index tokens) {
    if (options.positions == ra::Positions::learned && tokens > options.max_positions)
        throw ra::Error(std::to_string(tokens) + " tokens in a row, expected at most " +
                        std::to_string(options.max_positions) +
                        ", for which the model has learned positions");
}

}  // namespace pretrained
