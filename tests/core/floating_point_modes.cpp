#include <array>
#include <atomic>
#include <bit>
#include <cfenv>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/floating_point_modes.hpp>
#include <ring_attention/core/parallel.hpp>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "support/num_threads.hpp"
#include "support/together.hpp"

namespace ra = ring_attention;

namespace {

/// What shows how the thread computes: thirds, which are rounded, and numbers that are too small. As bits,
/// since what counts as 0 is also equal to 0.
using Results = std::array<std::uint64_t, 5>;

/// Of numbers that the compiler does not know.
Results compute() {
    volatile double one = 1, three = 3, smallest = std::numeric_limits<double>::min(), eighth = 0.125,
                    denormal = std::numeric_limits<double>::denorm_min();
    volatile long double long_one = 1;
    const auto bits = [](double number) { return std::bit_cast<std::uint64_t>(number); };
    const long double third =
        long_one / 3 * 3 - 1;  // in the registers of x87, which have a mode of their own
    return {bits(one / three), bits(-one / three), bits(smallest * eighth), bits(denormal + denormal),
            bits(double(third))};
}

/// On every thread there is as on this one, and as on none but this one.
void check_all_alike() {
    const Results own = compute();
    for (const int threads : {3, 1, 3}) {
        const support::NumThreads restore(threads);
        std::vector<Results> results(static_cast<std::size_t>(threads));
        CHECK(support::together(threads, [&](ra::Index task) { results[std::size_t(task)] = compute(); }));
        for (const Results& each : results) CHECK(each == own);
    }
}

}  // namespace

TEST_CASE("floating-point modes: every rounding, set when the pool has begun, is that of all threads") {
    const support::NumThreads three(3);
    check_all_alike();
    const Results usual = compute();
    for (const int rounding : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
        CAPTURE(rounding);
        std::fesetround(rounding);
        check_all_alike();
        CHECK(compute() != usual);
        std::fesetround(FE_TONEAREST);
        check_all_alike();
        CHECK(compute() == usual);
    }
}

#if defined(__SSE2__)
TEST_CASE("floating-point modes: what is too small is 0 on all threads or on none") {
    const support::NumThreads three(3);
    const Results usual = compute();
    const unsigned before = _mm_getcsr();
    constexpr unsigned flush_to_zero = 0x8000, denormals_are_zero = 0x0040;
    for (const unsigned mode : {flush_to_zero, denormals_are_zero, flush_to_zero | denormals_are_zero}) {
        CAPTURE(mode);
        _mm_setcsr(before | mode);
        check_all_alike();
        CHECK(compute() != usual);
        _mm_setcsr(before);
        check_all_alike();
        CHECK(compute() == usual);
    }
}
#endif

#if defined(__x86_64__) || defined(__aarch64__)
TEST_CASE("FlushToZero: while it lives subnormal results are 0, and then as before") {
    const volatile float small = std::numeric_limits<float>::min(), half = 0.5f;
    const auto product = [&] {
        const volatile float result = small * half;
        return float(result);
    };
    CHECK(product() > 0);
    {
        const ra::detail::FlushToZero flush_to_zero;
        CHECK(product() == 0);
    }
    CHECK(product() > 0);
}
#endif

TEST_CASE("floating-point modes: two callers with different ones share the pool") {
    const support::NumThreads three(3);
    std::atomic<int> wrong = 0;
    const auto compute_often = [&](int rounding) {
        std::fesetround(rounding);
        const Results own = compute();
        for (int round = 0; round < 200; ++round)
            ra::parallel_for(8, [&](ra::Index) {
                if (compute() != own) ++wrong;
            });
    };
    { const std::jthread up(compute_often, FE_UPWARD), down(compute_often, FE_DOWNWARD); }
    CHECK(wrong == 0);
}

TEST_CASE("floating-point modes: exceptions so far stay the caller's") {
    const support::NumThreads three(3);
    for (const int raised : {0, FE_DIVBYZERO}) {
        std::feclearexcept(FE_ALL_EXCEPT);
        std::feraiseexcept(raised);
        CHECK(support::together(3, [](ra::Index task) {
            if (task > 0) return;
        }));
        CHECK(std::fetestexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW) == raised);
    }
    std::feclearexcept(FE_ALL_EXCEPT);
}
