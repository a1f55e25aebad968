#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What a rank does; a phase is a time in which it does several of the others.
enum class Activity { compute, send, wait, phase };

/// What a rank did, from when to when, for one who wants to see the ring at work. Times are in seconds.
struct TimelineEvent {
    Activity activity{};
    std::string name;
    double begin = 0, end = 0;
};

/// The events of one rank. Any thread may add one.
class Timeline {
  public:
    /// `now` is the rank's clock; without it, time since some point in the past that all processes of a
    /// machine share.
    explicit Timeline(std::function<double()> now = seconds_of_machine) : now_(std::move(now)) {}

    double now() const { return now_(); }

    void add(TimelineEvent event) {
        const std::lock_guard lock(mutex_);
        events_.push_back(std::move(event));
    }

    /// All events so far, which are forgotten.
    std::vector<TimelineEvent> take() {
        const std::lock_guard lock(mutex_);
        return std::exchange(events_, {});
    }

    static double seconds_of_machine() {
        return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    }

  private:
    std::function<double()> now_;
    std::mutex mutex_;
    std::vector<TimelineEvent> events_;
};

/// Adds an event that lasts as long as this object, where there is a timeline. `name()` makes its name.
template <class Name>
class TimelineSpan {
  public:
    TimelineSpan(Timeline* timeline, Activity activity, Name name)
        : timeline_(timeline), activity_(activity), name_(std::move(name)) {
        if (timeline_) begin_ = timeline_->now();
    }
    ~TimelineSpan() {
        if (timeline_) timeline_->add({activity_, name_(), begin_, timeline_->now()});
    }
    TimelineSpan(const TimelineSpan&) = delete;
    TimelineSpan& operator=(const TimelineSpan&) = delete;

  private:
    Timeline* timeline_;
    Activity activity_;
    Name name_;
    double begin_ = 0;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
