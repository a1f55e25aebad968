// A training step, a file of weights and attention, whatever macros of Eigen a program defines: the numbers
// are those that it gives without any. And names.hpp, where it is included first.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <ring_attention/ring_attention.hpp>

namespace ra = ring_attention;

namespace {

constexpr ra::LanguageOptions options{
    .vocabulary = 31, .hidden_size = 24, .num_heads = 2, .num_chunks = 3, .num_layers = 1};

constexpr double expected_loss = 4.1309853, expected_norm = 2.23059963, expected_weights = 20.4421028;

bool is(const char* what, double given, double expected) {
    if (std::abs(given - expected) <= 1e-5 * std::abs(expected)) return true;
    std::printf("%s is %.9g, expected %.9g\n", what, given, expected);
    return false;
}

}  // namespace

int main(int, char** arguments) {
    auto model = ra::build<options>();
    ra::Tensor<ra::Token, 2> tokens(2, 9), targets(2, 9);
    for (int i = 0; i < 18; ++i) {
        tokens.data()[i] = ra::Token(i * 7 % 31);
        targets.data()[i] = ra::Token(i * 11 % 31);
    }
    typename decltype(model)::Cache cache;
    auto gradient = ra::zeros_like(model);
    const auto logits = model.forward(tokens, cache);
    const auto loss = ra::cross_entropy(logits, targets);
    model.backward(loss.d_logits, cache, gradient);
    const double norm = ra::clip_by_global_norm(gradient, 1.0);
    ra::AdamW optimiser(model);
    optimiser.step(model, gradient, 1e-2);

    const auto path = std::filesystem::path(arguments[0]).concat(".safetensors");
    ra::save(model, path);
    auto loaded = ra::zeros_like(model);
    ra::load(loaded, path);
    if (ra::digest(loaded) != ra::digest(model)) return EXIT_FAILURE;
    return is("the loss", loss.loss, expected_loss) && is("the norm of the gradient", norm, expected_norm) &&
                   is("the norm of the weights", ra::global_norm(loaded), expected_weights)
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
}
