#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <ring_attention/core/between_tasks.hpp>
#include <ring_attention/ring/mpi/exchange.hpp>
#include <ring_attention/ring/mpi/options.hpp>
#include <ring_attention/ring/mpi/roll_call.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// For one who waits without knowing for how long: gives way to others at first, then sleeps.
class Pause {
  public:
    using Clock = std::chrono::steady_clock;

    explicit Pause(std::chrono::microseconds patience) : patience_(patience) {}

    void rest() {
        if (Clock::now() - begin_ < patience_) return std::this_thread::yield();
        std::this_thread::sleep_for(sleep_);
        sleep_ = std::min(2 * sleep_, longest_sleep);
    }

    std::chrono::duration<double> so_far() const { return Clock::now() - begin_; }

  private:
    static constexpr std::chrono::microseconds longest_sleep{100};

    std::chrono::microseconds patience_;
    std::chrono::microseconds sleep_{10};
    Clock::time_point begin_ = Clock::now();
};

/// Sees the exchanges of a ring through. Who waits for one moves all of them on; while nobody waits, the
/// courier's thread does (Overlap::thread), or the thread that computes does between its tasks (polling).
///
/// One thread at a time is in MPI here. A bare MPI_Wait would be simpler; but it knows no time limit, and it
/// spins, which takes the core from those that compute.
class Courier {
  public:
    /// A caller who is at work here: the courier's thread rests meanwhile.
    class Caller {
      public:
        explicit Caller(Courier& courier) : courier_(courier) { ++courier_.callers_; }
        ~Caller() {
            const std::lock_guard lock(courier_.mutex_);
            if (--courier_.callers_ == 0 && !courier_.under_way_.empty()) courier_.changed_.notify_one();
        }
        Caller(const Caller&) = delete;
        Caller& operator=(const Caller&) = delete;

      private:
        Courier& courier_;
    };

    /// Throws RingError where the thread is refused.
    Courier(MPI_Comm communicator, Overlap overlap, double time_limit)
        : communicator_(communicator), overlap_(overlap), time_limit_(time_limit) {
        if (overlap == Overlap::thread) try {
                thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
            } catch (const std::system_error& refused) {
                throw RingError(std::string("the ring gets no thread of its own: ") + refused.what() +
                                "; RING_ATTENTION_OVERLAP=polling needs none");
            }
    }
    Courier(const Courier&) = delete;
    Courier& operator=(const Courier&) = delete;

    /// Throws RingError where an exchange has failed before: messages could no longer be told apart.
    void start(Exchange& exchange) {
        const Caller caller(*this);
        const std::lock_guard lock(mutex_);
        if (!failure_.empty()) throw RingError(failure_);
        under_way_.push_back(&exchange);
        exchange.start();
        if (overlap_ == Overlap::polling) between_tasks_.begin();
    }

    /// Returns when the exchange has ended. Throws RingError where it has failed, HopTimeout where it takes
    /// too long.
    void wait(Exchange& exchange) {
        const Caller caller(*this);
        const bool in_time = settle(time_limit_, [&] { return exchange.ended(); });
        const auto silent = in_time ? std::vector<int>() : call_roll(exchange.waited_for(), communicator_);
        const std::lock_guard lock(mutex_);
        std::erase(under_way_, &exchange);
        if (under_way_.empty()) between_tasks_.end();
        if (!in_time && !exchange.ended()) {
            exchange.fail_after(time_limit_, silent);
            failure_ = exchange.failure();
            throw HopTimeout(failure_, silent.empty());
        }
        if (exchange.failure().empty()) return;
        failure_ = exchange.failure();
        throw RingError(failure_);
    }

    /// For an exchange that nobody will wait for, because an error unwinds: the memory of its messages is
    /// about to be another's. It gets a second to end well, as it does where the neighbours are at the same
    /// hop; the ring is then as good as before. Otherwise the ring is of no more use, and what is to be
    /// received is called off. Where MPI is in the midst of it and cannot do that, the program ends here, for
    /// MPI would write into memory of others. What is to be sent cannot be called off everywhere: the
    /// message, should the receiver ever take it, is not what it was, but no rank of a ring that has lost one
    /// comes to its end.
    void abandon(std::unique_ptr<Exchange> exchange) {
        const Caller caller(*this);
        if (exchange->failure().empty()) settle(grace, [&] { return exchange->ended(); });
        call_off(*exchange);
        settle(grace, [&] {
            if (exchange->receiving()) exchange->progress();
            return !exchange->receiving();
        });
        if (exchange->receiving()) end_program(exchange->failure());
        if (exchange->sending()) static_cast<void>(exchange.release());  // it stays with MPI
    }

    bool failed() {
        const std::lock_guard lock(mutex_);
        return !failure_.empty();
    }

  private:
    static constexpr double grace = 1;  // seconds
    static constexpr std::chrono::microseconds patience_of_caller{1000}, patience_of_thread{50};

    /// Moves all exchanges on until it is done, which is_done() says. False where that takes too long.
    bool settle(double seconds, const auto& is_done) {
        Pause pause(patience_of_caller);
        for (;; pause.rest()) {
            const std::lock_guard lock(mutex_);
            if (is_done()) return true;
            progress();
            if (is_done()) return true;
            if (pause.so_far().count() > seconds) return false;
        }
    }

    void call_off(Exchange& exchange) {
        const std::lock_guard lock(mutex_);
        std::erase(under_way_, &exchange);
        if (under_way_.empty()) between_tasks_.end();
        if (exchange.receiving() || exchange.sending()) {
            exchange.fail("an exchange was started and not finished");
            exchange.cancel_receive();
        }
        if (failure_.empty()) failure_ = exchange.failure();
    }

    void progress() {
        for (Exchange* exchange : under_way_) exchange->progress();
        std::erase_if(under_way_, [](const Exchange* exchange) { return exchange->ended(); });
    }

    static void poll(void* courier) {
        auto& self = *static_cast<Courier*>(courier);
        const std::lock_guard lock(self.mutex_);
        self.progress();
        if (self.under_way_.empty()) self.between_tasks_.end();
    }

    void run(const std::stop_token& stop) {
        const auto has_work = [&] { return callers_ == 0 && !under_way_.empty(); };
        while (true) {
            {
                std::unique_lock lock(mutex_);
                if (!changed_.wait(lock, stop, has_work)) return;
            }
            for (Pause pause(patience_of_thread); callers_ == 0 && !stop.stop_requested(); pause.rest()) {
                const std::lock_guard lock(mutex_);
                progress();
                if (under_way_.empty()) break;
            }
        }
    }

    [[noreturn]] void end_program(const std::string& why) {
        std::fputs(("ring_attention: " + why + ", and MPI still writes into its memory\n").c_str(), stderr);
        MPI_Abort(communicator_, 2);
        std::abort();
    }

    const MPI_Comm communicator_;
    const Overlap overlap_;
    const double time_limit_;
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::atomic<int> callers_{0};
    std::vector<Exchange*> under_way_;
    std::string failure_;  ///< of the first exchange that has failed
    BetweenTasks between_tasks_{poll, this};
    std::jthread thread_;  ///< the last: it ends before the others do
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
