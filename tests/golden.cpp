// Every golden file against the library: all outputs and all gradients that it holds.

#include "support/golden.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/models/build.hpp>

#include "support/compare.hpp"
#include "support/finite_differences.hpp"
#include "support/model_run.hpp"

namespace {

namespace ra = ring_attention;

/// What the rounding of the original and of the library may differ by: absolute for outputs, a part of the
/// largest for gradients.
struct Tolerance {
    double output, gradient;
    explicit Tolerance(const std::string& dtype)
        : output(dtype == "F64" ? 1e-13 : 2e-6), gradient(dtype == "F64" ? 1e-13 : 1e-5) {}
};

template <class T, std::size_t Rank>
ra::Tensor<T, int(Rank)> tensor(golden::File& file, const std::string& name) {
    const auto shape = file.shape(name);
    REQUIRE(shape.size() == Rank);
    std::array<ra::Index, Rank> extents;
    std::copy(shape.begin(), shape.end(), extents.begin());
    return tensors::filled<T>(extents, file.values<T>(name));
}

/// Compares a model's gradient, and that of its input, with "<prefix><name>" for every name.
template <class Model, class T>
void check_gradient(golden::File& file, const std::string& prefix, const Model& gradient,
                    const ra::Tensor<T, 3>& d_input) {
    auto computed = support::parameters_of<T>(gradient);
    computed["input"] = inputs::widen<T>(d_input);
    const double tolerance = Tolerance(file.dtype("input")).gradient;
    for (const auto& [name, values] : computed) {
        const std::string stored = prefix + name;
        CAPTURE(stored);
        CHECK(compare::relative_difference(values, file.values<T>(stored)) < tolerance);
    }
}

template <class Model>
void check_shapes(golden::File& file, const Model& model) {
    ra::for_each_parameter(model, [&](std::string_view name, const auto& parameter) {
        auto shape = file.shape(std::string(name));
        if (shape.size() == 1) shape.insert(shape.begin(), 1);
        CHECK(shape ==
              std::vector<std::size_t>{std::size_t(parameter.rows()), std::size_t(parameter.cols())});
    });
}

/// loss_msq = mean(output^2), the gradient of which by the output is 2 output / size.
template <class Model>
void check_mean_square(golden::File& file, const Model& model, const typename Model::OutputTensor& output,
                       const typename Model::Cache& cache) {
    using T = typename Model::Scalar;
    const T mean = support::inner_product(output, output) / T(output.size());
    CHECK(compare::distance(mean, file.values<T>("loss_msq")[0]) < Tolerance(file.dtype("input")).output);
    auto gradient = ra::zeros_like(model);
    const typename Model::OutputTensor d_output = output * T(2.0 / double(output.size()));
    check_gradient(file, "grad_msq.", gradient, model.backward(d_output, cache, gradient));
}

template <ra::Options options, class T>
void check_sequence_output(golden::File& file) {
    constexpr ra::Options all = [] {
        auto changed = options;
        changed.output = ra::Output::all;
        return changed;
    }();
    auto model = ra::build<all, T>();
    support::set_parameters(model, golden::parameters<T>(file));
    CHECK(compare::largest_difference(model(tensor<T, 3>(file, "input")), file.values<T>("sequence_output")) <
          Tolerance(file.dtype("input")).output);
}

/// Masks is NamedMasks where the file holds those of a training step, else none.
template <ra::Options options, class T, class Masks>
void check_model(golden::File& file, const Masks& masks) {
    auto model = ra::build<options, T>();
    check_shapes(file, model);
    support::set_parameters(model, golden::parameters<T>(file));
    const auto weight = tensor<T, 2>(file, "loss_weight");
    typename decltype(model)::Cache cache;
    auto gradient = ra::zeros_like(model);
    const auto output = support::forward(model, tensor<T, 3>(file, "input"), cache, masks);

    const Tolerance tolerance(file.dtype("input"));
    CHECK(compare::largest_difference(output, file.values<T>("output")) < tolerance.output);
    CHECK(compare::distance(support::inner_product(output, weight), file.values<T>("loss")[0]) <
          tolerance.output * double(output.size()));
    check_gradient(file, "grad.", gradient, model.backward(weight, cache, gradient));
    if (file.has("loss_msq")) check_mean_square(file, model, output, cache);
    if constexpr (std::is_same_v<Masks, ra::KeepPatternReference>) check_sequence_output<options, T>(file);
}

/// The operator alone, for every number of chunks. q_factor makes up for a scale that is not 1 /
/// sqrt(head_dim).
template <class T>
void check_operator(golden::File& file, T q_factor) {
    ra::Tensor<T, 4> q = tensor<T, 4>(file, "q");
    q = q * q_factor;
    const auto k = tensor<T, 4>(file, "k"), v = tensor<T, 4>(file, "v"),
               weight = tensor<T, 4>(file, "loss_weight");
    const Tolerance tolerance(file.dtype("q"));
    const auto check_part = [&](const ra::Tensor<T, 4>& computed, const std::string& name) {
        CAPTURE(name);
        CHECK(compare::relative_difference(computed, file.values<T>(name)) < tolerance.gradient);
    };
    for (const ra::Index chunks : file.options().at("num_chunks_list").get<std::vector<ra::Index>>()) {
        const std::string suffix = "_chunks" + std::to_string(chunks);
        CAPTURE(suffix);
        const ra::AttentionOptions options{.num_chunks = chunks, .causal = true};
        const auto result = ra::attention(q, k, v, options);
        CHECK(compare::largest_difference(result.output, file.values<T>("output" + suffix)) <
              tolerance.output);
        CHECK(compare::distance(support::inner_product(result.output, weight),
                                file.values<T>("loss" + suffix)[0]) <
              tolerance.output * double(weight.size()));
        const auto gradient = ra::attention_backward(weight, q, k, v, result, options);
        check_part(gradient.query * q_factor, "grad.q" + suffix);
        check_part(gradient.key, "grad.k" + suffix);
        check_part(gradient.value, "grad.v" + suffix);
    }
}

template <class T>
bool made_with(const golden::File& file, const ra::Options& options) {
    const auto shape = golden::model_shape(file);
    const auto stored = file.options();
    return shape.embed_dim == std::size_t(options.embed_dim) &&
           shape.hidden_size == std::size_t(options.hidden_size) &&
           shape.num_heads == std::size_t(options.num_heads) &&
           shape.num_layers == std::size_t(options.num_layers) &&
           stored.at("num_chunks") == options.num_chunks && stored.at("window_size") == options.window_size &&
           float(shape.dropout) == options.dropout && file.dtype("input") == (sizeof(T) == 4 ? "F32" : "F64");
}

/// Checks the file where it was made with these options, in inference mode.
template <ra::Options options, class T>
bool check_inference(golden::File& file) {
    const bool same = made_with<T>(file, options) && file.metadata("mode") == "inference";
    if (same) check_model<options, T>(file, ra::KeepPatternReference{});
    return same;
}

/// Checks the file where it was made with these options, in training mode.
template <ra::Options options, class T>
bool check_training(golden::File& file) {
    const bool same = made_with<T>(file, options) && file.metadata("mode") == "train";
    if (!same) return false;
    const auto masks = golden::masks(file);
    check_model<options, T>(file, support::NamedMasks(masks, golden::model_shape(file)));
    return true;
}

/// Options are part of a model's type, so those of all files stand here.
bool check_known_model(golden::File& file) {
    constexpr ra::Options a{.embed_dim = 12,
                            .hidden_size = 8,
                            .num_heads = 2,
                            .num_chunks = 2,
                            .num_layers = 1,
                            .dropout = 0.1f,
                            .window_size = 4};
    constexpr ra::Options b{.embed_dim = 16,
                            .hidden_size = 16,
                            .num_heads = 4,
                            .num_chunks = 3,
                            .num_layers = 2,
                            .dropout = 0,
                            .window_size = 12};
    constexpr ra::Options e{.embed_dim = 12,
                            .hidden_size = 8,
                            .num_heads = 2,
                            .num_chunks = 6,
                            .num_layers = 2,
                            .dropout = 0,
                            .window_size = 6};
    constexpr ra::Options h{.embed_dim = 12,
                            .hidden_size = 8,
                            .num_heads = 2,
                            .num_chunks = 2,
                            .num_layers = 2,
                            .dropout = 0,
                            .window_size = 4};
    constexpr ra::Options k{.embed_dim = 12,
                            .hidden_size = 8,
                            .num_heads = 2,
                            .num_chunks = 2,
                            .num_layers = 3,
                            .dropout = 0.3f,
                            .window_size = 6};
    return check_inference<a, float>(file) || check_inference<b, float>(file) ||
           check_inference<e, float>(file) || check_inference<h, double>(file) ||
           check_training<k, float>(file);
}

void check_file(const std::string& name) {
    CAPTURE(name);
    golden::File file(name);
    if (!file.has("q"))
        REQUIRE_MESSAGE(check_known_model(file),
                        "no model in this test has the options " << file.options().dump());
    else if (file.dtype("q") == "F32")
        check_operator<float>(file, 1);
    else
        // The original took the square root in single precision: its scale is 1 / float(sqrt(head_dim)).
        check_operator<double>(
            file, std::sqrt(double(file.shape("q")[3])) / double(std::sqrt(float(file.shape("q")[3]))));
    for (const std::string& forgotten : file.unused()) FAIL_CHECK("no check has used " << forgotten);
}

}  // namespace

TEST_CASE("golden: every file agrees in everything that it holds") {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(RING_ATTENTION_GOLDEN_DIR)) {
        if (entry.path().extension() != ".safetensors") continue;
        check_file(entry.path().stem().string());
        ++count;
    }
    CHECK(count >= 7);
}
