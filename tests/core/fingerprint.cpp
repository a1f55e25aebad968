#include <cstring>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/fingerprint.hpp>
#include <ring_attention/layers/dense.hpp>

namespace ra = ring_attention;

TEST_CASE("fingerprint: any bit, any place, any length makes another") {
    std::set<std::uint64_t> seen;
    std::size_t made = 0;
    for (std::size_t length = 0; length < 200; ++length, ++made)
        seen.insert(ra::fingerprint(std::string(length, '\0')));
    std::string text(300, 'x');
    for (std::size_t bit = 0; bit < 8 * text.size(); ++bit, ++made) {
        text[bit / 8] = char(text[bit / 8] ^ 1 << bit % 8);
        seen.insert(ra::fingerprint(text));
        text[bit / 8] = char(text[bit / 8] ^ 1 << bit % 8);
    }
    CHECK(seen.size() == made);
    CHECK(ra::fingerprint(text) == ra::fingerprint(std::string(text)));
}

TEST_CASE("fingerprint: two signs that change do not make up for each other") {
    std::vector<float> numbers(1024, 1.0f);
    const auto of = [&] { return ra::fingerprint(std::as_bytes(std::span(numbers))); };
    std::set<std::uint64_t> seen{of()};
    numbers[0] = -1;
    for (std::size_t i = 1; i < numbers.size(); ++i) {
        numbers[i] = -1;
        seen.insert(of());
        numbers[i] = 1;
    }
    CHECK(seen.size() == numbers.size());
}

TEST_CASE("fingerprint of a model: weights, and which of them") {
    ra::Dense<float, 3, 4> dense;
    dense.kernel.setConstant(1);
    dense.bias.setConstant(2);
    const auto first = ra::fingerprint(dense);
    CHECK(ra::fingerprint(dense) == first);
    std::swap(dense.kernel(0, 0), dense.bias(0));
    CHECK(ra::fingerprint(dense) != first);
    std::swap(dense.kernel(0, 0), dense.bias(0));
    dense.kernel(2, 3) = -1;
    CHECK(ra::fingerprint(dense) != first);
}
