#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <ring_attention/ring_attention.hpp>

namespace ring_lm {

namespace ra = ring_attention;

/// The byte-level model that this program trains. To try another, change it here.
inline constexpr ra::LanguageOptions options{
    .vocabulary = 256, .hidden_size = 128, .num_heads = 4, .num_chunks = 4, .num_layers = 4, .dropout = 0};

using Model = ra::LanguageModel<options>;

/// Bytes of context that the model was trained with, and the model itself, in the file's metadata.
inline void save_model(const Model& model, ra::Index context, const std::filesystem::path& path) {
    ra::save(model, path, {{"program", "ring_lm"}, {"context", std::to_string(context)}});
}

struct TrainedModel {
    Model model;
    ra::Index context;
};

/// Throws ra::FileError where the file was not written by save_model.
inline TrainedModel load_model(const std::filesystem::path& path) {
    const std::map<std::string, std::string> metadata = ra::read_metadata(path);
    const auto context = metadata.find("context");
    if (context == metadata.end() || context->second.find_first_not_of("0123456789") != std::string::npos ||
        context->second.empty() || context->second.size() > 9 || std::stol(context->second) < 1)
        throw ra::FileError(path.string() +
                            " does not say the context it was trained with: it is not of ring_lm");
    TrainedModel trained{{}, std::stol(context->second)};
    ra::load(trained.model, path);
    return trained;
}

}  // namespace ring_lm
