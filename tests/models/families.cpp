// The published families against Hugging Face transformers: small models of each, run by it in float
// (tests/golden/families), with all that they give and every gradient.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/pretrained.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/stream.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/family_options.inc"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

namespace models_families {

namespace {

using ra::Index;
using Tokens = ra::Tensor<ra::Token, 2>;
using Numbers = std::map<std::string, std::vector<float>>;

constexpr double output_tolerance = 2e-5, gradient_tolerance = 5e-5;  // of the largest of the tensor

/// A golden file: the model, what it was given, and what came out.
class Golden {
  public:
    explicit Golden(const std::string& name)
        : file_(std::filesystem::path(RING_ATTENTION_GOLDEN_DIR) / "families" / (name + ".safetensors")),
          tokens(numbers_of("input_ids")) {
        if (!file_.contains("attention_mask")) return;
        sequences.token_types = numbers_of("token_type_ids");
        const Tokens mask = numbers_of("attention_mask");
        for (Index b = 0; b < mask.dimension(0); ++b) {
            Index length = 0;
            for (Index i = 0; i < mask.dimension(1); ++i) length += mask(b, i);
            sequences.lengths.push_back(length);
        }
    }

    /// The folder that it was published in.
    void publish(const std::filesystem::path& folder) const {
        write_text(folder / "config.json", file_.metadata().at("config"));
        std::vector<std::vector<std::byte>> bytes;
        std::vector<ra::NamedTensor> tensors;
        for (const std::string& name : file_.names())
            if (file_.contains("grad." + name)) bytes.push_back(file_.read_bytes(name));
        auto next = bytes.begin();
        for (const std::string& name : file_.names())
            if (file_.contains("grad." + name))
                tensors.push_back({name, file_.entry(name).dtype, file_.shape(name), *next++});
        ra::write_safetensors(folder / "model.safetensors", tensors);
    }

    ra::Tensor<float, 3> tensor(const std::string& name) const {
        const auto shape = file_.shape(name);
        return tensors::filled<float>(std::array<Index, 3>{shape[0], shape[1], shape[2]},
                                      file_.read<float>(name));
    }

    Numbers gradients() const {
        Numbers all;
        for (const std::string& name : file_.names())
            if (name.starts_with("grad.")) all[name.substr(5)] = file_.read<float>(name);
        return all;
    }

  private:
    Tokens numbers_of(const std::string& name) const {
        const auto shape = file_.shape(name);
        const std::vector<std::byte> bytes = file_.read_bytes(name);
        Tokens result(shape[0], shape[1]);
        for (Index i = 0; i < result.size(); ++i) {
            std::int64_t number;
            std::memcpy(&number, bytes.data() + std::size_t(i) * sizeof number, sizeof number);
            result.data()[i] = ra::Token(number);
        }
        return result;
    }

    ra::SafetensorsFile file_;

  public:
    Tokens tokens;
    ra::Sequences sequences;
};

struct Results {
    ra::Tensor<float, 3> output;  // of all tokens
    Numbers gradients;            // by published name
};

template <class Model>
Results results_on(ra::RingReference ring, const Model& model, const Golden& golden) {
    const ra::Share share = model.share(ring, golden.tokens.dimension(1));
    ra::Sequences sequences = golden.sequences;
    if (sequences.token_types.size() > 0)
        sequences.token_types = ra::tokens_of(golden.sequences.token_types, share);
    typename Model::Cache cache;
    Model gradient = ra::zeros_like(model);
    Results results;
    const auto output = model.forward(ra::tokens_of(golden.tokens, share), cache, sequences, ring);
    results.output = ra::gather(ring, output, share);
    model.backward(ra::tokens_of(golden.tensor("loss_weight"), share), cache, gradient, ring);
    ra::for_each_published(gradient, [&](const std::string& name, const auto&, const auto& numbers) {
        results.gradients[name] = numbers;
    });
    return results;
}

/// Padding counts for nothing: what comes out there is nobody's.
void clear_padding(ra::Tensor<float, 3>& output, const ra::Sequences& sequences) {
    for (Index b = 0; b < output.dimension(0); ++b)
        for (Index i = sequences.length(b, output.dimension(1)); i < output.dimension(1); ++i)
            for (Index j = 0; j < output.dimension(2); ++j) output(b, i, j) = 0;
}

void check_golden(Results results, const Golden& golden) {
    auto expected = golden.tensor("output");
    clear_padding(expected, golden.sequences);
    clear_padding(results.output, golden.sequences);
    CHECK(compare::relative_difference(results.output, inputs::widen<double>(expected)) < output_tolerance);
    const Numbers gradients = golden.gradients();
    CHECK(results.gradients.size() == gradients.size());
    for (const auto& [key, numbers] : gradients) {
        const std::string& name = key;
        CAPTURE(name);
        REQUIRE(results.gradients.contains(name));
        // That of BERT's key.bias is 0 but for rounding: queries see all keys move alike.
        const bool is_zero = name.ends_with("key.bias");
        const double scale =
            compare::largest(is_zero ? gradients.at(name.substr(0, name.size() - 4) + "weight") : numbers);
        CHECK(compare::largest_difference(results.gradients[name], numbers) < gradient_tolerance * scale);
    }
}

/// All tokens at once, and the last of them one by one behind the others: more than a window holds before.
template <class Model>
void check_stream(const Model& model, const Golden& golden) {
    const auto expected = golden.tensor("output");
    const double scale = compare::largest(expected);
    const Index tokens = golden.tokens.dimension(1), one_by_one = 5;
    ra::Stream stream{model, {.batch = golden.tokens.dimension(0)}};
    CHECK(compare::largest_difference(stream.push_all(golden.tokens), expected) < output_tolerance * scale);
    stream.reset();
    stream.push(tensors::slice(golden.tokens, 1, 0, tokens - one_by_one));
    for (Index t = tokens - one_by_one; t < tokens; ++t) {
        const ra::Tensor<ra::Token, 1> step = golden.tokens.chip(t, 1);
        const ra::Tensor<float, 2> at_token = expected.chip(t, 1);
        CHECK(compare::largest_difference(stream.push(step), at_token) < output_tolerance * scale);
    }
}

template <ra::TransformerOptions options>
void check_family(const std::string& name) {
    const Golden golden(name);
    const TemporaryFolder folder;
    golden.publish(folder.path());
    auto model = ra::build<options>();
    ra::load_pretrained(model, folder.path());
    check_golden(results_on(ra::LocalRing(), model, golden), golden);
    if constexpr (options.causal) check_stream(model, golden);
    for (const ra::Layout layout : {ra::Layout::zigzag, ra::Layout::striped}) {
        model.layout = layout;
        const Results alone = results_on(ra::LocalRing(), model, golden);
        check_golden(alone, golden);
        std::vector<Results> ranks(3);
        ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
            ranks[std::size_t(ring.rank())] = results_on(ring, model, golden);
        });
        CHECK(compare::same_bits(ranks[0].output, alone.output));  // gathered there
        for (const Results& rank : ranks) CHECK(rank.gradients == alone.gradients);
    }
}

}  // namespace

TEST_CASE("families: Llama") {
    check_family<llama>("llama");
    check_family<llama3>("llama3");
}

TEST_CASE("families: Mistral") {
    check_family<mistral>("mistral");
}

TEST_CASE("families: Qwen 2 and 3") {
    check_family<qwen2>("qwen2");
    check_family<qwen3>("qwen3");
}

TEST_CASE("families: Gemma 2") {
    check_family<gemma2>("gemma2");
}

TEST_CASE("families: GPT-2") {
    check_family<gpt2>("gpt2");
}

TEST_CASE("families: BERT, with padding and two types of tokens") {
    check_family<bert>("bert");
}

}  // namespace models_families
