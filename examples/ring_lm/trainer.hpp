#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model.hpp"
#include "ranks.hpp"
#include "text.hpp"
#include "train.hpp"

namespace ring_lm {

/// Dropout for some of the windows of a batch, as it is for the whole batch.
struct DropoutOfReplica {
    ra::Dropout dropout;
    ra::Index first_window;

    std::uint64_t key() const { return dropout.key() + std::uint64_t(first_window); }
    void keep(const ra::DropoutPlace& place, ra::Index window, ra::Index position, double rate,
              std::span<std::uint8_t> keep) const {
        dropout.keep(place, first_window + window, position, rate, keep);
    }
};

/// A model in training, one step at a time.
class Trainer {
    auto phase(const char* what, std::int64_t step) {
        return ra::TimelineSpan(ranks_.ring.log().timeline, ra::Activity::phase, [what, step] {
            return std::string(what) + " of step " + std::to_string(step + 1);
        });
    }

  public:
    Trainer(const TrainArguments& arguments, const Text& text, const Ranks& ranks)
        : arguments_(arguments),
          text_(text),
          ranks_(ranks),
          model_(initial(arguments)),
          gradient_(ra::zeros_like(model_)),
          optimiser_(model_),
          schedule_{arguments.learning_rate, std::max<std::int64_t>(1, arguments.steps / 20), arguments.steps,
                    0.05},
          positions_(model_.share(ranks.ring, arguments.context).positions()) {
        if (ranks.replicas > 1 && ranks.replicas_here.count > 1) of_replica_.emplace(gradient_);
    }

    /// Returns the loss in nats, the mean over the whole batch. On all ranks the same.
    double step(std::int64_t step) {
        const auto whole = phase("step", step);
        double loss = 0;
        const ra::IndexRange here = ranks_.replicas_here;
        for (ra::Index replica = here.first; replica < here.end(); ++replica) {
            Model& gradient = replica == here.first ? gradient_ : *of_replica_;
            loss += replica_step(replica, step, gradient);
            if (replica != here.first) add(gradient, gradient_);
        }
        if (ranks_.across.ranks() > 1) {
            ra::add_over_ranks(ranks_.across, gradient_);
            const double own = loss;
            ra::sum_numbers_in_rank_order(ranks_.across, std::span(&loss, 1),
                                          [&](std::span<double> sum, ra::Index) {
                                              if (ranks_.across.rank() > 0) sum[0] += own;
                                          });
        }
        const double share = 1 / double(ranks_.replicas);
        if (ranks_.replicas > 1)
            ra::for_each_parameter(gradient_,
                                   [&](std::string_view, auto& tensor) { tensor *= float(share); });
        const auto optimising = phase("optimiser", step);
        ra::clip_by_global_norm(gradient_, 1.0);
        optimiser_.step(model_, gradient_, schedule_(step));
        return loss * share;
    }

    const Model& model() const { return model_; }
    double learning_rate(std::int64_t step) const { return schedule_(step); }

  private:
    static Model initial(const TrainArguments& arguments) {
        Model model = ra::build<options>(arguments.seed);
        model.layout = arguments.layout;
        return model;
    }

    /// The loss of a replica's windows; its gradient replaces what was there.
    double replica_step(ra::Index replica, std::int64_t step, Model& gradient) {
        const ra::IndexRange windows = ra::divide(arguments_.batch, ranks_.replicas, replica);
        const Batch batch = windows_at(
            text_, random_starts(text_, windows, arguments_.context, arguments_.seed, step), positions_);
        const DropoutOfReplica dropout{{arguments_.seed, std::uint64_t(step)}, windows.first};
        const auto logits = [&] {
            const auto forward = phase("forward", step);
            return arguments_.dropout ? model_.forward(batch.tokens, cache_, dropout, ranks_.ring)
                                      : model_.forward(batch.tokens, cache_, ranks_.ring);
        }();
        const auto result = ra::cross_entropy(logits, batch.targets, ranks_.ring);
        ra::for_each_parameter(gradient, [](std::string_view, auto& tensor) { tensor.setZero(); });
        const auto backward = phase("backward", step);
        model_.backward(result.d_logits, cache_, gradient, ranks_.ring);
        return result.loss;
    }

    static void add(const Model& part, Model& sum) {
        ra::for_each_parameter_in_step([](std::string_view, const auto& from, auto& to) { to += from; }, part,
                                       sum);
    }

    const TrainArguments& arguments_;
    Text text_;
    const Ranks& ranks_;
    Model model_;
    Model gradient_;
    std::optional<Model> of_replica_;  // where this process works for several
    ra::AdamW<Model> optimiser_;
    ra::WarmupCosine schedule_;
    ra::List<ra::Index> positions_;  // in a window, of what this rank holds
    typename Model::Cache cache_;
};

}  // namespace ring_lm
