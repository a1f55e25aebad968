#include "train.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "evaluate.hpp"
#include "interruption.hpp"
#include "loss_curve.hpp"
#include "output.hpp"
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

/// The folder is made, the table begun, and room for the weights looked for, before any time is spent.
void prepare_folder(const std::filesystem::path& out) {
    std::error_code error;
    std::filesystem::create_directories(out, error);
    if (error) throw ra::FileError("cannot make the folder " + out.string() + ": " + error.message());
    write_csv({}, out / "loss.csv");
    ra::require_writable(out / "weights.safetensors");
    ra::require_writable(out / "loss.png");
}

/// What one sees of a training: a line of progress, the loss curve, and in the end the weights and a digest.
/// It is the same run on every rank, and told by one.
class TrainingRun {
  public:
    TrainingRun(const TrainArguments& arguments, const SplitText& text, const Ranks& ranks)
        : arguments_(arguments), text_(text), ranks_(ranks), trainer_(arguments, text.train, ranks) {}

    /// Returns the exit code.
    int run() {
        begin();
        Interruption::watch();
        std::int64_t step = 0;
        int signal = 0;  // the one that ends it, on whichever rank it came
        for (; step < arguments_.steps && signal == 0; ++step) {
            const double loss = trainer_.step(step);
            if (!std::isfinite(loss))
                throw ra::Error(
                    fmt::format("the loss of step {} is {}: try a lower --learning-rate", step + 1, loss));
            loss_since_point_ += bits(loss);
            ++steps_since_point_;
            if (trace_) trace_->end_step();
            signal = largest_of_ranks(ranks_.world, Interruption::signal());
            if ((step + 1) % arguments_.report_every == 0 || step + 1 == arguments_.steps || signal != 0)
                report(step + 1);
            else if (line_.on_terminal())
                show(step + 1, loss_since_point_ / double(steps_since_point_));
        }
        return end(step, signal);
    }

  private:
    void begin() {
        if (!arguments_.trace.empty()) trace_.emplace(ranks_, arguments_.trace);
        if (!ranks_.speaks()) return;
        const std::string others =
            ranks_.world.ranks() > 1 ? fmt::format(" on each of {} ranks", ranks_.world.ranks()) : "";
        say(fmt::format("{} parameters; {} bytes to train on, {} held out; {} threads{}\n",
                        ra::parameter_count(trainer_.model()), text_.train.size(), text_.held_out.size(),
                        ra::num_threads(), others));
        require_output();  // later it need not end a training
    }

    /// What can be lost comes first. Returns the exit code.
    int end(std::int64_t steps, int signal) {
        if (ranks_.speaks()) line_.end();
        save();
        signal = std::max(signal, largest_of_ranks(ranks_.world, Interruption::signal()));
        Interruption::all_is_saved("ring_lm: stopped; the weights are saved\n");
        if (signal != 0) {
            if (ranks_.speaks())
                fmt::print(stderr, "ring_lm: stopped by {} after step {} of {}; the weights are in {}\n",
                           Interruption::name(signal), steps, arguments_.steps, weights().string());
            return Interruption::exit_code(signal);
        }
        const std::size_t windows = (std::size_t(1) << 18) / std::size_t(arguments_.context);
        const double held_out = held_out_bits(std::max<std::size_t>(1, windows));
        if (ranks_.speaks())
            say(fmt::format("held-out bits per byte {:.4f}\ndigest {:016x}\n", held_out,
                            ra::digest(trainer_.model())));
        return Interruption::exit_code(Interruption::signal());
    }

    /// All ranks call it, and throw alike where the weights are not finite.
    void save() {
        require_finite(trainer_.model(), "the weights are not saved");
        if (ranks_.speaks()) save_model(trainer_.model(), arguments_.context, weights());
        if (trace_) trace_->write();
        if (!ranks_.speaks()) return;
        if (loss_csv_failure_) std::rethrow_exception(loss_csv_failure_);
        draw_png(arguments_.out / "loss.csv", arguments_.out / "loss.png");
    }

    std::filesystem::path weights() const { return arguments_.out / "weights.safetensors"; }

    /// What goes wrong is told in the end, when the weights are saved.
    void write_table() {
        loss_csv_failure_ = nullptr;
        try {
            write_csv(points_, arguments_.out / "loss.csv");
        } catch (const ra::FileError&) {
            loss_csv_failure_ = std::current_exception();
        }
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
        if (ranks_.speaks()) write_table();
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
    const Ranks& ranks_;
    Trainer trainer_;
    std::optional<Trace> trace_;
    std::vector<LossPoint> points_;
    double loss_since_point_ = 0;
    std::int64_t steps_since_point_ = 0;
    std::exception_ptr loss_csv_failure_;
    ProgressLine line_;
    Stopwatch watch_;
};

}  // namespace

int train(const TrainArguments& arguments, const Ranks& ranks) {
    if (arguments.batch % ranks.replicas != 0)
        throw ra::Error(
            fmt::format("--batch {} and --replicas {}: the batch must be a multiple of the replicas",
                        arguments.batch, ranks.replicas));
    const TextFile file(arguments.data);
    const SplitText text = split(file, arguments.context);
    if (ranks.speaks()) prepare_folder(arguments.out);
    return TrainingRun(arguments, text, ranks).run();
}

}  // namespace ring_lm
