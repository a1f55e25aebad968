// Attention of new tokens to a cache against that of all tokens to each other.

#include <array>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/ring/attention.hpp>
#include <ring_attention/ring/cached_attention.hpp>

#include "support/compare.hpp"
#include "support/tensors.hpp"

namespace ra = ring_attention;

namespace {

/// [batch, heads, tokens, head_dim] => [batch * heads * tokens, head_dim] of some of the tokens
template <class T>
ra::Matrix<T> rows_of(const ra::Tensor<T, 4>& all, const ra::TokenRun& tokens) {
    const ra::Tensor<T, 4> part = tensors::slice(all, 2, tokens.first, tokens.count);
    return Eigen::Map<const ra::Matrix<T>>(part.data(), part.size() / part.dimension(3), part.dimension(3));
}

template <class T>
void check_portions(ra::Index head_dim, const std::vector<ra::Index>& sizes) {
    const std::array<ra::Index, 4> shape{2, 3, 200, head_dim};
    const auto query = tensors::normal<T>(shape, 1, 3), key = tensors::normal<T>(shape, 2, 3),
               value = tensors::normal<T>(shape, 3);
    const auto expected = ra::attention(query, key, value).output;
    ra::KeyValueCache<T> cache({shape[0], shape[1], head_dim});
    ra::TokenRun next;
    for (const ra::Index size : sizes) {
        next = {next.first + next.count, size};
        cache.reserve(next.first + size, next.first);
        cache.put(next, rows_of(key, next), rows_of(value, next));
        CHECK(compare::largest_difference(ra::attend_to_cache(rows_of(query, next), next, cache),
                                          rows_of(expected, next)) <
              (std::is_same_v<T, float> ? 2e-6 : 1e-14));
    }
}

}  // namespace

TEST_CASE_TEMPLATE("cached attention: any portions give the attention of the whole", T, float, double) {
    for (const ra::Index head_dim : {1, 5, 64}) {
        CAPTURE(head_dim);
        check_portions<T>(head_dim, {1, 1, 63, 64, 65, 6});
        check_portions<T>(head_dim, {200});
    }
}
