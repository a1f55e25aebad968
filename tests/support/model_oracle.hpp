#pragma once

// The sequence model on dense attention, forward and backward, written out step by step; parameters by the
// names that they have in a weight file.

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "attention_oracle.hpp"
#include "layer_oracle.hpp"

namespace oracle {

enum class Output { last_timestep, all, mean_pool };

struct ModelShape {
    std::size_t batch = 1, seq_len = 1, embed_dim = 1, hidden_size = 1, num_heads = 1, num_layers = 1;
    double dropout = 0;
    Output output = Output::last_timestep;

    AttentionShape attention() const { return {batch, num_heads, seq_len, hidden_size / num_heads}; }
    std::size_t output_size() const { return batch * (output == Output::all ? seq_len : 1) * hidden_size; }
};

template <class R>
using Parameters = std::map<std::string, std::vector<R>>;

/// "mask.ring_1_attn_dropout", "mask.ring_1_ffn_dropout", "mask.inter_block_dropout_1", as in the golden
/// files: 1 keeps, [batch, seq_len, hidden_size]. Without masks nothing is dropped.
using Masks = std::map<std::string, std::vector<std::uint8_t>>;

template <class R>
class SequenceModel {
  public:
    SequenceModel(ModelShape shape, Parameters<R> parameters, Masks masks = {})
        : shape_(shape), p_(std::move(parameters)), masks_(std::move(masks)) {}

    std::vector<R> forward(const std::vector<R>& input) {
        input_ = input;
        std::vector<R> x = input;
        if (projects()) x = dense(x, p_.at("input_projection.kernel"), p_.at("input_projection.bias"));
        blocks_.clear();
        for (std::size_t i = 1; i <= shape_.num_layers; ++i) {
            x = block(std::move(x), "ring_" + std::to_string(i) + "_");
            if (i < shape_.num_layers) x = drop(std::move(x), "inter_block_dropout_" + std::to_string(i));
        }
        last_x_ = x;
        return select(layer_norm(x, p_.at("final_norm.gamma"), p_.at("final_norm.beta")));
    }

    /// The gradient of sum(output * d_output) by every parameter, and by the input under the name "input".
    Parameters<R> backward(const std::vector<R>& d_output) {
        gradient_.clear();
        for (const auto& [name, values] : p_) gradient_[name].assign(values.size(), R(0));
        std::vector<R> d_x =
            layer_norm_backward(select_backward(d_output), last_x_, p_.at("final_norm.gamma"),
                                gradient_.at("final_norm.gamma"), gradient_.at("final_norm.beta"));
        for (std::size_t i = shape_.num_layers; i >= 1; --i) {
            if (i < shape_.num_layers) d_x = drop(std::move(d_x), "inter_block_dropout_" + std::to_string(i));
            d_x = block_backward(std::move(d_x), blocks_[i - 1], "ring_" + std::to_string(i) + "_");
        }
        if (projects()) d_x = through_dense(d_x, input_, "input_projection");
        gradient_["input"] = std::move(d_x);
        return gradient_;
    }

  private:
    /// What a block computed on the way, for its backward.
    struct Block {
        std::vector<R> x, attn_norm, q, k, v, heads, middle, ffn_norm, ffn_up, gelu;
    };

    bool projects() const { return shape_.embed_dim != shape_.hidden_size; }

    std::vector<R> drop(std::vector<R> x, const std::string& name) const {
        return masks_.empty() ? x : dropout(std::move(x), masks_.at("mask." + name), shape_.dropout);
    }

    std::vector<R> apply_dense(const std::vector<R>& x, const std::string& name) const {
        return dense(x, p_.at(name + ".kernel"), p_.at(name + ".bias"));
    }

    std::vector<R> apply_norm(const std::vector<R>& x, const std::string& name) const {
        return layer_norm(x, p_.at(name + ".gamma"), p_.at(name + ".beta"));
    }

    std::vector<R> through_dense(const std::vector<R>& d_y, const std::vector<R>& x,
                                 const std::string& name) {
        return dense_backward(d_y, x, p_.at(name + ".kernel"), gradient_.at(name + ".kernel"),
                              gradient_.at(name + ".bias"));
    }

    std::vector<R> through_norm(const std::vector<R>& d_y, const std::vector<R>& x, const std::string& name) {
        return layer_norm_backward(d_y, x, p_.at(name + ".gamma"), gradient_.at(name + ".gamma"),
                                   gradient_.at(name + ".beta"));
    }

    std::vector<R> block(std::vector<R> x, const std::string& name) {
        Block b;
        b.x = std::move(x);
        b.attn_norm = apply_norm(b.x, name + "attn_norm");
        const std::vector<R> qkv = apply_dense(b.attn_norm, name + "qkv");
        b.q = heads_of(qkv, 0);
        b.k = heads_of(qkv, 1);
        b.v = heads_of(qkv, 2);
        b.heads = tokens_of(attention(b.q, b.k, b.v, shape_.attention(), true).output);
        b.middle = add(b.x, drop(apply_dense(b.heads, name + "out_proj"), name + "attn_dropout"));
        b.ffn_norm = apply_norm(b.middle, name + "ffn_norm");
        b.ffn_up = apply_dense(b.ffn_norm, name + "ffn_up");
        b.gelu = gelu(b.ffn_up);
        auto y = add(b.middle, drop(apply_dense(b.gelu, name + "ffn_down"), name + "ffn_dropout"));
        blocks_.push_back(std::move(b));
        return y;
    }

    std::vector<R> block_backward(std::vector<R> d_y, const Block& b, const std::string& name) {
        // y = middle + dropout(ffn_down(gelu(ffn_up(ffn_norm(middle)))))
        auto d_gelu = through_dense(drop(d_y, name + "ffn_dropout"), b.gelu, name + "ffn_down");
        auto d_ffn_norm =
            through_dense(gelu_backward(std::move(d_gelu), b.ffn_up), b.ffn_norm, name + "ffn_up");
        const auto d_middle = add(d_y, through_norm(d_ffn_norm, b.middle, name + "ffn_norm"));
        // middle = x + dropout(out_proj(attention(qkv(attn_norm(x)))))
        const auto d_heads = through_dense(drop(d_middle, name + "attn_dropout"), b.heads, name + "out_proj");
        const auto d = attention_backward(heads_of(d_heads, 0), b.q, b.k, b.v, shape_.attention(), true);
        const auto d_attn_norm = through_dense(thirds_of(d), b.attn_norm, name + "qkv");
        return add(d_middle, through_norm(d_attn_norm, b.x, name + "attn_norm"));
    }

    /// Calls f(index in [batch, heads, seq_len, head_dim], token, feature in [0, hidden_size)).
    template <class F>
    void for_each_head_entry(const F& f) const {
        const AttentionShape s = shape_.attention();
        std::size_t index = 0;
        for (std::size_t b = 0; b < s.batch; ++b)
            for (std::size_t h = 0; h < s.heads; ++h)
                for (std::size_t t = 0; t < s.seq_len; ++t)
                    for (std::size_t c = 0; c < s.head_dim; ++c)
                        f(index++, b * s.seq_len + t, h * s.head_dim + c);
    }

    /// One third of [tokens, n * hidden_size] as [batch, heads, seq_len, head_dim].
    std::vector<R> heads_of(const std::vector<R>& tokens, std::size_t third) const {
        const std::size_t width = tokens.size() / (shape_.batch * shape_.seq_len);
        std::vector<R> heads(shape_.attention().size());
        for_each_head_entry([&](std::size_t index, std::size_t token, std::size_t feature) {
            heads[index] = tokens[token * width + third * shape_.hidden_size + feature];
        });
        return heads;
    }

    std::vector<R> tokens_of(const std::vector<R>& heads) const {
        std::vector<R> tokens(heads.size());
        for_each_head_entry([&](std::size_t index, std::size_t token, std::size_t feature) {
            tokens[token * shape_.hidden_size + feature] = heads[index];
        });
        return tokens;
    }

    /// d_query, d_key, d_value side by side: [tokens, 3 hidden_size].
    std::vector<R> thirds_of(const AttentionGradient<R>& d) const {
        const std::size_t hidden = shape_.hidden_size;
        std::vector<R> d_qkv(3 * d.query.size());
        for_each_head_entry([&](std::size_t index, std::size_t token, std::size_t feature) {
            d_qkv[token * 3 * hidden + feature] = d.query[index];
            d_qkv[token * 3 * hidden + hidden + feature] = d.key[index];
            d_qkv[token * 3 * hidden + 2 * hidden + feature] = d.value[index];
        });
        return d_qkv;
    }

    /// By how much the hidden state at `position` counts in the output that is not the whole sequence.
    R weight(std::size_t position) const {
        if (shape_.output == Output::mean_pool) return R(1) / R(shape_.seq_len);
        return position + 1 == shape_.seq_len ? R(1) : R(0);
    }

    std::vector<R> select(const std::vector<R>& sequence) const {
        if (shape_.output == Output::all) return sequence;
        std::vector<R> output(shape_.output_size(), R(0));
        for_each_output_entry([&](std::size_t in_sequence, std::size_t in_output, std::size_t position) {
            if (weight(position) != 0) output[in_output] += weight(position) * sequence[in_sequence];
        });
        return output;
    }

    std::vector<R> select_backward(const std::vector<R>& d_output) const {
        if (shape_.output == Output::all) return d_output;
        std::vector<R> d_sequence(shape_.batch * shape_.seq_len * shape_.hidden_size);
        for_each_output_entry([&](std::size_t in_sequence, std::size_t in_output, std::size_t position) {
            d_sequence[in_sequence] = weight(position) * d_output[in_output];
        });
        return d_sequence;
    }

    template <class F>
    void for_each_output_entry(const F& f) const {
        for (std::size_t b = 0; b < shape_.batch; ++b)
            for (std::size_t t = 0; t < shape_.seq_len; ++t)
                for (std::size_t c = 0; c < shape_.hidden_size; ++c)
                    f((b * shape_.seq_len + t) * shape_.hidden_size + c, b * shape_.hidden_size + c, t);
    }

    ModelShape shape_;
    Parameters<R> p_, gradient_;
    Masks masks_;
    std::vector<R> input_, last_x_;
    std::vector<Block> blocks_;
};

}  // namespace oracle
