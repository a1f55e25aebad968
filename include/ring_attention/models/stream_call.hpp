#pragma once

#include <cstdint>
#include <string>

#include <ring_attention/sequence/agreement.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

enum class StreamCall : Index { push, push_all, prefill };

/// A call of a stream on a ring, which all ranks are to make alike, and what they have when they do.
struct StreamCallOfRank {
    StreamCall call;
    Index size, document_start;  ///< of the stream
    Index batch, tokens, width;  ///< of x
    std::uint64_t contents = 0;  ///< a fingerprint
};

/// Throws RingError, the same on every rank, where they differ.
inline void agree_on_call(RingReference ring, const StreamCallOfRank& own) {
    const auto name_of_call = [](Index call) -> std::string {
        switch (StreamCall(call)) {
            case StreamCall::push:
                return "push";
            case StreamCall::push_all:
                return "push_all";
            default:
                return "prefill";
        }
    };
    agree(ring, {{"the call", Index(own.call), name_of_call},
                 {"size", own.size},
                 {"document start", own.document_start},
                 {"batch", own.batch},
                 {"tokens", own.tokens},
                 {"width", own.width},
                 agreed_fingerprint("x", own.contents)});
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
