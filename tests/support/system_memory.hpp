#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <utility>

// Counts what the program has of the system by operator new on a boundary, which is how the library asks for
// the memory that a thread keeps. It replaces the operators: to be included once in a program.

namespace support {

class SystemMemory {
  public:
    /// Never destroyed: threads that end after main give back too.
    static SystemMemory& instance() {
        static auto& memory = *new SystemMemory;
        return memory;
    }

    void* take(std::size_t size, std::size_t alignment) {
        const std::lock_guard lock(mutex_);
        if (size > limit_) throw std::bad_alloc();
        void* const data = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
        if (!data) throw std::bad_alloc();
        ++requests_;
        bytes_ += size;
        most_bytes_ = std::max(most_bytes_, bytes_);
        sizes_[data] = size;
        return data;
    }

    void give_back(void* data) {
        const std::lock_guard lock(mutex_);
        if (!data) return;
        bytes_ -= sizes_.at(data);
        sizes_.erase(data);
        std::free(data);
    }

    /// So far.
    std::size_t requests() const {
        const std::lock_guard lock(mutex_);
        return requests_;
    }

    /// That the program has now.
    std::size_t bytes() const {
        const std::lock_guard lock(mutex_);
        return bytes_;
    }

    /// At most at a time, since this was last called.
    std::size_t take_most_bytes() {
        const std::lock_guard lock(mutex_);
        return std::exchange(most_bytes_, bytes_);
    }

    /// More than so many at a time are refused.
    void set_limit(std::size_t bytes) {
        const std::lock_guard lock(mutex_);
        limit_ = bytes;
    }

  private:
    SystemMemory() = default;

    mutable std::mutex mutex_;
    std::size_t requests_ = 0, bytes_ = 0, most_bytes_ = 0, limit_ = std::size_t(1) << 40;
    std::map<void*, std::size_t> sizes_;
};

/// Requests to the system while f runs.
template <class F>
std::size_t requests_of(F&& f) {
    const std::size_t before = SystemMemory::instance().requests();
    f();
    return SystemMemory::instance().requests() - before;
}

/// What f leaves behind of the system's memory.
template <class F>
std::ptrdiff_t bytes_left_by(F&& f) {
    const auto bytes = [] { return std::ptrdiff_t(SystemMemory::instance().bytes()); };
    const std::ptrdiff_t before = bytes();
    f();
    return bytes() - before;
}

}  // namespace support

void* operator new(std::size_t size, std::align_val_t alignment) {
    return support::SystemMemory::instance().take(size, std::size_t(alignment));
}
void operator delete(void* data, std::align_val_t) noexcept {
    support::SystemMemory::instance().give_back(data);
}
void operator delete(void* data, std::size_t, std::align_val_t) noexcept {
    support::SystemMemory::instance().give_back(data);
}
