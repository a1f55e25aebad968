#pragma once

#include <cfenv>
#include <cstdint>

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

/// While it lives, results of this thread that would be subnormal are 0: some processors take a hundred times
/// as long for those, and where sums of weights are made nobody misses them. Elsewhere than on x86 and 64-bit
/// ARM it does nothing.
class FlushToZero {
  public:
    FlushToZero() noexcept : before_(control()) { control(before_ | flush); }
    ~FlushToZero() { control(before_); }
    FlushToZero(const FlushToZero&) = delete;
    FlushToZero& operator=(const FlushToZero&) = delete;

  private:
#if defined(__x86_64__)
    static constexpr unsigned flush = 1u << 15;
    static unsigned control() noexcept {
        return __builtin_ia32_stmxcsr();
    }
    static void control(unsigned bits) noexcept {
        __builtin_ia32_ldmxcsr(bits);
    }
    unsigned before_;
#elif defined(__aarch64__)
    static constexpr std::uint64_t flush = 1u << 24;
    static std::uint64_t control() noexcept {
        std::uint64_t bits;
        asm volatile("mrs %0, fpcr" : "=r"(bits));
        return bits;
    }
    static void control(std::uint64_t bits) noexcept {
        asm volatile("msr fpcr, %0" : : "r"(bits));
    }
    std::uint64_t before_;
#else
    static constexpr int flush = 0;
    static int control() noexcept {
        return 0;
    }
    static void control(int) noexcept {}
    int before_;
#endif
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
