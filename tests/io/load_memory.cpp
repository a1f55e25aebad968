// How much memory loading takes beside the model: no more than one of its tensors. Counts what the program
// has of operator new.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <malloc.h>
#include <new>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/pretrained.hpp>

#include "support/family_options.inc"
#include "support/named_parameters.hpp"
#include "support/temporary_folder.hpp"

namespace {

std::size_t bytes_now = 0, most_bytes = 0, largest_block = std::size_t(1) << 40;

void* count(void* data) {
    if (data == nullptr) throw std::bad_alloc();
    most_bytes = std::max(most_bytes, bytes_now += ::malloc_usable_size(data));
    return data;
}

void give_back(void* data) {
    bytes_now -= ::malloc_usable_size(data);
    std::free(data);
}

/// What f takes at a time beside what was there before.
std::size_t extra_bytes(auto&& f) {
    const std::size_t before = most_bytes = bytes_now;
    f();
    return most_bytes - before;
}

}  // namespace

void* operator new(std::size_t size) {
    return count(size > largest_block ? nullptr : std::malloc(size));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    const std::size_t unit = std::size_t(alignment);
    return count(std::aligned_alloc(unit, (size + unit - 1) / unit * unit));
}
void operator delete(void* data) noexcept {
    give_back(data);
}
void operator delete(void* data, std::size_t) noexcept {
    give_back(data);
}
void operator delete(void* data, std::align_val_t) noexcept {
    give_back(data);
}
void operator delete(void* data, std::size_t, std::align_val_t) noexcept {
    give_back(data);
}

namespace {

ra::TransformerOptions wide_options() {
    ra::TransformerOptions options = llama;
    options.hidden_size = options.ffn_width = 512;
    options.head_width = 0;
    options.num_heads = options.key_value_heads = 8;
    options.num_layers = 4;
    return options;
}

}  // namespace

TEST_CASE("a model is loaded and saved in the memory that it has and that of one tensor") {
    const ra::TransformerOptions options = wide_options();
    constexpr std::size_t tensor_bytes = 512 * 512 * sizeof(float), details = 100'000;
    const TemporaryFolder folder;
    support::NamedParameters<float> model(options);
    const std::size_t model_bytes = std::size_t(ra::parameter_count(model)) * sizeof(float);
    REQUIRE(model_bytes > 20 * tensor_bytes);
    CHECK(extra_bytes([&] {
              ra::detail::write_published(model, options, folder.path(), ra::detail::config_of(options));
          }) < tensor_bytes + details);
    CHECK(extra_bytes([&] { ra::detail::load_published(model, options, folder.path()); }) <
          tensor_bytes + details);

    // The same where each number is converted.
    std::vector<ra::NamedTensor> halves;
    const std::vector<std::uint16_t> zeros(512 * 512);
    const ra::SafetensorsFile single(folder / "model.safetensors");
    for (const std::string& name : single.names()) {
        const auto size = std::size_t(single.entry(name).end - single.entry(name).begin) / sizeof(float);
        halves.push_back({name, "BF16", single.shape(name), std::as_bytes(std::span(zeros).first(size))});
    }
    ra::write_safetensors(folder / "model.safetensors", halves);
    CHECK(extra_bytes([&] { ra::detail::load_published(model, options, folder.path()); }) <
          tensor_bytes + details);
}

TEST_CASE("what fails in the middle of reading leaves no half of a model") {
    const ra::TransformerOptions options = wide_options();
    const TemporaryFolder folder;
    support::NamedParameters<float> model(options);
    ra::detail::write_published(model, options, folder.path(), ra::detail::config_of(options));
    largest_block = 500'000;  // there is no memory to turn a kernel
    CHECK_THROWS_AS(ra::detail::load_published(model, options, folder.path()), std::bad_alloc);
    largest_block = std::size_t(1) << 40;
    bool all_nan = true;
    ra::for_each_parameter(model, [&](std::string_view, const auto& parameter) {
        all_nan = all_nan && parameter.array().isNaN().all();
    });
    CHECK(all_nan);
}
