#pragma once

#include <charconv>
#include <filesystem>
#include <string>
#include <system_error>

#include <ring_attention/ring_attention.hpp>

#include "finite.hpp"

namespace ring_lm {

namespace ra = ring_attention;

/// The byte-level model that this program trains. To try another, change it here. So many processes can work
/// on it as there are chunks; dropout is used where one asks for it.
inline constexpr ra::LanguageOptions options{
    .vocabulary = 256, .hidden_size = 128, .num_heads = 4, .num_chunks = 8, .num_layers = 4, .dropout = 0.1f};

using Model = ra::LanguageModel<options>;

/// Bytes of context that the model was trained with, and the model itself, in the file's metadata. Throws
/// ra::Error where the model has a number that is not finite, and then the path has what it had before.
inline void save_model(const auto& model, ra::Index context, const std::filesystem::path& path) {
    require_finite(model, "the weights are not saved to " + path.string());
    ra::save(model, path, {{"program", "ring_lm"}, {"context", std::to_string(context)}});
}

struct TrainedModel {
    Model model;
    ra::Index context;
};

/// Throws ra::Error where the file was not written by save_model.
inline TrainedModel load_model(const std::filesystem::path& path) {
    const std::string context = ra::read_metadata(path, "context");
    TrainedModel trained{ra::build<options>(), 0};
    const auto [end, error] =
        std::from_chars(context.data(), context.data() + context.size(), trained.context);
    if (error != std::errc() || end != context.data() + context.size() || trained.context < 1)
        throw ra::FileError(path.string() + " says that its context is '" + context +
                            "', expected a number of bytes");
    ra::load(trained.model, path);
    require_finite(trained.model, path.string());
    return trained;
}

}  // namespace ring_lm
