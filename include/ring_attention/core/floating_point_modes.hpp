#pragma once

#include <cfenv>

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// How a thread rounds, whether numbers that are too small count as 0, what traps: so that one that helps
/// another computes as that one does.
class FloatingPointModes {
  public:
    FloatingPointModes() noexcept { get(&modes_); }

    /// Makes them this thread's.
    void set() const noexcept { set(&modes_); }

  private:
#ifdef FE_DFL_MODE  // the modes alone
    using Modes = femode_t;
    static void get(Modes* modes) {
        fegetmode(modes);
    }
    static void set(const Modes* modes) {
        fesetmode(modes);
    }
#else  // with the exceptions so far, which nobody asks a helper for
    using Modes = std::fenv_t;
    static void get(Modes* modes) {
        std::fegetenv(modes);
    }
    static void set(const Modes* modes) {
        std::fesetenv(modes);
    }
#endif

    Modes modes_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
