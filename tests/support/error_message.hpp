#pragma once

#include <string>
#include <vector>

#include <ring_attention/core/error.hpp>

namespace support {

/// What f throws, which must be a ring_attention::Error; "no error" where it throws nothing.
template <class F>
std::string error_message(F&& f) {
    try {
        f();
    } catch (const ring_attention::Error& error) {
        return error.what();
    }
    return "no error";
}

}  // namespace support

/// An error of the library that says each of the words: what was given, what was expected.
#define CHECK_REFUSES(call, ...)                                                   \
    do {                                                                           \
        const std::string message = support::error_message([&] { (void)(call); }); \
        CAPTURE(message);                                                          \
        CHECK(message != "no error");                                              \
        for (const std::string& word : std::vector<std::string>{__VA_ARGS__}) {    \
            CAPTURE(word);                                                         \
            CHECK(message.find(word) != std::string::npos);                        \
        }                                                                          \
    } while (false)
