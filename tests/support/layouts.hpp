#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <ring_attention/sequence/share.hpp>

// Who sits where, by dealing tokens one at a time: what the library finds by arithmetic.

namespace support {

namespace ra = ring_attention;

using Positions = std::vector<ra::Index>;

constexpr ra::Layout every_layout[] = {ra::Layout::contiguous, ra::Layout::zigzag, ra::Layout::striped};

/// For messages, to which a const char* is an address.
inline std::string name_of(ra::Layout layout) {
    return ra::name_of(layout);
}

/// Numbers 0 ... total - 1 in so many runs of neighbours; the first are longer by one.
inline std::vector<Positions> cut(ra::Index total, ra::Index parts) {
    std::vector<ra::Index> sizes(std::size_t(parts), 0);
    for (ra::Index i = 0; i < total; ++i) ++sizes[std::size_t(i % parts)];
    std::vector<Positions> runs;
    ra::Index next = 0;
    for (const ra::Index size : sizes) {
        Positions& run = runs.emplace_back();
        while (ra::Index(run.size()) < size) run.push_back(next++);
    }
    return runs;
}

inline Positions joined(Positions positions, const Positions& others) {
    positions.insert(positions.end(), others.begin(), others.end());
    std::sort(positions.begin(), positions.end());
    return positions;
}

/// The positions of the tokens at each seat, as Layout says.
inline std::vector<Positions> seat_positions(ra::Layout layout, ra::Index seq_len, ra::Index num_seats) {
    if (layout == ra::Layout::contiguous) return cut(seq_len, num_seats);
    std::vector<Positions> seats(static_cast<std::size_t>(num_seats));
    if (layout == ra::Layout::striped)
        for (ra::Index i = 0; i < seq_len; ++i) seats[std::size_t(i % num_seats)].push_back(i);
    else {
        const std::vector<Positions> halves = cut(seq_len, 2 * num_seats);
        for (std::size_t seat = 0; seat < seats.size(); ++seat)
            seats[seat] = joined(halves[seat], halves[halves.size() - 1 - seat]);
    }
    return seats;
}

inline Positions positions_of(const ra::TokenPositions& run) {
    Positions positions;
    for (ra::Index i = 0; i < run.count; ++i) positions.push_back(run.position(i));
    return positions;
}

/// Where the numbers of `some` stand in `all`.
inline Positions places_of(const Positions& some, const Positions& all) {
    Positions places;
    for (const ra::Index position : some)
        places.push_back(std::find(all.begin(), all.end(), position) - all.begin());
    return places;
}

}  // namespace support
