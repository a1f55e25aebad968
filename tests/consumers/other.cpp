// A second translation unit with the same headers: what they define may not collide.
#include <ring_attention/ring_attention.hpp>

namespace ra = ring_attention;

ra::Tensor<float, 3> logits_from_elsewhere() {
    ra::Tensor<float, 3> logits(1, 5, 12);
    logits.setConstant(0.5f);
    return logits;
}
