#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include <fmt/format.h>

#include "../ring_lm/output.hpp"
#include "../ring_lm/progress.hpp"
#include "model.hpp"
#include "tokens_file.hpp"

namespace pretrained {

struct TrainArguments {
    std::filesystem::path model = model_folder, data, out;
    ra::Index context = 256, batch = 4;
    std::int64_t steps = 100, warmup_steps = 10, report_every = 10;
    double learning_rate = 1e-4, weight_decay = 0.01, clip = 1;
    std::uint64_t seed = 0;
};

/// Tokens of one rank, and what follows each: [batch, tokens].
struct Windows {
    ra::Tensor<ra::Token, 2> tokens, targets;
};

/// Windows at random places of random texts, a function of seed and step: of each the tokens at these
/// positions.
inline Windows random_windows(const ra::Tensor<ra::Token, 2>& texts, const TrainArguments& arguments,
                              std::int64_t step, const ra::List<ra::Index>& positions) {
    const ra::CounterRandom random(arguments.seed, ra::RandomPurpose::sampling);
    const ra::Index places = texts.dimension(1) - arguments.context, count = ra::Index(positions.size());
    Windows windows{ra::Tensor<ra::Token, 2>(arguments.batch, count),
                    ra::Tensor<ra::Token, 2>(arguments.batch, count)};
    for (ra::Index b = 0; b < arguments.batch; ++b) {
        const double place = random.uniform(std::uint64_t(step), std::uint64_t(b));
        const auto window = ra::Index(place * double(texts.dimension(0) * places));
        const ra::Token* const begin = texts.data() + window / places * texts.dimension(1) + window % places;
        for (ra::Index i = 0; i < count; ++i) {
            windows.tokens(b, i) = begin[positions[std::size_t(i)]];
            windows.targets(b, i) = begin[positions[std::size_t(i)] + 1];
        }
    }
    return windows;
}

/// Goes on training on input_ids of a file, [texts, tokens] or one text [tokens], and saves the model in the
/// format in which it was published. All ranks call it; the weights do not depend on their number.
inline void train(const TrainArguments& arguments, ra::RingReference ring) {
    require_language_model("train");
    const ra::SafetensorsFile file(arguments.data);
    const ra::Tensor<ra::Token, 2> texts = read_tokens(file, "input_ids", options.vocabulary - 1);
    if (texts.dimension(1) <= arguments.context)
        throw ra::FileError(
            fmt::format("{}: input_ids has {} tokens a text, expected more than the --context of {}",
                        arguments.data.string(), texts.dimension(1), arguments.context));
    Model model;
    load(model, arguments.model);
    Model gradient = ra::zeros_like(model);
    ra::AdamW optimiser(model, {.weight_decay = arguments.weight_decay});
    const ra::WarmupCosine schedule{arguments.learning_rate, arguments.warmup_steps, arguments.steps};
    const ra::List<ra::Index> positions = model.share(ring, arguments.context).positions();
    Model::Cache cache;
    const bool speaks = ring.rank() == 0;
    ring_lm::ProgressLine line;
    ring_lm::Stopwatch watch;
    for (std::int64_t step = 0; step < arguments.steps; ++step) {
        const Windows windows = random_windows(texts, arguments, step, positions);
        const auto logits = model.forward(windows.tokens, cache, ring);
        const auto result = ra::cross_entropy(logits, windows.targets, ring);
        if (!std::isfinite(result.loss))
            throw ra::Error(
                fmt::format("the loss of step {} is {}: try a lower --learning-rate", step + 1, result.loss));
        ra::for_each_parameter(gradient, [](std::string_view, auto& tensor) { tensor.setZero(); });
        model.backward(result.d_logits, cache, gradient, ring);
        ra::clip_by_global_norm(gradient, arguments.clip);
        optimiser.step(model, gradient, schedule(step));
        if (speaks &&
            ((step + 1) % arguments.report_every == 0 || step + 1 == arguments.steps || line.on_terminal()))
            line.show(fmt::format(
                "step {}/{}  loss {:.4f}  {:.0f} tokens/s", step + 1, arguments.steps, result.loss,
                double((step + 1) * arguments.batch * arguments.context) / watch.seconds()));
    }
    if (!speaks) return;
    line.end();
    ra::save_pretrained(model, arguments.out, arguments.model);
    ring_lm::say(fmt::format("digest {:016x}\n", ra::digest(model)));
}

}  // namespace pretrained
