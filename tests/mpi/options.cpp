// How an MpiRing is asked for. On one rank, or several of a kind.

#include <cstdlib>
#include <string>

#include <doctest/doctest.h>

#include <ring_attention/ring/mpi/mpi_ring.hpp>

#include "support/error_message.hpp"
#include "support/refused_threads.hpp"

namespace {

namespace ra = ring_attention;

/// An environment variable, as long as this lives.
struct Environment {
    Environment(std::string name_of, const std::string& value) : name(std::move(name_of)) {
        if (const char* given = std::getenv(name.c_str())) before = given;
        setenv(name.c_str(), value.c_str(), 1);
    }
    ~Environment() { setenv(name.c_str(), before.c_str(), 1); }  // an empty one is as good as none
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

    std::string name, before;
};

bool several_threads() {
    int level = MPI_THREAD_SINGLE;
    MPI_Query_thread(&level);
    return level == MPI_THREAD_MULTIPLE;
}

}  // namespace

TEST_CASE("mpi options: the environment says how messages move on") {
    const auto overlap_of = [](const std::string& value) {
        const Environment environment("RING_ATTENTION_OVERLAP", value);
        return ra::MpiRing(MPI_COMM_WORLD).overlap();
    };
    CHECK(overlap_of("polling") == ra::Overlap::polling);
    CHECK(overlap_of("none") == ra::Overlap::none);
    CHECK(overlap_of("") == (several_threads() ? ra::Overlap::thread : ra::Overlap::polling));
    for (const std::string bad : {"threads", "automatic", "Thread", " "})
        CHECK_REFUSES(overlap_of(bad), "RING_ATTENTION_OVERLAP is '" + bad + "'", "thread, polling or none");
}

TEST_CASE("mpi options: a thread of its own needs an MPI that several threads may call") {
    const ra::MpiRingOptions options{.overlap = ra::Overlap::thread};
    if (several_threads())
        CHECK(ra::MpiRing(MPI_COMM_WORLD, options).overlap() == ra::Overlap::thread);
    else
        CHECK_REFUSES(ra::MpiRing(MPI_COMM_WORLD, options), "MPI_THREAD_MULTIPLE", "polling or none");
}

TEST_CASE("mpi options: where the thread is refused, an error says what needs none") {
    if (!several_threads()) return;
    const support::ThreadsLeft left(0);
    CHECK_REFUSES(ra::MpiRing(MPI_COMM_WORLD, {.overlap = ra::Overlap::thread}), "no thread of its own",
                  "RING_ATTENTION_OVERLAP=polling");
    CHECK_NOTHROW(ra::MpiRing(MPI_COMM_WORLD, {.overlap = ra::Overlap::polling}));
}

TEST_CASE("mpi options: the environment says how long a rank waits for another") {
    const auto timeout_of = [](const std::string& value) {
        const Environment environment("RING_ATTENTION_HOP_TIMEOUT", value);
        return ra::MpiRingOptions().hop_timeout;
    };
    CHECK(timeout_of("0.5") == 0.5);
    CHECK(timeout_of("20") == 20);
    CHECK(timeout_of("") == 300);
    for (const std::string bad : {"0", "-1", "nan", "inf", "5s", "soon"})
        CHECK_REFUSES(timeout_of(bad), "RING_ATTENTION_HOP_TIMEOUT is '" + bad + "'", "positive");
}

TEST_CASE("mpi options: what is out of range is refused") {
    CHECK_REFUSES(ra::MpiRing(MPI_COMM_WORLD, {.hop_timeout = 0}), "hop_timeout is 0", "positive");
    CHECK_REFUSES(ra::MpiRing(MPI_COMM_WORLD, {.piece_size = 0}), "piece_size is 0", "2147483647");
    CHECK_REFUSES(ra::MpiRing(MPI_COMM_WORLD, {.piece_size = std::size_t(1) << 31}),
                  "piece_size is 2147483648");
}
