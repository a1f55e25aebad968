#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <ring_attention/attention/plan.hpp>
#include <ring_attention/core/error.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What attention is to be. Positions count from the first key; all options work together, but for prefix
/// with window.
struct AttentionOptions {
    Index num_chunks = 1;                ///< seats of the ring; changes the result by rounding only
    bool causal = true;                  ///< a query sees keys at its position and before
    Layout layout = Layout::contiguous;  ///< which tokens sit at which seat; by rounding only, too
    Index window = 0;                    ///< 0: none; else a query sees |query - key| < window
    Index prefix = 0;                    ///< keys before it are seen by every query (of their document)
    std::vector<Index> document_starts =
        {};                           ///< rising, the first 0: tokens see their own document; empty: one
    std::vector<Index> lengths = {};  ///< of each batch entry's keys, padding behind; empty: all
    double scale = 0;                 ///< of the scores; 0: 1 / sqrt(head_dim)
    double softcap = 0;               ///< 0: none; else score := softcap tanh(score / softcap)
    Index query_offset = 0;           ///< position of the first query; negative: it stands before all keys
    std::vector<double> alibi_slopes = {};  ///< one a query head: score -= slope |query - key|; empty: none
    Storage storage = Storage::computing;   ///< of keys and values, while they are kept and sent
};

namespace detail {

inline void refuse_option(const std::string& given, const std::string& expected,
                          const char* of = "AttentionOptions") {
    throw Error(of + (": " + given) + ", expected " + expected);
}

inline void require_not_negative(const char* name, Index value) {
    if (value < 0) refuse_option(std::string(name) + " is " + std::to_string(value), "at least 0");
}

inline void require_factor(const char* name, double value) {
    if (!(value >= 0) || std::isinf(value))
        refuse_option(std::string(name) + " is " + std::to_string(value), "a finite number of at least 0");
}

/// end: one past the last position of a key or query.
inline void require_documents(const std::vector<Index>& starts, Index end,
                              const char* of = "AttentionOptions") {
    for (std::size_t i = 0; i < starts.size(); ++i) {
        const std::string given =
            "document_starts[" + std::to_string(i) + "] is " + std::to_string(starts[i]);
        if (i == 0 && starts[0] != 0) refuse_option(given, "0", of);
        if (i > 0 && starts[i] <= starts[i - 1])
            refuse_option(given, "more than the start before it, " + std::to_string(starts[i - 1]), of);
        if (starts[i] >= end) refuse_option(given, "less than the length, " + std::to_string(end), of);
    }
}

inline void require_lengths(const std::vector<Index>& lengths, Index batch, Index key_len,
                            const char* of = "AttentionOptions") {
    if (!lengths.empty() && Index(lengths.size()) != batch)
        refuse_option(std::to_string(lengths.size()) + " lengths",
                      "one for each of " + std::to_string(batch) + " batch entries", of);
    for (std::size_t i = 0; i < lengths.size(); ++i)
        if (lengths[i] < 0 || lengths[i] > key_len)
            refuse_option("lengths[" + std::to_string(i) + "] is " + std::to_string(lengths[i]),
                          "0 to the number of keys, " + std::to_string(key_len), of);
}

inline void require_slopes(const std::vector<double>& slopes, Index heads) {
    if (!slopes.empty() && Index(slopes.size()) != heads)
        refuse_option(std::to_string(slopes.size()) + " alibi_slopes",
                      "one for each of " + std::to_string(heads) + " query heads");
    for (const double slope : slopes)
        if (!std::isfinite(slope))
            refuse_option("an alibi_slope is " + std::to_string(slope), "a finite number");
}

}  // namespace detail

/// The plan of an attention of type T. Throws Error where an option does not fit.
template <class T>
AttentionPlan plan_of(const AttentionOptions& options, const Share& queries, const Share& keys,
                      const HeadShape& shape) {
    const Index key_len = keys.layout().seq_len(), query_len = queries.layout().seq_len();
    detail::require_not_negative("window", options.window);
    detail::require_not_negative("prefix", options.prefix);
    if (options.window > 0 && options.prefix > 0)
        detail::refuse_option("both window and prefix",
                              "one of them: together they leave a query two intervals");
    detail::require_factor("scale", options.scale);
    detail::require_factor("softcap", options.softcap);
    detail::require_documents(options.document_starts, std::max(key_len, options.query_offset + query_len));
    detail::require_lengths(options.lengths, shape.batch, key_len);
    detail::require_slopes(options.alibi_slopes, shape.heads);
    return {queries,
            keys,
            shape,
            {key_len,
             options.causal,
             options.window,
             options.prefix,
             {options.document_starts.begin(), options.document_starts.end()},
             {options.lengths.begin(), options.lengths.end()}},
            {options.scale > 0 ? options.scale : default_scale<T>(shape.key_width),
             options.softcap,
             {options.alibi_slopes.begin(), options.alibi_slopes.end()}},
            options.query_offset,
            options.storage};
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
