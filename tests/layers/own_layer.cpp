// What include/ring_attention/layers/README.md tells newcomers to do: a layer of one's own, in one file.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <doctest/doctest.h>

// [the layer]
#include <ring_attention/layers/shifted_rows.hpp>
#include <ring_attention/ring_attention.hpp>

namespace ra = ring_attention;

/// Each feature of a token is a sum of the same feature of this token and of those before it:
///
///     y[t, j] = sum over k < taps of kernel[k, j] x[t - k, j],          [tokens, width] => [tokens, width]
template <class T, ra::Index width, ra::Index taps>
struct CausalConvolution {
    using Scalar = T;
    static constexpr ra::Index in_width = width, out_width = width;

    ra::Matrix<T> kernel = ra::Matrix<T>::Zero(taps, width);

    static void visit(auto&& f, auto&... self) { f("kernel", self.kernel...); }

    struct Cache {
        ra::Matrix<T> input;
    };

    ra::Matrix<T> forward(ra::Matrix<T> x, Cache* cache, const ra::Pass& pass) const {
        ra::Matrix<T> y = ra::Matrix<T>::Zero(x.rows(), width);
        for (ra::Index k = 0; k < taps; ++k) y += ra::shifted_rows(x, -k, pass) * kernel.row(k).asDiagonal();
        if (cache) cache->input = std::move(x);
        return y;
    }

    ra::Matrix<T> backward(ra::Matrix<T> d_y, const Cache& cache,
                           const ra::SeatGradients<CausalConvolution>& gradients,
                           const ra::Pass& pass) const {
        ra::Matrix<T> d_x = ra::Matrix<T>::Zero(d_y.rows(), width);
        ra::Matrix<T> products(d_y.rows(), taps * width);
        for (ra::Index k = 0; k < taps; ++k) {
            d_x += ra::shifted_rows(d_y, k, pass) * kernel.row(k).asDiagonal();
            products.middleCols(k * width, width) = d_y.cwiseProduct(ra::shifted_rows(cache.input, -k, pass));
        }
        gradients.for_each([&](CausalConvolution& gradient, ra::IndexRange rows) {
            const ra::RowVector<T> sums = products.middleRows(rows.first, rows.count).colwise().sum();
            for (ra::Index k = 0; k < taps; ++k) gradient.kernel.row(k) += sums.segment(k * width, width);
        });
        return d_x;
    }

    /// The identity, and a little of the tokens before.
    void initialise(const ra::CounterRandom& random, std::uint64_t stream) {
        for (ra::Index i = 0; i < kernel.size(); ++i)
            kernel.data()[i] = T((i < width ? 1 : 0) + 0.1 * random.normal(stream, std::uint64_t(i)));
    }
};

using Mixed = ra::Sequential<CausalConvolution<float, 8, 3>,
                             ra::Stack<ra::Block<float, ra::BlockOptions{.width = 8, .heads = 2}>, 2>>;
using MixedModel = ra::Model<Mixed, ra::Output::all>;
// [end of the layer]

#include "support/layer_case.hpp"
#include "support/layouts.hpp"
#include "support/model_run.hpp"

namespace layers_own_layer {

namespace {

std::string text_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

using Convolution = CausalConvolution<double, 2, 3>;

/// y as the formula says it, for one batch entry.
ra::Matrix<double> convolved(const Convolution& layer, const ra::Matrix<double>& x,
                             const ra::Sequences& sequences) {
    ra::Matrix<double> y = ra::Matrix<double>::Zero(x.rows(), 2);
    for (ra::Index t = 0; t < x.rows(); ++t)
        for (ra::Index k = 0; k < 3 && t - k >= sequences.document_start(t); ++k)
            y.row(t) += layer.kernel.row(k).cwiseProduct(x.row(t - k));
    return y;
}

}  // namespace

TEST_CASE("own layer: the page that tells how to add one has the code that is tested here") {
    const std::filesystem::path tests = std::filesystem::path(RING_ATTENTION_GOLDEN_DIR).parent_path();
    const std::string own = text_of(tests / "layers" / "own_layer.cpp"),
                      page = text_of(tests.parent_path() / "include/ring_attention/layers/README.md");
    const auto first = own.find("// [the layer]\n") + 15, end = own.find("// [end of the layer]");
    REQUIRE(end < own.size());
    CHECK(page.find("```cpp\n" + own.substr(first, end - first) + "```") != std::string::npos);
}

TEST_CASE("own layer: it is the formula, and tokens see nothing before their document") {
    ra::LocalRing ring;
    for (const ra::Layout layout : support::every_layout)
        for (const auto& starts : {std::vector<ra::Index>{}, std::vector<ra::Index>{0, 1, 4}}) {
            const ra::Share share(ra::ChunkLayout(7, 3, layout), 0, 1);
            const ra::Sequences sequences{.document_starts = starts};
            Convolution layer;
            support::randomise(layer);
            const auto x = support::normal_matrix(7, 2, 1);
            const auto y = layer.forward(ra::enter_seats(x.data(), 1, 2, share), nullptr,
                                         ra::Pass{ring, share, 1, {}, 0, false, &sequences});
            ra::Matrix<double> in_order(7, 2);
            ra::leave_seats(y, 1, share, in_order.data());
            CHECK(compare::largest_difference(in_order,
                                              inputs::widen<double>(convolved(layer, x, sequences))) < 1e-15);
        }
}

TEST_CASE("own layer: finite differences") {
    support::check_layer<Convolution>({.batch = 2, .seq_len = 7, .num_seats = 3});
    support::check_layer<Convolution>({.batch = 1, .seq_len = 2, .num_seats = 3});
    support::check_layer<Convolution>(
        {.batch = 2, .seq_len = 9, .num_seats = 2, .sequences = {.document_starts = {0, 4, 5}}});
}

TEST_CASE("own layer: in a model it has the same bits on any number of ranks, in every layout") {
    MixedModel model;
    ra::initialise(model, 3);
    model.num_chunks = 4;
    for (const ra::Layout layout : support::every_layout)
        for (const ra::Index seq_len : {3, 13}) {
            INFO(support::name_of(layout), ", ", seq_len, " tokens");
            model.layout = layout;
            const support::ModelCase<MixedModel> c(2, seq_len, 8);
            const auto alone = support::run(model, c.x, c.d_output);
            for (const int ranks : {2, 3, 4})
                CHECK(support::same_bits(support::run_on_ranks(ranks, model, c.x, c.d_output), alone));
        }
}

}  // namespace layers_own_layer
