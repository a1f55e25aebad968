// model_options [--bfloat16] MODEL_DIR: reads the config.json of a published model and prints the options of
// the library that say the same, as the header that the program of this model includes (model.hpp).
// --bfloat16: with weights, keys and values kept so.

#include <cstdio>
#include <exception>
#include <filesystem>
#include <string_view>

#include <fmt/format.h>

#include <ring_attention/io/options_source.hpp>
#include <ring_attention/io/pretrained.hpp>

namespace ra = ring_attention;

int main(int argc, char** argv) try {
    const bool bfloat16 = argc > 1 && argv[1] == std::string_view("--bfloat16");
    if (argc != (bfloat16 ? 3 : 2))
        throw ra::Error("expected one argument, the folder of a model, perhaps behind --bfloat16");
    const std::filesystem::path folder = std::filesystem::absolute(argv[argc - 1]).lexically_normal();
    ra::TransformerOptions options = ra::pretrained_options(folder);
    if (bfloat16) options.storage = options.weights = ra::Storage::bfloat16;
    fmt::print(
        "#pragma once\n\n"
        "#include <ring_attention/models/transformer_options.hpp>\n\n"
        "namespace pretrained {{\n\n"
        "namespace ra = ring_attention;\n\n"
        "{}\n"
        "// Where the weights are, unless --model says otherwise.\n"
        "inline constexpr const char* model_folder = R\"path({})path\";\n\n"
        "}}  // namespace pretrained\n",
        ra::options_source(options), folder.string());
    return std::fflush(stdout) == 0 ? 0 : throw ra::FileError("cannot write to standard output");
} catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
}
