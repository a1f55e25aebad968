#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/pretrained.hpp>
#include <ring_attention/io/safetensors.hpp>

#include "support/family_options.inc"
#include "support/named_parameters.hpp"
#include "support/temporary_folder.hpp"

namespace {

namespace detail = ra::detail;
using support::NamedParameters;

const std::vector<std::string> golden_names{"bert",   "gemma2",  "gpt2",  "llama",
                                            "llama3", "mistral", "qwen2", "qwen3"};

struct Golden {
    explicit Golden(const std::string& name)
        : file(std::string(RING_ATTENTION_GOLDEN_DIR "/families/") + name + ".safetensors"),
          config(file.metadata().at("config")),
          options(detail::options_of_config(config)) {}

    /// Those of the model, as they are published.
    std::vector<std::string> weights() const {
        std::vector<std::string> found;
        for (const std::string& name : file.names())
            if (file.contains("grad." + name) || name.starts_with("pooler")) found.push_back(name);
        return found;
    }

    ra::SafetensorsFile file;
    std::string config;
    ra::TransformerOptions options;
};

struct Tensor {
    std::string dtype;
    std::vector<ra::Index> shape;
    std::vector<std::byte> bytes;
};
using Tensors = std::map<std::string, Tensor>;

Tensors weights_of(const Golden& golden) {
    Tensors tensors;
    for (const std::string& name : golden.weights())
        tensors[name] = {golden.file.entry(name).dtype, golden.file.shape(name),
                         golden.file.read_bytes(name)};
    return tensors;
}

void write(const std::filesystem::path& path, const Tensors& tensors) {
    std::vector<ra::NamedTensor> named;
    for (const auto& [name, tensor] : tensors)
        named.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
    ra::write_safetensors(path, named);
}

/// A folder as somebody would publish it.
struct Folder : TemporaryFolder {
    Folder(const std::string& config, const Tensors& tensors) {
        write_text(*this / "config.json", config);
        write(*this / "model.safetensors", tensors);
    }
};

template <class T>
const T* numbers_of(const NamedParameters<T>& model, std::string_view name) {
    const T* found = nullptr;
    ra::for_each_parameter(model, [&](std::string_view each, const auto& parameter) {
        if (each == name) found = parameter.data();
    });
    return found;
}

/// Loading must fail with the message and change nothing.
void check_refused(const std::filesystem::path& folder, const ra::TransformerOptions& options,
                   const std::string& expected) {
    NamedParameters<float> model(options);
    ra::for_each_parameter(model, [](std::string_view, auto& parameter) { parameter.setConstant(7); });
    CHECK_THROWS_WITH_AS(detail::load_published(model, options, folder), doctest::Contains(expected.c_str()),
                         ra::Error);
    bool unchanged = true;
    ra::for_each_parameter(model, [&](std::string_view, const auto& parameter) {
        unchanged = unchanged && (parameter.array() == 7).all();
    });
    CHECK(unchanged);
}

std::vector<std::byte> bytes_of(const auto& numbers) {
    const auto bytes = std::as_bytes(std::span(numbers));
    return {bytes.begin(), bytes.end()};
}

/// Llama of one layer and the whole real form: what the model has, with the options as part of its type.
struct StaticLlama {
    using Scalar = float;
    static constexpr ra::TransformerOptions options = llama;
    NamedParameters<float> parameters{options};
    static void visit(auto&& f, auto&... self) { NamedParameters<float>::visit(f, self.parameters...); }
};

}  // namespace

TEST_CASE("the published weights of every family are loaded, and saved again to the bit") {
    for (const std::string& name : golden_names) {
        CAPTURE(name);
        const Golden golden(name);
        Tensors published = weights_of(golden);
        const Folder folder(golden.config, published);
        NamedParameters<float> model(golden.options);
        detail::load_published(model, golden.options, folder.path());

        const TemporaryFolder saved;
        detail::write_published(model, golden.options, saved.path(), detail::config_of(golden.options));
        CHECK(saved.names() == std::set<std::string>{"config.json", "model.safetensors"});
        const ra::SafetensorsFile file(saved / "model.safetensors");
        CHECK(file.metadata() == ra::Metadata{{"format", "pt"}});
        published.erase("pooler.dense.weight");
        published.erase("pooler.dense.bias");
        CHECK(file.names().size() == published.size());
        for (const auto& [tensor_name, tensor] : published) {
            CAPTURE(tensor_name);
            REQUIRE(file.contains(tensor_name));
            file.require(tensor_name, tensor.dtype, tensor.shape);
            CHECK(file.read_bytes(tensor_name) == tensor.bytes);
        }
        CHECK(detail::differences(ra::pretrained_options(saved.path()), golden.options).empty());
    }
}

TEST_CASE("a published kernel is turned, and queries, keys and values stand side by side") {
    const Golden golden("llama");
    const Folder folder(golden.config, weights_of(golden));
    NamedParameters<double> model(golden.options);
    detail::load_published(model, golden.options, folder.path());
    const auto published = [&](const std::string& name, int out, int in) {
        return double(
            golden.file.read<float>("model.layers.1.self_attn." + name)[std::size_t(out * 24 + in)]);
    };
    const double* qkv = numbers_of(model, "ring_2_qkv.kernel");  // [24, 24 + 8 + 8]
    CHECK(qkv[5 * 40 + 23] == published("q_proj.weight", 23, 5));
    CHECK(qkv[5 * 40 + 24] == published("k_proj.weight", 0, 5));
    CHECK(qkv[23 * 40 + 32 + 7] == published("v_proj.weight", 7, 23));
    const Golden gpt2_golden("gpt2");
    const Folder other(gpt2_golden.config, weights_of(gpt2_golden));
    NamedParameters<float> as_published(gpt2_golden.options);
    detail::load_published(as_published, gpt2_golden.options, other.path());
    const std::vector<float> fused = gpt2_golden.file.read<float>("transformer.h.0.attn.c_attn.weight");
    CHECK(std::equal(fused.begin(), fused.end(), numbers_of(as_published, "ring_1_qkv.kernel")));
}
