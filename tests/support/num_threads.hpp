#pragma once

#include <ring_attention/core/parallel.hpp>

namespace support {

namespace ra = ring_attention;

/// That many threads work inside a call, as long as this lives.
struct NumThreads {
    explicit NumThreads(int count) : before_(ra::num_threads()) { ra::set_num_threads(count); }
    ~NumThreads() { ra::set_num_threads(before_); }
    NumThreads(const NumThreads&) = delete;
    NumThreads& operator=(const NumThreads&) = delete;

  private:
    int before_;
};

}  // namespace support
