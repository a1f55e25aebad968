#pragma once

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <limits>
#include <string>

#include <ring_attention/core/abi.hpp>
#include <ring_attention/core/error.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// How the ranks of a ThreadRing are linked, for one who asks what a ring would take on machines that he does
/// not have. P ranks on fewer cores cannot be timed by a common clock, so each has its own: it shows the
/// processor time of the rank's thread, and goes forward where the rank waits for a message that is on its
/// way. So it is as if every rank had a core, and a link that works by itself (to copy messages in memory, as
/// the ring does instead, takes no time). What other threads compute for a rank is not seen: the times are
/// exact with set_num_threads(1).
///
/// A rank has one outgoing link for all channels. A message leaves when it has been sent and all that were
/// sent before have left, takes bytes / bytes_per_second to leave, and arrives `latency` after that.
struct EmulatedLink {
    double latency = 0;  ///< in seconds
    double bytes_per_second = std::numeric_limits<double>::infinity();
    bool overlap = true;  ///< else start_hop returns when the hop is over

    /// Throws RingError where a number makes no sense.
    void require_sense() const {
        if (!(latency >= 0) || !(bytes_per_second > 0))
            throw RingError("an emulated link of latency " + std::to_string(latency) + " s and " +
                            std::to_string(bytes_per_second) +
                            " bytes/s, expected a latency of at least 0 and more than 0 bytes/s");
    }
};

namespace detail {

/// The clock of the thread that makes it, a rank's, and the rank's outgoing link.
class EmulatedRank {
  public:
    /// While a message leaves.
    struct Leaving {
        double begin, end;
    };

    explicit EmulatedRank(const EmulatedLink& link) : link_(link) { set_clock(0); }

    double seconds() const { return thread_seconds() + offset_; }
    void set_clock(double seconds) { offset_ = seconds - thread_seconds(); }

    bool overlap() const { return link_.overlap; }

    /// A message is sent now.
    Leaving send(double now, std::size_t bytes) {
        const double begin = std::max(now, free_from_);
        free_from_ = begin + double(bytes) / link_.bytes_per_second;
        return {begin, free_from_};
    }

    double arrival(const Leaving& leaving) const { return leaving.end + link_.latency; }

  private:
    static double thread_seconds() {
        std::timespec time{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
    }

    EmulatedLink link_;
    double offset_ = 0;
    double free_from_ = 0;
};

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
