// Shows that attention by a ring of 1, 4 and 16 seats is dense attention, up to rounding.
//
// usage: ring_equals_dense FILE. Takes the first 1024 bytes of FILE as tokens, embeds them and projects them
// to q, k, v at random; then compares with softmax(q k^T / sqrt(head_dim)) v written out in double.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <ring_attention/ring_attention.hpp>

namespace ra = ring_attention;

namespace {

constexpr ra::Index heads = 4, head_dim = 32, longest = 1024;

struct QueryKeyValue {
    ra::Tensor<float, 4> q, k, v;  // [1, heads, seq_len, head_dim]
};

/// Every byte has a query, a key and a value of its own, drawn from a normal distribution.
QueryKeyValue embed(const std::string& text) {
    const auto seq_len = ra::Index(text.size());
    const ra::CounterRandom random(0, ra::RandomPurpose::initial_values);
    const auto draw = [&](std::uint64_t which) {
        ra::Tensor<float, 4> tensor(1, heads, seq_len, head_dim);
        for (ra::Index h = 0; h < heads; ++h)
            for (ra::Index t = 0; t < seq_len; ++t)
                for (ra::Index d = 0; d < head_dim; ++d) {
                    const auto byte = std::uint64_t(static_cast<unsigned char>(text[std::size_t(t)]));
                    tensor(0, h, t, d) = float(
                        random.normal(which, byte * heads * head_dim + std::uint64_t(h * head_dim + d)));
                }
        return tensor;
    };
    return {draw(0), draw(1), draw(2)};
}

/// The largest difference to causal dense attention in double.
double difference_to_dense(const QueryKeyValue& of, const ra::Tensor<float, 4>& output) {
    double largest = 0;
    const ra::Index seq_len = of.q.dimension(2);
    std::vector<double> score(static_cast<std::size_t>(seq_len));
    for (ra::Index h = 0; h < heads; ++h)
        for (ra::Index i = 0; i < seq_len; ++i) {
            for (ra::Index j = 0; j <= i; ++j) {
                double dot = 0;
                for (ra::Index d = 0; d < head_dim; ++d)
                    dot += double(of.q(0, h, i, d)) * double(of.k(0, h, j, d));
                score[std::size_t(j)] = dot / std::sqrt(double(head_dim));
            }
            const double maximum = *std::max_element(score.begin(), score.begin() + i + 1);
            double sum = 0;
            for (ra::Index j = 0; j <= i; ++j)
                sum += score[std::size_t(j)] = std::exp(score[std::size_t(j)] - maximum);
            for (ra::Index d = 0; d < head_dim; ++d) {
                double mean = 0;
                for (ra::Index j = 0; j <= i; ++j)
                    mean += score[std::size_t(j)] / sum * double(of.v(0, h, j, d));
                largest = std::max(largest, std::abs(mean - double(output(0, h, i, d))));
            }
        }
    return largest;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 2) throw ra::Error("usage: ring_equals_dense FILE");
    if (!std::filesystem::is_regular_file(argv[1]))  // a pipe without a writer would hold us up
        throw ra::FileError(std::string(argv[1]) + " is no regular file");
    std::ifstream file(argv[1], std::ios::binary);
    std::string text(std::size_t(longest), '\0');
    file.read(text.data(), longest);
    text.resize(std::size_t(file.gcount()));
    if (text.empty()) throw ra::FileError(std::string("cannot read ") + argv[1] + ", or it is empty");

    const QueryKeyValue of = embed(text);
    std::printf("%zu bytes, %td heads of %td: largest difference to dense attention in double\n", text.size(),
                heads, head_dim);
    bool equal = true;
    for (const ra::Index seats : {1, 4, 16}) {
        const auto result =
            ra::attention(of.q, of.k, of.v, ra::AttentionOptions{.num_chunks = seats, .causal = true});
        const double difference = difference_to_dense(of, result.output);
        equal &= difference < 2e-6;
        std::printf("  ring of %2td seats: %.1e\n", seats, difference);
    }
    std::printf(equal ? "equal, up to rounding in float\n" : "NOT EQUAL\n");
    if (std::fflush(stdout) != 0) throw ra::FileError("cannot write to standard output");
    return equal ? 0 : 1;
} catch (const std::exception& error) {
    std::fprintf(stderr, "ring_equals_dense: %s\n", error.what());
    return 2;
}
