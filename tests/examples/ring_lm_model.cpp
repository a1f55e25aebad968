#include <limits>
#include <set>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "ring_lm/model.hpp"
#include "support/temporary_folder.hpp"

namespace ra = ring_attention;

namespace {

struct SmallModel {
    ra::Matrix<float> kernel = ra::Matrix<float>::Constant(2, 3, 0.5f);
    ra::RowVector<float> bias = ra::RowVector<float>::Zero(3);

    static void visit(auto&& f, auto&... self) {
        f("kernel", self.kernel...);
        f("bias", self.bias...);
    }
};

}  // namespace

TEST_CASE("weights that are not finite never replace weights that are") {
    const TemporaryFolder folder;
    const auto path = folder / "weights.safetensors";
    ring_lm::save_model(SmallModel{}, 32, path);
    const std::string good = read_text(path);
    using Limits = std::numeric_limits<float>;
    for (const float number : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
        SmallModel model;
        model.bias(2) = number;
        CHECK_THROWS_WITH_AS(ring_lm::save_model(model, 32, path),
                             doctest::Contains("bias has a number that is not finite"), ra::Error);
        CHECK(read_text(path) == good);
        CHECK(folder.names() == std::set<std::string>{"weights.safetensors"});
    }
    SmallModel largest;
    largest.kernel(1, 1) = Limits::max();
    largest.kernel(0, 1) = Limits::denorm_min();
    ring_lm::save_model(largest, 32, path);
    CHECK(read_text(path) != good);
}
