#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/rotary.hpp>
#include <ring_attention/sequence/layout.hpp>
#include <ring_attention/sequence/sequences.hpp>

#include "support/compare.hpp"
#include "support/inputs.hpp"
#include "support/layouts.hpp"

namespace layers_rotary {

namespace ra = ring_attention;

namespace {

constexpr ra::RotaryOptions plain{.on = true};
constexpr ra::RotaryOptions interleaved{.on = true, .base = 500, .pairs = ra::RotaryPairs::interleaved};
constexpr ra::RotaryOptions linear{.on = true, .scaling = ra::RotaryScaling::linear, .factor = 2.5f};
constexpr ra::RotaryOptions llama3_1{
    .on = true, .base = 500'000, .scaling = ra::RotaryScaling::llama3, .factor = 8};
constexpr ra::RotaryOptions llama3_2{
    .on = true, .base = 500'000, .scaling = ra::RotaryScaling::llama3, .factor = 32};

/// [batch, heads, tokens, width] of one seat, a token after the other with a gap between two.
template <class T>
struct Heads {
    static constexpr ra::Index batch = 2, heads = 3, gap = 2;
    ra::Index width;
    ra::TokenPositions tokens;
    std::vector<T> numbers;

    Heads(ra::Index head_width, const ra::TokenPositions& at, std::uint64_t seed = 1)
        : width(head_width),
          tokens(at),
          numbers(inputs::normal<T>(std::size_t(batch * at.count * stride()), seed)) {}

    ra::Index stride() const { return heads * width + gap; }

    ra::SeatHeads<T> views() {
        return {ra::HeadsView<T>::token_by_token(numbers.data(), heads, tokens.count, width, stride())};
    }

    T* row(ra::Index b, ra::Index head, ra::Index token) { return views()[0].row(b, head, token); }
};

/// Every pair turned as it is defined, in long double.
template <ra::RotaryOptions options, class T>
std::vector<long double> turned_by_definition(Heads<T> heads, const ra::Sequences& documents, int direction) {
    std::vector<long double> turned(heads.numbers.begin(), heads.numbers.end());
    const ra::Index pairs = heads.width / 2;
    const bool halves = options.pairs == ra::RotaryPairs::half_split;
    for (ra::Index b = 0; b < heads.batch; ++b)
        for (ra::Index token = 0; token < heads.tokens.count; ++token)
            for (ra::Index head = 0; head < heads.heads; ++head)
                for (ra::Index i = 0; i < pairs; ++i) {
                    const ra::Index position = heads.tokens.position(token);
                    const long double angle =
                        static_cast<long double>(position - documents.document_start(position)) *
                        ra::rotary_frequency(options, heads.width, i) * direction;
                    const T* const row = heads.row(b, head, token);
                    const ra::Index first = halves ? i : 2 * i, second = halves ? i + pairs : 2 * i + 1;
                    const auto at = std::size_t(row - heads.numbers.data());
                    const long double x = row[first], y = row[second];
                    turned[at + std::size_t(first)] = x * std::cos(angle) - y * std::sin(angle);
                    turned[at + std::size_t(second)] = y * std::cos(angle) + x * std::sin(angle);
                }
    return turned;
}

template <ra::RotaryOptions options, ra::Index width, class T>
void check_turning(const ra::TokenPositions& tokens, const ra::Sequences& documents = {}) {
    CAPTURE(tokens.first);
    CAPTURE(tokens.stride);
    using Rotary = ra::Rotary<T, options, width>;
    // Numbers are below 5. An angle of double precision is so far from the true one.
    const double last = double(tokens.position(tokens.count - 1));
    const double bound = 20 * (std::numeric_limits<T>::epsilon() + 3e-16 * last);
    Heads<T> heads(width, tokens);
    const auto forward = turned_by_definition<options>(heads, documents, 1),
               back = turned_by_definition<options>(heads, documents, -1);
    Heads<T> turned = heads, turned_back = heads;
    Rotary::turn(turned.views(), {tokens}, heads.batch, documents);
    Rotary::turn_back(turned_back.views(), {tokens}, heads.batch, documents);
    CHECK(compare::largest_difference(turned.numbers, forward) <= bound);
    CHECK(compare::largest_difference(turned_back.numbers, back) <= bound);
}

template <class T>
void check_all_options(const ra::TokenPositions& tokens, const ra::Sequences& documents = {}) {
    check_turning<plain, 6, T>(tokens, documents);
    check_turning<interleaved, 6, T>(tokens, documents);
    check_turning<linear, 2, T>(tokens, documents);
    check_turning<llama3_1, 40, T>(tokens, documents);
}

double frequency(const ra::RotaryOptions& options, ra::Index width, ra::Index pair) {
    return ra::rotary_frequency(options, width, pair);
}

}  // namespace

TEST_CASE("rotary: frequencies are powers of the base, and a linear factor divides them all") {
    for (const ra::Index width : {2, 6, 64, 128})
        for (ra::Index i = 0; i < width / 2; ++i) {
            const long double exponent = -2 * static_cast<long double>(i) / static_cast<long double>(width);
            const auto expected = double(std::pow(10'000.0L, exponent));
            CHECK(frequency(plain, width, i) == doctest::Approx(expected).epsilon(1e-15));
            CHECK(frequency(linear, width, i) == doctest::Approx(expected / 2.5).epsilon(1e-15));
            CHECK(frequency(interleaved, width, i) ==
                  doctest::Approx(double(std::pow(500.0L, exponent))).epsilon(1e-15));
        }
}

TEST_CASE("rotary: llama3 keeps high frequencies, divides low ones and goes from the one to the other") {
    // From the published definition, by wavelengths, computed with 40 digits.
    constexpr double of_llama3_2[] = {1,
                                      0.66360123769608848,
                                      0.44036660267178046,
                                      0.29222782257301511,
                                      0.19392274474868576,
                                      0.12868737343265052,
                                      0.085397100285765609,
                                      0.05666962144529105,
                                      0.037606030930863933,
                                      0.024955408670558694,
                                      0.016560440080994446,
                                      0.010989528534539826,
                                      0.0072926647372171093,
                                      0.0048394213457198928,
                                      0.0032114459947525909,
                                      0.0012905479282092638,
                                      0.00042955679655936821,
                                      9.7082878026276729e-05,
                                      1.9461638184831125e-05,
                                      1.2914767187047391e-05,
                                      8.5702554898814781e-06,
                                      5.6872321504570457e-06,
                                      3.7740542941082826e-06,
                                      2.5044671007024935e-06,
                                      1.6619674677953088e-06,
                                      1.102883668639601e-06,
                                      7.3187496754404192e-07,
                                      4.8567313430101075e-07,
                                      3.2229329303788936e-07,
                                      2.1387422816109149e-07,
                                      1.4192720251899592e-07,
                                      9.41830672543491e-08};
    for (ra::Index i = 0; i < 32; ++i)
        CHECK(frequency(llama3_2, 64, i) == doctest::Approx(of_llama3_2[i]).epsilon(1e-14));
    constexpr std::pair<ra::Index, double> of_llama3_1[] = {{0, 1},
                                                            {27, 0.0039422760301166563},
                                                            {28, 0.0032114459947525909},
                                                            {29, 0.0021665707635033587},
                                                            {31, 0.00085675141291963208},
                                                            {34, 0.00017850781276799641},
                                                            {35, 9.5562123539646833e-05},
                                                            {36, 7.7846552739324498e-05},
                                                            {63, 3.0689259889145111e-07}};
    for (const auto& [i, expected] : of_llama3_1)
        CHECK(frequency(llama3_1, 128, i) == doctest::Approx(expected).epsilon(1e-14));
    ra::RotaryOptions stretched = llama3_1;
    stretched.low_frequency_factor = 2;
    stretched.high_frequency_factor = 3;
    stretched.original_positions = 100;
    // A pair that turns around 2.5 times within 100 positions is half way between the two.
    stretched.base = float(1 / std::pow(2.5 * 2 * std::numbers::pi / 100, 2));
    CHECK(frequency(stretched, 4, 1) ==
          doctest::Approx((1 + 1.0 / 8) / 2 * 2.5 * 2 * std::numbers::pi / 100).epsilon(1e-6));
}

TEST_CASE_TEMPLATE("rotary: heads turn by frequency times position, in every layout", T, float, double) {
    for (const ra::Layout layout : support::every_layout)
        for (const ra::Index seq_len : {3, 1100})
            for (const ra::Index seat : {0, 2})
                check_all_options<T>(ra::ChunkLayout(seq_len, 3, layout).tokens(seat));
    check_all_options<T>({1'000'000, 10});
    check_all_options<T>({777, 1});
}

TEST_CASE_TEMPLATE("rotary: positions count from the start of the document", T, float, double) {
    const ra::Sequences documents{.document_starts = {0, 1, 40, 500, 512}};
    for (const ra::Layout layout : support::every_layout)
        for (const ra::Index seat : {0, 2})
            check_all_options<T>(ra::ChunkLayout(1000, 3, layout).tokens(seat), documents);
}

TEST_CASE_TEMPLATE("rotary: the bits depend on the position in the document alone", T, float, double) {
    using Rotary = ra::Rotary<T, plain, 40>;
    const auto row = inputs::normal<T>(40, 1);
    const auto turned = [&](const ra::TokenPositions& tokens, ra::Index token,
                            const ra::Sequences& documents) {
        Heads<T> heads(40, tokens);
        std::copy(row.begin(), row.end(), heads.row(1, 2, token));
        Rotary::turn(heads.views(), {tokens}, heads.batch, documents);
        return std::vector<T>(heads.row(1, 2, token), heads.row(1, 2, token) + 40);
    };
    for (const ra::Index position : {0, 5, 255, 256, 300, 1023}) {
        const auto alone = turned({position, 1}, 0, {});
        CHECK(compare::same_bits(turned({0, 1100}, position, {}), alone));
        CHECK(compare::same_bits(turned({position % 7, 170, 7}, position / 7, {}), alone));
        CHECK(compare::same_bits(turned({90, 1100}, position, {.document_starts = {0, 90}}), alone));
    }
}

TEST_CASE("rotary: seats without tokens, and none, are left alone") {
    using Rotary = ra::Rotary<float, plain, 4>;
    Rotary::turn({}, {}, 2, ra::Sequences{});
    Heads<float> none(4, {3, 0});
    Rotary::turn(none.views(), {none.tokens}, none.batch, ra::Sequences{});
    CHECK(none.numbers.empty());
}

}  // namespace layers_rotary
