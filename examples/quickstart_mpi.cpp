// A language model in training on all ranks of mpirun: each holds its tokens of one sequence.

#include <cstdio>

#include <ring_attention/mpi.hpp>

namespace ra = ring_attention;

namespace {

constexpr ra::LanguageOptions options{.num_chunks = 8,
                                      .layout = ra::Layout::zigzag};  // the rest has defaults

/// [1, positions]: a sequence that repeats itself. Yours comes from elsewhere.
ra::Tensor<ra::Token, 2> tokens_at(const ra::List<ra::Index>& positions) {
    ra::Tensor<ra::Token, 2> tokens(1, ra::Index(positions.size()));
    for (ra::Index i = 0; i < tokens.size(); ++i)
        tokens(0, i) = ra::Token(positions[std::size_t(i)] * positions[std::size_t(i)] % 61);
    return tokens;
}

}  // namespace

int main(int argc, char** argv) {
    return ra::mpi_main(
        argc, argv, [](MPI_Comm world) {  // an exception on one rank ends all, with its message
            ra::MpiRing ring{world};      // any communicator, of 1 to num_chunks ranks
            auto model = ra::build<options>();
            const ra::Share share = ra::share<options>(ring, 256);  // which tokens of 256 are this rank's
            const ra::Tensor<ra::Token, 2> tokens =
                tokens_at(share.positions());  // [batch, share.num_tokens()]
            const ra::Tensor<ra::Token, 2> targets = ra::next_tokens(tokens, share, ring);

            typename decltype(model)::Cache cache;
            auto gradient = ra::zeros_like(model);
            ra::AdamW optimiser(model);
            for (int step = 0; step < 3; ++step) {
                const auto logits = model.forward(tokens, cache, ring);
                const auto loss = ra::cross_entropy(logits, targets, ring);  // over the tokens of all ranks
                ra::for_each_parameter(gradient, [](std::string_view, auto& tensor) { tensor.setZero(); });
                model.backward(loss.d_logits, cache, gradient, ring);  // the whole gradient, on every rank
                ra::clip_by_global_norm(gradient, 1.0);
                optimiser.step(model, gradient, 1e-3);
                if (ring.rank() == 0)
                    std::printf("step %d: loss %.6f on %d ranks\n", step, loss.loss, ring.ranks());
            }
            if (std::fflush(stdout) != 0) throw ra::FileError("cannot write to standard output");
        });
}
