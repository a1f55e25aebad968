#pragma once

#include <type_traits>

#include <ring_attention/models/options.hpp>
#include <ring_attention/models/transformer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The seed model between its doors: input_projection (only where embed_dim is not hidden_size), blocks,
/// final_norm.
template <Options options, class T>
struct SequenceBody {
    using Scalar = T;
    static constexpr Index in_width = options.embed_dim, out_width = options.hidden_size;
    static constexpr bool streams = true;
    using InputProjection = std::conditional_t<options.embed_dim == options.hidden_size,
                                               Identity<T, out_width>, Dense<T, in_width, out_width>>;

    InputProjection input_projection;
    Transformer<T, detail::block_options(options), options.num_layers> transformer;

    static void visit(auto&& f, auto&... self) {
        f("input_projection", self.input_projection...);
        decltype(SequenceBody::transformer)::visit(f, self.transformer...);
    }

    struct Cache {
        typename InputProjection::Cache input_projection;
        typename decltype(SequenceBody::transformer)::Cache transformer;
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache, const auto& pass) const {
        x = forward_layer(input_projection, std::move(x), cache ? &cache->input_projection : nullptr, pass);
        return forward_layer(transformer, std::move(x), cache ? &cache->transformer : nullptr, pass);
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<SequenceBody>& gradients,
                       const auto& pass) const {
        d = backward_layer(transformer, std::move(d), cache.transformer,
                           gradients.part([](auto& body) -> auto& { return body.transformer; }), pass);
        return backward_layer(input_projection, std::move(d), cache.input_projection,
                              gradients.part([](auto& body) -> auto& { return body.input_projection; }),
                              pass);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
