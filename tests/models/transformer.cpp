// What becomes of TransformerOptions: names, types and what is not a parameter. What models of them compute
// is in families.cpp, and in the tests of the models that Options and LanguageOptions make.

#include <cmath>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/models/build.hpp>

namespace models_transformer {

namespace {

namespace ra = ring_attention;

using Names = std::vector<std::string>;

template <class Model>
Names names_of(const Model& model) {
    Names names;
    ra::for_each_parameter(model, [&](std::string_view name, const auto&) { names.emplace_back(name); });
    return names;
}

constexpr ra::TransformerOptions windows{.embed_dim = 8,
                                         .hidden_size = 8,
                                         .num_heads = 2,
                                         .num_layers = 7,
                                         .window = 5,
                                         .full_attention_every = 3,
                                         .full_attention_first = 1};

constexpr ra::TransformerOptions everything{.vocabulary = 11,
                                            .hidden_size = 8,
                                            .num_heads = 2,
                                            .num_layers = 1,
                                            .sinks = true,
                                            .query_key_norm = true,
                                            .norm_place = ra::NormPlace::before_and_after,
                                            .gated = true,
                                            .qkv_bias = false,
                                            .positions = ra::Positions::learned,
                                            .max_positions = 32,
                                            .token_types = 2,
                                            .embedding_norm = true,
                                            .head_bias = false};

constexpr ra::TransformerOptions tied = [] {
    ra::TransformerOptions changed = everything;
    changed.tied_head = true;
    return changed;
}();

constexpr ra::Options sequence{.embed_dim = 12, .hidden_size = 8, .num_heads = 2, .num_layers = 2};
constexpr ra::LanguageOptions language{.hidden_size = 8, .num_heads = 2, .num_layers = 2, .window = 5};

// Options and LanguageOptions say the same in fewer words.
static_assert(
    std::is_same_v<ra::SequenceModel<sequence>, ra::TransformerModel<ra::transformer_options(sequence)>>);
static_assert(std::is_same_v<ra::LanguageModel<language, double>,
                             ra::TransformerModel<ra::transformer_options(language), double>>);
static_assert(decltype(ra::SequenceModel<sequence>::body)::options.embed_dim == 12);

// Who sees tokens that come later cannot go on token by token.
constexpr ra::TransformerOptions both_ways = [] {
    ra::TransformerOptions changed = tied;
    changed.causal = false;
    return changed;
}();
static_assert(ra::StreamingLayer<ra::Transformer<tied, float>>);
static_assert(!ra::StreamingLayer<ra::Transformer<both_ways, float>>);

}  // namespace

TEST_CASE("transformer: layers so many apart and the first ones have no window, however the model was made") {
    const auto windows_of = [](const auto& model) {
        std::vector<ra::Index> found;
        for (const auto& block : ra::part<"ring_">(model.body).layers)
            found.push_back(std::get<0>(block.layers).inner.window);
        return found;
    };
    const std::vector<ra::Index> expected{0, 5, 0, 5, 5, 0, 5};
    CHECK(windows_of(ra::build<windows>()) == expected);
    CHECK(windows_of(ra::TransformerModel<windows>()) == expected);
    CHECK(windows_of(ra::zeros_like(ra::TransformerModel<windows>())) == expected);
    CHECK(windows_of(ra::TransformerModel<ra::transformer_options(language)>()) ==
          std::vector<ra::Index>{5, 5});
}

TEST_CASE("transformer: parameters are called as weight maps call them") {
    Names names{"embedding.table",
                "positions.table",
                "token_types.table",
                "embedding_norm.gamma",
                "embedding_norm.beta",
                "ring_1_attn_norm.gamma",
                "ring_1_attn_norm.beta",
                "ring_1_qkv.kernel",
                "ring_1_q_norm.gamma",
                "ring_1_k_norm.gamma",
                "ring_1_out_proj.kernel",
                "ring_1_out_proj.bias",
                "ring_1_sinks",
                "ring_1_attn_post_norm.gamma",
                "ring_1_attn_post_norm.beta",
                "ring_1_ffn_norm.gamma",
                "ring_1_ffn_norm.beta",
                "ring_1_ffn_gate.kernel",
                "ring_1_ffn_gate.bias",
                "ring_1_ffn_up.kernel",
                "ring_1_ffn_up.bias",
                "ring_1_ffn_down.kernel",
                "ring_1_ffn_down.bias",
                "ring_1_ffn_post_norm.gamma",
                "ring_1_ffn_post_norm.beta",
                "final_norm.gamma",
                "final_norm.beta",
                "head.kernel"};
    CHECK(names_of(ra::TransformerModel<everything>()) == names);
    names.pop_back();
    CHECK(names_of(ra::TransformerModel<tied>()) == names);
}

TEST_CASE("transformer: logits of a tied head begin at the size of those of a head of its own") {
    const auto model = ra::build<tied>();
    ra::for_each_parameter(model, [](std::string_view name, const auto& tensor) {
        if (name != "embedding.table") return;
        const double size = std::sqrt(double(tensor.squaredNorm()) / double(tensor.size()));
        CHECK(size > 0.25);  // 1 / sqrt(8) = 0.35
        CHECK(size < 0.45);
    });
}

}  // namespace models_transformer
