#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <ring_attention/core/abi.hpp>
#include <ring_attention/core/of_thread.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// So many bytes are never there. Less can be rounded up and added to without overflow.
inline constexpr std::ptrdiff_t too_many_bytes = std::numeric_limits<std::ptrdiff_t>::max() / 4;

/// The bytes of so many numbers. Throws std::bad_alloc where that is negative or beyond all memory, as Eigen
/// does.
template <class T>
std::size_t bytes_of(std::ptrdiff_t count) {
    if (count < 0 || count >= too_many_bytes / std::ptrdiff_t(sizeof(T))) throw std::bad_alloc();
    return std::size_t(count) * sizeof(T);
}

/// a b, of sizes of what is to be in memory. Throws std::bad_alloc where it overflows or one is negative.
inline std::ptrdiff_t product_of_sizes(std::ptrdiff_t a, std::ptrdiff_t b) {
    if (a < 0 || b < 0 || (b > 0 && a > std::numeric_limits<std::ptrdiff_t>::max() / b))
        throw std::bad_alloc();
    return a * b;
}

inline constexpr std::size_t large_page = std::size_t(2) << 20;

/// Asks the system to hold so many bytes in pages of 2 MiB, before anything is written to them. Memory that
/// is read from end to end again and again comes sooner where few pages have to be looked up.
inline void ask_for_large_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t size) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const auto address = reinterpret_cast<std::uintptr_t>(data);
    const std::size_t before = (large_page - address % large_page) % large_page;
    if (size < before + large_page) return;
    madvise(static_cast<std::byte*>(data) + before, (size - before) / large_page * large_page, MADV_HUGEPAGE);
#endif
}

/// Memory that this thread gave back and takes again. Blocks come in classes of size and serve for their own
/// class alone: so what has run at a size runs at it again without asking the system. In use and kept
/// together are at most twice what was ever in use at one time, and a little.
class MemoryPool {
  public:
    static constexpr std::align_val_t alignment{64};
    static constexpr std::size_t little = std::size_t(1) << 20;

    static MemoryPool& of_this_thread() { return of_thread<MemoryPool>(); }

    MemoryPool() = default;
    MemoryPool(const MemoryPool&) = delete;
    MemoryPool& operator=(const MemoryPool&) = delete;
    ~MemoryPool() { release_all_but(0); }

    /// The size of the blocks that serve for `size` bytes: whole lines of the cache, and an eighth more at
    /// most.
    static std::size_t class_of(std::size_t size) {
        const std::size_t step = std::max<std::size_t>(64, std::bit_floor(size) / 8);
        return (size + step - 1) / step * step;
    }

    /// A block of the class of `size` bytes; size becomes that of the block, to be named when it is given
    /// back.
    void* take(std::size_t& size) {
        size = class_of(size);
        const auto fits = first_of_size(size);
        if (fits != kept_.end() && fits->size == size) {
            void* const data = fits->data;
            kept_.erase(fits);
            kept_bytes_ -= size;
            count_in(size);
            return data;
        }
        const std::size_t in_use = in_use_ + size;
        release_all_but(2 * std::max(most_in_use_, in_use) + little - in_use);
        void* const data = ::operator new(size, alignment);
        count_in(size);
        return data;
    }

    void give_back(void* data, std::size_t size) noexcept {
        in_use_ -= std::min(in_use_, size);  // another thread may have taken it
        try {
            kept_.insert(first_of_size(size), {data, size});
            kept_bytes_ += size;
            release_all_but(2 * most_in_use_ + little - in_use_);
        } catch (const std::bad_alloc&) {
            ::operator delete(data, alignment);
        }
    }

    /// Gives memory that is not in use back to the system, small blocks first, until no more than `bytes` are
    /// kept.
    void release_all_but(std::size_t bytes) noexcept {
        auto block = kept_.begin();
        for (; block != kept_.end() && kept_bytes_ > bytes; ++block) {
            kept_bytes_ -= block->size;
            ::operator delete(block->data, alignment);
        }
        kept_.erase(kept_.begin(), block);
    }

  private:
    struct Block {
        void* data;
        std::size_t size;
    };

    std::vector<Block>::iterator first_of_size(std::size_t size) {
        return std::lower_bound(kept_.begin(), kept_.end(), size,
                                [](const Block& block, std::size_t wanted) { return block.size < wanted; });
    }

    void count_in(std::size_t size) {
        in_use_ += size;
        most_in_use_ = std::max(most_in_use_, in_use_);
    }

    std::vector<Block> kept_;  // in rising order of size
    std::size_t kept_bytes_ = 0, in_use_ = 0, most_in_use_ = 0;
};

/// At least `size` bytes on a boundary of 64; size becomes how many.
inline void* take_memory(std::size_t& size) {
    return MemoryPool::of_this_thread().take(size);
}

inline void give_memory_back(void* data, std::size_t size) noexcept {
    MemoryPool::of_this_thread().give_back(data, size);
}

}  // namespace detail

/// Gives back to the system what this thread keeps for the next pass.
inline void release_memory() {
    detail::MemoryPool::of_this_thread().release_all_but(0);
}

/// Room for `size` numbers, of the memory that the thread keeps. What is in them at first may be anything.
/// Throws std::bad_alloc where there is not so much memory.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::ptrdiff_t size) : bytes_(detail::bytes_of<T>(size)) {
        if (size > 0) data_ = static_cast<T*>(detail::take_memory(bytes_));
    }
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Buffer& operator=(Buffer other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~Buffer() {
        if (data_) detail::give_memory_back(data_, bytes_);
    }

    T* data() const { return data_; }

  private:
    T* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// For containers whose memory is to come from what the thread keeps.
template <class T>
struct KeptMemoryAllocator {
    using value_type = T;

    KeptMemoryAllocator() = default;
    template <class Other>
    KeptMemoryAllocator(const KeptMemoryAllocator<Other>&) {}

    // The size of a block is not handed back to deallocate(), so it stands in front of what it holds.
    T* allocate(std::size_t count) {
        if (count >= std::size_t(detail::too_many_bytes)) throw std::bad_alloc();
        std::size_t size = header + detail::bytes_of<T>(std::ptrdiff_t(count));
        auto* const block = static_cast<std::byte*>(detail::take_memory(size));
        *reinterpret_cast<std::size_t*>(block) = size;
        return reinterpret_cast<T*>(block + header);
    }
    void deallocate(T* data, std::size_t) noexcept {
        std::byte* const block = reinterpret_cast<std::byte*>(data) - header;
        detail::give_memory_back(block, *reinterpret_cast<std::size_t*>(block));
    }

    bool operator==(const KeptMemoryAllocator&) const = default;

  private:
    static constexpr std::size_t header = 64;
};

/// A std::vector in memory that the thread keeps.
template <class T>
using List = std::vector<T, KeptMemoryAllocator<T>>;

}  // namespace ring_attention::inline RING_ATTENTION_ABI
