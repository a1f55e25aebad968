#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "../ring_lm/finite.hpp"
#include "../ring_lm/interruption.hpp"
#include "../ring_lm/output.hpp"
#include "../ring_lm/progress.hpp"
#include "../ring_lm/ranks.hpp"
#include "model.hpp"
#include "tokens_file.hpp"

namespace pretrained {

struct TrainArguments {
    ModelArguments model;
    std::filesystem::path data, out;
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

/// A training of the model, one step at a time. Throws ra::Error where the model has a number that is not
/// finite.
template <class Model>
class Trainer {
  public:
    Trainer(const TrainArguments& arguments, const ra::Tensor<ra::Token, 2>& texts, ra::RingReference ring)
        : arguments_(arguments),
          texts_(texts),
          ring_(ring),
          model_(load(arguments.model)),
          gradient_(ra::zeros_like(model_)),
          optimiser_(model_, {.weight_decay = arguments.weight_decay}),
          schedule_{arguments.learning_rate, arguments.warmup_steps, arguments.steps},
          positions_(model_.share(ring, arguments.context).positions()) {
        ring_lm::require_finite(model_, arguments.model.folder.string());
    }

    /// Returns the loss in nats, the same on all ranks. Throws ra::Error where it is not finite.
    double step(std::int64_t step) {
        const Windows windows = random_windows(texts_, arguments_, step, positions_);
        const auto result =
            ra::cross_entropy(model_.forward(windows.tokens, cache_, ring_), windows.targets, ring_);
        if (!std::isfinite(result.loss))
            throw ra::Error(
                fmt::format("the loss of step {} is {}: try a lower --learning-rate", step + 1, result.loss));
        ra::for_each_parameter(gradient_, [](std::string_view, auto& tensor) { tensor.setZero(); });
        model_.backward(result.d_logits, cache_, gradient_, ring_);
        ra::clip_by_global_norm(gradient_, arguments_.clip);
        optimiser_.step(model_, gradient_, schedule_(step));
        return result.loss;
    }

    const Model& model() const { return model_; }

  private:
    const TrainArguments& arguments_;
    const ra::Tensor<ra::Token, 2>& texts_;
    ra::RingReference ring_;
    Model model_, gradient_;
    ra::AdamW<Model> optimiser_;
    ra::WarmupCosine schedule_;
    ra::List<ra::Index> positions_;  // in a window, of what this rank holds
    typename Model::Cache cache_;
};

/// The texts of a file: input_ids, [texts, tokens] or one text [tokens].
inline ra::Tensor<ra::Token, 2> read_texts(const TrainArguments& arguments) {
    const ra::SafetensorsFile file(arguments.data);
    ra::Tensor<ra::Token, 2> texts = read_tokens(file, "input_ids", options.vocabulary - 1);
    if (texts.dimension(1) <= arguments.context)
        throw ra::FileError(
            fmt::format("{}: input_ids has texts of {} tokens, expected more than the --context of {}",
                        arguments.data.string(), texts.dimension(1), arguments.context));
    return texts;
}

/// The folder is made, and room for the weights looked for, before any time is spent.
inline void prepare_folder(const std::filesystem::path& out) {
    std::error_code error;
    std::filesystem::create_directories(out, error);
    if (error) throw ra::FileError("cannot make the folder " + out.string() + ": " + error.message());
    ra::require_writable(out / "model.safetensors");
}

/// What can be lost comes first; then the digest or, when a signal has ended the training, where the model
/// is. All ranks call it, and throw alike where the weights are not finite: then the folder has what it had.
/// Returns the exit code.
template <class Model>
int end_training(const TrainArguments& arguments, const Model& model, ra::RingReference ring,
                 std::int64_t steps, int signal) {
    ring_lm::require_finite(model, "the weights are not saved");
    if (ring.rank() == 0) ra::save_pretrained(model, arguments.out, arguments.model.folder);
    signal = std::max(signal, ring_lm::largest_of_ranks(ring, ring_lm::Interruption::signal()));
    ring_lm::Interruption::all_is_saved("stopped; the model is saved\n");
    if (ring.rank() == 0 && signal == 0)
        ring_lm::say(fmt::format("digest {:016x}\n", ra::digest(model)));
    else if (ring.rank() == 0)
        fmt::print(stderr, "stopped by {} after step {} of {}; the model is in {}\n",
                   ring_lm::Interruption::name(signal), steps, arguments.steps, arguments.out.string());
    return ring_lm::Interruption::exit_code(signal);
}

/// Goes on training, and saves the model in the format in which it was published. All ranks call it; the
/// weights do not depend on their number. When a rank gets SIGINT, SIGTERM or SIGHUP, all end after the step
/// under way and save. Returns the exit code: 0, or 128 + signal.
template <class Model>
int train_model(const TrainArguments& arguments, ra::RingReference ring) {
    require_language_model("train");
    require_positions(arguments.context);
    const ra::Tensor<ra::Token, 2> texts = read_texts(arguments);
    const bool speaks = ring.rank() == 0;
    Trainer<Model> trainer(arguments, texts, ring);
    if (speaks) prepare_folder(arguments.out);

    ring_lm::Interruption::watch();
    ring_lm::ProgressLine line;
    ring_lm::Stopwatch watch;
    std::int64_t step = 0;
    int signal = 0;  // the one that ends it, on whichever rank it came
    while (step < arguments.steps && signal == 0) {
        const double loss = trainer.step(step++);
        signal = ring_lm::largest_of_ranks(ring, ring_lm::Interruption::signal());
        const bool is_last = step == arguments.steps || signal != 0;
        if (speaks && (step % arguments.report_every == 0 || is_last || line.on_terminal()))
            line.show(fmt::format("step {}/{}  loss {:.4f}  {:.0f} tokens/s", step, arguments.steps, loss,
                                  double(step * arguments.batch * arguments.context) / watch.seconds()));
    }
    if (speaks) line.end();
    return end_training(arguments, trainer.model(), ring, step, signal);
}

/// The same, or ra::Error where the model does not learn.
template <class AnyModel = Model>
int train(const TrainArguments& arguments, ra::RingReference ring) {
    require_learning("train");
    if constexpr (learns<AnyModel>)
        return train_model<AnyModel>(arguments, ring);
    else
        return 1;
}

}  // namespace pretrained
