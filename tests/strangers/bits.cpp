// Prints a digest of what the kernels give, every bit of it. It is the same whatever a compiler was told that
// it may do with arithmetic (tests/strangers/CMakeLists.txt).

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <span>
#include <vector>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/core/digest.hpp>
#include <ring_attention/core/random.hpp>
#include <ring_attention/kernels/elementwise.hpp>
#include <ring_attention/training/cross_entropy.hpp>

namespace ra = ring_attention;

namespace {

template <class T>
void add(ra::Digest& digest, const T* numbers, std::ptrdiff_t count) {
    digest.add(std::as_bytes(std::span(numbers, std::size_t(count))));
}

/// Numbers in [-range, range), each made by one product, which no flag can make another.
template <class T>
void fill(T* numbers, std::ptrdiff_t count, std::uint64_t seed, double range) {
    const ra::CounterRandom random(seed, ra::RandomPurpose::sampling);
    const T unit = T(range * 0x1p-20);
    for (std::ptrdiff_t i = 0; i < count; ++i)
        numbers[i] = unit * T(int(random.bits(std::uint64_t(i), 0, 0, 0)[0] >> 11) - (1 << 20));
}

template <class T>
void functions(ra::Digest& digest) {
    constexpr std::ptrdiff_t count = 1003;
    std::vector<T> x(count), y(count), d(count);
    for (const double range : {1e-3, 1.0, 30.0, 800.0}) {
        fill(x.data(), count, 1, range);
        fill(d.data(), count, 2, 1.0);
        const T sum = ra::detail::exp_shifted(x.data(), T(range), y.data(), count);
        add(digest, &sum, 1);
        add(digest, y.data(), count);
        ra::detail::gelu(x.data(), y.data(), count);
        add(digest, y.data(), count);
        ra::detail::gelu_backward(x.data(), d.data(), y.data(), count);
        add(digest, y.data(), count);
        const T sums[] = {ra::detail::sum(x.data(), count), ra::detail::dot(x.data(), d.data(), count),
                          ra::detail::maximum(x.data(), count)};
        add(digest, sums, 3);
        for (std::ptrdiff_t i = 0; i + ra::detail::Simd<T>::width <= count; i += ra::detail::Simd<T>::width)
            ra::detail::erf(ra::detail::Simd<T>::load(x.data() + i)).store(y.data() + i);
        add(digest, y.data(), count);
    }
}

/// `wild`: the last token holds a NaN, which the earlier ones must not see.
template <class T>
void attention(ra::Digest& digest, double range, bool wild) {
    const auto tensor = [range](std::uint64_t seed) {
        ra::Tensor<T, 4> made(1, 2, 150, 20);
        fill(made.data(), made.size(), seed, range);
        return made;
    };
    auto query = tensor(3), key = tensor(4), value = tensor(5), d_output = tensor(6);
    if (wild) value(0, 0, 149, 7) = key(0, 1, 149, 3) = std::numeric_limits<T>::quiet_NaN();
    const ra::AttentionOptions options{.num_chunks = 3, .causal = true};
    const auto result = ra::attention(query, key, value, options);
    for (std::ptrdiff_t head = 0; head < 2; ++head) add(digest, &result.output(0, head, 0, 0), 149 * 20);
    if (wild) return;
    const auto gradient = ra::attention_backward(d_output, query, key, value, result, options);
    for (const auto* each : {&gradient.query, &gradient.key, &gradient.value})
        add(digest, each->data(), each->size());
}

template <class T>
void loss(ra::Digest& digest) {
    ra::Tensor<T, 3> logits(1, 5, 37);
    fill(logits.data(), logits.size(), 7, 10.0);
    ra::Tensor<ra::Token, 2> targets(1, 5);
    for (int i = 0; i < 5; ++i) targets(0, i) = ra::Token(7 * i);
    const auto result = ra::cross_entropy(logits, targets);
    add(digest, &result.loss, 1);
}

}  // namespace

int main() {
    ra::Digest digest;
    functions<float>(digest);
    functions<double>(digest);
    for (const double range : {0.1, 1.0, 30.0}) attention<float>(digest, range, false);
    attention<float>(digest, 1.0, true);
    loss<float>(digest);
    std::printf("%016llx\n", static_cast<unsigned long long>(digest.value()));
}
