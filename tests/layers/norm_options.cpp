#include <doctest/doctest.h>

#include <ring_attention/layers/norm_options.hpp>

namespace layers_norm_options {

namespace ra = ring_attention;

TEST_CASE("a float as it is written, in double") {
    CHECK(ra::detail::as_written(1e-5f) == 1e-5);
    CHECK(ra::detail::as_written(1e-6f) == 1e-6);
    CHECK(ra::detail::as_written(1e-12f) == 1e-12);
    CHECK(ra::detail::as_written(1e-8f) == 1e-8);
    CHECK(ra::detail::as_written(0.25f) == 0.25);
    CHECK(ra::detail::as_written(3.5e-7f) == 3.5e-7);
    CHECK(ra::detail::as_written(1.2345678e-5f) == 1.2345678e-5);
    CHECK(ra::detail::as_written(2) == 2);
    CHECK(ra::detail::as_written(0) == 0);
    CHECK(ra::detail::as_written(1e-40f) == double(1e-40f));
}

}  // namespace layers_norm_options
