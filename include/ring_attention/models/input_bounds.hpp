#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include <ring_attention/core/error.hpp>
#include <ring_attention/core/parameters.hpp>
#include <ring_attention/core/tensor.hpp>
#include <ring_attention/sequence/agreement.hpp>
#include <ring_attention/sequence/sequences.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// What a model can take, as its layers say: a layer with a table of positions has `static constexpr Index
/// max_positions`, one with a table of token types `token_types`.
struct InputBounds {
    static constexpr Index none = std::numeric_limits<Index>::max();

    Index max_positions = none;  ///< of a document
    Index token_types = none;
};

/// The least of those of a layer and its parts.
template <Visitable L>
InputBounds input_bounds(const L& layer) {
    InputBounds bounds;
    if constexpr (requires { L::max_positions; }) bounds.max_positions = L::max_positions;
    if constexpr (requires { L::token_types; }) bounds.token_types = L::token_types;
    for_each_part(
        [&](std::string_view, const auto& part) {
            if constexpr (Visitable<std::remove_cvref_t<decltype(part)>>) {
                const InputBounds of_part = input_bounds(part);
                bounds.max_positions = std::min(bounds.max_positions, of_part.max_positions);
                bounds.token_types = std::min(bounds.token_types, of_part.token_types);
            }
        },
        layer);
    return bounds;
}

/// Throws ShapeError where a document is longer than the model has positions for.
inline void require_positions(const InputBounds& bounds, const Sequences& sequences, Index seq_len) {
    Index longest = sequences.document_starts.empty() ? seq_len : 0;
    for (std::size_t i = 0; i < sequences.document_starts.size(); ++i) {
        const bool last = i + 1 == sequences.document_starts.size();
        longest = std::max(
            longest, (last ? seq_len : sequences.document_starts[i + 1]) - sequences.document_starts[i]);
    }
    if (longest > bounds.max_positions)
        throw ShapeError("a document has " + std::to_string(longest) + " tokens, expected at most " +
                         std::to_string(bounds.max_positions) + ", the positions that the model has learned");
}

/// What there is to be said of a rank's token types, as a number, so that all ranks can agree on it.
class TokenTypesVerdict {
  public:
    TokenTypesVerdict(const InputBounds& bounds, const Tensor<std::int32_t, 2>& types, Index batch,
                      Index tokens)
        : bounds_(bounds), types_(types), batch_(batch), tokens_(tokens) {
        if (types.dimension(0) == batch && types.dimension(1) == tokens)
            number_ = bounds.token_types == InputBounds::none ? not_wanted : judged();
        else
            number_ = types.size() == 0 ? absent : misshapen;
    }

    Agreed agreed() const { return {"token_types", number_, text_of}; }

    /// Throws ShapeError or Error where they are of no use.
    void require() const {
        if (number_ == misshapen)
            require_shape("Sequences: token_types", types_.dimensions(), tensor_shape(batch_, tokens_));
        if (number_ == not_wanted)
            throw Error("Sequences: token_types were given, expected none: the model has no token types");
        if (number_ >= out_of_range)
            throw Error("Sequences: token_types has type " + std::to_string(type_of(number_)) +
                        ", expected 0 to " + std::to_string(bounds_.token_types - 1));
    }

  private:
    enum : Index { absent, useful, misshapen, not_wanted, out_of_range };

    /// Whether all are in range, else the first that is not.
    Index judged() const {
        for (Index i = 0; i < types_.size(); ++i)
            if (const std::int32_t type = types_.data()[i]; type < 0 || type >= bounds_.token_types)
                return out_of_range + Index(std::uint32_t(type));
        return useful;
    }

    static std::int32_t type_of(Index number) {
        return std::int32_t(std::uint32_t(number - Index(out_of_range)));
    }

    static std::string text_of(Index number) {
        switch (number) {
            case absent:
                return "that are absent";
            case useful:
                return "that fit";
            case misshapen:
                return "of another shape than the tokens";
            case not_wanted:
                return "that the model has not";
            default:
                return "with type " + std::to_string(type_of(number)) + ", which the model has not";
        }
    }

    InputBounds bounds_;
    const Tensor<std::int32_t, 2>& types_;
    Index batch_, tokens_;
    Index number_ = absent;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
