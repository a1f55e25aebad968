// A second translation unit with the same headers: what they define may not collide.
#include <ring_attention/ring_attention.hpp>

namespace ra = ring_attention;

ra::Tensor<float, 3> input_from_elsewhere() {
    ra::Tensor<float, 3> x(1, 5, 12);
    x.setConstant(0.5f);
    return x;
}
