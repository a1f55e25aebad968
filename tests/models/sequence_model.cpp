// The sequence model against the dense model in more precision.

#include <limits>
#include <type_traits>

#include <doctest/doctest.h>

#include <ring_attention/models/build.hpp>

#include "support/compare.hpp"
#include "support/model_run.hpp"

namespace models_sequence_model {

namespace {

namespace ra = ring_attention;

constexpr ra::Options with_projection{
    .embed_dim = 5, .hidden_size = 8, .num_heads = 2, .num_chunks = 3, .num_layers = 2, .dropout = 0.25f};
constexpr ra::Options without_projection{
    .embed_dim = 8, .hidden_size = 8, .num_heads = 2, .num_chunks = 4, .num_layers = 2, .dropout = 0.25f};

constexpr ra::Options with_output(ra::Options options, ra::Output output) {
    options.output = output;
    return options;
}

constexpr ra::Options with_chunks(ra::Options options, int num_chunks) {
    options.num_chunks = num_chunks;
    return options;
}

/// Outputs absolute, gradients as a part of the largest number of the tensor, or of a thousandth of the
/// largest of all: the gradient of the keys' bias, say, is what rounding leaves of 0.
template <class T>
struct Tolerance {
    static constexpr double output = std::is_same_v<T, float> ? 2e-6 : 1e-13;
    static constexpr double gradient = std::is_same_v<T, float> ? 1e-5 : 1e-13;
};

template <class R, class Model>
void check_gradients(const support::ModelRun<Model>& run, const oracle::Parameters<R>& expected) {
    auto computed = run.gradient;
    computed["input"] = inputs::widen<typename Model::Scalar>(run.d_input);
    REQUIRE(computed.size() == expected.size());
    double largest = 0;
    for (const auto& [name, values] : expected) largest = std::max(largest, compare::largest(values));
    for (const auto& [key, values] : computed) {
        const std::string& name = key;
        CAPTURE(name);
        const double scale = std::max(compare::largest(expected.at(name)), 1e-3 * largest);
        CHECK(compare::largest_difference(values, expected.at(name)) / scale <
              Tolerance<typename Model::Scalar>::gradient);
    }
}

template <ra::Options options, class T>
void check_against_oracle(ra::Index batch, ra::Index seq_len) {
    INFO("batch ", batch, ", seq_len ", seq_len);
    using R = std::conditional_t<std::is_same_v<T, float>, double, long double>;
    const auto model = support::random_model<options, T>(7);
    const support::ModelCase<std::decay_t<decltype(model)>> c(batch, seq_len, options.embed_dim);
    oracle::SequenceModel<R> expected(support::model_shape<options>(batch, seq_len),
                                      support::parameters_of<R>(model));

    const auto run = support::run(model, c.x, c.d_output);
    CHECK(compare::largest_difference(run.output, expected.forward(inputs::widen<R>(c.x))) <
          Tolerance<T>::output);
    CHECK(compare::same_bits(model(c.x), run.output));
    check_gradients(run, expected.backward(inputs::widen<R>(c.d_output)));
}

template <ra::Options options, class T>
void check_lengths() {
    for (const ra::Index seq_len : {1, 2, 3, 4, 5, 7, 13, 60, 67, 199})
        check_against_oracle<options, T>(1 + seq_len % 3, seq_len);
}

}  // namespace

static_assert(ra::output_size<ra::Options{.embed_dim = 288}>() == 256);
static_assert(ra::output_size<with_projection>() == 8);

TEST_CASE_TEMPLATE("sequence model: every timestep agrees with the oracle, any length", T, float, double) {
    check_lengths<with_output(with_projection, ra::Output::all), T>();
}

TEST_CASE("sequence model: the last timestep agrees with the oracle, any length") {
    check_lengths<with_projection, float>();
}

TEST_CASE("sequence model: the mean over the timesteps agrees with the oracle, any length") {
    check_lengths<with_output(with_projection, ra::Output::mean_pool), double>();
}

TEST_CASE_TEMPLATE("sequence model: without a projection it agrees with the oracle, any length", T, float,
                   double) {
    check_lengths<with_output(without_projection, ra::Output::all), T>();
}

TEST_CASE("sequence model: num_chunks changes results by rounding only") {
    constexpr ra::Options all = with_output(with_projection, ra::Output::all);
    const auto whole = support::random_model<with_chunks(all, 1), double>(7);
    const auto weights = support::parameters_of<double>(whole);
    for (const ra::Index seq_len : {1, 6, 29}) {
        const support::ModelCase<std::decay_t<decltype(whole)>> c(2, seq_len, all.embed_dim);
        const auto expected = support::run(whole, c.x, c.d_output);
        const auto check = [&](auto model) {
            support::set_parameters(model, weights);
            const auto cut = support::run(model, c.x, c.d_output);
            CHECK(compare::largest_difference(cut.output, expected.output) < Tolerance<double>::output);
            auto gradient = expected.gradient;
            gradient["input"] = inputs::widen<double>(expected.d_input);
            check_gradients(cut, gradient);
        };
        check(ra::build<all, double>());
        check(ra::build<with_chunks(all, 29), double>());
    }
}

TEST_CASE_TEMPLATE("sequence model: a NaN in the last token leaves every earlier output as it was", T, float,
                   double) {
    constexpr ra::Options options = with_output(with_projection, ra::Output::all);
    const auto model = support::random_model<options, T>(7);
    for (const ra::Index seq_len : {2, 3, 4, 13, 67})
        for (const T wild : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
            auto x = tensors::normal<T, 3>({2, seq_len, options.embed_dim}, 1);
            const auto before = model(x);
            x(1, seq_len - 1, 2) = wild;
            const auto after = model(x);
            CHECK(compare::same_bits(tensors::slice(after, 1, 0, seq_len - 1),
                                     tensors::slice(before, 1, 0, seq_len - 1)));
            CHECK(compare::same_bits(tensors::slice(after, 0, 0, 1), tensors::slice(before, 0, 0, 1)));
            CHECK(std::isnan(after(1, seq_len - 1, 0)));
        }
}

TEST_CASE("sequence model: what comes later changes an earlier output by rounding only") {
    constexpr ra::Options options = with_output(with_projection, ra::Output::all);
    const auto model = support::random_model<options, float>(7);
    const auto x = tensors::normal<float, 3>({2, 23, options.embed_dim}, 1);
    const auto whole = model(x);
    for (const ra::Index seq_len : {1, 2, 11, 22})
        CHECK(compare::largest_difference(model(tensors::slice(x, 1, 0, seq_len)),
                                          tensors::slice(whole, 1, 0, seq_len)) < Tolerance<float>::output);
}

TEST_CASE("sequence model: backward adds into the gradient") {
    const auto model = support::random_model<with_projection, double>(7);
    using Model = std::decay_t<decltype(model)>;
    const support::ModelCase<Model> c(2, 7, with_projection.embed_dim);
    typename Model::Cache cache;
    model.forward(c.x, cache);
    auto once = ra::zeros_like(model), twice = ra::zeros_like(model);
    const auto d_input = model.backward(c.d_output, cache, once);
    model.backward(c.d_output, cache, twice);
    CHECK(compare::same_bits(model.backward(c.d_output, cache, twice), d_input));
    const auto single = support::parameters_of<double>(once);
    for (const auto& [name, values] : support::parameters_of<double>(twice)) {
        auto doubled = single.at(name);
        for (double& value : doubled) value *= 2;
        CHECK(compare::relative_difference(values, doubled) < 1e-14);
    }
}

}  // namespace models_sequence_model
