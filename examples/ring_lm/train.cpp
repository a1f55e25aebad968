#include "train.hpp"

#include <vector>

#include <fmt/format.h>

#include "evaluate.hpp"
#include "loss_curve.hpp"
#include "model.hpp"
#include "progress.hpp"
#include "text.hpp"

namespace ring_lm {

namespace {

/// The first 95 % to train on, the rest to be judged by.
struct SplitText {
    Text train, held_out;
};

SplitText split(Text text, const TrainArguments& arguments) {
    const std::size_t held_out = text.size() / 20, need = std::size_t(arguments.context) + 1;
    if (held_out < need)
        throw ra::FileError(fmt::format("{} has {} bytes, expected at least {} for a context of {}",
                                        arguments.data.string(), text.size(), 20 * need, arguments.context));
    return {text.first(text.size() - held_out), text.last(held_out)};
}

/// The folder is made and the table begun before any time is spent.
void prepare_folder(const std::filesystem::path& out) {
    std::error_code error;
    std::filesystem::create_directories(out, error);
    if (error) throw ra::FileError("cannot make the folder " + out.string() + ": " + error.message());
    write_csv({}, out / "loss.csv");
}

class Trainer {
  public:
    Trainer(const TrainArguments& arguments, const SplitText& text)
        : arguments_(arguments),
          text_(text),
          model_(ra::build<options>(arguments.seed)),
          gradient_(ra::zeros_like(model_)),
          optimiser_(model_),
          schedule_{arguments.learning_rate, std::max<std::int64_t>(1, arguments.steps / 20), arguments.steps,
                    0.05} {}

    void run() {
        for (std::int64_t step = 0; step < arguments_.steps; ++step) {
            const double loss = train_step(step);
            if (!std::isfinite(loss))
                throw ra::Error(
                    fmt::format("the loss of step {} is {}: try a lower --learning-rate", step + 1, loss));
            loss_since_point_ += bits(loss);
            ++steps_since_point_;
            if ((step + 1) % arguments_.report_every == 0 || step + 1 == arguments_.steps)
                report(step + 1);
            else if (line_.on_terminal())
                show(step + 1, loss_since_point_ / double(steps_since_point_));
        }
        line_.end();
    }

    const Model& model() const { return model_; }

  private:
    double train_step(std::int64_t step) {
        const Batch batch =
            random_windows(text_.train, arguments_.batch, arguments_.context, arguments_.seed, step);
        const auto logits =
            model_.forward(batch.tokens, cache_, ra::Dropout{arguments_.seed, std::uint64_t(step)});
        const auto result = ra::cross_entropy(logits, batch.targets);
        ra::for_each_parameter(gradient_, [](std::string_view, auto& tensor) { tensor.setZero(); });
        model_.backward(result.d_logits, cache_, gradient_);
        ra::clip_by_global_norm(gradient_, 1.0);
        optimiser_.step(model_, gradient_, schedule_(step));
        return result.loss;
    }

    void report(std::int64_t step) {
        constexpr std::size_t quick_look = 16;  // windows
        const double held_out =
            evaluate(model_, text_.held_out, arguments_.context, quick_look, [](auto...) {}).bits_per_byte();
        points_.push_back(
            {step, loss_since_point_ / double(steps_since_point_), held_out, schedule_(step - 1)});
        loss_since_point_ = 0;
        steps_since_point_ = 0;
        show(step, points_.back().train);
        write_csv(points_, arguments_.out / "loss.csv");
    }

    void show(std::int64_t step, double train_loss) {
        const double seconds = watch_.seconds();
        const double tokens = double(step) * double(arguments_.batch * arguments_.context);
        std::string held_out = points_.empty() ? "-" : fmt::format("{:.3f}", points_.back().held_out);
        line_.show(
            fmt::format("step {}/{}  bits per byte: train {:.3f}, held out {}  {:.1f}k tokens/s  {} left",
                        step, arguments_.steps, train_loss, held_out, tokens / seconds / 1000,
                        minutes_text(seconds / double(step) * double(arguments_.steps - step))));
    }

    const TrainArguments& arguments_;
    SplitText text_;
    Model model_;
    Model gradient_;
    ra::AdamW<Model> optimiser_;
    ra::WarmupCosine schedule_;
    Model::Cache cache_;
    std::vector<LossPoint> points_;
    double loss_since_point_ = 0;
    std::int64_t steps_since_point_ = 0;
    ProgressLine line_;
    Stopwatch watch_;
};

}  // namespace

void train(const TrainArguments& arguments) {
    const Bytes bytes = read_text(arguments.data);
    const SplitText text = split(bytes, arguments);
    prepare_folder(arguments.out);
    Trainer trainer(arguments, text);
    fmt::print("{} parameters; {} bytes to train on, {} held out; {} threads\n",
               ra::parameter_count(trainer.model()), text.train.size(), text.held_out.size(),
               ra::num_threads());
    trainer.run();

    save_model(trainer.model(), arguments.context, arguments.out / "weights.safetensors");
    draw_png(arguments.out / "loss.csv", arguments.out / "loss.png");
    const std::size_t windows = (std::size_t(1) << 18) / std::size_t(arguments.context);
    const PositionLosses losses = evaluate(trainer.model(), text.held_out, arguments.context,
                                           std::max<std::size_t>(1, windows), [](auto...) {});
    fmt::print("held-out bits per byte {:.4f}\ndigest {:016x}\n", losses.bits_per_byte(),
               ra::digest(trainer.model()));
}

}  // namespace ring_lm
