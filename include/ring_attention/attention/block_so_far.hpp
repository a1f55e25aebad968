#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include <ring_attention/attention/forward_tile.hpp>
#include <ring_attention/attention/heads.hpp>
#include <ring_attention/attention/log_sum_exp.hpp>
#include <ring_attention/attention/softmax_tile.hpp>
#include <ring_attention/attention/tile.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// What a block of queries has seen so far, and what becomes of it. The memory is the thread's: one block at
/// a time on a thread.
template <Real T>
class BlockSoFar {
    static constexpr Index lanes = AttentionTile<T>::lanes;

  public:
    static constexpr Index max_queries = ForwardMemory<T>::max_queries;

    /// rows: of key-value head number `batch_head` at a seat. scale: of the scores, to base 2.
    BlockSoFar(const HeadShape& shape, Index batch_head, const IndexRange& rows, T scale)
        : group_(shape.group()),
          batch_head_(batch_head),
          value_width_(shape.value_width),
          rows_(rows),
          scale_(scale),
          memory_(shape) {
        std::fill_n(memory_.output, value_width_ * (ceil_div(rows.count, lanes) * lanes), T(0));
        std::fill_n(memory_.maximum, max_queries, -std::numeric_limits<T>::infinity());
        std::fill_n(memory_.sum, max_queries, T(0));
    }

    const ForwardMemory<T>& memory() const { return memory_; }

    /// Of the tile of queries from `first` on: (Dv, lanes).
    T* output(Index first) const { return memory_.output + first * value_width_; }
    Softmax<T> softmax(Index first, bool cap) const {
        return {scale_, {memory_.maximum + first, memory_.sum + first}, memory_.decay, cap};
    }

    /// Before the first chunk: a score more for each query, which has no value. sinks: one a query head of
    /// the plan.
    void absorb_sinks(const T* sinks, Index heads) {
        for (Index i = 0; i < rows_.count; ++i) {
            const Index head = (batch_head_ * group_ + (rows_.first + i) % group_) % heads;
            if (sinks[head] == -std::numeric_limits<T>::infinity()) continue;
            // As a score, which may be so large that its product with the scale is not.
            const double sink = double(sinks[head]) * std::numbers::log2e,
                         most = double(std::numeric_limits<T>::max());
            memory_.maximum[i] = T(std::clamp(sink / double(scale_), -most, most));
            const Base2Score<T> score = base2_maximum(i);
            memory_.sum[i] =
                T(std::exp2(sink - double(score.rounded.lanes[0]) - double(score.rest.lanes[0])));
        }
    }

    /// After the last chunk: output is the mean of the values, log_sum_exp that of the scores. A query that
    /// has seen nothing gets output 0 and -infinity. log_sum_exp_rest, if wanted, is what backward needs
    /// beside it.
    void finish(const HeadsView<T>& output, const HeadsView<T>& log_sum_exp,
                const HeadsView<T>& log_sum_exp_rest = {}) {
        const auto log_sums = rows_of(log_sum_exp), rests = rows_of(log_sum_exp_rest);
        for (Index i = 0; i < rows_.count; ++i) {
            T& log_sum = *log_sums.row(i);
            const Base2Score<T> score = base2_maximum(i);
            const T maximum = score.rounded.lanes[0], rest = score.rest.lanes[0];
            log_sum = detail::log_sum_exp(maximum, memory_.sum[i], rest);
            if (log_sum_exp_rest.data)
                *rests.row(i) = detail::log_sum_exp_rest(log_sum, maximum, memory_.sum[i], rest);
        }
        for_each_tile<T>(rows_.count, [&](auto, Index first, Index) {
            divide_by_sums(this->output(first), value_width_, memory_.sum + first);
        });
        write_output(output);
    }

    /// What is to be kept while other blocks use the memory: output, maximum (M), sum (M).
    void suspend(const HeadsView<T>& output, T* maximum, T* sum) const {
        write_output(output);
        std::copy_n(memory_.maximum, rows_.count, maximum);
        std::copy_n(memory_.sum, rows_.count, sum);
    }

    void resume(const HeadsView<T>& output, const T* maximum, const T* sum) {
        const GroupRows<const T> so_far = rows_of(HeadsView<const T>(output));
        for_each_tile<T>(rows_.count, [&](auto, Index first, Index count) {
            pack_lanes<T>(so_far.middle_rows(first, count), this->output(first), memory_.scores);
        });
        std::copy_n(maximum, rows_.count, memory_.maximum);
        std::copy_n(sum, rows_.count, memory_.sum);
    }

    /// After the last chunk of a seat: output, maximum (M) and sum (M) as a part of all seats' attention
    /// (PartialAttention), where a maximum is to base 2.
    void finish_part(const HeadsView<T>& output, T* maximum, T* sum) {
        for (Index i = 0; i < rows_.count; ++i) {
            const Base2Score<T> score = base2_maximum(i);
            maximum[i] = score.rounded.lanes[0], sum[i] = memory_.sum[i];
            const T rest = score.rest.lanes[0];
            if (rest == T(0)) continue;
            const T factor = std::exp2(rest);
            sum[i] *= factor;
            T* const of_query = this->output(i / lanes * lanes) + i % lanes;
            for (Index j = 0; j < value_width_; ++j) of_query[j * lanes] *= factor;
        }
        write_output(output);
    }

  private:
    /// Of a query.
    Base2Score<T> base2_maximum(Index row) const { return {Simd<T>(memory_.maximum[row]), Simd<T>(scale_)}; }

    /// Of what belongs to the queries.
    template <class Number>
    GroupRows<Number> rows_of(const HeadsView<Number>& heads) const {
        if (!heads.data) return {};
        return heads.group_rows(batch_head_, group_).middle_rows(rows_.first, rows_.count);
    }

    void write_output(const HeadsView<T>& heads) const {
        const GroupRows<T> output = rows_of(heads);
        for_each_tile<T>(rows_.count, [&](auto, Index first, Index count) {
            unpack_lanes<T>(this->output(first), output.middle_rows(first, count), memory_.scores);
        });
    }

    Index group_, batch_head_, value_width_;
    IndexRange rows_;
    T scale_;
    ForwardMemory<T> memory_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
