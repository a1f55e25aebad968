#include <atomic>
#include <thread>

#include <doctest/doctest.h>

#include <ring_attention/core/memory.hpp>
#include <ring_attention/core/of_thread.hpp>

namespace ra = ring_attention;
using ra::detail::of_thread;

namespace {

std::atomic<int> made = 0, gone = 0;

struct Counted {
    int value;

    explicit Counted(int first_value = 0) : value(first_value) { ++made; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() { ++gone; }
};

/// Uses what the thread keeps when that has been destroyed: this was made before.
struct LateUser {
    int touched = 0;

    LateUser() = default;
    LateUser(const LateUser&) = delete;
    LateUser& operator=(const LateUser&) = delete;
    ~LateUser() {
        for (int i = 0; i < 2; ++i) ++of_thread<Counted>().value;
        if (of_thread<Counted>().value != 2) made = -1000;  // it was not made again
        const ra::Buffer<double> memory(1000);
        memory.data()[999] = 1;
    }
};

}  // namespace

TEST_CASE("of thread: one object a thread and a tag, made once, destroyed when the thread ends") {
    made = gone = 0;
    std::thread([] {
        CHECK(made == 0);
        Counted& first = of_thread<Counted>(7);
        CHECK(first.value == 7);
        CHECK(&of_thread<Counted>(8) == &first);
        CHECK(&of_thread<Counted, 1>(8) != &first);
        std::thread([&] { CHECK(&of_thread<Counted>(9) != &first); }).join();
        CHECK(made == 3);
        CHECK(gone == 1);
    }).join();
    CHECK(gone == 3);
}

TEST_CASE("of thread: asked for while the thread ends, it is made again, and destroyed again") {
    made = gone = 0;
    std::thread([] {
        static thread_local LateUser late;
        ++late.touched;
        of_thread<Counted>().value = 5;
    }).join();
    CHECK(made == 2);
    CHECK(gone == 2);
}
