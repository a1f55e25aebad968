#pragma once

#include <algorithm>
#include <deque>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "gantt.hpp"
#include "ranks.hpp"

namespace ring_lm {

inline const char* name_of(ra::Activity activity) {
    switch (activity) {
        case ra::Activity::compute:
            return "compute";
        case ra::Activity::send:
            return "send";
        case ra::Activity::wait:
            return "wait";
        default:
            return "phase";
    }
}

/// What every rank did in the last steps of a training: as a trace for chrome://tracing or ui.perfetto.dev,
/// and as a picture of the last step.
class Trace {
  public:
    /// Throws ra::FileError where the files could not be written, before any time is spent.
    Trace(const Ranks& ranks, const std::filesystem::path& path) : ranks_(ranks), path_(path) {
        if (picture() == path_)
            throw ra::FileError(path.string() +
                                " is the name of the picture beside the trace, expected another");
        if (ranks.speaks()) {
            ra::require_writable(path_);
            ra::require_writable(picture());
        }
        ranks.ring.log().timeline = &timeline_;
    }
    ~Trace() { ranks_.ring.log().timeline = nullptr; }
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;

    void end_step() {
        steps_.push_back(timeline_.take());
        if (steps_.size() > kept_steps) steps_.pop_front();
    }

    /// What has happened since the last step is no part of one.
    void forget_evaluation() { timeline_.take(); }

    /// All ranks call it, and the first one writes. Throws ra::FileError where it cannot.
    void write() {
        forget_evaluation();
        const std::vector<std::string> of_ranks = ranks_.gather(as_text().dump());
        if (!ranks_.speaks()) return;
        nlohmann::json events = nlohmann::json::array();
        std::vector<nlohmann::json> ranks;
        for (const std::string& text : of_ranks) ranks.push_back(nlohmann::json::parse(text));
        double start = std::numeric_limits<double>::infinity();
        for (const auto& rank : ranks)
            for (const auto& event : rank) start = std::min(start, event["ts"].get<double>());
        for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
            events.push_back({{"ph", "M"},
                              {"name", "process_name"},
                              {"pid", rank},
                              {"args", {{"name", fmt::format("rank {}", rank)}}}});
            for (auto& event : ranks[rank]) {
                event["pid"] = rank;
                event["ts"] = event["ts"].get<double>() - start;
                events.push_back(event);
            }
        }
        const std::string text =
            nlohmann::json{{"traceEvents", events}, {"displayTimeUnit", "ms"}}.dump(0) + "\n";
        ra::write_file(path_, std::as_bytes(std::span(text)));
        draw_last_step(events, picture());
    }

  private:
    static constexpr std::size_t kept_steps = 3;

    std::filesystem::path picture() const { return std::filesystem::path(path_).replace_extension(".png"); }

    /// The events of this rank; what the link does lies below what the rank does.
    nlohmann::json as_text() const {
        nlohmann::json events = nlohmann::json::array();
        for (std::size_t step = 0; step < steps_.size(); ++step)
            for (const ra::TimelineEvent& event : steps_[step])
                events.push_back({{"ph", "X"},
                                  {"name", event.name},
                                  {"cat", name_of(event.activity)},
                                  {"tid", event.activity == ra::Activity::send ? 1 : 0},
                                  {"ts", event.begin * 1e6},
                                  {"dur", (event.end - event.begin) * 1e6},
                                  {"args", {{"step", step + 1 == steps_.size() ? "last" : "before"}}}});
        return events;
    }

    static void draw_last_step(const nlohmann::json& events, const std::filesystem::path& path) {
        Gantt gantt{"The last step", "ms", {}, {}};
        for (const auto& event : events) {
            if (event["ph"] == "M") gantt.rows.push_back(event["args"]["name"].get<std::string>());
            if (event["ph"] == "X" && event["args"]["step"] == "last") {
                const double begin = event["ts"].get<double>() / 1000,
                             length = event["dur"].get<double>() / 1000;
                gantt.bars.push_back(
                    {event["pid"].get<int>(), event["cat"].get<std::string>(), "", begin, begin + length});
            }
        }
        double start = std::numeric_limits<double>::infinity();
        for (const Bar& bar : gantt.bars) start = std::min(start, bar.begin);
        for (Bar& bar : gantt.bars) {
            bar.begin -= start;
            bar.end -= start;
        }
        draw(gantt, path);
    }

    const Ranks& ranks_;
    const std::filesystem::path path_;
    ra::Timeline timeline_;
    std::deque<std::vector<ra::TimelineEvent>> steps_;
};

}  // namespace ring_lm
