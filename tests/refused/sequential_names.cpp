#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/dropout.hpp>
#include <ring_attention/layers/sequential.hpp>

namespace ra = ring_attention;

#ifndef CHANGE
#define CHANGE ra::DropoutSite::feed_forward
#endif

template <ra::DropoutSite site>
using Half = ra::DropoutLayer<float, 4, ra::DropoutOptions{0.5f, site}>;

// Parts whose names are prefixes are keyed alike.
ra::Sequential<ra::Named<"", Half<ra::DropoutSite::attention>>, ra::Named<"", Half<CHANGE>>> layers;
