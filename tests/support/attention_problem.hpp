#pragma once

// What attention can be asked for, in plain numbers: sizes and rules, the numbers, the answer, and who sees
// whom. Nothing of the library.

#include <cstddef>
#include <cstdlib>
#include <vector>

namespace oracle {

using Index = std::ptrdiff_t;

/// Sizes and rules. Key j is at position j, query i at position query_offset + i.
struct AttentionProblem {
    Index batch = 1, heads = 1, key_value_heads = 1, query_len = 1, key_len = 1, head_dim = 1, value_dim = 1;
    bool causal = true;
    Index window = 0;                         // 0: none
    Index prefix = 0;                         // keys before are seen from everywhere in their document
    std::vector<Index> document_starts = {};  // empty: one document
    std::vector<Index> lengths = {};          // of each batch entry's keys; empty: key_len
    double scale = 0;                         // 0: 1 / sqrt(head_dim)
    double softcap = 0;                       // 0: none
    Index query_offset = 0;
    Index bias_batch = 1, bias_heads = 1;  // extents of the bias, if there is one
};

/// Flat and row-major. bias: [bias_batch, bias_heads, query_len, key_len], slopes and sinks: [heads]; each
/// may be empty, which is none.
template <class R>
struct AttentionNumbers {
    std::vector<R> query, key, value, d_output, bias, slopes, sinks;
};

/// What is computed of them; d_bias and d_sinks have the sizes of bias and sinks.
template <class R>
struct AttentionAnswer {
    std::vector<R> output, log_sum_exp, d_query, d_key, d_value, d_bias, d_sinks;
};

/// The parts of an answer, by which to go through all.
enum class AnswerPart { output, log_sum_exp, d_query, d_key, d_value, d_bias, d_sinks };
inline constexpr AnswerPart parts_of_answer[] = {
    AnswerPart::output,  AnswerPart::log_sum_exp, AnswerPart::d_query, AnswerPart::d_key,
    AnswerPart::d_value, AnswerPart::d_bias,      AnswerPart::d_sinks};

template <class R>
const std::vector<R>& part(const AttentionAnswer<R>& answer, AnswerPart which) {
    switch (which) {
        case AnswerPart::output:
            return answer.output;
        case AnswerPart::log_sum_exp:
            return answer.log_sum_exp;
        case AnswerPart::d_query:
            return answer.d_query;
        case AnswerPart::d_key:
            return answer.d_key;
        case AnswerPart::d_value:
            return answer.d_value;
        case AnswerPart::d_bias:
            return answer.d_bias;
        default:
            return answer.d_sinks;
    }
}

inline const char* name_of(AnswerPart part) {
    constexpr const char* names[] = {"output",  "log_sum_exp", "d_query", "d_key",
                                     "d_value", "d_bias",      "d_sinks"};
    return names[std::size_t(part)];
}

/// The document of a position: the last that starts at or before it; the first where none does.
inline Index document_of(Index position, const AttentionProblem& p) {
    Index document = 0;
    for (std::size_t d = 1; d < p.document_starts.size(); ++d)
        if (p.document_starts[d] <= position) document = Index(d);
    return document;
}

/// Whether the rules let the query at one position see the key at another.
inline bool sees(Index batch, Index query_position, Index key_position, const AttentionProblem& p) {
    if (!p.lengths.empty() && key_position >= p.lengths[std::size_t(batch)]) return false;
    if (document_of(query_position, p) != document_of(key_position, p)) return false;
    if (key_position < p.prefix) return true;
    if (p.causal && key_position > query_position) return false;
    return p.window == 0 || std::abs(query_position - key_position) < p.window;
}

}  // namespace oracle
