#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <ring_attention/models/build.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "compare.hpp"
#include "model_case.hpp"
#include "tensors.hpp"

// A pass through a model and back, in one process or on the ranks of a ring.

namespace support {

/// All that comes out of a forward and a backward, of the tokens of one rank.
template <class Model>
struct ModelRun {
    using T = typename Model::Scalar;
    std::optional<ra::Share> share;
    typename Model::OutputTensor output;
    ra::Tensor<T, 3> d_input;
    oracle::Parameters<T> gradient;
};

/// masks: a Dropout, masks of one's own, or none. Backward needs no masks: the cache has them.
template <class Model, class Masks, class... Ring>
typename Model::OutputTensor forward(const Model& model, const ra::Tensor<typename Model::Scalar, 3>& x,
                                     typename Model::Cache& cache, const Masks& masks, Ring&... ring) {
    if constexpr (std::is_same_v<Masks, ra::KeepPatternReference>)
        return model.forward(x, cache, ring...);
    else
        return model.forward(x, cache, masks, ring...);
}

template <class Model, class Masks, class Ring>
ModelRun<Model> run_on(Ring& ring, const Model& model, const ra::Tensor<typename Model::Scalar, 3>& x,
                       const typename Model::OutputTensor& d_output, const Masks& masks) {
    typename Model::Cache cache;
    ModelRun<Model> run;
    run.output = forward(model, x, cache, masks, ring);
    auto gradient = ra::zeros_like(model);
    run.share = cache.share;
    run.d_input = model.backward(d_output, cache, gradient, ring);
    run.gradient = parameters_of<typename Model::Scalar>(gradient);
    return run;
}

template <class Model, class Masks = ra::KeepPatternReference>
ModelRun<Model> run(const Model& model, const ra::Tensor<typename Model::Scalar, 3>& x,
                    const typename Model::OutputTensor& d_output, const Masks& masks = {}) {
    ra::LocalRing ring;
    return run_on(ring, model, x, d_output, masks);
}

template <class T>
bool same_bits(const oracle::Parameters<T>& a, const oracle::Parameters<T>& b) {
    if (a.size() != b.size()) return false;
    for (const auto& [name, values] : a)
        if (!b.contains(name) || !compare::same_bits(values, b.at(name))) return false;
    return true;
}

template <class Model>
bool same_bits(const ModelRun<Model>& a, const ModelRun<Model>& b) {
    return compare::same_bits(a.output, b.output) && compare::same_bits(a.d_input, b.d_input) &&
           same_bits(a.gradient, b.gradient);
}

/// What each rank of a ThreadRing computes from its own tokens.
template <class Model, class Masks = ra::KeepPatternReference>
std::vector<ModelRun<Model>> run_on_ranks(int ranks, const Model& model,
                                          const ra::Tensor<typename Model::Scalar, 3>& x,
                                          const typename Model::OutputTensor& d_output,
                                          const Masks& masks = {}) {
    std::vector<ModelRun<Model>> runs{std::size_t(ranks)};
    ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
        const ra::Share share = model.share(ring, x.dimension(1));
        const auto own = [&](const auto& whole) { return ra::tokens_of(whole, share); };
        auto& run = runs[std::size_t(ring.rank())];
        if constexpr (Model::OutputTensor::NumDimensions == 3)
            run = run_on(ring, model, own(x), own(d_output), masks);
        else
            run = run_on(ring, model, own(x), d_output, masks);
    });
    return runs;
}

/// Whether the ranks together have what one process has: the tokens of each put together, and the rest whole
/// on every rank.
template <class Model>
bool same_bits(const std::vector<ModelRun<Model>>& ranks, const ModelRun<Model>& alone) {
    auto d_input = alone.d_input;
    auto output = alone.output;
    d_input.setConstant(-7);
    output.setConstant(-7);
    for (const auto& run : ranks) {
        if (!same_bits(run.gradient, alone.gradient)) return false;
        ra::put_tokens(run.d_input, *run.share, d_input);
        if constexpr (Model::OutputTensor::NumDimensions == 3)
            ra::put_tokens(run.output, *run.share, output);
        else if (output = run.output; !compare::same_bits(output, alone.output))
            return false;
    }
    return compare::same_bits(output, alone.output) && compare::same_bits(d_input, alone.d_input);
}

/// An input and a gradient of the output for a model.
template <class Model>
struct ModelCase {
    using T = typename Model::Scalar;
    ra::Tensor<T, 3> x;
    typename Model::OutputTensor d_output;

    ModelCase(ra::Index batch, ra::Index seq_len, ra::Index embed_dim, std::uint64_t seed = 1)
        : x(tensors::normal<T, 3>({batch, seq_len, embed_dim}, seed)) {
        if constexpr (Model::OutputTensor::NumDimensions == 3)
            d_output = tensors::normal<T, 3>({batch, seq_len, Model::out_width}, seed + 1);
        else
            d_output = tensors::normal<T, 2>({batch, Model::out_width}, seed + 1);
    }
};

}  // namespace support
