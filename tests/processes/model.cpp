// A model beside what a program does to its threads. The argument names the case; the exit code is 0 where
// all is well.

#include <algorithm>
#include <cfenv>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>

#include <ring_attention/ring_attention.hpp>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "processes/ends.hpp"
#include "support/instances.hpp"

namespace ra = ring_attention;
using processes::child_ends_well;
using processes::require;

namespace {

/// What a model gives, forward and backward.
struct Step {
    ra::Tensor<float, 2> output;
    ra::Tensor<float, 3> d_input;

    Step() {
        constexpr ra::Options options{.embed_dim = 24, .hidden_size = 16, .num_heads = 2, .num_layers = 1};
        const auto model = ra::build<options>(1);
        ra::Tensor<float, 3> x(2, 130, 24);
        for (ra::Index i = 0; i < x.size(); ++i) x.data()[i] = float(i % 37) * 1e-3f - 0.02f;
        typename decltype(model)::Cache cache;
        auto gradient = ra::zeros_like(model);
        output = model.forward(x, cache);
        d_input = model.backward(output, cache, gradient);
    }

    bool operator==(const Step& other) const {
        const auto same = [](const auto& a, const auto& b) {
            return std::memcmp(a.data(), b.data(), std::size_t(a.size()) * sizeof(float)) == 0;
        };
        return same(output, other.output) && same(d_input, other.d_input);
    }
};

void fork_and_compute() {
    const Step own;
    require(child_ends_well([&] { require(Step() == own, "the bits of the parent"); }), "a child");
    require(Step() == own, "the same bits once more");
}

/// Computes when it is destroyed.
struct AtEnd {
    std::optional<Step> expected;
    ~AtEnd() {
        if (expected) require(Step() == *expected, "the same bits at the end");
    }
} at_exit;

void compute_at_exit() {
    at_exit.expected.emplace();
}

void compute_at_thread_end() {
    const Step own;
    for (int i = 0; i < 2; ++i)
        std::jthread([&] {
            static thread_local AtEnd last;  // destroyed after what the library keeps for the thread
            last.expected = own;
            require(Step() == own, "the same bits on a thread");
        });
}

void threads_in_tasks() {
    const Step own;
    ra::parallel_for(4, [&](ra::Index) {
        std::jthread([&] { require(Step() == own, "the same bits on a thread that a task waits for"); });
        ra::ThreadRing::run(2, [&](ra::ThreadRing&) { require(Step() == own, "the same bits on a rank"); });
    });
}

/// With one thread and with three, which began before.
void require_same_with_any_threads() {
    ra::set_num_threads(1);
    const Step alone;
    ra::set_num_threads(3);
    for (int i = 0; i < 3; ++i) require(Step() == alone, "the same bits with three threads");
}

void floating_point_modes() {
    const Step usual;
    for (const int rounding : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
        std::fesetround(rounding);
        require_same_with_any_threads();
        require(!(Step() == usual), "other bits with another rounding");
        std::fesetround(FE_TONEAREST);
        require(Step() == usual, "the bits of before");
    }
#if defined(__SSE2__)
    const unsigned before = _mm_getcsr();
    for (const unsigned mode : {0x8000u, 0x0040u, 0x8040u}) {  // flush to zero, denormals are zero
        _mm_setcsr(before | mode);
        require_same_with_any_threads();
        _mm_setcsr(before);
        require(Step() == usual, "the bits of before");
    }
#endif
}

}  // namespace

int main(int argc, char** argv) {
    processes::limit_time();
    setenv("RING_ATTENTION_NUM_THREADS", "3", 1);
    const std::map<std::string, std::function<void()>> cases{{"fork_and_compute", fork_and_compute},
                                                             {"compute_at_exit", compute_at_exit},
                                                             {"compute_at_thread_end", compute_at_thread_end},
                                                             {"threads_in_tasks", threads_in_tasks},
                                                             {"floating_point_modes", floating_point_modes}};
    require(argc == 2, "one argument");
    cases.at(argv[1])();
    return 0;
}
