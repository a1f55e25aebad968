// pretrained_golden unpack GOLDEN FOLDER: a model of the golden files as the folder in which it would be
// published, and what it was run on beside it, input.safetensors. pretrained_golden inputs FOLDER: inputs
// that do not fit the model of that folder, and texts to train on. pretrained_golden overflow MODEL FOLDER:
// the model with weights that are finite and so large that a gradient is not. pretrained_golden compare
// GOLDEN OUTPUT [GRADIENTS]: whether what a program wrote is what the golden file says.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include <ring_attention/io/safetensors.hpp>

namespace ra = ring_attention;

namespace {

bool is_input(const std::string& name) {
    return name == "input_ids" || name == "attention_mask" || name == "token_type_ids" ||
           name == "loss_weight";
}

bool is_result(const std::string& name) {
    return name == "output" || name.starts_with("grad.");
}

void unpack(const ra::SafetensorsFile& golden, const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json") << golden.metadata().at("config");
    std::list<std::vector<std::byte>> contents;
    std::vector<ra::NamedTensor> weights, inputs;
    for (const std::string& name : golden.names()) {
        if (is_result(name)) continue;
        contents.push_back(golden.read_bytes(name));
        (is_input(name) ? inputs : weights)
            .push_back({name, golden.entry(name).dtype, golden.shape(name), contents.back()});
    }
    ra::write_safetensors(folder / "model.safetensors", weights, {{"format", "pt"}});
    ra::write_safetensors(folder / "input.safetensors", inputs);
}

using Numbers = std::vector<std::int64_t>;

ra::NamedTensor tensor(const char* name, std::vector<ra::Index> shape, const Numbers& numbers) {
    return ra::named_tensor(name, std::move(shape), numbers.data());
}

void write_inputs(const std::filesystem::path& folder) {
    const Numbers ids{1, 2, 3, 4, 5, 6}, high{1, 2, 3, 4, 61, 6}, negative{1, 2, -3, 4, 5, 6};
    const Numbers padded{1, 1, 1, 1, 0, 0}, front{0, 1, 1, 1, 1, 1}, twos{1, 1, 2, 1, 1, 1};
    const std::vector<float> few_weights(6), numbers{1, 2, 3, 4, 5, 6};
    const auto write = [&](const char* name, std::vector<ra::NamedTensor> tensors) {
        ra::write_safetensors(folder / (std::string(name) + ".safetensors"), std::move(tensors));
    };
    write("padded", {tensor("input_ids", {2, 3}, ids), tensor("attention_mask", {2, 3}, padded)});
    write("no_ids", {tensor("attention_mask", {2, 3}, padded)});
    write("high", {tensor("input_ids", {2, 3}, high)});
    write("negative", {tensor("input_ids", {2, 3}, negative)});
    write("no_tokens", {tensor("input_ids", {2, 0}, {})});
    write("of_three_axes", {tensor("input_ids", {1, 2, 3}, ids)});
    write("floats", {ra::named_tensor("input_ids", {2, 3}, numbers.data())});
    write("front", {tensor("input_ids", {2, 3}, ids), tensor("attention_mask", {2, 3}, front)});
    write("twos", {tensor("input_ids", {2, 3}, ids), tensor("attention_mask", {2, 3}, twos)});
    write("other_mask", {tensor("input_ids", {2, 3}, ids), tensor("attention_mask", {3, 2}, padded)});
    write("types", {tensor("input_ids", {2, 3}, ids), tensor("token_type_ids", {2, 3}, padded)});
    write("few_weights",
          {tensor("input_ids", {2, 3}, ids), ra::named_tensor("loss_weight", {2, 3}, few_weights.data())});
    Numbers text;
    for (std::int64_t i = 0; i < 200; ++i) text.push_back(i % 7 * 5);
    write("text", {tensor("input_ids", {200}, text)});
    write("texts", {tensor("input_ids", {5, 40}, text)});
}

/// Gates of the feed-forward layers near the largest float, of which nothing is to be seen, since what they
/// are multiplied with is 0: the loss is finite. The gradient of that is not.
void overflow(const std::filesystem::path& model, const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    std::filesystem::copy(model / "config.json", folder);
    const ra::SafetensorsFile file(model / "model.safetensors");
    std::list<std::vector<float>> contents;
    std::vector<ra::NamedTensor> weights;
    for (const std::string& name : file.names()) {
        std::vector<float>& numbers = contents.emplace_back(file.read<float>(name));
        const float factor = name.ends_with("gate_proj.weight")   ? 1e37f
                             : name.ends_with("up_proj.weight")   ? 0
                             : name.ends_with("down_proj.weight") ? 1e6f
                                                                  : 1;
        for (float& number : numbers) number *= factor;
        weights.push_back(ra::named_tensor(name, file.shape(name), numbers.data()));
    }
    ra::write_safetensors(folder / "model.safetensors", weights, {{"format", "pt"}});
}

/// Throws ra::Error where they differ by more than so much of the largest number.
void require_close(const std::string& name, const std::vector<float>& is, const std::vector<float>& expected,
                   float tolerance) {
    float largest = 0, difference = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        largest = std::max(largest, std::abs(expected[i]));
        difference = std::max(difference, std::isnan(is[i]) ? INFINITY : std::abs(is[i] - expected[i]));
    }
    std::printf("%-60s %.1e of the largest\n", name.c_str(), double(difference / largest));
    if (!(difference <= tolerance * largest)) throw ra::Error(name + " is not what the golden file has");
}

void compare(const ra::SafetensorsFile& golden, const ra::SafetensorsFile& made, bool gradients) {
    std::size_t expected = 0;
    for (const std::string& name : golden.names()) {
        if (!is_result(name) || (name != "output" && !gradients)) continue;
        ++expected;
        made.require(name, "F32", golden.shape(name));
        require_close(name, made.read<float>(name), golden.read<float>(name),
                      name == "output" ? 2e-5f : 5e-5f);
    }
    if (made.names().size() != expected) throw ra::Error("there are results that the golden file has not");
}

}  // namespace

int main(int argc, char** argv) try {
    const std::string command = argc > 1 ? argv[1] : "";
    if (command == "inputs" && argc == 3) {
        write_inputs(argv[2]);
        return 0;
    }
    if (argc < 4) throw ra::Error("expected unpack, overflow or compare, and two paths");
    if (command == "overflow") {
        overflow(argv[2], argv[3]);
        return 0;
    }
    const ra::SafetensorsFile golden(argv[2]);
    if (command == "unpack")
        unpack(golden, argv[3]);
    else
        compare(golden, ra::SafetensorsFile(argv[3]), argc > 4);
} catch (const std::exception& error) {
    std::fprintf(stderr, "pretrained_golden: %s\n", error.what());
    return 1;
}
