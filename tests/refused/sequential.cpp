#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/sequential.hpp>

namespace ra = ring_attention;

#ifndef CHANGE
#define CHANGE ra::Dense<float, 8, 4>
#endif

ra::Sequential<ra::Dense<float, 12, 8>, CHANGE> layers;
