#pragma once

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <string_view>

#include <ring_attention/core/error.hpp>

namespace ring_lm {

/// Why something that was to go to standard output did not arrive; 0: all did.
inline int output_error = 0;

/// Writes to standard output, at once. Whether it arrives, require_output() tells.
inline void say(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) < text.size() || std::fflush(stdout) != 0)
        output_error = errno;
}

/// Throws ring_attention::FileError where something did not arrive.
inline void require_output() {
    if (std::fflush(stdout) != 0) output_error = errno;
    if (output_error != 0 || std::ferror(stdout) != 0)
        throw ring_attention::FileError(std::string("cannot write to standard output: ") +
                                        std::strerror(output_error != 0 ? output_error : EIO));
}

/// A standard stream that was closed would be opened again as the next file, and what is printed would go
/// there. A descriptor that only fails takes its place.
inline void occupy_closed_streams() {
    for (const int stream : {0, 1, 2})
        if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", stream == 0 ? O_WRONLY : O_RDONLY) < 0) return;
}

}  // namespace ring_lm
