#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <numeric>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/memory.hpp>

#include "support/inputs.hpp"
#include "support/system_memory.hpp"

namespace ra = ring_attention;
using support::bytes_left_by;
using support::requests_of;

namespace {

using Bytes = ra::Buffer<std::byte>;

constexpr std::size_t little = ra::detail::MemoryPool::little;

/// Runs f on a thread of its own, which begins with nothing and has ended when this returns.
void on_new_thread(auto&& f) {
    std::exception_ptr failure;
    std::thread([&] {
        try {
            f();
        } catch (...) {
            failure = std::current_exception();
        }
    }).join();
    if (failure) std::rethrow_exception(failure);
}

/// A block as the pool hands it out.
struct Block {
    void* data;
    std::size_t size;

    explicit Block(std::size_t wanted) : size(wanted) { data = ra::detail::take_memory(size); }
    void give_back() const { ra::detail::give_memory_back(data, size); }
};

bool on_boundary(const void* data) {
    return reinterpret_cast<std::uintptr_t>(data) % 64 == 0;
}

}  // namespace

static_assert(!std::is_copy_constructible_v<Bytes> && std::is_nothrow_move_constructible_v<Bytes> &&
              std::is_nothrow_move_assignable_v<Bytes>);

TEST_CASE("memory: what was given back is taken again without asking the system") {
    on_new_thread([] {
        for (const std::ptrdiff_t size : {1, 65, 1000, 100'000}) {
            CHECK(requests_of([&] { Bytes first(size); }) == 1);
            CHECK(requests_of([&] { Bytes again(size); }) == 0);
        }
        // Many at once, and given back in another order than they were taken in.
        const auto take_many = [] {
            std::vector<Bytes> buffers;
            for (int i = 1; i <= 20; ++i) buffers.emplace_back(10'000 * i);
            for (std::size_t i = 0; i < buffers.size(); ++i) buffers[i * 7 % buffers.size()] = Bytes();
        };
        take_many();
        CHECK(requests_of(take_many) == 0);
    });
}

TEST_CASE("memory: a block serves for the sizes of its class, and for no other") {
    on_new_thread([] {
        Block(6400).give_back();
        for (const std::size_t size : {6656, 6401, 6400, 6145}) {
            std::size_t given = 0;
            CHECK(requests_of([&] {
                      const Block block(size);
                      given = block.size;
                      block.give_back();
                  }) == 0);
            CHECK(given == 6656);
        }
        CHECK(requests_of([] { Block(6144).give_back(); }) == 1);
        CHECK(requests_of([] { Block(6657).give_back(); }) == 1);
    });
}

TEST_CASE("memory: a class is an eighth larger at most, and what a block is of it serves for it") {
    for (std::size_t size = 1; size < 100'000; ++size) {
        const std::size_t block = ra::detail::MemoryPool::class_of(size);
        REQUIRE(block >= size);
        REQUIRE(block % 64 == 0);
        REQUIRE(block <= std::max(size + 63, size + size / 8 + 1));
        REQUIRE(ra::detail::MemoryPool::class_of(block) == block);
    }
}

TEST_CASE("memory: blocks begin on a boundary of 64 bytes, are as large as said and do not overlap") {
    on_new_thread([] {
        inputs::Numbers numbers(1);
        std::vector<Block> blocks;
        for (int round = 0; round < 3; ++round) {
            for (std::size_t i = 0; i < 100; ++i) {
                const std::size_t wanted = 1 + numbers.bits() % 3000;
                blocks.emplace_back(wanted);
                CHECK(blocks.back().size >= wanted);
                CHECK(blocks.back().size % 64 == 0);
                CHECK(on_boundary(blocks.back().data));
                std::fill_n(static_cast<unsigned char*>(blocks.back().data), blocks.back().size,
                            static_cast<unsigned char>(i));
            }
            for (std::size_t i = 0; i < blocks.size(); ++i) {
                const auto* bytes = static_cast<const unsigned char*>(blocks[i].data);
                REQUIRE(std::count(bytes, bytes + blocks[i].size, static_cast<unsigned char>(i)) ==
                        std::ptrdiff_t(blocks[i].size));
                blocks[i].give_back();
            }
            blocks.clear();
        }
    });
}

TEST_CASE("memory: a thread has never more of the system than twice what it used at one time") {
    inputs::Numbers numbers(2);
    const auto ever_growing = [](int i) { return std::size_t(64 * (i + 1)); };
    const auto ever_doubling = [](int i) { return std::size_t(64) << (i % 16); };
    const auto any = [&](int) { return std::size_t(1 + (numbers.bits() % 1000) * (numbers.bits() % 1000)); };
    const auto check = [&](auto&& wanted, std::size_t at_once) {
        const std::ptrdiff_t left = bytes_left_by([&] {
            on_new_thread([&] {
                const std::size_t before = support::SystemMemory::instance().bytes();
                std::size_t in_use = 0, most_in_use = 0;
                std::vector<Block> blocks;
                for (int i = 0; i < 2000; ++i) {
                    while (blocks.size() >= at_once || (!blocks.empty() && numbers.bits() % 3 == 0)) {
                        std::swap(blocks[numbers.bits() % blocks.size()], blocks.back());
                        blocks.back().give_back();
                        in_use -= blocks.back().size;
                        blocks.pop_back();
                    }
                    blocks.emplace_back(wanted(i));
                    in_use += blocks.back().size;
                    most_in_use = std::max(most_in_use, in_use);
                    REQUIRE(support::SystemMemory::instance().bytes() - before <= 2 * most_in_use + little);
                }
                for (const Block& block : blocks) block.give_back();
                REQUIRE(support::SystemMemory::instance().bytes() - before <= 2 * most_in_use + little);
            });
        });
        CHECK(left == 0);
    };
    for (const std::size_t at_once : {1, 2, 10}) {
        check(ever_growing, at_once);
        check(ever_doubling, at_once);
        check(any, at_once);
    }
}

TEST_CASE("memory: a request that the system refuses leaves the bound as it was") {
    on_new_thread([] {
        const std::size_t before = support::SystemMemory::instance().bytes();
        support::SystemMemory::instance().set_limit(1'000'000);
        CHECK_THROWS_AS(Bytes(100'000'000), std::bad_alloc);
        for (std::ptrdiff_t size = 64; size <= 64'000; size += 64) Bytes{size};
        CHECK(support::SystemMemory::instance().bytes() - before <= 2 * 64'000 + little);
        support::SystemMemory::instance().set_limit(std::size_t(1) << 40);
    });
}

TEST_CASE("memory: release_memory gives back what is kept, and nothing that is in use") {
    on_new_thread([] {
        const std::size_t before = support::SystemMemory::instance().bytes();
        const Bytes used(8192);
        {
            const std::vector<Bytes> kept = [] {
                std::vector<Bytes> buffers;
                for (int i = 0; i < 10; ++i) buffers.emplace_back(4096);
                return buffers;
            }();
        }
        CHECK(support::SystemMemory::instance().bytes() - before == 8192 + 10 * 4096);
        ra::release_memory();
        CHECK(support::SystemMemory::instance().bytes() - before == 8192);
        CHECK(requests_of([] { Bytes(4096); }) == 1);
        CHECK(requests_of([] { Bytes(4096); }) == 0);
        ra::release_memory();
        { const Bytes small(1); }
        ra::release_memory();
        CHECK(support::SystemMemory::instance().bytes() - before == 8192);
    });
}

TEST_CASE("memory: what one thread takes another may give back, and keeps no more of it than it uses") {
    CHECK(bytes_left_by([] {
              on_new_thread([] {
                  for (int i = 0; i < 1000; ++i) {
                      Bytes taken(6400);
                      on_new_thread([&] { Bytes(std::move(taken)); });
                  }
              });
          }) == 0);
    // A thread that only ever gives back.
    on_new_thread([] {
        const std::size_t before = support::SystemMemory::instance().bytes();
        std::vector<Bytes> taken;
        const auto take = [&] {
            for (int i = 0; i < 10; ++i) taken.emplace_back(6400);
        };
        { const Bytes one_of_its_own(6400); }
        for (int i = 0; i < 100; ++i) {
            on_new_thread(take);
            taken.clear();
            REQUIRE(support::SystemMemory::instance().bytes() - before <= 2 * 6400 + little);
        }
    });
}

TEST_CASE("memory: it outlives the thread that took it") {
    CHECK(bytes_left_by([] {
              Bytes survivor;
              on_new_thread([&] {
                  survivor = Bytes(6400);
                  std::fill_n(survivor.data(), 6400, std::byte(7));
              });
              CHECK(std::count(survivor.data(), survivor.data() + 6400, std::byte(7)) == 6400);
              on_new_thread([&] { survivor = Bytes(); });
          }) == 0);
}

namespace {

/// Of a thread; when it goes, the pool, which was made later, has gone.
struct LastToGo {
    Bytes buffer;
    ra::List<int> list;

    ~LastToGo() {
        CHECK(requests_of([] { Bytes(100); }) == 1);
        list.push_back(1);
        ra::release_memory();
    }
};

}  // namespace

TEST_CASE("memory: while a thread ends, what is taken and given back is the system's") {
    CHECK(bytes_left_by([] {
              on_new_thread([] {
                  static thread_local LastToGo last;
                  last.buffer = Bytes(6400);
                  last.list.assign(100, 5);
              });
          }) == 0);
}

TEST_CASE("buffer: moved and assigned, it has one owner") {
    CHECK(bytes_left_by([] {
              on_new_thread([] {
                  Bytes a(640), b(1280);
                  std::byte *const of_a = a.data(), *const of_b = b.data();
                  Bytes c(std::move(a));
                  CHECK(c.data() == of_a);
                  CHECK(a.data() == nullptr);
                  a = std::move(b);
                  CHECK(a.data() == of_b);
                  CHECK(b.data() == nullptr);
                  a = std::move(c);
                  CHECK(a.data() == of_a);
                  CHECK(requests_of([&] { b = Bytes(1280); }) == 0);
                  CHECK(b.data() == of_b);
                  Bytes& alias = a;
                  a = std::move(alias);
                  CHECK(a.data() == of_a);
                  a = Bytes();
                  CHECK(a.data() == nullptr);
                  CHECK(requests_of([&] { a = Bytes(640); }) == 0);
              });
          }) == 0);
}

TEST_CASE("buffer: for no numbers there is no memory") {
    on_new_thread([] {
        CHECK(requests_of([] {
                  const ra::Buffer<double> none, zero(0);
                  CHECK(none.data() == nullptr);
                  CHECK(zero.data() == nullptr);
              }) == 0);
    });
}

TEST_CASE("list: a vector that takes its memory from what the thread keeps") {
    on_new_thread([] {
        const auto fill = [] {
            ra::List<std::int64_t> list;
            for (int i = 0; i < 1000; ++i) list.push_back(i);
            CHECK(std::accumulate(list.begin(), list.end(), std::int64_t(0)) == 999 * 500);
            ra::List<std::int64_t> copy = list, other{1, 2, 3};
            CHECK(on_boundary(copy.data()));
            other.swap(copy);
            CHECK(other == list);
            CHECK(copy == ra::List<std::int64_t>{1, 2, 3});
            copy = std::move(other);
            CHECK(copy == list);
        };
        CHECK(requests_of(fill) > 0);
        CHECK(requests_of(fill) == 0);
        CHECK(requests_of([] {
                  const ra::List<std::int64_t> empty;
                  const ra::List<std::int64_t> copy = empty;
              }) == 0);
        // Of what cannot be copied.
        ra::List<std::unique_ptr<int>> owners;
        for (int i = 0; i < 100; ++i) owners.push_back(std::make_unique<int>(i));
        CHECK(*owners[42] == 42);
    });
}
