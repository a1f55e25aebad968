#pragma once

#include <algorithm>
#include <concepts>

#include <ring_attention/core/of_thread.hpp>
#include <ring_attention/core/parallel.hpp>
#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/micro_kernel.hpp>
#include <ring_attention/kernels/packing.hpp>

// What products are cut into, who computes it, and the memory that their factors are packed into.
// for_all(count, task) runs the tasks, on one thread or on all.

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// How a product is cut (in elements). A task multiplies tile_rows of a by tile_cols of b: packed, both stay
/// in the second cache. Of b, `cols` are packed at a time; of a, two tiles for each thread. c += a b goes
/// through a block of add_rows x add_cols where k is deep.
template <Real T>
struct ProductBlock {
    static constexpr Index tile_rows = ProductTile<T>::rows * (112 / ProductTile<T>::rows);
    static constexpr Index tile_cols = ProductTile<T>::cols * 16;
    static constexpr Index cols = tile_cols * 4;
    static constexpr Index add_rows = tile_rows * 16, add_cols = tile_cols * 2;
};

inline Index ceil_div(Index a, Index b) {
    return (a + b - 1) / b;
}

/// The sum over k is made in equal blocks, ((block 0 + block 1) + block 2) + ..., which depend on k alone.
template <Real T>
Index block_depth(Index k) {
    constexpr Index depth = ProductTile<T>::depth;
    return k <= depth ? std::max<Index>(k, 1) : ceil_div(k, ceil_div(k, depth));
}

struct OnThisThread {
    Index tasks_wanted() const { return 1; }

    void operator()(Index count, const auto& task) const {
        for (Index i = 0; i < count; ++i) task(i);
    }
};

struct OnAllThreads {
    Index tasks_wanted() const { return num_threads() == 1 ? 1 : 4 * num_threads(); }

    void operator()(Index count, const auto& task) const { parallel_for(count, task); }
};

enum class Workspace { left, right, product, attention, keys, values };

/// Memory that a thread keeps from one product to the next.
template <class T, Workspace use>
AlignedBuffer<T>& workspace() {
    return of_thread<AlignedBuffer<T>, use>();
}

/// a (m,k) in strips of ProductTile::rows rows.
template <Real T>
Strips<T> pack_strips(MatrixView<const T> a, const auto& for_all) {
    constexpr Index strip = ProductTile<T>::rows, step = ProductBlock<T>::tile_rows;
    T* const to = workspace<T, Workspace::left>().require(ceil_div(a.rows, strip) * strip * a.cols);
    for_all(ceil_div(a.rows, step), [&](Index task) {
        const Index row = task * step;
        pack_panels<T>(a.middle_rows(row, std::min(step, a.rows - row)).transposed(), to + row * a.cols,
                       strip);
    });
    return {to, 1, strip, strip * a.cols};
}

/// a (m,k) as the micro-kernel reads it fastest, for a product of so many columns: few do not pay for
/// packing.
template <Real T>
Strips<T> strips_for(MatrixView<const T> a, Index cols, const auto& for_all) {
    const bool pack = a.rows > ProductTile<T>::rows && cols > 4 * ProductTile<T>::cols;
    return pack ? pack_strips<T>(a, for_all) : unpacked_strips<T>(a);
}

/// b (k,n) as it lies; its columns are contiguous and fill the panels.
template <Real T, class Right>
PackedView<T, Right> unpacked_panels(MatrixView<const Right> b) {
    return {b.data, b.rows, b.cols, b.row_stride, PackedView<T>::panel_cols};
}

template <Real T, class Right>
PackedView<T> pack_panels_of(MatrixView<const Right> b, const auto& for_all) {
    constexpr Index step = ProductBlock<T>::tile_cols, panel_cols = PackedView<T>::panel_cols;
    T* const to = workspace<T, Workspace::right>().require(packed_size<T>(b.rows, b.cols));
    for_all(ceil_div(b.cols, step), [&](Index task) {
        const Index col = task * step;
        pack_b<T>(b.middle_cols(col, std::min(step, b.cols - col)), to + col * b.rows);
    });
    return {to, b.rows, b.cols, panel_cols, b.rows * panel_cols};
}

/// What follows when a tile of c is done, on the thread that made it and while it is in the cache:
/// finish(tile, its first row, its first column), whatever its type. Or nothing.
template <Real T>
class TileFinish {
  public:
    TileFinish() = default;

    template <class Finish>
    requires(!std::same_as<Finish, TileFinish>) explicit TileFinish(const Finish& finish)
        : finish_(&finish), call_([](const void* erased, MatrixView<T> tile, Index row, Index col) {
              (*static_cast<const Finish*>(erased))(tile, row, col);
          }) {}

    void operator()(MatrixView<T> tile, Index row, Index col) const {
        if (call_) call_(finish_, tile, row, first_col_ + col);
    }

    /// The same for the columns of c from `first` on.
    TileFinish from_col(Index first) const {
        TileFinish shifted = *this;
        shifted.first_col_ += first;
        return shifted;
    }

  private:
    const void* finish_ = nullptr;
    void (*call_)(const void*, MatrixView<T>, Index, Index) = nullptr;
    Index first_col_ = 0;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
