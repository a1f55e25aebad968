#pragma once

#include <string>

#include <ring_attention/attention/message.hpp>

// Keys and values whose every number tells where it is at home.

namespace support {

namespace ra = ring_attention;
using ra::Index;

/// In [0, 1), in 1024ths: so that sums of them and of digits are exact.
inline double told_number(int home, Index seat, Index head, Index token, Index column, bool is_value) {
    std::size_t hash = is_value ? 7 : 3;
    for (const Index part : {Index(home), seat, head, token, column})
        hash = (hash * 1000003 + std::size_t(part)) % 1000000007;
    return double(hash % 1024) / 1024;
}

/// Calls f(number, what it tells) for the numbers of some heads of what is at home with this rank; head 0 in
/// the views is number first_head.
template <class T>
void for_each_number(const ra::KeyValues<T>& views, int home, const ra::IndexRange& heads, auto&& f) {
    for (std::size_t seat = 0; seat < views.size(); ++seat)
        for (Index head = 0; head < heads.count; ++head)
            for (const bool is_value : {false, true}) {
                const ra::detail::MatrixView<T> rows = (is_value ? views[seat].value : views[seat].key)(head);
                for (Index token = 0; token < rows.rows; ++token)
                    for (Index column = 0; column < rows.cols; ++column)
                        f(rows(token, column),
                          told_number(home, Index(seat), heads.first + head, token, column, is_value));
            }
}

/// Throws unless these are the keys and values of this rank, at all its seats.
inline void require_told(const ra::KeyValues<const double>& views, const ra::AttentionPlan& plan, int home,
                         const ra::IndexRange& heads) {
    const ra::Share share(plan.keys.layout(), home, plan.keys.ranks());
    if (Index(views.size()) != share.num_seats()) throw ra::Error("another number of seats");
    for (std::size_t seat = 0; seat < views.size(); ++seat) {
        const auto& tokens = views[seat].tokens;
        const auto &key = views[seat].key, &value = views[seat].value;
        if (!(tokens == share.tokens(Index(seat))) || key.tokens != tokens.count ||
            value.tokens != tokens.count || key.width != plan.heads.key_width ||
            value.width != plan.heads.value_width)
            throw ra::Error("other tokens or widths");
    }
    for_each_number(views, home, heads, [&](double number, double told) {
        if (number != told)
            throw ra::Error("a number of rank " + std::to_string(home) + " is " + std::to_string(number) +
                            ", expected " + std::to_string(told));
    });
}

/// A rank's own, in a message.
inline ra::KeyValueMessage<double> told_message(const ra::AttentionPlan& plan) {
    ra::KeyValueMessage<double> message(plan.keys, plan.heads);
    for_each_number(message.views(), plan.keys.rank(), {0, plan.heads.batch_key_value_heads()},
                    [](double& number, double told) { number = told; });
    return message;
}

}  // namespace support
