#include "train.hpp"

#include <optional>
#include <vector>

#include <fmt/format.h>

#include "evaluate.hpp"
#include "loss_curve.hpp"
#include "progress.hpp"
#include "trace.hpp"
#include "trainer.hpp"

namespace ring_lm {

namespace {

/// The first 95 % to train on, the rest to be judged by.
struct SplitText {
    Text train, held_out;
};

SplitText split(const TextFile& file, ra::Index context) {
    const std::size_t held_out = file.size() / 20, need = std::size_t(context) + 1;
    if (held_out < need)
        throw ra::FileError(fmt::format("{} has {} bytes, expected at least {} for a context of {}",
                                        file.path().string(), file.size(), 20 * need, context));
    return {{&file, 0, file.size() - held_out}, {&file, file.size() - held_out, held_out}};
}

/// The folder is made and the table begun before any time is spent.
void prepare_folder(const std::filesystem::path& out) {
    std::error_code error;
    std::filesystem::create_directories(out, error);
    if (error) throw ra::FileError("cannot make the folder " + out.string() + ": " + error.message());
    write_csv({}, out / "loss.csv");
}

/// What one sees of a training: a line of progress, the loss curve, and in the end the weights and a digest.
/// It is the same run on every rank, and told by one.
template <ra::Layout layout>
class TrainingRun {
  public:
    TrainingRun(const TrainArguments& arguments, const SplitText& text, Ranks& ranks)
        : arguments_(arguments), text_(text), ranks_(ranks), trainer_(arguments, text.train, ranks) {}

    void run() {
        begin();
        for (std::int64_t step = 0; step < arguments_.steps; ++step) {
            const double loss = trainer_.step(step);
            if (!std::isfinite(loss))
                throw ra::Error(
                    fmt::format("the loss of step {} is {}: try a lower --learning-rate", step + 1, loss));
            loss_since_point_ += bits(loss);
            ++steps_since_point_;
            if (trace_) trace_->end_step();
            if ((step + 1) % arguments_.report_every == 0 || step + 1 == arguments_.steps)
                report(step + 1);
            else if (line_.on_terminal())
                show(step + 1, loss_since_point_ / double(steps_since_point_));
        }
        end();
    }

  private:
    void begin() {
        if (!arguments_.trace.empty()) trace_.emplace(ranks_, arguments_.trace);
        if (!ranks_.speaks()) return;
        const std::string others =
            ranks_.world.ranks() > 1 ? fmt::format(" on each of {} ranks", ranks_.world.ranks()) : "";
        fmt::print("{} parameters; {} bytes to train on, {} held out; {} threads{}\n",
                   ra::parameter_count(trainer_.model()), text_.train.size(), text_.held_out.size(),
                   ra::num_threads(), others);
    }

    void end() {
        line_.end();
        if (trace_) trace_->write();
        const std::size_t windows = (std::size_t(1) << 18) / std::size_t(arguments_.context);
        const double held_out = held_out_bits(std::max<std::size_t>(1, windows));
        if (!ranks_.speaks()) return;
        save_model(trainer_.model(), arguments_.context, arguments_.out / "weights.safetensors");
        draw_png(arguments_.out / "loss.csv", arguments_.out / "loss.png");
        fmt::print("held-out bits per byte {:.4f}\ndigest {:016x}\n", held_out, ra::digest(trainer_.model()));
    }

    /// On the ranks of the first replica; the others need not know.
    double held_out_bits(std::size_t windows) {
        if (ranks_.replicas_here.first > 0) return 0;
        return evaluate(trainer_.model(), text_.held_out, arguments_.context, windows, ranks_.ring,
                        [](auto...) {})
            .bits_per_byte();
    }

    void report(std::int64_t step) {
        constexpr std::size_t quick_look = 16;  // windows
        points_.push_back({step, loss_since_point_ / double(steps_since_point_), held_out_bits(quick_look),
                           trainer_.learning_rate(step - 1)});
        loss_since_point_ = 0;
        steps_since_point_ = 0;
        if (trace_) trace_->forget_evaluation();
        show(step, points_.back().train);
        if (ranks_.speaks()) write_csv(points_, arguments_.out / "loss.csv");
    }

    void show(std::int64_t step, double train_loss) {
        if (!ranks_.speaks()) return;
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
    Ranks& ranks_;
    Trainer<layout> trainer_;
    std::optional<Trace> trace_;
    std::vector<LossPoint> points_;
    double loss_since_point_ = 0;
    std::int64_t steps_since_point_ = 0;
    ProgressLine line_;
    Stopwatch watch_;
};

template <ra::Layout layout>
void train_with(const TrainArguments& arguments, const SplitText& text, Ranks& ranks) {
    TrainingRun<layout>(arguments, text, ranks).run();
}

}  // namespace

void train(const TrainArguments& arguments, Ranks& ranks) {
    if (arguments.batch % ranks.replicas != 0)
        throw ra::Error(
            fmt::format("--batch {} and --replicas {}: the batch must be a multiple of the replicas",
                        arguments.batch, ranks.replicas));
    const TextFile file(arguments.data);
    const SplitText text = split(file, arguments.context);
    if (ranks.speaks()) prepare_folder(arguments.out);
    switch (arguments.layout) {
        case ra::Layout::contiguous:
            return train_with<ra::Layout::contiguous>(arguments, text, ranks);
        case ra::Layout::zigzag:
            return train_with<ra::Layout::zigzag>(arguments, text, ranks);
        case ra::Layout::striped:
            return train_with<ra::Layout::striped>(arguments, text, ranks);
    }
}

}  // namespace ring_lm
