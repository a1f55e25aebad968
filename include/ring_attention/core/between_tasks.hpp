#pragma once

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Something that a thread does before each task that it takes in a parallel_for of its own: to move messages
/// on while it computes. It may not throw.
///
/// begin() and end() are called on that thread. What is done there is a list, mostly an empty one, whose test
/// is all that a task then costs.
class BetweenTasks {
  public:
    BetweenTasks(void (*call)(void*), void* object) : call_(call), object_(object) {}
    ~BetweenTasks() { end(); }
    BetweenTasks(const BetweenTasks&) = delete;
    BetweenTasks& operator=(const BetweenTasks&) = delete;

    void begin() {
        if (active_) return;
        active_ = true;
        next_ = first_;
        first_ = this;
    }

    void end() {
        if (!active_) return;
        active_ = false;
        BetweenTasks** link = &first_;
        while (*link != this) link = &(*link)->next_;
        *link = next_;
    }

    static void run() {
        for (BetweenTasks* each = first_; each != nullptr;) {
            BetweenTasks* next = each->next_;  // each may end itself
            each->call_(each->object_);
            each = next;
        }
    }

  private:
    static inline thread_local BetweenTasks* first_ = nullptr;

    void (*call_)(void*);
    void* object_;
    BetweenTasks* next_ = nullptr;
    bool active_ = false;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
