#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Keys and values of one attention layer, kept for the tokens to come: for each key-value head of each batch
/// entry a run of rows. Positions are any numbers that count the tokens of this cache. With Storage::bfloat16
/// they are kept rounded, and who writes them writes them so.
template <class T>
class KeyValueCache {
  public:
    explicit KeyValueCache(const HeadShape& shape, Storage storage = Storage::computing)
        : shape_(shape), storage_(storage) {}

    /// A place for the tokens `next`; of those before them the last `kept` stay. There is room for `room`
    /// tokens in all, or more. Throws std::bad_alloc where there is not so much memory, and changes nothing.
    void make_room(Index kept, const TokenPositions& next, Index room) {
        const Index held = next.first - first_;
        room = std::max(std::max(room, room_), kept + next.count);
        if (room == room_ && held + next.count <= room_) return;
        storage_ == Storage::computing ? move_tokens(numbers_, room, held - kept, kept)
                                       : move_tokens(rounded_, room, held - kept, kept);
        room_ = room;
        first_ = next.first - kept;
    }

    /// Forgets all tokens, and keeps the memory; the next is at this position.
    void forget(Index next_position) { first_ = next_position; }

    /// The places of these tokens, to be written.
    KeyValueView<T> at(const TokenPositions& tokens) { return view<T>(*this, tokens); }
    KeyValueView<const T> at(const TokenPositions& tokens) const { return view<const T>(*this, tokens); }

    Index bytes() const { return numbers_.bytes() + rounded_.bytes(); }

  private:
    template <class Number>
    struct Rows {
        Matrix<Number> keys{}, values{};  // [batch * key-value heads * room, width]

        Index bytes() const { return (keys.size() + values.size()) * Index(sizeof(Number)); }
    };

    template <class Number>
    static KeyValueView<Number> view(auto& self, const TokenPositions& tokens) {
        const auto heads = [&]<class Any>(Any* numbers, Index width) {
            return HeadsView<Any>::head_by_head(numbers, self.shape_.key_value_heads, self.room_, width)
                .middle_tokens(tokens.first - self.first_, tokens.count);
        };
        if (self.storage_ == Storage::computing)
            return {tokens, heads(self.numbers_.keys.data(), self.shape_.key_width),
                    heads(self.numbers_.values.data(), self.shape_.value_width)};
        return {tokens,
                {},
                {},
                self.storage_,
                heads(self.rounded_.keys.data(), self.shape_.key_width),
                heads(self.rounded_.values.data(), self.shape_.value_width)};
    }

    /// Of each head `count` tokens, those from `first` on, to the front, in other memory where the room is
    /// another.
    template <class Number>
    void move_tokens(Rows<Number>& rows, Index room, Index first, Index count) const {
        if (room == room_) {
            move_tokens(rows.keys, rows.keys, room, first, count);
            move_tokens(rows.values, rows.values, room, first, count);
            return;
        }
        const Index num_rows =
            detail::product_of_sizes(detail::product_of_sizes(shape_.batch, shape_.key_value_heads), room);
        Rows<Number> others{Matrix<Number>(num_rows, shape_.key_width),
                            Matrix<Number>(num_rows, shape_.value_width)};
        ask_for_large_pages(others.keys, room);
        ask_for_large_pages(others.values, room);
        move_tokens(rows.keys, others.keys, room, first, count);
        move_tokens(rows.values, others.values, room, first, count);
        std::swap(rows, others);
    }

    /// Where the rows of a head fill several: those of tokens to come are not to be in memory much sooner.
    static void ask_for_large_pages(auto& rows, Index room) {
        const std::size_t of_number = sizeof(rows.data()[0]);
        if (std::size_t(room * rows.cols()) * of_number >= 2 * detail::large_page)
            detail::ask_for_large_pages(rows.data(), std::size_t(rows.size()) * of_number);
    }

    void move_tokens(const auto& from, auto& to, Index room, Index first, Index count) const {
        const Index width = from.cols();
        for (Index head = 0; count > 0 && head < shape_.batch_key_value_heads(); ++head)
            std::copy_n(from.data() + (head * room_ + first) * width, count * width,
                        to.data() + head * room * width);
    }

    HeadShape shape_;
    Storage storage_;
    Index first_ = 0;  // position of the first token that is kept
    Index room_ = 0;   // tokens
    Rows<T> numbers_;  // one of the two is empty
    Rows<Bfloat16> rounded_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
