// What bounds attention forward on this core? A tile of queries with a tile of keys, from the first caches:
// its two products, its softmax, all of it, and beside them the operator. Where all vector instructions share
// the ports of the fused multiply-adds, no operator is above of_peak of the whole tile.

#include <initializer_list>
#include <utility>
#include <vector>

#include <ring_attention/ring_attention.hpp>

#include "flops.hpp"
#include "inputs.hpp"
#include "measure.hpp"

namespace ra = ring_attention;
namespace detail = ring_attention::detail;

namespace {

/// As attention/head_forward.hpp has it at work, where no maximum moves.
class TileOfAttention {
    using Tile = detail::AttentionTile<float>;
    using Numbers = detail::AlignedBuffer<float>;

  public:
    explicit TileOfAttention(ra::Index head_dim) : width_(head_dim) {
        for (auto& [numbers, count] :
             std::initializer_list<std::pair<Numbers&, ra::Index>>{{key_, Tile::keys * width_},
                                                                   {value_, Tile::keys * width_},
                                                                   {query_, width_ * Tile::lanes},
                                                                   {output_, width_ * Tile::lanes},
                                                                   {scores_, Tile::keys * Tile::lanes},
                                                                   {of_queries_, 3 * Tile::lanes}})
            Eigen::Map<Eigen::ArrayXf>(numbers.require(count), count).setRandom();
        close_value_ = detail::close_together<float>(rows(value_));
    }

    static double products_flops(ra::Index head_dim) {
        return bench::forward_flops_of_pair(head_dim) * Tile::keys * Tile::lanes;
    }

    void multiply_keys() {
        detail::multiply_panel<2>(Tile::keys, detail::unpacked_strips(rows(key_)), query_.data(), Tile::lanes,
                                  detail::whole_depth(width_),
                                  detail::StoreScores<float>{scores_.data(), nullptr, 0, 0});
    }

    void softmax() {
        const detail::Softmax<float> softmax{0.1f, {maximum(), sum()}, decay(), false};
        benchmark::DoNotOptimize(detail::scores_to_weights_if_settled<2>(
            softmax, scores_.data(), {0, Tile::keys}, detail::StoreWeights<float>{scores_.data()}));
    }

    void add_values() {
        detail::multiply_panel<2>(width_, detail::unpacked_strips(close_value_.transposed()), scores_.data(),
                                  Tile::lanes, detail::whole_depth(Tile::keys),
                                  detail::DecayAndAdd<float>{output_.data(), decay()});
    }

  private:
    detail::MatrixView<const float> rows(const Numbers& numbers) const {
        return {numbers.data(), Tile::keys, width_, width_, 1};
    }
    float* maximum() { return of_queries_.data(); }
    float* sum() { return of_queries_.data() + Tile::lanes; }
    float* decay() { return of_queries_.data() + 2 * Tile::lanes; }

    ra::Index width_;
    Numbers key_, value_, query_, output_, scores_, of_queries_;
    detail::MatrixView<const float> close_value_;
};

double seconds_of(const auto& work) {
    const bench::Stopwatch stopwatch;
    work();
    return stopwatch.seconds();
}

/// Some hundred microseconds of the same tile.
void measure_tile(benchmark::State& state, void (*work)(TileOfAttention&)) {
    constexpr int tiles = 32;
    TileOfAttention tile(state.range(0));
    bench::rounds_against_peak(state, tiles * TileOfAttention::products_flops(state.range(0)), [&] {
        return seconds_of([&] {
            for (int i = 0; i < tiles; ++i) work(tile);
        });
    });
}

void products(benchmark::State& state) {
    measure_tile(state, [](TileOfAttention& tile) { tile.multiply_keys(), tile.add_values(); });
}

/// As if the tile had nothing else to do than its softmax.
void softmax(benchmark::State& state) {
    measure_tile(state, [](TileOfAttention& tile) { tile.softmax(); });
}

void all_of_tile(TileOfAttention& tile) {
    tile.multiply_keys(), tile.softmax(), tile.add_values();
}

void whole_tile(benchmark::State& state) {
    measure_tile(state, all_of_tile);
}

/// Counter: of_tile, the median of its speed over that of the whole tile just before and after it, which a
/// thread beside it slows as much.
void forward(benchmark::State& state) {
    constexpr ra::Index seq_len = 4096;
    constexpr int tiles = 512;
    const ra::Index head_dim = state.range(0);
    const bench::AttentionInputs in(1, seq_len, head_dim);
    TileOfAttention tile(head_dim);
    const auto tile_speed = [&] {
        return tiles * TileOfAttention::products_flops(head_dim) / seconds_of([&] {
                   for (int i = 0; i < tiles; ++i) all_of_tile(tile);
               });
    };
    const double flops = bench::attention_forward_flops(1, seq_len, head_dim, false);
    std::vector<double> of_tile;
    double before = tile_speed();
    bench::rounds_against_peak(state, flops, [&] {
        const double seconds = seconds_of([&] {
            benchmark::DoNotOptimize(ra::attention(in.q, in.k, in.v, ra::AttentionOptions{.causal = false}));
        });
        const double after = tile_speed();
        of_tile.push_back(flops / seconds / ((before + after) / 2));
        before = after;
        return seconds;
    });
    state.counters["of_tile"] = bench::median(of_tile);
}

BENCHMARK(products)->ArgName("d")->Arg(64)->Arg(128)->Apply(bench::rounds<200>);
BENCHMARK(softmax)->ArgName("d")->Arg(64)->Arg(128)->Apply(bench::rounds<200>);
BENCHMARK(whole_tile)->ArgName("d")->Arg(64)->Arg(128)->Apply(bench::rounds<200>);
BENCHMARK(forward)->ArgName("d")->Arg(64)->Arg(128)->Apply(bench::rounds<60>);

}  // namespace
