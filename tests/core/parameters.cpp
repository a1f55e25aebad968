#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/digest.hpp>
#include <ring_attention/core/parameters.hpp>

namespace ra = ring_attention;

namespace {

struct Leaf {
    ra::Matrix<float> kernel = ra::Matrix<float>::Constant(2, 3, 1);
    ra::RowVector<float> bias = ra::RowVector<float>::Constant(3, 2);
    static void visit(auto&& f, auto&... self) {
        f("kernel", self.kernel...);
        f("bias", self.bias...);
    }
};

struct Pair {
    static constexpr std::string_view part_separator = "_";
    Leaf first, second;
    static void visit(auto&& f, auto&... self) {
        f("first", self.first...);
        f("second", self.second...);
    }
};

struct Whole {
    Pair pair;
    Leaf leaf;
    static void visit(auto&& f, auto&... self) {
        f("pair", self.pair...);
        f("leaf", self.leaf...);
    }
};

static_assert(ra::Visitable<Whole> && ra::Visitable<const Whole>);
static_assert(!ra::Visitable<ra::Matrix<float>> && !ra::Visitable<int>);

}  // namespace

TEST_CASE("parameters are walked in the order in which layers list them, with joined names") {
    Whole whole;
    std::vector<std::string> names;
    ra::for_each_parameter(whole, [&](std::string_view name, auto& tensor) {
        names.emplace_back(name);
        tensor.data()[0] = 7;
    });
    CHECK(names == std::vector<std::string>{"pair_first.kernel", "pair_first.bias", "pair_second.kernel",
                                            "pair_second.bias", "leaf.kernel", "leaf.bias"});
    CHECK(whole.pair.second.bias[0] == 7);
    CHECK(ra::parameter_count(whole) == 27);
}

TEST_CASE("models are walked in step, constant ones too") {
    Whole sum;
    const Whole term;
    ra::for_each_parameter_in_step([](std::string_view, auto& a, const auto& b) { a += b; }, sum, term);
    CHECK(sum.leaf.kernel(1, 2) == 2);
    CHECK(sum.pair.first.bias[2] == 4);
}

TEST_CASE("zeros_like has the shapes, and only zeros") {
    const Whole whole;
    const Whole zeros = ra::zeros_like(whole);
    ra::for_each_parameter_in_step(
        [](std::string_view, const auto& zero, const auto& tensor) {
            CHECK(zero.rows() == tensor.rows());
            CHECK(zero.cols() == tensor.cols());
            CHECK((zero.array() == 0).all());
        },
        zeros, whole);
}

TEST_CASE("the digest changes with any bit of any parameter, and with nothing else") {
    Whole whole;
    const std::uint64_t before = ra::digest(whole);
    CHECK(ra::digest(Whole(whole)) == before);
    whole.leaf.bias[2] = std::nextafter(whole.leaf.bias[2], 9.0f);
    CHECK(ra::digest(whole) != before);
    whole.leaf.bias[2] = 2;
    CHECK(ra::digest(whole) == before);
    whole.leaf.bias[2] = 0;
    const std::uint64_t with_zero = ra::digest(whole);
    whole.leaf.bias[2] = -0.0f;
    CHECK(ra::digest(whole) != with_zero);
}

TEST_CASE("the digest is FNV-1a") {
    ra::Digest all;
    all.add(std::as_bytes(std::span("a", 1)));
    CHECK(all.value() == 0xaf63dc4c8601ec8cu);  // from the authors' test vectors
}

namespace {

struct Prefixes {
    Pair nothing, word;
    static void visit(auto&& f, auto&... self) {
        f("", self.nothing...);
        f("word_", self.word...);
    }
};

}  // namespace

TEST_CASE("parameters: a part's name that is empty or ends in _ is all that stands before its parameters'") {
    std::vector<std::string> names;
    const Prefixes prefixes;
    ra::for_each_parameter(prefixes, [&](std::string_view name, const auto&) { names.emplace_back(name); });
    CHECK(names == std::vector<std::string>{"first.kernel", "first.bias", "second.kernel", "second.bias",
                                            "word_first.kernel", "word_first.bias", "word_second.kernel",
                                            "word_second.bias"});
}
