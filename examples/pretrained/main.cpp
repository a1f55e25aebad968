// One published model as a program: build.sh makes it from the model's folder. `PROGRAM --help` tells its
// commands.

#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include <CLI/CLI.hpp>

#include "../ring_lm/arguments.hpp"
#include "../ring_lm/layouts.hpp"
#include "../ring_lm/output.hpp"
#include "../ring_lm/program.hpp"
#include "../ring_lm/ranks.hpp"
#include "evaluate.hpp"
#include "generate.hpp"
#include "train.hpp"
#ifdef PRETRAINED_WITH_MPI
#include <ring_attention/mpi.hpp>
#endif

namespace {

namespace ra = ring_attention;

using ring_lm::add_number;
using ring_lm::add_path;

constexpr std::int64_t zero = 0, one = 1, largest = std::numeric_limits<std::int64_t>::max();

/// What the command line asks for.
struct Job {
    pretrained::EvaluateArguments evaluate;
    pretrained::GenerateArguments generate;
    pretrained::TrainArguments train;
    int threads = 0;
    std::function<int(ra::RingReference)> run;  ///< returns the exit code
};

/// A command that takes its arguments, among them those of the model, and a ring.
template <class Arguments>
CLI::App* add_command(CLI::App& app, Job& job, const char* name, const char* help, Arguments& with,
                      int (*run)(const Arguments&, ra::RingReference)) {
    CLI::App* command = app.add_subcommand(name, help);
    add_path(command, "--model", with.model.folder, "Folder with config.json and the weights")
        ->capture_default_str();
    add_number(command, "--chunks", with.model.chunks, 1, 1 << 20,
               "Seats of the ring, and the most ranks; this and the layout change results by rounding only");
    command->add_option("--layout", with.model.layout, "contiguous, zigzag or striped")
        ->transform(CLI::CheckedTransformer(ring_lm::layouts));
    add_number(command, "--threads", job.threads, 0, 4096, "0: RING_ATTENTION_NUM_THREADS, else all cores");
    command->callback(
        [&job, &with, run] { job.run = [&with, run](ra::RingReference ring) { return run(with, ring); }; });
    return command;
}

void add_evaluate(CLI::App& app, Job& job) {
    pretrained::EvaluateArguments& with = job.evaluate;
    CLI::App* command =
        add_command(app, job, "evaluate", "Writes what the model makes of tokens, and gradients", with,
                    pretrained::evaluate);
    add_path(command, "--input", with.input,
             "safetensors: input_ids [batch, seq]; perhaps attention_mask and token_type_ids, the same, and "
             "loss_weight [batch, seq, width]")
        ->required();
    add_path(command, "--output", with.output, "safetensors: output [batch, seq, width]")->required();
    command->add_flag("--gradients", with.gradients,
                      "Writes grad.NAME too, of sum(output * loss_weight), for each parameter");
}

void add_generate(CLI::App& app, Job& job) {
    pretrained::GenerateArguments& with = job.generate;
    CLI::App* command =
        add_command(app, job, "generate", "Prints the tokens that the model lets follow, as numbers", with,
                    pretrained::generate);
    command->add_option("--tokens", with.tokens, "What the text begins with: \"1 2 3\"")->required();
    add_number(command, "--length", with.length, 0, 1 << 30, "Tokens to make");
    add_number(command, "--temperature", with.temperature, 0.0, 100.0, "0: always the likeliest token");
    add_number(command, "--seed", with.seed, zero, largest, "Of the draws");
}

void add_train(CLI::App& app, Job& job) {
    pretrained::TrainArguments& with = job.train;
    CLI::App* command = add_command(app, job, "train", "Goes on training, and saves in the published format",
                                    with, pretrained::train<>);
    add_path(command, "--data", with.data, "safetensors: input_ids [texts, tokens] or one text [tokens]")
        ->required();
    add_path(command, "--out", with.out, "Folder for config.json and the weights")->required();
    add_number(command, "--context", with.context, 1, 1 << 24, "Tokens that the model sees at a time");
    add_number(command, "--batch", with.batch, 1, 1 << 20, "Windows of the texts in each step");
    add_number(command, "--steps", with.steps, one, largest, "Training steps");
    add_number(command, "--warmup-steps", with.warmup_steps, zero, largest,
               "In which the learning rate rises; then it falls to a tenth");
    add_number(command, "--learning-rate", with.learning_rate, 1e-9, 1.0, "At its peak");
    add_number(command, "--weight-decay", with.weight_decay, 0.0, 1.0, "Of matrices");
    add_number(command, "--clip", with.clip, 1e-9, 1e9, "Largest norm of a gradient");
    add_number(command, "--report-every", with.report_every, one, largest, "Steps between two lines");
    add_number(command, "--seed", with.seed, zero, largest, "Of the windows");
}

/// Does what the command line asks for on a ring.
int run(int argc, char** argv, ra::RingReference ring) {
    CLI::App app{"Runs, and goes on training, the model of " + std::string(pretrained::model_folder)};
    app.require_subcommand(1);
    Job job;
    add_evaluate(app, job);
    add_generate(app, job);
    add_train(app, job);
    if (const auto exit_code = ring_lm::parse(app, argc, argv, "--help", ring.rank() == 0)) return *exit_code;
    if (job.threads > 0) ra::set_num_threads(job.threads);
    const int exit_code = job.run(ring);
    ring_lm::require_output();
    return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
    return ring_lm::guarded("", [&]() -> int {
        if (!ring_lm::started_by_mpi()) {
            ra::LocalRing ring;
            return run(argc, argv, ring);
        }
#ifdef PRETRAINED_WITH_MPI
        return ra::mpi_main(argc, argv, [&](MPI_Comm world) {
            ra::MpiRing ring(world);
            return run(argc, argv, ring);
        });
#else
        throw ra::Error("started by mpirun, but built without MPI");
#endif
    });
}
