#pragma once

#include <cstdint>
#include <string_view>
#include <tuple>
#include <utility>

#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/layers/tied_head.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A trunk, which is a Sequential that begins with an Embedding, and behind it a head that is tied to that:
/// tokens [tokens, 1] => logits [tokens, vocabulary]. Its parameters are the trunk's, the table among them
/// once; of the table's gradient each seat's share of the head comes first, then those of the embedding.
template <FromTokens Trunk>
struct WithTiedHead {
    using Scalar = typename Trunk::Scalar;
    static constexpr Index vocabulary = Trunk::vocabulary, out_width = vocabulary;
    static constexpr bool streams = Trunk::streams;
    static constexpr bool each_token_alone = detail::each_token_alone<Trunk>();
    static constexpr std::uint64_t draws = detail::draws<Trunk>();
    static constexpr std::string_view part_separator = detail::part_separator<Trunk>();
    using Head = TiedHead<Scalar, vocabulary, Trunk::out_width, Trunk::First::weights>;

    Trunk trunk;

    static void visit(auto&& f, auto&... self) { Trunk::visit(f, self.trunk...); }

    struct Cache {
        typename Trunk::Cache trunk;
        typename Head::Cache head;
    };

    Matrix<Scalar> forward(Matrix<Token> tokens, Cache* cache, const auto& pass) const {
        Matrix<Scalar> x = trunk.forward(std::move(tokens), cache ? &cache->trunk : nullptr, pass);
        return Head().forward(std::move(x), table_of(*this), cache ? &cache->head : nullptr);
    }

    void backward(Matrix<Scalar> d, const Cache& cache, const SeatGradients<WithTiedHead>& gradients,
                  const auto& pass) const {
        d = Head().backward(d, table_of(*this), cache.head,
                            gradients.part([](WithTiedHead & all) -> auto& { return table_of(all); }));
        trunk.backward(std::move(d), cache.trunk,
                       gradients.part([](WithTiedHead & all) -> auto& { return all.trunk; }), pass);
    }

  private:
    static auto& table_of(auto& all) { return std::get<0>(all.trunk.layers).table; }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
