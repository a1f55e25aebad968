// Models whose weights are kept as bfloat16: the bits of the same weights in float, half the memory, and
// files.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/pretrained.hpp>
#include <ring_attention/io/weights.hpp>
#include <ring_attention/layers/copy_parameters.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/stream.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/inputs.hpp"
#include "support/same_parameters.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

namespace models_weights_storage {

namespace {

namespace ra = ring_attention;
using support::same_parameters;

/// With a part of every kind that has weights.
constexpr ra::TransformerOptions tied(ra::Storage weights) {
    return {.vocabulary = 41,
            .hidden_size = 24,
            .num_heads = 4,
            .num_layers = 2,
            .key_value_heads = 2,
            .num_chunks = 3,
            .rotary = {.on = true},
            .norm = ra::NormKind::rms,
            .activation = ra::ActivationKind::silu,
            .gated = true,
            .qkv_bias = false,
            .out_bias = false,
            .ffn_bias = false,
            .head_bias = false,
            .tied_head = true,
            .weights = weights};
}

constexpr ra::Options vectors(ra::Storage weights) {
    return {.embed_dim = 5, .hidden_size = 12, .num_heads = 2, .num_layers = 1, .weights = weights};
}

constexpr ra::Storage computing = ra::Storage::computing, bfloat16 = ra::Storage::bfloat16;
constexpr ra::TransformerOptions tied_wide = tied(computing), tied_narrow = tied(bfloat16);
constexpr ra::Options vectors_wide = vectors(computing), vectors_narrow = vectors(bfloat16);

using Wide = ra::TransformerModel<tied_wide>;
using Narrow = ra::TransformerModel<tied_narrow>;

void randomise(auto& model) {
    std::uint64_t seed = 0;
    ra::for_each_parameter(model, [&](std::string_view name, auto& parameter) {
        const auto numbers = inputs::normal<float>(std::size_t(parameter.size()), ++seed);
        for (std::size_t i = 0; i < numbers.size(); ++i)
            parameter.data()[i] = (name.ends_with("gamma") ? 1.0f : 0.0f) + 0.25f * numbers[i];
    });
}

/// The same numbers in both: those that `wide` had, where `narrow` has weights rounded.
template <class WideModel, class NarrowModel>
void fill(WideModel& wide, NarrowModel& narrow) {
    randomise(wide);
    ra::copy_parameters(wide, narrow);
    ra::copy_parameters(narrow, wide);
}

ra::Tensor<ra::Token, 2> some_tokens(ra::Index batch, ra::Index count) {
    ra::Tensor<ra::Token, 2> tokens(batch, count);
    for (ra::Index i = 0; i < tokens.size(); ++i) tokens.data()[i] = ra::Token(i * i * 7 % 41);
    return tokens;
}

std::vector<std::string> dtypes(const std::filesystem::path& path) {
    const ra::SafetensorsFile file(path);
    std::vector<std::string> found;
    for (const std::string& name : file.names()) found.push_back(file.entry(name).dtype);
    return found;
}

}  // namespace

TEST_CASE("weights as bfloat16: models have the bits of the same weights in float") {
    const auto check = [](auto wide, auto narrow, const auto& x) {
        fill(wide, narrow);
        const auto expected = wide(x);
        CHECK(compare::largest(expected) > 0.1);
        CHECK(compare::same_bits(narrow(x), expected));
    };
    for (const ra::Index count : {1, 7, 60}) {
        CAPTURE(count);
        check(Wide(), Narrow(), some_tokens(2, count));
        check(ra::SequenceModel<vectors_wide>(), ra::SequenceModel<vectors_narrow>(),
              tensors::normal<float, 3>({2, count, 5}, 1));
    }
}

TEST_CASE("weights as bfloat16: streams and ranks give the same bits, and ranks compare their weights") {
    Wide wide;
    Narrow narrow;
    fill(wide, narrow);
    const auto x = some_tokens(1, 9);
    ra::Stream stream_of_wide{wide};
    ra::Stream stream{narrow};
    for (ra::Index i = 0; i < 9; ++i)
        CHECK(compare::same_bits(stream.push(tensors::slice(x, 1, i, 1)),
                                 stream_of_wide.push(tensors::slice(x, 1, i, 1))));
    const auto alone = narrow(x);
    CHECK_NOTHROW(ra::ThreadRing::run(2, [&](ra::ThreadRing& ring) {
        const ra::Share share = narrow.share(ring, 9);
        if (!compare::same_bits(narrow(ra::tokens_of(x, share), ring), ra::tokens_of(alone, share)))
            throw std::runtime_error("other bits");
        Narrow other = narrow;
        if (ring.rank() == 1)
            ra::for_each_parameter(other, [](std::string_view name, auto& parameter) {
                using Number = std::remove_reference_t<decltype(*parameter.data())>;
                if (name == "ring_2_qkv.kernel") *parameter.data() = Number(7);
            });
        try {
            other(ra::tokens_of(x, share), ring);
            throw std::runtime_error("not refused");
        } catch (const ra::RingError&) {
        }
    }));
}

TEST_CASE("weights as bfloat16: kernels and the table take half the memory, all else is as it was") {
    const auto bytes = [](const auto& model) {
        std::size_t kernels = 0, others = 0;
        ra::for_each_parameter(model, [&](std::string_view name, const auto& parameter) {
            const bool is_kernel = name.ends_with("kernel") || name == "embedding.table";
            (is_kernel ? kernels : others) += std::size_t(parameter.size()) * sizeof(*parameter.data());
        });
        return std::pair(kernels, others);
    };
    CHECK(bytes(Narrow()).first == bytes(Wide()).first / 2);
    CHECK(bytes(Narrow()).second == bytes(Wide()).second);
}

TEST_CASE("weights as bfloat16: initial values are those of float, rounded") {
    Wide wide = ra::build<tied_wide>(3);
    Narrow narrow = ra::build<tied_narrow>(3), rounded;
    ra::copy_parameters(wide, rounded);
    CHECK(same_parameters(narrow, rounded));
}

TEST_CASE("weights as bfloat16: published models are loaded rounded, and saved as they are kept") {
    Wide wide;
    Narrow narrow;
    randomise(wide);
    const TemporaryFolder folder;
    ra::save_pretrained(wide, folder / "wide");
    ra::load_pretrained(narrow, folder / "wide");
    Narrow expected;
    ra::copy_parameters(wide, expected);
    CHECK(same_parameters(narrow, expected));

    ra::save_pretrained(narrow, folder / "narrow");
    const ra::SafetensorsFile file(folder / "narrow/model.safetensors");
    for (const std::string& name : file.names()) {
        CAPTURE(name);
        CHECK(file.entry(name).dtype == (name.find("norm") == std::string::npos ? "BF16" : "F32"));
    }
    Narrow again;
    ra::load_pretrained(again, folder / "narrow");
    CHECK(same_parameters(again, narrow));
    Wide widened;
    ra::load_pretrained(widened, folder / "narrow");
    ra::copy_parameters(narrow, wide);
    CHECK(same_parameters(widened, wide));
    ra::for_each_published(narrow,
                           [&](const std::string& name, const auto&, const std::vector<float>& numbers) {
                               std::vector<float> stored(numbers.size());
                               ra::detail::read_floats(file, name, 0, std::span(stored));
                               CHECK(numbers == stored);
                           });
}

TEST_CASE("weights as bfloat16: a file of the library's own holds them so") {
    Narrow narrow = ra::build<tied_narrow>(3), again;
    const TemporaryFolder folder;
    ra::save(narrow, folder / "weights");
    ra::load(again, folder / "weights");
    CHECK(same_parameters(again, narrow));
    const std::vector<std::string> found = dtypes(folder / "weights");
    CHECK(std::count(found.begin(), found.end(), "BF16") == 11);  // five a block, and the table
    Wide wide;
    CHECK_THROWS_WITH_AS(ra::load(wide, folder / "weights"), doctest::Contains("BF16"), ra::FileError);
}

}  // namespace models_weights_storage
