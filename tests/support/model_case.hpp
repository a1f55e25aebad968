#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>

#include <ring_attention/models/build.hpp>

#include "inputs.hpp"
#include "model_oracle.hpp"
#include "tensors.hpp"

namespace support {

namespace ra = ring_attention;

/// The parameters of a model, or of its gradient, as the oracle takes them.
template <class R, class Model>
oracle::Parameters<R> parameters_of(const Model& model) {
    oracle::Parameters<R> parameters;
    ra::for_each_parameter(model, [&](std::string_view name, const auto& tensor) {
        parameters[std::string(name)] = inputs::widen<R>(tensor);
    });
    return parameters;
}

template <class Model, class R>
void set_parameters(Model& model, const oracle::Parameters<R>& parameters) {
    ra::for_each_parameter(model, [&](std::string_view name, auto& tensor) {
        const auto& values = parameters.at(std::string(name));
        if (values.size() != std::size_t(tensor.size()))
            throw std::runtime_error("wrong size: " + std::string(name));
        using T = typename Model::Scalar;
        std::transform(values.begin(), values.end(), tensor.data(), [](R value) { return T(value); });
    });
}

/// Biases, gammas and betas, but not kernels, become others.
template <class Model>
void change_all_but_kernels(Model& model, std::uint64_t seed) {
    inputs::Numbers numbers(seed);
    ra::for_each_parameter(model, [&](std::string_view name, auto& tensor) {
        using T = typename Model::Scalar;
        if (!name.ends_with(".kernel"))
            for (ra::Index i = 0; i < tensor.size(); ++i) tensor.data()[i] += T(0.3 * numbers.normal());
    });
}

/// A model whose biases, gammas and betas are not the 0 and 1 that they begin with.
template <ra::Options options, class T>
ra::SequenceModel<options, T> random_model(std::uint64_t seed) {
    auto model = ra::build<options, T>(seed);
    change_all_but_kernels(model, seed);
    return model;
}

template <ra::Options options>
oracle::ModelShape model_shape(ra::Index batch, ra::Index seq_len) {
    oracle::ModelShape shape;
    shape.batch = std::size_t(batch);
    shape.seq_len = std::size_t(seq_len);
    shape.embed_dim = options.embed_dim;
    shape.hidden_size = options.hidden_size;
    shape.num_heads = options.num_heads;
    shape.num_layers = options.num_layers;
    shape.dropout = double(options.dropout);
    shape.output = static_cast<oracle::Output>(options.output);
    return shape;
}

/// Masks by the names of the golden files, handed out token by token in place of a Dropout.
class NamedMasks {
  public:
    NamedMasks(const oracle::Masks& masks, const oracle::ModelShape& shape) : masks_(masks), shape_(shape) {}

    void keep(const ra::DropoutPlace& place, ra::Index batch, ra::Index position, double rate,
              std::span<std::uint8_t> keep) const {
        if (std::abs(rate - shape_.dropout) > 1e-7 || keep.size() != shape_.hidden_size)
            throw std::runtime_error("dropout asks for another rate or width than the model's");
        const auto& mask = masks_.at("mask." + name_of(place));
        const std::size_t token = std::size_t(batch) * shape_.seq_len + std::size_t(position);
        std::copy_n(mask.begin() + std::ptrdiff_t(token * keep.size()), keep.size(), keep.begin());
    }

  private:
    static std::string name_of(const ra::DropoutPlace& place) {
        const std::string block = std::to_string(place.layer);
        switch (place.site) {
            case ra::DropoutSite::attention:
                return "ring_" + block + "_attn_dropout";
            case ra::DropoutSite::feed_forward:
                return "ring_" + block + "_ffn_dropout";
            default:
                return "inter_block_dropout_" + block;
        }
    }

    const oracle::Masks& masks_;
    oracle::ModelShape shape_;
};

}  // namespace support
