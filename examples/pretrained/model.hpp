#pragma once

#include <filesystem>

#include <ring_attention/ring_attention.hpp>

// Written for one model by describe.cpp: constexpr ra::TransformerOptions options{...}, and model_folder.
#include "model_options.hpp"

namespace pretrained {

using Model = ra::TransformerModel<options>;

/// Words for refusals: whoever asks for text of a model that has no logits, or sees what comes next.
inline void require_language_model(const std::string& command) {
    if (!options.head)
        throw ra::Error(command + ": this model has no head, so it does not say which token comes next");
    if (!options.causal)
        throw ra::Error(command + ": this model is not causal, so a token sees those that come next");
}

/// The weights of a folder. Throws ra::FileError where it does not hold this model.
inline void load(auto& model, const std::filesystem::path& folder) {
    ra::load_pretrained(model, folder);
}

}  // namespace pretrained
