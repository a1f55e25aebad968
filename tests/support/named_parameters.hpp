#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ring_attention/core/parameters.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/models/transformer_options.hpp>

namespace support {

namespace ra = ring_attention;

/// The parameters of a transformer, by their names and shapes, and nothing that computes: what files are
/// about, and compiled once for all options.
template <class T>
struct NamedParameters {
    using Scalar = T;

    ra::TransformerOptions options;
    std::vector<std::pair<std::string, ra::Matrix<T>>> matrices;
    std::vector<std::pair<std::string, ra::RowVector<T>>> vectors;

    explicit NamedParameters(const ra::TransformerOptions& o) : options(o) {
        const int width = o.hidden_size, head_width = o.head_width > 0 ? o.head_width : width / o.num_heads;
        const int key_value_heads = o.key_value_heads > 0 ? o.key_value_heads : o.num_heads;
        const int inner = o.ffn_width > 0 ? o.ffn_width : 4 * width;
        add("embedding.table", o.vocabulary, width);
        if (o.positions == ra::Positions::learned) add("positions.table", o.max_positions, width);
        if (o.token_types > 0) add("token_types.table", o.token_types, width);
        if (o.embedding_norm) add_norm("embedding_norm", width);
        for (int i = 1; i <= o.num_layers; ++i) {
            const std::string layer = "ring_" + std::to_string(i) + "_";
            const bool two = o.norm_place == ra::NormPlace::before_and_after;
            add_norm(layer + "attn_norm", width);
            add_dense(layer + "qkv", width, (o.num_heads + 2 * key_value_heads) * head_width, o.qkv_bias);
            if (o.query_key_norm)
                add(layer + "q_norm.gamma", head_width), add(layer + "k_norm.gamma", head_width);
            add_dense(layer + "out_proj", o.num_heads * head_width, width, o.out_bias);
            if (o.sinks) add(layer + "sinks", o.num_heads);
            if (two) add_norm(layer + "attn_post_norm", width);
            add_norm(layer + "ffn_norm", width);
            if (o.gated) add_dense(layer + "ffn_gate", width, inner, o.ffn_bias);
            add_dense(layer + "ffn_up", width, inner, o.ffn_bias);
            add_dense(layer + "ffn_down", inner, width, o.ffn_bias);
            if (two) add_norm(layer + "ffn_post_norm", width);
        }
        if (o.final_norm) add_norm("final_norm", width);
        if (o.head && !o.tied_head) add("head.kernel", width, o.vocabulary);
        if (o.head && o.head_bias) add("head.bias", o.vocabulary);
    }

    static void visit(auto&& f, auto& first, auto&... rest) {
        for (std::size_t i = 0; i < first.matrices.size(); ++i)
            f(first.matrices[i].first, first.matrices[i].second, rest.matrices[i].second...);
        for (std::size_t i = 0; i < first.vectors.size(); ++i)
            f(first.vectors[i].first, first.vectors[i].second, rest.vectors[i].second...);
    }

  private:
    void add(const std::string& name, int rows, int columns) {
        matrices.emplace_back(name, ra::Matrix<T>::Zero(rows, columns));
    }
    void add(const std::string& name, int size) { vectors.emplace_back(name, ra::RowVector<T>::Zero(size)); }
    void add_norm(const std::string& name, int width) {
        add(name + ".gamma", width);
        if (options.norm == ra::NormKind::layer) add(name + ".beta", width);
    }
    void add_dense(const std::string& name, int in, int out, bool has_bias) {
        add(name + ".kernel", in, out);
        if (has_bias) add(name + ".bias", out);
    }
};

}  // namespace support
