// A pass for which memory runs out, wherever that is, ends by std::bad_alloc: nothing leaks, no rank waits,
// the weights are as they were, and the next pass gives the usual bits. Replaces operator new, to fail when
// asked.

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

#include <doctest/doctest.h>

#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/num_threads.hpp"
#include "support/same_parameters.hpp"
#include "support/tensors.hpp"

namespace {

std::atomic<long> live_blocks = 0;

/// Requests of this thread until one fails; 0: none does.
thread_local int fails_in = 0;

void* request(std::size_t size, std::size_t alignment) {
    if (fails_in > 0 && --fails_in == 0) throw std::bad_alloc();
    void* const data = std::aligned_alloc(alignment, (size + alignment) / alignment * alignment);
    if (!data) throw std::bad_alloc();
    ++live_blocks;
    return data;
}

void release(void* data) {
    if (data) --live_blocks;
    std::free(data);
}

}  // namespace

void* operator new(std::size_t size) {
    return request(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return request(size, std::size_t(alignment));
}
void operator delete(void* data) noexcept {
    release(data);
}
void operator delete(void* data, std::size_t) noexcept {
    release(data);
}
void operator delete(void* data, std::align_val_t) noexcept {
    release(data);
}
void operator delete(void* data, std::size_t, std::align_val_t) noexcept {
    release(data);
}

namespace {

namespace ra = ring_attention;

using Model =
    ra::Model<ra::Sequential<ra::LayerNorm<float, 4>,
                             ra::RingAttention<float, ra::AttentionLayerOptions{.width = 4, .heads = 2}>>,
              ra::Output::all>;

Model random_model() {
    Model model{.body = {}, .num_chunks = 3};
    ra::initialise(model, 1);
    return model;
}

/// Calls f(n) with the n-th request of this thread to fail, n = 1, 2, ... until none fails; after each
/// failure, check(). Returns how many failed.
int fail_each_request(auto&& f, auto&& check) {
    check();  // what is asked for once only
    for (int n = 1;; ++n) {
        CAPTURE(n);
        ra::release_memory();  // so that the system is asked again
        const long before = live_blocks;
        bool failed = false;
        fails_in = n;
        try {
            f();
        } catch (const std::bad_alloc&) {
            failed = true;
        }
        fails_in = 0;
        if (!failed) return n - 1;
        check();
        ra::release_memory();
        const long after = live_blocks;
        CHECK(after == before);
    }
}

}  // namespace

TEST_CASE("memory runs out in backward: nothing leaks, and after zeroing the gradient it goes on as ever") {
    const support::NumThreads one(1);
    const Model model = random_model(), weights = model;
    const auto x = tensors::normal<float, 3>({2, 9, 4}, 1), d = tensors::normal<float, 3>({2, 9, 4}, 2);
    Model::Cache cache;
    model.forward(x, cache);
    const auto gradient_of = [&] {
        Model gradient = ra::zeros_like(model);
        model.backward(d, cache, gradient);
        return gradient;
    };
    const Model expected = gradient_of();
    Model gradient = ra::zeros_like(model);
    const int failures = fail_each_request([&] { model.backward(d, cache, gradient); },
                                           [&] {
                                               CHECK(support::same_parameters(model, weights));
                                               CHECK(support::same_parameters(gradient_of(), expected));
                                           });
    CHECK(failures > 10);
}

TEST_CASE("memory runs out in forward: nothing leaks, and the cache holds the pass before or none") {
    const support::NumThreads one(1);
    const Model model = random_model();
    const auto x = tensors::normal<float, 3>({2, 9, 4}, 1), other = tensors::normal<float, 3>({2, 9, 4}, 3),
               d = tensors::normal<float, 3>({2, 9, 4}, 2);
    const auto expected = model(x);
    Model::Cache cache;
    const auto gradient_of_pass = [&] {
        Model gradient = ra::zeros_like(model);
        model.backward(d, cache, gradient);
        return gradient;
    };
    model.forward(other, cache);
    const Model of_pass_before = gradient_of_pass();
    int refused = 0;
    const int failures =
        fail_each_request([&] { model.forward(x, cache); },
                          [&] {
                              if (cache.share) {
                                  CHECK(support::same_parameters(gradient_of_pass(), of_pass_before));
                              } else {
                                  CHECK_REFUSES(gradient_of_pass(), "holds no forward pass");
                                  ++refused;
                              }
                              model.forward(other, cache);
                              CHECK(compare::same_bits(model(x), expected));
                          });
    CHECK(failures > 10);
    CHECK(refused > 5);
}

TEST_CASE("memory runs out in backward on one of several ranks: all end, with that error") {
    const support::NumThreads one(1);
    const Model model = random_model(), weights = model;
    const auto x = tensors::normal<float, 3>({2, 9, 4}, 1), d = tensors::normal<float, 3>({2, 9, 4}, 2);
    int failures = 0;
    for (int rank = 0; rank < 3; ++rank)
        for (int n = 1;; n += 3) {
            bool failed = false;
            try {
                ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
                    const ra::Share share = model.share(ring, 9);
                    const auto own_x = ra::tokens_of(x, share), own_d = ra::tokens_of(d, share);
                    Model::Cache cache;
                    Model gradient = ra::zeros_like(model);
                    model.forward(own_x, cache, ring);
                    ra::release_memory();
                    if (ring.rank() == rank) fails_in = n;
                    model.backward(own_d, cache, gradient, ring);
                    fails_in = 0;
                });
            } catch (const std::bad_alloc&) {
                failed = true;
            }
            if (!failed) break;
            ++failures;
            REQUIRE(support::same_parameters(model, weights));
        }
    CHECK(failures > 10);
}
