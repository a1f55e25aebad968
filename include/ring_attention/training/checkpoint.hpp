#pragma once

#include <ring_attention/training/adamw.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// All that training needs to go on where it stopped, to be saved and loaded as one:
/// save(Checkpoint{model, optimiser}, path); Checkpoint into{model, optimiser}; load(into, path).
template <Visitable Model>
struct Checkpoint {
    Model& model;
    AdamW<Model>& optimiser;

    static void visit(auto&& f, auto&... self) {
        f("model", self.model...);
        f("optimiser", self.optimiser...);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
