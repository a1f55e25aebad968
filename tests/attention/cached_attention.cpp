// Attention of new tokens to a cache against that of all tokens to each other.

#include <array>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/cache.hpp>
#include <ring_attention/attention/cached_attention.hpp>
#include <ring_attention/attention/operator.hpp>

#include "support/compare.hpp"
#include "support/tensors.hpp"

namespace ra = ring_attention;

namespace {

template <class T>
void check_portions(ra::Index head_dim, const std::vector<ra::Index>& sizes, ra::Index window = 0,
                    ra::Index group = 1) {
    const std::array<ra::Index, 4> shape{2, 3, 200, head_dim};
    const ra::Share all(ra::ChunkLayout(200, 1), 0, 1);
    const std::array<ra::Index, 4> key_shape{shape[0], shape[1] / group, 200, head_dim};
    const ra::AttentionOptions options{.window = window};
    const ra::AttentionPlan plan =
        ra::plan_of<T>(options, all, all, {shape[0], shape[1], key_shape[1], head_dim, head_dim});
    const auto query = tensors::normal<T>(shape, 1, 3), key = tensors::normal<T>(key_shape, 2, 3),
               value = tensors::normal<T>(key_shape, 3);
    const auto expected = ra::attention(query, key, value, options).output;
    ra::Tensor<T, 4> output(shape);
    const auto at = [&](auto* numbers, ra::Index heads, const ra::TokenPositions& tokens) {
        return ra::HeadsView<std::remove_pointer_t<decltype(numbers)>>::head_by_head(numbers, heads, 200,
                                                                                     head_dim)
            .middle_tokens(tokens.first, tokens.count);
    };
    ra::KeyValueCache<T> cache(plan.heads, window);
    ra::TokenPositions next;
    for (const ra::Index size : sizes) {
        next = {next.first + next.count, size};
        cache.make_room(next, next.first + size, 65);
        const auto keep = cache.at(next);
        for (ra::Index head = 0; head < plan.heads.batch_key_value_heads(); ++head)
            for (ra::Index i = 0; i < size; ++i) {
                std::copy_n(&at(key.data(), key_shape[1], next)(head)(i, 0), head_dim, &keep.key(head)(i, 0));
                std::copy_n(&at(value.data(), key_shape[1], next)(head)(i, 0), head_dim,
                            &keep.value(head)(i, 0));
            }
        ra::attend_to_cache<T>(plan, {}, at(query.data(), shape[1], next), next, cache.up_to(next),
                               at(output.data(), shape[1], next));
    }
    CHECK(compare::largest_difference(output, expected) < (std::is_same_v<T, float> ? 2e-6 : 1e-14));
}

}  // namespace

TEST_CASE_TEMPLATE("cached attention: any portions give the attention of the whole", T, float, double) {
    for (const ra::Index head_dim : {1, 5, 64}) {
        CAPTURE(head_dim);
        check_portions<T>(head_dim, {1, 1, 63, 64, 65, 6});
        check_portions<T>(head_dim, {200});
    }
}

TEST_CASE("cached attention: with a window, what is no longer seen makes room") {
    for (const ra::Index window : {1, 2, 5, 64, 150, 300}) {
        CAPTURE(window);
        check_portions<float>(5, {1, 1, 63, 64, 65, 6}, window, 3);
        check_portions<float>(5, std::vector<ra::Index>(200, 1), window, 3);
    }
}
