#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include <ring_attention/io/config.hpp>
#include <ring_attention/io/options_source.hpp>
#include <ring_attention/io/weights.hpp>

#include "support/family_options.inc"
#include "support/temporary_folder.hpp"

namespace io_options_source {

TEST_CASE("options without anything to say are written in one line") {
    CHECK(ra::options_source({}) == "constexpr ra::TransformerOptions options{};\n");
}

TEST_CASE(
    "a line and a comment is written for each option that is not as by default, in the order of its "
    "declaration") {
    CHECK(ra::options_source(
              {.vocabulary = 7, .layout = ra::Layout::zigzag, .rotary = {.base = 0.5f}, .head = false},
              "small") ==
          "constexpr ra::TransformerOptions small{\n"
          "    .vocabulary = 7,  // number of tokens\n"
          "    .layout = ra::Layout::zigzag,  // which tokens sit at which seat\n"
          "    .rotary = {\n"
          "        .base = 0.5f,  // of the frequencies\n"
          "    },\n"
          "    .head = false,  // a logit for each token of the vocabulary\n"
          "};\n");
}

TEST_CASE("what is written compiles, and is what was to be written") {
    const std::string included = read_text(RING_ATTENTION_GOLDEN_DIR "/../support/family_options.inc");
    const auto check = [&](const std::string& name, const ra::TransformerOptions& compiled) {
        CAPTURE(name);
        const std::string config =
            ra::read_metadata(RING_ATTENTION_GOLDEN_DIR "/families/" + name + ".safetensors", "config");
        const ra::TransformerOptions options = ra::detail::options_of_config(config);
        CHECK(included.find("\n" + ra::options_source(options, name)) != std::string::npos);
        ra::detail::for_each_option(
            [&](const std::string& option, const char*, const auto& written, const auto& read) {
                CAPTURE(option);
                CHECK(written == read);
            },
            compiled, options);
    };
    check("bert", bert);
    check("gemma2", gemma2);
    check("gpt2", gpt2);
    check("llama", llama);
    check("llama3", llama3);
    check("mistral", mistral);
    check("qwen2", qwen2);
    check("qwen3", qwen3);
}

}  // namespace io_options_source
