#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <utility>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/core/parallel.hpp>
#include <ring_attention/kernels/rotary.hpp>
#include <ring_attention/layers/rotary_options.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The angle by which pair number `pair` of a head turns from one position to the next.
inline double rotary_frequency(const RotaryOptions& options, Index head_width, Index pair) {
    const double plain = std::pow(double(options.base), -double(2 * pair) / double(head_width));
    if (options.scaling == RotaryScaling::none) return plain;
    const double stretched = plain / double(options.factor);
    if (options.scaling == RotaryScaling::linear) return stretched;
    // How often it turns around within the positions of training: what does so often is kept, what seldom,
    // stretched, and in between goes from the one to the other.
    const double turns = double(options.original_positions) * plain / (2 * std::numbers::pi);
    const double low = options.low_frequency_factor, high = options.high_frequency_factor;
    if (turns < low) return stretched;
    if (turns > high) return plain;
    const double kept = (turns - low) / (high - low);
    return (1 - kept) * stretched + kept * plain;
}

/// Rotary positions of heads of queries and of keys: each pair of the features of a head turns by its
/// frequency times the position of the token in its document. A position is a whole number of blocks and a
/// rest, and its angle the sum of theirs: so the cosines and sines of all rests are found once for the
/// program, those of a block once for the tokens in it, and no table grows with the sequence. Their bits, and
/// those of what turns, depend on the position in the document alone.
template <class T, RotaryOptions options, Index head_width>
class Rotary : detail::CheckedRotary<options, head_width> {
  public:
    static constexpr Index pairs = head_width / 2;

    /// Turns every head of these tokens in place: at each seat [batch, heads, tokens, head_width].
    /// documents.document_start(position) says where the document of a token begins.
    static void turn(const SeatHeads<T>& heads, const List<TokenPositions>& tokens, Index batch,
                     const auto& documents) {
        turn_all<detail::Turn::forward>(heads, tokens, batch, documents);
    }

    /// By the same angles back: from the gradient of what was turned to that of what it was before.
    static void turn_back(const SeatHeads<T>& heads, const List<TokenPositions>& tokens, Index batch,
                          const auto& documents) {
        turn_all<detail::Turn::back>(heads, tokens, batch, documents);
    }

  private:
    static constexpr Index block_length = 256, tokens_at_once = 64;

    template <class Number>
    struct Row {
        std::array<Number, std::size_t(pairs)> cosine, sine;

        detail::Directions<Number> directions() { return {cosine.data(), sine.data()}; }
        detail::Directions<const Number> directions() const { return {cosine.data(), sine.data()}; }
    };

    template <detail::Turn turn>
    static void turn_all(const SeatHeads<T>& heads, const List<TokenPositions>& tokens, Index batch,
                         const auto& documents) {
        for (std::size_t seat = 0; seat < tokens.size(); ++seat)
            parallel_for((tokens[seat].count + tokens_at_once - 1) / tokens_at_once, [&](Index run) {
                const Index end = std::min(tokens[seat].count, (run + 1) * tokens_at_once);
                Row<double> of_block;
                Row<T> row;
                Index block = -1;
                for (Index token = run * tokens_at_once; token < end; ++token) {
                    const Index position = tokens[seat].position(token),
                                in_document = position - documents.document_start(position);
                    if (in_document / block_length != block) {
                        block = in_document / block_length;
                        of_block = row_at(block * block_length);
                    }
                    detail::add_angles<T>(std::as_const(of_block).directions(),
                                          rests()[std::size_t(in_document % block_length)].directions(),
                                          row.directions(), pairs);
                    turn_token<turn>(heads[seat], token, batch, row);
                }
            });
    }

    template <detail::Turn turn>
    static void turn_token(const HeadsView<T>& heads, Index token, Index batch, const Row<T>& row) {
        for (Index b = 0; b < batch; ++b)
            for (Index head = 0; head < heads.heads; ++head) {
                T* const numbers = heads.row(b, head, token);
                if constexpr (options.pairs == RotaryPairs::half_split)
                    detail::turn_halves<turn>(numbers, row.cosine.data(), row.sine.data(), pairs);
                else
                    detail::turn_neighbours<turn>(numbers, row.cosine.data(), row.sine.data(), pairs);
            }
    }

    static Row<double> row_at(Index position) {
        static const std::array<double, std::size_t(pairs)> frequencies = [] {
            std::array<double, std::size_t(pairs)> made;
            for (std::size_t i = 0; i < made.size(); ++i)
                made[i] = rotary_frequency(options, head_width, Index(i));
            return made;
        }();
        Row<double> row;
        for (std::size_t i = 0; i < frequencies.size(); ++i) {
            const double angle = double(position) * frequencies[i];
            row.cosine[i] = std::cos(angle);
            row.sine[i] = std::sin(angle);
        }
        return row;
    }

    /// Positions 0 ... block_length - 1.
    using Rests = std::array<Row<double>, std::size_t(block_length)>;

    static const Rests& rests() {
        static const Rests made = [] {
            Rests rows;
            for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = row_at(Index(i));
            return rows;
        }();
        return made;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
