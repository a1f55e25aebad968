#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/parameters.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/io/weights.hpp>

#include "support/temporary_folder.hpp"

namespace io_weights {

namespace ra = ring_attention;

namespace {

template <class T>
struct Affine {
    ra::Matrix<T> kernel;
    ra::RowVector<T> bias;
    static void visit(auto&& f, auto&... self) { f("kernel", self.kernel...), f("bias", self.bias...); }
};

template <class T>
struct TwoLayers {
    Affine<T> first{ra::Matrix<T>(3, 2), ra::RowVector<T>(2)};
    Affine<T> second{ra::Matrix<T>(2, 4), ra::RowVector<T>(4)};
    static void visit(auto&& f, auto&... self) { f("first", self.first...), f("second", self.second...); }
};

/// What an optimiser keeps: moments and the number of steps.
struct OptimiserState {
    TwoLayers<float> moments;
    Eigen::Matrix<std::int64_t, 1, 1> step;
    static void visit(auto&& f, auto&... self) { f("moments", self.moments...), f("step", self.step...); }
};

struct SameNameTwice {
    ra::RowVector<float> a = ra::RowVector<float>::Zero(2), b = a;
    static void visit(auto&& f, auto&... self) { f("x", self.a...), f("x", self.b...); }
};

/// Numbers of every kind, distinct from place to place.
template <class Model>
void fill(Model& model, double start) {
    ra::for_each_parameter(model, [&](std::string_view, auto& parameter) {
        using T = typename std::remove_cvref_t<decltype(parameter)>::Scalar;
        for (ra::Index i = 0; i < parameter.size(); ++i) parameter.data()[i] = T(start += 0.7);
    });
}

template <class Model>
std::string bytes_of(const Model& model) {
    std::string bytes;
    ra::for_each_parameter(model, [&](std::string_view, const auto& parameter) {
        using T = typename std::remove_cvref_t<decltype(parameter)>::Scalar;
        bytes.append(reinterpret_cast<const char*>(parameter.data()),
                     std::size_t(parameter.size()) * sizeof(T));
    });
    return bytes;
}

template <class T>
TwoLayers<T> filled(double start) {
    TwoLayers<T> model;
    fill(model, start);
    return model;
}

/// Loading must fail with the message and change nothing.
template <class Model>
void check_refused(Model& model, const std::filesystem::path& path, const std::string& expected) {
    const std::string before = bytes_of(model);
    CHECK_THROWS_WITH_AS(ra::load(model, path), doctest::Contains(expected.c_str()), ra::FileError);
    CHECK(bytes_of(model) == before);
}

}  // namespace

TEST_CASE_TEMPLATE("weights come back to the bit", T, float, double) {
    const TemporaryFolder folder;
    TwoLayers<T> saved = filled<T>(1);
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    const Bits nan_with_payload = std::bit_cast<Bits>(std::numeric_limits<T>::quiet_NaN()) + 12345;
    saved.first.kernel(2, 1) = std::bit_cast<T>(nan_with_payload);
    saved.first.bias(0) = -T(0);
    saved.second.kernel(1, 3) = -std::numeric_limits<T>::infinity();
    saved.second.bias(3) = std::numeric_limits<T>::denorm_min();
    ra::save(saved, folder / "weights");

    TwoLayers<T> loaded = filled<T>(50);
    const T* const place = loaded.first.kernel.data();
    ra::load(loaded, folder / "weights");
    CHECK(bytes_of(loaded) == bytes_of(saved));
    CHECK(loaded.first.kernel.data() == place);

    ra::save(loaded, folder / "again");
    CHECK(read_text(folder / "again") == read_text(folder / "weights"));
}

TEST_CASE("a matrix is stored as [rows, cols] row by row, a row vector as [size]") {
    const TemporaryFolder folder;
    const TwoLayers<float> model = filled<float>(0);
    ra::save(model, folder / "weights");
    const ra::SafetensorsFile file(folder / "weights");
    CHECK(file.names() ==
          std::vector<std::string>{"first.bias", "first.kernel", "second.bias", "second.kernel"});
    file.require("first.kernel", "F32", {3, 2});
    file.require("second.bias", "F32", {4});
    CHECK(file.read<float>("first.kernel")[1] == model.first.kernel(0, 1));
    CHECK(file.read<float>("first.kernel")[2] == model.first.kernel(1, 0));
}

TEST_CASE("the state of an optimiser is saved and loaded in the same way") {
    const TemporaryFolder folder;
    OptimiserState saved;
    fill(saved.moments, 3);
    saved.step(0) = (std::int64_t(1) << 53) + 1;
    ra::save(saved, folder / "state");
    OptimiserState loaded;
    fill(loaded, 9);
    ra::load(loaded, folder / "state");
    CHECK(bytes_of(loaded) == bytes_of(saved));
    ra::SafetensorsFile(folder / "state").require("step", "I64", {1});
}

TEST_CASE("empty parameters are saved and loaded") {
    const TemporaryFolder folder;
    Affine<float> nothing;
    ra::save(nothing, folder / "weights");
    CHECK_NOTHROW(ra::load(nothing, folder / "weights"));
    ra::SafetensorsFile(folder / "weights").require("kernel", "F32", {0, 0});
}

TEST_CASE("metadata is stored beside the weights and does not matter to load") {
    const TemporaryFolder folder;
    TwoLayers<float> model = filled<float>(1);
    const ra::Metadata metadata{{"hidden_size", "256"}, {"note", "caf\xC3\xA9"}};
    ra::save(model, folder / "weights", metadata);
    CHECK_NOTHROW(ra::load(model, folder / "weights"));
    CHECK(ra::read_metadata(folder / "weights") == metadata);
    CHECK(ra::read_metadata(folder / "weights", "hidden_size") == "256");
    CHECK_THROWS_WITH_AS(ra::read_metadata(folder / "weights", "embed_dim"),
                         doctest::Contains("weights: has no metadata \"embed_dim\""), ra::FileError);
    ra::save(model, folder / "weights");
    CHECK(ra::read_metadata(folder / "weights").empty());
}

TEST_CASE("weights of another shape or type are refused, and the model is as it was") {
    const TemporaryFolder folder;
    TwoLayers<double> model = filled<double>(1);
    ra::save(filled<float>(2), folder / "float");
    check_refused(model, folder / "float", "float: tensor \"first.kernel\" has dtype F32, expected F64");
    TwoLayers<double> other = filled<double>(3);
    other.second.bias = ra::RowVector<double>::Zero(5);  // the last tensor: all before it fit
    ra::save(other, folder / "wider");
    check_refused(model, folder / "wider", "wider: tensor \"second.bias\" has shape [5], expected [4]");
    other = filled<double>(3);
    other.first.kernel.resize(2, 3);
    fill(other, 4);
    ra::save(other, folder / "turned");
    check_refused(model, folder / "turned", "tensor \"first.kernel\" has shape [2, 3], expected [3, 2]");
    OptimiserState state;
    fill(state, 1);
    ra::save(state.moments, folder / "moments");
    check_refused(state, folder / "moments", "has no tensor \"moments.first.kernel\"");
}

TEST_CASE("missing and unexpected tensors are named, a few of them") {
    const TemporaryFolder folder;
    TwoLayers<float> model = filled<float>(1);
    ra::save(model.first, folder / "part");
    check_refused(
        model, folder / "part",
        "part: has no tensor \"first.kernel\", \"first.bias\", \"second.kernel\" and 1 more, which the "
        "model expects, and has a tensor \"bias\", \"kernel\", which the model does not expect");
    auto tensors = ra::detail::stored_parameters(model);
    const float extra = 1;
    tensors.push_back(ra::named_tensor("third.bias", {1}, &extra));
    ra::write_safetensors(folder / "more", tensors);
    check_refused(model, folder / "more",
                  "more: has a tensor \"third.bias\", which the model does not expect");
    tensors.pop_back();
    tensors.pop_back();
    ra::write_safetensors(folder / "less", tensors);
    check_refused(model, folder / "less", "less: has no tensor \"second.bias\", which the model expects");
}

TEST_CASE("a corrupt or missing file leaves the model as it was") {
    const TemporaryFolder folder;
    TwoLayers<float> model = filled<float>(1);
    check_refused(model, folder / "none", "none: cannot be opened");
    ra::save(filled<float>(2), folder / "weights");
    const std::string whole = read_text(folder / "weights");
    for (std::size_t length = 0; length < whole.size(); ++length) {
        write_text(folder / "weights", whole.substr(0, length));
        check_refused(model, folder / "weights", "expected");
    }
}

TEST_CASE("a save that fails leaves the old weights, and nothing else") {
    const TemporaryFolder folder;
    ra::save(filled<float>(1), folder / "weights");
    const std::string before = read_text(folder / "weights");
    CHECK_THROWS_WITH_AS(ra::save(SameNameTwice(), folder / "weights"), doctest::Contains("named \"x\""),
                         ra::FileError);
    CHECK_THROWS_AS(ra::save(filled<float>(2), folder / "weights", {{"\xFF", ""}}), ra::FileError);
    CHECK(read_text(folder / "weights") == before);
    CHECK(folder.names() == std::set<std::string>{"weights"});
    CHECK_THROWS_AS(ra::save(filled<float>(2), folder / "none" / "weights"), ra::FileError);
}

}  // namespace io_weights
