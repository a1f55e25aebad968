#pragma once

#include <optional>

#include <ring_attention/attention/plan.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Whom a rank gives keys and values to, and whom it gets them from, so that every rank gets those that some
/// query of its own sees, and nothing else travels.
///
/// At hop h a rank meets those of its `home` at this hop: of the rank h further on. In step h, from hop h to
/// hop h + 1, it gets those that it will see: from the rank after it, where that has them at hop h, and else
/// from their home. So keys and values run from rank to rank as long as they are seen, and what nobody near
/// needs waits at home. The gradients of keys and values take the same routes, and where nobody is next they
/// go home.
///
/// Ranks are asked in the same step for what is given in it, so whoever gives knows who gets.
class Routes {
  public:
    explicit Routes(const AttentionPlan& plan) : rank_(plan.keys.rank()), ranks_(plan.keys.ranks()) {
        for (int i = 0; i < ranks_; ++i) {
            seen_before_.push_back(plan.sees(rank_at(-1), i));
            seen_.push_back(plan.sees(rank_, i));
            seen_after_.push_back(plan.sees(rank_at(1), i));
            seen_by_.push_back(plan.sees(i, rank_));
        }
    }

    int ranks() const { return ranks_; }

    int before() const { return rank_at(-1); }

    /// Whose keys and values this rank meets at a hop.
    int home(int hop) const { return rank_at(hop); }

    /// Whether it sees any of them.
    bool sees(int hop) const { return seen_[at(home(hop))]; }

    /// From whom it gets what it sees at the next hop. (In step ranks - 1 the next are its own.)
    std::optional<int> giver(int step) const {
        const int next = home(step + 1), after = rank_at(1);
        if (next == rank_ || !seen_[at(next)]) return {};
        return after == next || seen_after_[at(next)] ? after : next;
    }

    /// Whether it gives what another rank's keys and values have visited it for on to the rank before it.
    bool gives_on(int step) const {
        const int here = home(step);
        return visited(step) && before() != here && seen_before_[at(here)];
    }

    /// Whom it gives its own to.
    std::optional<int> gives_own_to(int step) const {
        const int to = rank_at(-step - 1), between = rank_at(-step);
        if (to == rank_ || !seen_by_[at(to)] || (between != rank_ && seen_by_[at(between)])) return {};
        return to;
    }

    /// Whom it gives gradients to that do not go on: their home.
    std::optional<int> gives_home_to(int step) const {
        if (!visited(step) || gives_on(step)) return {};
        return home(step);
    }

    /// From whom the gradients of its own keys and values come home.
    std::optional<int> gives_back(int step) const {
        const int from = rank_at(-step), next = rank_at(-step - 1);
        if (from == rank_ || !seen_by_[at(from)] || (next != rank_ && seen_by_[at(next)])) return {};
        return from;
    }

  private:
    int rank_at(int hops) const { return ((rank_ + hops) % ranks_ + ranks_) % ranks_; }

    bool visited(int hop) const { return home(hop) != rank_ && sees(hop); }

    static std::size_t at(int rank) { return std::size_t(rank); }

    int rank_, ranks_;
    List<char> seen_before_, seen_,
        seen_after_;      ///< by the rank before, by this one, by the one after: whose
    List<char> seen_by_;  ///< who sees this rank's
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
