#pragma once

#include <cstddef>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <ring_attention/core/parameters.hpp>
#include <ring_attention/io/atomic_file.hpp>
#include <ring_attention/io/config.hpp>
#include <ring_attention/io/config_difference.hpp>
#include <ring_attention/io/config_text.hpp>
#include <ring_attention/io/part_transfer.hpp>
#include <ring_attention/io/published_folder.hpp>
#include <ring_attention/io/stored_weights.hpp>
#include <ring_attention/models/transformer_options.hpp>

// Models as they are published: a folder with config.json and model.safetensors, or shards of it with
// model.safetensors.index.json. Llama, Mistral, Qwen 2 and 3, Gemma 2, GPT-2 and BERT.

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// The options that a model was made from: those of its body, or its own.
template <class Model>
constexpr TransformerOptions options_of_model() {
    if constexpr (requires { TransformerOptions(Model::options); })
        return Model::options;
    else
        return decltype(Model::body)::options;
}

/// Throws FileError; then the folder has what it had, but for the case that a disk fails between the two
/// renames at the end.
template <Visitable Model>
void write_published(const Model& model, const TransformerOptions& options,
                     const std::filesystem::path& folder, PublishedConfig published) {
    using T = typename Model::Scalar;
    const FamilyTable& table = table_of(published.family);
    std::vector<TensorSource> tensors;
    for (const auto& part : published_parts(model, options, table))
        tensors.push_back(
            {published_name(part, table), std::string(dtype_of_part<T>(part)), part.shape(),
             std::uint64_t(part.rows * part.columns) * size_of_number<T>(part), [part](AtomicFile& file) {
                 for_each_published_span<T>(part, [&](auto numbers) { file.write(std::as_bytes(numbers)); });
             }});
    published.config.erase("torch_dtype");  // as version 4 calls it
    published.config["dtype"] = sizeof(T) == 4 ? "float32" : "float64";

    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) refuse_file(folder, "cannot be made, expected a folder or nothing there", error.value());
    AtomicFile weights(folder / weights_name), config(folder / config_name);
    write_safetensors(folder / weights_name, weights, std::move(tensors), {{"format", "pt"}});
    const std::string text = published.config.dump(2) + "\n";
    config.write(std::as_bytes(std::span(text)));
    weights.flush();
    config.flush();
    weights.commit();
    config.commit();
}

template <Visitable Model>
void load_published(Model& model, const TransformerOptions& options, const std::filesystem::path& folder) {
    using T = typename Model::Scalar;
    require_published_folder(folder);
    const std::filesystem::path path = folder / config_name;
    const nlohmann::json object = read_json_object(path);
    const ConfigObject config(path, object);
    require_options(config, options);

    const FamilyTable& table = family_of(config);
    const auto parts = published_parts(model, options, table);
    const PublishedFolder files(folder);
    const auto tensors = StoredWeights(files, table).require(parts, options.tied_head);
    try {
        for (std::size_t i = 0; i < parts.size(); ++i) read_part(*tensors[i].file, tensors[i].name, parts[i]);
    } catch (...) {
        for_each_parameter(model, [](std::string_view, auto& parameter) {
            using Number = std::remove_cvref_t<decltype(*parameter.data())>;
            parameter.setConstant(Number(std::numeric_limits<T>::quiet_NaN()));
        });
        throw;
    }
}

}  // namespace detail

/// The options of the published model in a folder; seats, layout, output and dropout are at their defaults.
/// Throws FileError where there is none, or where config.json has a setting that the library has not, which
/// it names.
inline TransformerOptions pretrained_options(const std::filesystem::path& folder) {
    detail::require_published_folder(folder);
    const std::filesystem::path path = folder / detail::config_name;
    const nlohmann::json config = detail::read_json_object(path);
    return detail::options_of_config(detail::ConfigObject(path, config));
}

/// Reads the weights of a published model: F32, F16, BF16 or F64, which become numbers of the type in which
/// the model keeps them while they are read, in no more memory than one of the tensors takes. Throws
/// FileError where config.json does not describe a model of these options, or a file, tensor, shape or type
/// is not what it has to be; then the model is as it was. Where a disk fails afterwards, while the numbers
/// are read, all of them are NaN: half a model is none.
template <Visitable Model>
void load_pretrained(Model& model, const std::filesystem::path& folder) {
    detail::load_published(model, detail::options_of_model<Model>(), folder);
}

/// Writes a model (or a gradient, which is one) into a folder as it is published: config.json and
/// model.safetensors, F32 or F64 as the model is, and BF16 what it keeps so. The folder is made if it is not
/// there; each of the files is the old or the new at any time, never half. Throws Error where no family has
/// such models, FileError where the files cannot be written.
template <Visitable Model>
void save_pretrained(const Model& model, const std::filesystem::path& folder) {
    constexpr TransformerOptions options = detail::options_of_model<Model>();
    detail::write_published(model, options, folder, detail::config_of(options));
}

/// The same with the config.json of another folder, so that nothing that was said there of the model and its
/// tokens is lost. Throws FileError where it does not describe a model of these options.
template <Visitable Model>
void save_pretrained(const Model& model, const std::filesystem::path& folder,
                     const std::filesystem::path& origin) {
    const std::filesystem::path path = origin / detail::config_name;
    nlohmann::json object = detail::read_json_object(path);
    const detail::ConfigObject config(path, object);
    constexpr TransformerOptions options = detail::options_of_model<Model>();
    detail::require_options(config, options);
    const detail::Family family = detail::family_of(config).family;
    detail::write_published(model, options, folder, {family, std::move(object)});
}

/// Calls f(name, shape, numbers) for every tensor as which save_pretrained writes a parameter of the model:
/// the numbers are of the model's type, row-major, and there until f returns. Throws as save_pretrained does.
template <Visitable Model>
void for_each_published(const Model& model, auto&& f) {
    using T = typename Model::Scalar;
    constexpr TransformerOptions options = detail::options_of_model<Model>();
    const detail::FamilyTable& table = detail::table_of(detail::config_of(options).family);
    for (const auto& part : detail::published_parts(model, options, table)) {
        std::vector<T> numbers;
        numbers.reserve(std::size_t(part.rows * part.columns));
        detail::for_each_published_span<T>(part, [&](auto piece) {
            for (const auto number : piece) numbers.push_back(T(number));
        });
        f(detail::published_name(part, table), part.shape(), std::as_const(numbers));
    }
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
