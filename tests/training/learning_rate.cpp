#include <doctest/doctest.h>

#include <ring_attention/training/learning_rate.hpp>

#include "support/error_message.hpp"

namespace training_learning_rate {

namespace ra = ring_attention;

TEST_CASE("the learning rate warms up to its peak and falls along half a cosine") {
    const ra::WarmupCosine schedule{.peak = 2, .warmup_steps = 10, .total_steps = 110, .final_fraction = 0.1};
    CHECK(schedule(0) == doctest::Approx(0.2));
    CHECK(schedule(9) == doctest::Approx(2));
    CHECK(schedule(10) == doctest::Approx(2));
    CHECK(schedule(60) == doctest::Approx(2 * 0.55));
    CHECK(schedule(110) == doctest::Approx(0.2));
    CHECK(schedule(100000) == doctest::Approx(0.2));
    for (int step = 10; step < 110; ++step) CHECK(schedule(step + 1) < schedule(step));
}

TEST_CASE("a schedule without warm-up, and one that is all warm-up") {
    CHECK(ra::WarmupCosine{.peak = 1, .warmup_steps = 0, .total_steps = 5}(0) == doctest::Approx(1));
    CHECK(ra::WarmupCosine{.peak = 1, .warmup_steps = 5, .total_steps = 5}(4) == doctest::Approx(1));
    CHECK_REFUSES(ra::WarmupCosine{.total_steps = 0}(0), "total_steps is 0");
    CHECK_REFUSES((ra::WarmupCosine{.warmup_steps = -1}(0)), "warmup_steps -1");
}

}  // namespace training_learning_rate
