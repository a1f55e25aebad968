#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <ring_attention/core/parameters.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/io/dtype.hpp>
#include <ring_attention/io/file_message.hpp>
#include <ring_attention/io/safetensors.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// [size] of a row vector, [rows, cols] of a matrix.
template <class Parameter>
std::vector<Index> stored_shape(const Parameter& parameter) {
    if constexpr (Parameter::RowsAtCompileTime == 1)
        return {parameter.size()};
    else
        return {parameter.rows(), parameter.cols()};
}

/// The parameters under their names, as a file holds them.
template <Visitable Model>
std::vector<NamedTensor> stored_parameters(const Model& model) {
    std::vector<NamedTensor> tensors;
    for_each_parameter(model, [&](std::string_view name, const auto& parameter) {
        using Parameter = std::remove_cvref_t<decltype(parameter)>;
        static_assert(Parameter::IsRowMajor || Parameter::IsVectorAtCompileTime, "a file holds rows");
        tensors.push_back(named_tensor(std::string(name), stored_shape(parameter), parameter.data()));
    });
    return tensors;
}

/// Throws FileError unless the file has these tensors and no other, with the same dtypes and shapes.
inline void require_tensors(const SafetensorsFile& file, const std::vector<NamedTensor>& expected) {
    std::set<std::string> unexpected;
    for (const std::string& name : file.names()) unexpected.insert(name);
    std::vector<std::string> missing;
    for (const NamedTensor& tensor : expected)
        if (unexpected.erase(tensor.name) == 0) missing.push_back(tensor.name);

    std::string sentence;
    if (!missing.empty()) sentence = "has no tensor " + list_in_quotes(missing) + ", which the model expects";
    if (!unexpected.empty())
        sentence += (missing.empty() ? "" : ", and ") + std::string("has a tensor ") +
                    list_in_quotes({unexpected.begin(), unexpected.end()}) +
                    ", which the model does not expect";
    if (!sentence.empty()) refuse_file(file.path(), sentence);
    for (const NamedTensor& tensor : expected) file.require(tensor.name, tensor.dtype, tensor.shape);
}

}  // namespace detail

/// Writes every parameter of the model (or of anything else that lists its parts: a gradient, the state of an
/// optimiser) under its name to a safetensors file: a matrix as [rows, cols], a row vector as [size]. Throws
/// FileError, and then the path has what it had before.
template <Visitable Model>
void save(const Model& model, const std::filesystem::path& path, const Metadata& metadata = {}) {
    write_safetensors(path, detail::stored_parameters(model), metadata);
}

/// Reads what save wrote into a model of the same names, shapes and dtypes. Throws FileError if anything is
/// missing, is too much or differs, and then the model is as it was.
template <Visitable Model>
void load(Model& model, const std::filesystem::path& path) {
    const SafetensorsFile file(path);
    const std::vector<NamedTensor> expected = detail::stored_parameters(model);
    detail::require_tensors(file, expected);
    std::vector<std::vector<std::byte>> contents;
    contents.reserve(expected.size());
    for (const NamedTensor& tensor : expected) contents.push_back(file.read_bytes(tensor.name));

    // Everything is at hand: from here on nothing can fail.
    auto content = contents.begin();
    for_each_parameter(model, [&](std::string_view, auto& parameter) {
        std::copy(content->begin(), content->end(), reinterpret_cast<std::byte*>(parameter.data()));
        ++content;
    });
}

/// The text that was saved beside the weights. Throws FileError.
inline Metadata read_metadata(const std::filesystem::path& path) {
    return SafetensorsFile(path).metadata();
}

/// One entry of it. Throws FileError if it is not there.
inline std::string read_metadata(const std::filesystem::path& path, const std::string& key) {
    const Metadata metadata = read_metadata(path);
    const auto found = metadata.find(key);
    if (found == metadata.end())
        detail::refuse_file(path,
                            "has no metadata " + detail::in_quotes(key) + ", expected it beside the weights");
    return found->second;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
