#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/pretrained.hpp>
#include <ring_attention/io/safetensors.hpp>

#include "support/family_options.inc"
#include "support/named_parameters.hpp"
#include "support/temporary_folder.hpp"

namespace io_pretrained {

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

/// With the options as part of its type, as models have them.
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
        for (const auto& named : published) {
            CAPTURE(named.first);
            REQUIRE(file.contains(named.first));
            file.require(named.first, named.second.dtype, named.second.shape);
            CHECK(file.read_bytes(named.first) == named.second.bytes);
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

TEST_CASE("names with and without the prefix of the family are found") {
    for (const auto& family : {std::pair<std::string, std::string>("gpt2", "transformer."),
                               {"bert", "bert."},
                               {"llama", "model."}}) {
        CAPTURE(family.first);
        const Golden golden(family.first);
        const std::string& prefix = family.second;
        const Tensors published = weights_of(golden);
        Tensors other;
        for (const auto& [tensor_name, tensor] : published)
            other[tensor_name.starts_with(prefix)   ? tensor_name.substr(prefix.size())
                  : tensor_name == "lm_head.weight" ? tensor_name
                                                    : prefix + tensor_name] = tensor;
        NamedParameters<float> model(golden.options), as_published(golden.options);
        detail::load_published(model, golden.options, Folder(golden.config, other).path());
        detail::load_published(as_published, golden.options, Folder(golden.config, published).path());
        ra::for_each_parameter_in_step(
            [&](std::string_view, const auto& a, const auto& b) {
                CHECK(std::equal(a.data(), a.data() + a.size(), b.data()));
            },
            model, as_published);
    }
}

TEST_CASE("what old folders have beside the weights is not looked at, and old names are known") {
    const std::vector<std::int64_t> numbers(128);
    const Tensor buffer{"I64", {1, 128}, bytes_of(numbers)},
        mask{"BOOL", {2, 2}, bytes_of(std::vector<char>(4))};
    const auto loads = [](const Golden& golden, const Tensors& tensors) {
        NamedParameters<float> model(golden.options);
        CHECK_NOTHROW(detail::load_published(model, golden.options, Folder(golden.config, tensors).path()));
    };
    const Golden gpt2_golden("gpt2");
    Tensors tensors = weights_of(gpt2_golden);
    tensors["transformer.h.0.attn.bias"] = tensors["transformer.h.1.attn.masked_bias"] = mask;
    loads(gpt2_golden, tensors);
    const Golden llama_golden("llama");
    tensors = weights_of(llama_golden);
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = mask;
    loads(llama_golden, tensors);
    const Golden bert_golden("bert");
    Tensors renamed{{"bert.embeddings.position_ids", buffer}, {"cls.predictions.bias", mask}};
    for (const auto& [name, tensor] : weights_of(bert_golden)) {
        std::string old = "bert." + name;
        if (const auto at = old.find("LayerNorm."); at != std::string::npos)
            old = old.substr(0, at + 10) + (old.ends_with("weight") ? "gamma" : "beta");
        renamed[old] = tensor;
    }
    loads(bert_golden, renamed);
    renamed["bert.embeddings.LayerNorm.weight"] = renamed["bert.embeddings.LayerNorm.gamma"];
    check_refused(Folder(bert_golden.config, renamed).path(), bert_golden.options,
                  "has a tensor \"bert.embeddings.LayerNorm.weight\", which is the same as "
                  "\"bert.embeddings.LayerNorm.gamma\", expected one of them");
}

TEST_CASE("a head beside the table that it is tied to has to be the same") {
    const Golden golden("qwen2");
    Tensors tensors = weights_of(golden);
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"];
    NamedParameters<float> model(golden.options);
    CHECK_NOTHROW(detail::load_published(model, golden.options, Folder(golden.config, tensors).path()));
    tensors["lm_head.weight"].bytes.back() ^= std::byte(1);
    check_refused(
        Folder(golden.config, tensors).path(), golden.options,
        "tensor \"lm_head.weight\" differs from \"model.embed_tokens.weight\", expected the same, since "
        "config.json says tie_word_embeddings");
    tensors["lm_head.weight"].shape = {24, 61};
    check_refused(Folder(golden.config, tensors).path(), golden.options,
                  "tensor \"lm_head.weight\" has shape [24, 61], expected [61, 24]");
}

TEST_CASE("weights of other types become those of the model, in shards too") {
    const Golden golden("qwen3");
    const Tensors published = weights_of(golden);
    NamedParameters<float> expected(golden.options);
    detail::load_published(expected, golden.options, Folder(golden.config, published).path());

    const TemporaryFolder folder;
    write_text(folder / "config.json", golden.config);
    std::map<std::string, Tensors> shards;
    std::string index;
    int count = 0;
    for (const auto& [name, tensor] : published) {
        const std::vector<float> numbers = golden.file.read<float>(name);
        Tensor stored{"F64", tensor.shape, bytes_of(std::vector<double>(numbers.begin(), numbers.end()))};
        if (++count % 3 == 0) {
            std::vector<std::uint16_t> upper;
            for (const float x : numbers)
                upper.push_back(std::uint16_t(std::bit_cast<std::uint32_t>(x) >> 16));
            stored = {"BF16", tensor.shape, bytes_of(upper)};
        }
        const std::string file = "shard-" + std::to_string(count % 2) + ".safetensors";
        shards[file][name] = stored;
        index += (index.empty() ? "" : ",") + ('"' + name + "\":\"" + file + '"');
    }
    for (const auto& [file, tensors] : shards) write(folder / file, tensors);
    write_text(folder / "model.safetensors.index.json", R"({"metadata": {}, "weight_map": {)" + index + "}}");
    NamedParameters<float> model(golden.options);
    detail::load_published(model, golden.options, folder.path());
    int equal = 0, cut = 0, wrong = 0;
    ra::for_each_parameter_in_step(
        [&](std::string_view, const auto& given, const auto& full) {
            for (ra::Index i = 0; i < given.size(); ++i) {
                const auto bits = std::bit_cast<std::uint32_t>(full.data()[i]);
                if (given.data()[i] == full.data()[i])
                    ++equal;
                else if (std::bit_cast<std::uint32_t>(given.data()[i]) == (bits & 0xFFFF0000u))
                    ++cut;
                else
                    ++wrong;
            }
        },
        model, expected);
    CHECK(equal > 1000);
    CHECK(cut > 1000);
    CHECK(wrong == 0);

    std::filesystem::remove(folder / "shard-1.safetensors");
    check_refused(folder.path(), golden.options, "\"shard-1.safetensors\", which is not there");
}

TEST_CASE("a folder that does not fit is refused, and the model is as it was") {
    const Golden golden("llama");
    const Tensors published = weights_of(golden);
    const auto check = [&](auto&& change, const std::string& expected) {
        Tensors tensors = published;
        change(tensors);
        check_refused(Folder(golden.config, tensors).path(), golden.options, expected);
    };
    const std::string last = "model.norm.weight", kernel = "model.layers.1.mlp.down_proj.weight";
    check([&](Tensors& tensors) { tensors.erase(last); },
          "has no tensor \"model.norm.weight\", which the model expects");
    check([&](Tensors& tensors) { tensors.erase("lm_head.weight"); }, "has no tensor \"lm_head.weight\"");
    check([&](Tensors& tensors) { tensors["model.layers.2.x"] = tensors[last]; },
          "has a tensor \"model.layers.2.x\", which the model does not expect");
    check(
        [&](Tensors& tensors) {
            tensors[kernel].shape = {40, 24};
        },
        "tensor \"" + kernel + "\" has shape [40, 24], expected [24, 40]");
    for (const std::string dtype : {"I32", "U32"})
        check([&](Tensors& tensors) { tensors[kernel].dtype = dtype; },
              "tensor \"" + kernel + "\" has dtype " + dtype + ", expected F32, F16, BF16 or F64");
    check(
        [&](Tensors& tensors) {
            tensors[kernel] = {"F4", {24, 40}, std::vector<std::byte>(480)};
        },
        "tensor \"" + kernel + "\" has dtype F4, expected F32, F16, BF16 or F64");

    ra::TransformerOptions other = golden.options;
    other.num_heads = 4;
    check_refused(Folder(golden.config, published).path(), other,
                  "config.json: num_attention_heads is 6, the model's options say 4");
    const TemporaryFolder empty;
    check_refused(empty.path(), golden.options, "config.json: cannot be opened");
    write_text(empty / "config.json", golden.config);
    check_refused(empty.path(), golden.options,
                  "has neither model.safetensors nor model.safetensors.index.json");
    check_refused(empty / "none", golden.options, "none: is no folder");
}

TEST_CASE("a model that is made from options is loaded and saved, and so is its gradient") {
    const Golden golden("llama");
    const Folder folder(golden.config, weights_of(golden));
    StaticLlama model;
    ra::load_pretrained(model, folder.path());
    const TemporaryFolder saved;
    ra::save_pretrained(model, saved / "made" / "here");
    StaticLlama again;
    ra::load_pretrained(again, saved / "made" / "here");
    const StaticLlama gradient = ra::zeros_like(model);
    ra::save_pretrained(gradient, saved / "gradient");
    CHECK(ra::SafetensorsFile(saved / "gradient/model.safetensors").names() ==
          ra::SafetensorsFile(folder / "model.safetensors").names());
    CHECK(read_text(saved / "made/here/model.safetensors").size() ==
          read_text(saved / "gradient/model.safetensors").size());

    int count = 0;
    ra::for_each_published(again, [&](const std::string& name, const std::vector<ra::Index>& shape,
                                      const std::vector<float>& numbers) {
        CHECK(golden.file.shape(name) == shape);
        CHECK(golden.file.read<float>(name) == numbers);
        ++count;
    });
    CHECK(count == int(golden.weights().size()));
}

TEST_CASE("a model is saved with what another folder says of it") {
    const Golden golden("llama");
    nlohmann::json config = nlohmann::json::parse(golden.config);
    config["torch_dtype"] = "bfloat16";
    config["eos_token_id"] = 17;
    const Folder folder(config.dump(), weights_of(golden));
    StaticLlama model;
    ra::load_pretrained(model, folder.path());
    const TemporaryFolder saved;
    ra::save_pretrained(model, saved.path(), folder.path());
    const nlohmann::json written = nlohmann::json::parse(read_text(saved / "config.json"));
    CHECK(written.at("eos_token_id") == 17);
    CHECK(written.at("dtype") == "float32");
    CHECK_FALSE(written.contains("torch_dtype"));
    config["num_attention_heads"] = 12;
    write_text(folder / "config.json", config.dump());
    CHECK_THROWS_WITH_AS(ra::save_pretrained(model, saved / "other", folder.path()),
                         doctest::Contains("num_attention_heads is 12, the model's options say 6"),
                         ra::FileError);
    CHECK(saved.names() == std::set<std::string>{"config.json", "model.safetensors"});
}

TEST_CASE("a save that fails leaves what was there, and nothing else") {
    const TemporaryFolder folder;
    const StaticLlama model;
    ra::save_pretrained(model, folder.path());
    const std::string before = read_text(folder / "model.safetensors");
    std::filesystem::remove(folder / "config.json");
    std::filesystem::create_directory(folder / "config.json");
    StaticLlama other;
    other.parameters.vectors[0].second.setConstant(1);
    CHECK_THROWS_WITH_AS(ra::save_pretrained(other, folder.path()), doctest::Contains("names a folder"),
                         ra::FileError);
    CHECK(read_text(folder / "model.safetensors") == before);
    CHECK(folder.names() == std::set<std::string>{"config.json", "model.safetensors"});
    CHECK_THROWS_WITH_AS(ra::save_pretrained(model, folder / "model.safetensors"),
                         doctest::Contains("cannot be made, expected a folder or nothing there"),
                         ra::FileError);
}

}  // namespace io_pretrained
