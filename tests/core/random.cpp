#include <cmath>
#include <set>

#include <doctest/doctest.h>

#include <ring_attention/core/random.hpp>

namespace ra = ring_attention;

TEST_CASE("numbers are a function of seed, purpose and place") {
    const ra::CounterRandom random(5, ra::RandomPurpose::dropout);
    const auto bits = random.bits(1, 2, 3, 4);
    CHECK(ra::CounterRandom(5, ra::RandomPurpose::dropout).bits(1, 2, 3, 4) == bits);
    CHECK(ra::CounterRandom(6, ra::RandomPurpose::dropout).bits(1, 2, 3, 4) != bits);
    CHECK(ra::CounterRandom(5, ra::RandomPurpose::sampling).bits(1, 2, 3, 4) != bits);
    CHECK(random.bits(2, 2, 3, 4) != bits);
    CHECK(random.bits(1, 3, 3, 4) != bits);
    CHECK(random.bits(1, 2, 4, 4) != bits);
    CHECK(random.bits(1, 2, 3, 5) != bits);
}

TEST_CASE("the generator is Philox4x64-10") {
    // The known answer for key (0, 0) cannot be had: the purpose is part of the key. Compare with Random123
    // itself.
    const auto drawn = r123::Philox4x64()({{1, 2, 3, 4}}, {{9, std::uint64_t(ra::RandomPurpose::sampling)}});
    const auto bits = ra::CounterRandom(9, ra::RandomPurpose::sampling).bits(1, 2, 3, 4);
    for (std::size_t i = 0; i < 4; ++i)
        CHECK((std::uint64_t(bits[2 * i + 1]) << 32 | bits[2 * i]) == drawn[i]);
}

TEST_CASE("uniform and normal numbers have the moments of their distributions") {
    const ra::CounterRandom random(1, ra::RandomPurpose::sampling);
    constexpr int count = 100000;
    double sum = 0, square = 0, normal_sum = 0, normal_square = 0;
    std::set<double> seen;
    for (int i = 0; i < count; ++i) {
        const double u = random.uniform(7, std::uint64_t(i)), n = random.normal(8, std::uint64_t(i));
        CHECK_MESSAGE((u > 0 && u < 1), u);
        seen.insert(u);
        sum += u;
        square += u * u;
        normal_sum += n;
        normal_square += n * n;
    }
    CHECK(seen.size() == count);
    CHECK(sum / count == doctest::Approx(0.5).epsilon(0.01));
    CHECK(square / count == doctest::Approx(1.0 / 3).epsilon(0.01));
    CHECK(std::abs(normal_sum / count) < 0.02);
    CHECK(normal_square / count == doctest::Approx(1).epsilon(0.02));
}
