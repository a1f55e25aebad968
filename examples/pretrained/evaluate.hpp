#pragma once

#include <algorithm>
#include <filesystem>
#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model.hpp"
#include "tokens_file.hpp"

namespace pretrained {

struct EvaluateArguments {
    ModelArguments model;
    std::filesystem::path input, output;
    bool gradients = false;
};

/// What a file asks for: all tokens, those of every rank.
struct Batch {
    ra::Tensor<ra::Token, 2> tokens;       ///< [batch, seq]
    ra::Tensor<ra::Token, 2> token_types;  ///< the same, or empty
    std::vector<ra::Index> lengths;        ///< [batch], or empty
    ra::Tensor<float, 3> loss_weight;      ///< [batch, seq, out_width]
};

/// input_ids, and where they are there attention_mask, token_type_ids and loss_weight (else ones). Throws
/// ra::FileError where they do not fit each other or the model.
inline Batch read_batch(const std::filesystem::path& path) {
    const ra::SafetensorsFile file(path);
    Batch batch{read_tokens(file, "input_ids", options.vocabulary - 1), {}, {}, {}};
    const std::vector<ra::Index> shape{batch.tokens.dimension(0), batch.tokens.dimension(1)};
    require_shape(file, "input_ids", shape);
    if (file.contains("attention_mask")) {
        require_shape(file, "attention_mask", shape);
        batch.lengths = read_lengths(file, "attention_mask");
    }
    if (file.contains("token_type_ids")) {
        require_shape(file, "token_type_ids", shape);
        const auto types = read_tokens(file, "token_type_ids", std::max(1, options.token_types) - 1);
        if (options.token_types > 0) batch.token_types = types;
    }
    batch.loss_weight.resize(shape[0], shape[1], Model::out_width);
    batch.loss_weight.setConstant(1);
    if (file.contains("loss_weight")) {
        require_shape(file, "loss_weight", {shape[0], shape[1], Model::out_width});
        const std::vector<float> weights = file.read<float>("loss_weight");
        std::copy(weights.begin(), weights.end(), batch.loss_weight.data());
    }
    return batch;
}

/// gradient: nullptr where nobody asked for it.
inline void write_results(const EvaluateArguments& arguments, const ra::Tensor<float, 3>& output,
                          const Model* gradient) {
    std::vector<ra::NamedTensor> tensors{ra::named_tensor(
        "output", {output.dimension(0), output.dimension(1), output.dimension(2)}, output.data())};
    std::list<std::vector<float>> published;  // until they are written
    if (gradient)
        ra::for_each_published(*gradient, [&](const std::string& name, const std::vector<ra::Index>& shape,
                                              const std::vector<float>& numbers) {
            published.push_back(numbers);
            tensors.push_back(ra::named_tensor("grad." + name, shape, published.back().data()));
        });
    ra::write_safetensors(arguments.output, std::move(tensors));
}

/// The output for this rank's tokens, and in `gradient` those of sum(output * loss_weight).
template <class AnyModel>
ra::Tensor<float, 3> run_backward([[maybe_unused]] const AnyModel& model,
                                  const ra::Tensor<ra::Token, 2>& tokens, const ra::Sequences& sequences,
                                  const ra::Tensor<float, 3>& loss_weight, ra::RingReference ring,
                                  std::optional<AnyModel>& gradient) {
    typename AnyModel::Cache cache;
    const ra::Tensor<float, 3> output = model.forward(tokens, cache, sequences, ring);
    if constexpr (learns<AnyModel>) {
        gradient = ra::zeros_like(model);
        model.backward(loss_weight, cache, *gradient, ring);
    }
    return output;
}

/// Writes what the model makes of a file: `output` and, where asked for, the gradients of
/// sum(output * loss_weight) as grad.<name>, the name that the parameter has where the model was published.
/// All ranks call it, each computes for its own tokens, and rank 0 writes.
inline int evaluate(const EvaluateArguments& arguments, ra::RingReference ring) {
    if (arguments.gradients) require_learning("evaluate --gradients");
    if (ring.rank() == 0) ra::require_writable(arguments.output);
    const Batch batch = read_batch(arguments.input);
    require_positions(batch.tokens.dimension(1));
    const Model model = load(arguments.model);

    const ra::Share share = model.share(ring, batch.tokens.dimension(1));
    const ra::Tensor<ra::Token, 2> tokens = ra::tokens_of(batch.tokens, share);
    ra::Sequences sequences{.lengths = batch.lengths};
    if (batch.token_types.size() > 0) sequences.token_types = ra::tokens_of(batch.token_types, share);

    std::optional<Model> gradient;
    const ra::Tensor<float, 3> output =
        arguments.gradients
            ? run_backward(model, tokens, sequences, ra::tokens_of(batch.loss_weight, share), ring, gradient)
            : model(tokens, sequences, ring);
    const ra::Tensor<float, 3> whole = ra::gather(ring, output, share);
    if (ring.rank() == 0) write_results(arguments, whole, gradient ? &*gradient : nullptr);
    return 0;
}

}  // namespace pretrained
