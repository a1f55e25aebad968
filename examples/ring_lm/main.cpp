// ring_lm: a byte-level language model on ring attention. `ring_lm --help` tells its commands.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "arguments.hpp"
#include "evaluate.hpp"
#include "generate.hpp"
#include "layouts.hpp"
#include "output.hpp"
#include "program.hpp"
#include "progress.hpp"
#include "schedule.hpp"
#include "train.hpp"
#ifdef RING_LM_WITH_MPI
#include <ring_attention/mpi.hpp>
#endif

namespace {

namespace ra = ring_attention;

using ring_lm::add_number;
using ring_lm::add_path;

struct EvaluateArguments {
    std::filesystem::path weights, data;
    std::size_t max_bytes = std::numeric_limits<std::size_t>::max();
};

/// Prints bits per byte, over all and by the number of bytes that the model had seen.
void evaluate_file(const EvaluateArguments& arguments, const ring_lm::Ranks& ranks) {
    const ring_lm::TextFile file(arguments.data);
    const ring_lm::Text text{&file, 0, file.size()};
    const ring_lm::TrainedModel trained = ring_lm::load_model(arguments.weights);
    if (text.size() < 2) throw ra::FileError(arguments.data.string() + " has 1 byte, expected at least 2");
    const auto context = std::size_t(trained.context);
    ring_lm::ProgressLine line;
    const auto losses = ring_lm::evaluate(trained.model, text, trained.context,
                                          std::max<std::size_t>(1, arguments.max_bytes / context), ranks.ring,
                                          [&](std::size_t done, std::size_t all) {
                                              if (line.on_terminal() && ranks.speaks())
                                                  line.show(fmt::format("window {}/{}", done, all));
                                          });
    if (!std::isfinite(losses.bits_per_byte()))
        throw ra::Error("the weights are of no use: what they make of the text is not finite");
    if (!ranks.speaks()) return;
    line.end();
    fmt::print("bits per byte {:.4f}\n\nbytes of context  bits per byte\n", losses.bits_per_byte());
    for (std::size_t first = 0; first < context; first = 2 * first + 1) {
        const std::size_t end = std::min(context, 2 * first + 1);
        if (!losses.any_at(first)) break;  // the text was shorter
        const std::string range =
            end - first == 1 ? fmt::format("{}", end) : fmt::format("{}-{}", first + 1, end);
        fmt::print("{:>16}  {:>13.4f}\n", range, losses.bits_per_byte(first, end));
    }
}

constexpr std::int64_t zero = 0, one = 1, largest = std::numeric_limits<std::int64_t>::max();

using Work = std::function<int(const ring_lm::Ranks&)>;  ///< returns the exit code

/// What the command line asks for.
struct Job {
    ring_lm::TrainArguments train;
    ring_lm::GenerateArguments generate;
    EvaluateArguments evaluate;
    ring_lm::ScheduleArguments schedule;
    int threads = 0, replicas = 1;
    Work run;
};

void add_train(CLI::App& app, Job& job) {
    ring_lm::TrainArguments& with = job.train;
    CLI::App* command =
        app.add_subcommand("train", "Trains a model on a file, the last 5 % of which are held out");
    add_path(command, "--data", with.data, "Text file, any bytes")->required();
    add_path(command, "--out", with.out, "Folder for weights.safetensors, loss.csv and loss.png")->required();
    add_number(command, "--context", with.context, 1, 1 << 24, "Bytes that the model sees at a time");
    add_number(command, "--batch", with.batch, 1, 1 << 20, "Windows of the text in each step");
    add_number(command, "--steps", with.steps, one, largest, "Training steps");
    add_number(command, "--seed", with.seed, zero, largest, "Of initial values, sampling and dropout");
    add_number(command, "--learning-rate", with.learning_rate, 1e-9, 1.0, "At its peak");
    add_number(command, "--report-every", with.report_every, one, largest,
               "Steps between two looks at the held-out text");
    command
        ->add_option("--layout", with.layout,
                     "Which bytes of a window sit at which seat of the ring: contiguous, zigzag or striped")
        ->transform(CLI::CheckedTransformer(ring_lm::layouts));
    command->add_flag("--dropout", with.dropout, "Trains with dropout");
    add_number(command, "--replicas", job.replicas, 1, 1 << 20,
               "Rings that train on different windows of a batch: of the ranks, each gets its part");
    add_path(command, "--trace", with.trace,
             "File for a trace of the last steps, for ui.perfetto.dev; and a picture beside it");
    add_number(command, "--threads", job.threads, 0, 4096, "0: RING_ATTENTION_NUM_THREADS, else all cores");
    command->callback(
        [&] { job.run = [&](const ring_lm::Ranks& ranks) { return ring_lm::train(with, ranks); }; });
}

void add_generate(CLI::App& app, Job& job) {
    ring_lm::GenerateArguments& with = job.generate;
    CLI::App* command = app.add_subcommand(
        "generate", "Writes the prompt and the text that the model makes follow, byte by byte");
    add_path(command, "--weights", with.weights, "File that train wrote")->required();
    command->add_option("--prompt", with.prompt, "What the text begins with");
    add_number(command, "--length", with.length, 0, 1 << 30, "Bytes to make");
    add_number(command, "--temperature", with.temperature, 0.0, 100.0, "0: always the likeliest byte");
    add_number(command, "--seed", with.seed, zero, largest, "Of the draws");
    command->callback([&] {
        job.run = [&](const ring_lm::Ranks& ranks) {
            ring_lm::generate(with, ranks);
            return 0;
        };
    });
}

void add_evaluate(CLI::App& app, Job& job) {
    EvaluateArguments& with = job.evaluate;
    CLI::App* command =
        app.add_subcommand("evaluate", "Prints bits per byte of a text, and by position in the context");
    add_path(command, "--weights", with.weights, "File that train wrote")->required();
    add_path(command, "--data", with.data, "Text file")->required();
    add_number(command, "--max-bytes", with.max_bytes, 1, largest,
               "Look at windows of about so many bytes, evenly spread")
        ->default_str("");
    command->callback([&] {
        job.run = [&](const ring_lm::Ranks& ranks) {
            evaluate_file(with, ranks);
            return 0;
        };
    });
}

void add_schedule(CLI::App& app, Job& job) {
    ring_lm::ScheduleArguments& with = job.schedule;
    CLI::App* command = app.add_subcommand(
        "schedule", "Draws who computes with whose keys and values when, for a layout and a number of ranks");
    add_path(command, "--out", with.out, "File: .png or .svg")->capture_default_str();
    command->add_option("--layout", with.layouts, "contiguous, zigzag or striped; without it, all")
        ->transform(CLI::CheckedTransformer(ring_lm::layouts));
    add_number(command, "--ranks", with.ranks, 1, 64, "Ranks of the ring, a seat each");
    add_number(command, "--tokens", with.tokens, 1, 1 << 24, "Of a rank");
    add_number(command, "--hop", with.hop, 0.0, 100.0,
               "Time for which a message is under way; 1: in which a rank computes a hop");
    command->callback([&] {
        job.run = [&](const ring_lm::Ranks& ranks) {
            if (ranks.speaks()) ring_lm::draw_schedule(with);
            return 0;
        };
    });
}

int with_this_process(int replicas, const Work& work) {
    ra::LocalRing alone;
    return work({alone, alone, alone, replicas, {0, replicas}});
}

#ifdef RING_LM_WITH_MPI
/// Throws ra::RingError where the ranks cannot be divided among the replicas.
int with_processes(MPI_Comm all, int replicas, const Work& work) {
    const ra::MpiGrid grid(all, replicas);
    ra::MpiRing world(all), ring(grid.ring()), across(grid.across());
    return work({world, ring, across, replicas, {grid.replica(), 1}});
}
#endif

/// Does what the command line asks for, with the ranks that with_ranks(replicas, work) gives.
int run(int argc, char** argv, const std::function<int(int, const Work&)>& with_ranks) {
    CLI::App app{"Trains and runs a byte-level language model whose attention is a ring of chunks"};
    app.require_subcommand(1);
    Job job;
    add_train(app, job);
    add_generate(app, job);
    add_evaluate(app, job);
    add_schedule(app, job);
    if (const auto exit_code = ring_lm::parse(app, argc, argv, "ring_lm --help", true)) return *exit_code;
    if (job.threads > 0) ra::set_num_threads(job.threads);
    const int exit_code = with_ranks(job.replicas, job.run);
    ring_lm::require_output();
    return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
    return ring_lm::guarded("ring_lm: ", [&]() -> int {
        if (!ring_lm::started_by_mpi()) return run(argc, argv, with_this_process);
#ifdef RING_LM_WITH_MPI
        return ra::mpi_main(argc, argv, [&](MPI_Comm world) {
            return run(argc, argv,
                       [&](int replicas, const Work& work) { return with_processes(world, replicas, work); });
        });
#else
        throw ra::Error("started by mpirun, but built without MPI");
#endif
    });
}
