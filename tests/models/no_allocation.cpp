// What has run at a size runs at it again without asking the system for memory, but for the tensors that it
// returns. Counts all of C's and C++'s requests, in place of the C library's own functions.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/stream.hpp>

#include "support/num_threads.hpp"
#include "support/tensors.hpp"

namespace {

std::atomic<bool> counting = false;
std::atomic<int> requests = 0;

void count_request() {
    if (counting.load(std::memory_order_relaxed)) ++requests;
}

}  // namespace

extern "C" {

void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* data, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) noexcept {
    count_request();
    return __libc_malloc(size);
}

void* calloc(std::size_t count, std::size_t size) noexcept {
    count_request();
    return __libc_calloc(count, size);
}

void* realloc(void* data, std::size_t size) noexcept {
    count_request();
    return __libc_realloc(data, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    count_request();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void** data, std::size_t alignment, std::size_t size) noexcept {
    count_request();
    *data = __libc_memalign(alignment, size);
    return *data ? 0 : ENOMEM;
}

}  // extern "C"

namespace {

namespace ra = ring_attention;

/// Requests to the system while f runs, those for what it returns among them.
int requests_of(auto&& f) {
    requests = 0;
    counting = true;
    {
        [[maybe_unused]] const auto result = f();
        counting = false;
    }
    return requests;
}

/// f asks for the tensors that it returns and for no more: on one thread the second time, and on two as soon
/// as each has had its turn with every kind of task.
void check_requests(int tensors, auto&& f) {
    {
        const support::NumThreads one(1);
        f();
        for (int i = 0; i < 3; ++i) CHECK(requests_of(f) == tensors);
    }
    const support::NumThreads two(2);
    int fewest = requests_of(f);
    for (int i = 0; i < 1000 && fewest > tensors; ++i) fewest = std::min(fewest, requests_of(f));
    CHECK(fewest == tensors);
}

template <ra::Output output>
constexpr ra::Options sequence_options{
    .embed_dim = 6, .hidden_size = 16, .num_heads = 2, .num_chunks = 3, .num_layers = 2, .output = output};
constexpr ra::LanguageOptions language_options{
    .vocabulary = 11, .hidden_size = 16, .num_heads = 2, .num_chunks = 3, .num_layers = 2};

ra::Tensor<ra::Token, 2> some_tokens(ra::Index batch, ra::Index count) {
    ra::Tensor<ra::Token, 2> tokens(batch, count);
    for (ra::Index i = 0; i < tokens.size(); ++i) tokens.data()[i] = ra::Token(i * i % 11);
    return tokens;
}

}  // namespace

TEST_CASE("no allocation: every kind of request is counted") {
    const auto of = [](auto&& ask) {
        return requests_of([&] {
            void* volatile const data = ask();  // or the compiler would do without
            std::free(data);
            return 0;
        });
    };
    CHECK(of([] { return std::malloc(10); }) == 1);
    CHECK(of([] { return std::calloc(10, 10); }) == 1);
    CHECK(of([] { return std::aligned_alloc(64, 128); }) == 1);
    CHECK(of([] { return std::realloc(std::malloc(10), 10'000); }) == 2);
    CHECK(of([] {
              void* data = nullptr;
              return posix_memalign(&data, 64, 100) == 0 ? data : nullptr;
          }) == 1);
    CHECK(requests_of([] {
              auto* volatile const numbers = new std::vector<int>(100);
              delete numbers;
              return 0;
          }) == 2);
    CHECK(requests_of([] { return ra::Tensor<float, 2>(3, 5); }) == 1);
    { const ra::Buffer<float> first(1); }  // the pool begins
    CHECK(requests_of([] { return ra::Buffer<float>(100'000); }) == 1);
    CHECK(requests_of([] { return ra::Buffer<float>(100'000); }) == 0);
}

TEST_CASE("no allocation: a sequence model") {
    const auto x = tensors::normal<float, 3>({2, 150, 6}, 1),
               shorter = tensors::normal<float, 3>({2, 130, 6}, 2);
    const auto check = [&](const auto& model) {
        check_requests(1, [&] { return model(x); });
        check_requests(1, [&] { return model(shorter); });
        check_requests(1, [&] { return model(x); });
    };
    check(ra::build<sequence_options<ra::Output::last_timestep>>(1));
    check(ra::build<sequence_options<ra::Output::mean_pool>>(1));
}

TEST_CASE("no allocation: a sequence model, after a shorter sequence") {
    const support::NumThreads one(1);
    const auto model = ra::build<sequence_options<ra::Output::mean_pool>>(1);
    const auto x = tensors::normal<float, 3>({2, 150, 6}, 1);
    model(x);
    for (const ra::Index seq_len : {149, 100, 75, 30, 1}) {
        CAPTURE(seq_len);
        model(tensors::normal<float, 3>({2, seq_len, 6}, 1));
        CHECK(requests_of([&] { return model(x); }) == 1);
    }
}

TEST_CASE("no allocation: a language model") {
    const auto model = ra::build<language_options>(1);
    const auto tokens = some_tokens(2, 150);
    check_requests(1, [&] { return model(tokens); });
}

TEST_CASE("no allocation: the attention operator") {
    const auto q = tensors::normal<float, 4>({1, 12, 150, 16}, 1),
               k = tensors::normal<float, 4>({1, 12, 150, 16}, 2),
               v = tensors::normal<float, 4>({1, 12, 150, 16}, 3);
    for (const bool causal : {true, false})
        check_requests(3, [&] { return ra::attention(q, k, v, {.num_chunks = 3, .causal = causal}); });
}

TEST_CASE("no allocation: a token of a stream that has a capacity") {
    const auto model = ra::build<language_options>(1);
    ra::Stream stream{model, ra::StreamOptions{.capacity = 3000}};
    stream.push(some_tokens(1, 20));
    check_requests(1, [&] { return stream.push(ra::Token(stream.size() % 11)); });

    const auto sequence_model = ra::build<sequence_options<ra::Output::mean_pool>>(1);
    ra::Stream of_vectors{sequence_model, ra::StreamOptions{.batch = 2, .capacity = 3000}};
    const auto step = tensors::normal<float, 2>({2, 6}, 1);
    for (int i = 0; i < 5; ++i) of_vectors.push(step);
    check_requests(1, [&] { return of_vectors.push(step); });
}
