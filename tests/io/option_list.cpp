#include <set>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/option_list.hpp>

namespace io_option_list {

namespace ra = ring_attention;
namespace detail = ra::detail;

namespace {

struct Anything {
    template <class T>
    operator T() const;
};

/// The number of members of an aggregate: how many values it can be made from.
template <class Aggregate, class... Values>
constexpr int members_of() {
    if constexpr (requires { Aggregate{Values{}..., Anything{}}; })
        return members_of<Aggregate, Values..., Anything>();
    else
        return int(sizeof...(Values));
}

ra::TransformerOptions with_window(int layers, int every, int first) {
    return {.num_layers = layers, .window = 8, .full_attention_every = every, .full_attention_first = first};
}

}  // namespace

TEST_CASE("every option is in the list, once") {
    std::set<std::string> names;
    int count = 0, rotary = 0;
    const ra::TransformerOptions options;
    detail::for_each_option(
        [&](const std::string& name, const char* comment, const auto&) {
            CHECK(!std::string(comment).empty());
            names.insert(name);
            ++count;
            rotary += name.starts_with("rotary.");
        },
        options);
    CHECK(int(names.size()) == count);
    CHECK(rotary == members_of<ra::RotaryOptions>());
    CHECK(count - rotary + 1 == members_of<ra::TransformerOptions>());
}

TEST_CASE("values are written as messages show them") {
    CHECK(detail::option_text(3) == "3");
    CHECK(detail::option_text(true) == "true");
    CHECK(detail::option_text(500'000.0f) == "500000");
    CHECK(detail::option_text(1e-5f) == "1e-05");
    CHECK(detail::option_text(0.1f) == "0.1");
    CHECK(detail::option_text(ra::RotaryScaling::llama3) == "RotaryScaling::llama3");
    CHECK(detail::option_text(ra::NormPlace::before_and_after) == "NormPlace::before_and_after");
    CHECK(detail::option_text(ra::Layout::striped) == "Layout::striped");
    CHECK(detail::option_text(ra::ActivationKind::relu) == "ActivationKind::relu");
    CHECK(detail::option_text(ra::Storage::bfloat16) == "Storage::bfloat16");
}

TEST_CASE("which layers have a window is said by two numbers, where that can be") {
    using Windows = std::vector<bool>;
    const auto said = [](const Windows& windows) {
        const auto full = detail::full_attention_of(windows);
        return full ? std::pair(full->every, full->first) : std::pair(-1, -1);
    };
    CHECK(said({true, true, true}) == std::pair(0, 0));
    CHECK(said({false, false, false}) == std::pair(0, 3));
    CHECK(said({false, true, true}) == std::pair(0, 1));
    CHECK(said({true, false}) == std::pair(2, 0));
    CHECK(said({true, false, true, false, true}) == std::pair(2, 0));
    CHECK(said({true, true, true, true, true, false, true}) == std::pair(6, 0));
    CHECK(said({false, true, false, true}) == std::pair(3, 1));
    CHECK(said({true, false, false}) == std::pair(-1, -1));
    CHECK(said({true, false, true, true}) == std::pair(-1, -1));
    CHECK(said({}) == std::pair(0, 0));
    for (int layers = 1; layers <= 9; ++layers)
        for (int every = 0; every <= layers + 1; ++every)
            for (int first = 0; first <= layers; ++first) {
                const ra::TransformerOptions options = with_window(layers, every, first);
                Windows windows;
                for (int i = 0; i < layers; ++i) windows.push_back(detail::layer_has_window(options, i));
                const auto full = detail::full_attention_of(windows);
                REQUIRE(full.has_value());
                const ra::TransformerOptions again = with_window(layers, full->every, full->first);
                for (int i = 0; i < layers; ++i)
                    CHECK(detail::layer_has_window(again, i) == windows[std::size_t(i)]);
            }
}

TEST_CASE("what follows from other options is the same said or not, and what has no effect does not matter") {
    const auto equal = [](const ra::TransformerOptions& a, const ra::TransformerOptions& b) {
        bool same = true;
        const ra::TransformerOptions first = detail::spelt_out(a), second = detail::spelt_out(b);
        detail::for_each_option(
            [&](const char*, const char*, const auto& x, const auto& y) { same = same && x == y; }, first,
            second);
        return same;
    };
    ra::TransformerOptions said{.vocabulary = 10, .hidden_size = 36, .num_heads = 4};
    const ra::TransformerOptions plain = said;
    said.key_value_heads = 4;
    said.head_width = 9;
    said.ffn_width = 144;
    said.scale = float(1 / 3.0);
    said.embedding_scale = 1;
    said.num_chunks = 7;
    said.layout = ra::Layout::zigzag;
    said.dropout = 0.5f;
    said.storage = ra::Storage::bfloat16;
    said.padding_token = 3;
    said.full_attention_every = 2;  // of no window
    said.rotary.base = 5;           // not on
    said.max_positions = 9;         // not learned
    CHECK(equal(plain, said));
    CHECK(equal(with_window(3, 0, 0), with_window(3, 4, 0)));
    CHECK(equal(with_window(3, 1, 0), {.num_layers = 3}));
    CHECK_FALSE(equal(with_window(3, 0, 0), with_window(3, 3, 0)));
    said.scale = 0.5f;
    CHECK_FALSE(equal(plain, said));
}

}  // namespace io_option_list
