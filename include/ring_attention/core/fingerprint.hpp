#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include <ring_attention/core/memory.hpp>
#include <ring_attention/core/parallel.hpp>
#include <ring_attention/core/parameters.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A hash of 64 bits, at the speed of memory: by it ranks find out whether they hold the same bits. Not a
/// digest to be kept: it may change with the version of the library, and depends on the byte order.
inline std::uint64_t fingerprint(std::span<const std::byte> bytes, std::uint64_t seed = 0) {
    constexpr std::uint64_t odd = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio
    constexpr std::uint64_t other_odd = 0xb5297a4d3f84d5b5u;
    constexpr std::size_t lanes = 8, block = lanes * sizeof(std::uint64_t);
    // Without the first product, a change of one high bit could be undone by one of the next word.
    const auto mix = [](std::uint64_t state, std::uint64_t word) {
        return std::rotl(state + word * other_odd, 31) * odd;
    };
    const auto stir = [](std::uint64_t word) {  // any bit changes about half of them
        word = (word ^ word >> 32) * odd;
        word = (word ^ word >> 29) * odd;
        return word ^ word >> 32;
    };
    std::array<std::uint64_t, lanes> state;
    for (std::size_t lane = 0; lane < lanes; ++lane) state[lane] = stir(stir(seed + lane) + bytes.size());
    const auto absorb = [&](const std::byte* from) {
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            std::uint64_t word;
            std::memcpy(&word, from + lane * sizeof word, sizeof word);
            state[lane] = mix(state[lane], word);
        }
    };
    while (bytes.size() >= block) {
        absorb(bytes.data());
        bytes = bytes.subspan(block);
    }
    std::array<std::byte, block> rest{};
    std::copy(bytes.begin(), bytes.end(), rest.begin());
    absorb(rest.data());
    std::uint64_t result = 0;
    for (const std::uint64_t lane : state) result = stir(result + stir(lane));
    return result;
}

inline std::uint64_t fingerprint(std::string_view text) {
    return fingerprint(std::as_bytes(std::span(text)));
}

#define RING_ATTENTION_TEXT_(name) #name
#define RING_ATTENTION_TEXT(name) RING_ATTENTION_TEXT_(name)

/// Of a type, by what the compiler calls it, with every argument of every template. The same for whatever
/// instructions it was compiled: ranks may differ in these.
template <class T>
std::uint64_t fingerprint_of_type() {
    constexpr std::string_view flags = RING_ATTENTION_TEXT(RING_ATTENTION_ABI);
    std::string name = __PRETTY_FUNCTION__;
    for (std::size_t at; (at = name.find(flags)) != std::string::npos;) name.erase(at, flags.size());
    return fingerprint(std::string_view(name));
}

#undef RING_ATTENTION_TEXT
#undef RING_ATTENTION_TEXT_

/// Of all parameters, their names and shapes.
template <Visitable Model>
std::uint64_t fingerprint(const Model& model) {
    struct Parameter {
        std::span<const std::byte> bytes;
        std::uint64_t name;
        Index columns;
    };
    List<Parameter> parameters;
    for_each_parameter(model, [&](std::string_view name, const auto& tensor) {
        parameters.push_back({std::as_bytes(detail::numbers_of(tensor)), fingerprint(name), tensor.cols()});
    });
    List<std::uint64_t> each(parameters.size());
    parallel_for(Index(parameters.size()), [&](Index i) {
        const Parameter& of = parameters[std::size_t(i)];
        each[std::size_t(i)] = fingerprint(of.bytes, of.name + std::uint64_t(of.columns));
    });
    return fingerprint(std::as_bytes(std::span(each)));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
