#pragma once

#include <concepts>
#include <limits>

#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Where a score stands.
struct ScorePlace {
    Index batch, head;  ///< of the query
    Index query, key;   ///< positions
};

/// A score function of the caller's: what the softmax is to see in place of a score, and the derivative of
/// that.
///   T f.value(T score, const ScorePlace&)          -infinity hides the key from the query
///   T f.derivative(T score, const ScorePlace&)     with respect to the score; not asked where a key is
///   hidden
/// Both are called on all threads at once.
template <class F, class T>
concept ScoreFunction = requires(const F& f, T score, const ScorePlace& place) {
    { f.value(score, place) } -> std::convertible_to<T>;
    { f.derivative(score, place) } -> std::convertible_to<T>;
};

namespace detail {

/// Scores of a tile, (keys, lanes), and the places of both.
template <class T>
struct ScoreTile {
    T* scores;     // of key 0 and lane 0
    Index stride;  // from one key to the next
    IndexRange keys;
    Index lanes;
    const Index* key_positions;  // of key 0, 1, ...
    const ScorePlace* queries;   // of lane 0, 1, ...; without a key

    void for_each(auto&& f) const {
        for (Index key = keys.first; key < keys.end(); ++key)
            for (Index lane = 0; lane < lanes; ++lane) {
                ScorePlace place = queries[lane];
                place.key = key_positions[key];
                f(key * stride + lane, place);
            }
    }
};

}  // namespace detail

/// A ScoreFunction of whatever type, or none: so attention is compiled once for all. It refers to the
/// function, and does not keep it.
template <class T>
class ScoreFunctionReference {
  public:
    ScoreFunctionReference() = default;

    template <ScoreFunction<T> F>
    ScoreFunctionReference(const F& f)
        : function_(&f), call_([](const void* erased, const detail::ScoreTile<T>& tile, T* derivatives) {
              const F& function = *static_cast<const F*>(erased);
              tile.for_each([&](Index at, const ScorePlace& place) {
                  T& score = tile.scores[at];
                  const T before = score;
                  if (before != hidden) score = function.value(before, place);
                  if (derivatives)
                      derivatives[at] = score == hidden ? T(0) : T(function.derivative(before, place));
              });
          }) {}

    explicit operator bool() const { return function_ != nullptr; }

    /// Replaces the scores of a tile, and writes the derivatives where there is a place for them.
    void operator()(const detail::ScoreTile<T>& tile, T* derivatives) const {
        call_(function_, tile, derivatives);
    }

  private:
    static constexpr T hidden = -std::numeric_limits<T>::infinity();

    const void* function_ = nullptr;
    void (*call_)(const void*, const detail::ScoreTile<T>&, T*) = nullptr;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
