#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include <ring_attention/core/abi.hpp>

// What the published families call their models, their settings and their weights.

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// In the order in which they are tried for options that several could publish.
enum class Family { llama, mistral, qwen2, qwen3, gemma2, gpt2, bert };

/// The columns of a parameter of ours that are a published tensor.
enum class Columns { all, queries, keys, values };

/// A published tensor and where its numbers are with us. "#" stands for the number of the layer, with us from
/// 1, with them from 0.
struct PublishedName {
    std::string_view ours;
    std::string_view published;
    Columns columns = Columns::all;
    bool turned = false;  ///< published as [out, in], with us [in, out]
};

/// What a setting is where config.json does not say it. 0 heads: as many as of queries; 0 width:
/// hidden_size / heads; padding token -1: none.
struct FamilyDefaults {
    int vocabulary, hidden_size, ffn_width, num_layers, num_heads, key_value_heads, head_width;
    int padding_token = -1;
};

/// What names of old folders end with, and what the same end is now.
struct OldName {
    std::string_view old_end;
    std::string_view end;
};

/// The first and last part of names that a folder may have and nobody needs.
struct IgnoredNames {
    std::string_view begin;
    std::string_view end;
};

struct FamilyTable {
    Family family;
    std::string_view model_type;
    std::string_view architecture;  ///< of the model whose output ours is
    std::string_view prefix;        ///< which names of the body have in some folders
    bool writes_prefix;             ///< whether ours do
    FamilyDefaults defaults;
    std::span<const PublishedName> own_names;  ///< searched first
    std::span<const PublishedName> names;
    std::span<const IgnoredNames> ignored;
};

inline constexpr std::string_view head_name = "lm_head.weight";

inline constexpr std::array<PublishedName, 21> llama_names{
    {{"embedding.table", "embed_tokens.weight"},
     {"ring_#_attn_norm.gamma", "layers.#.input_layernorm.weight"},
     {"ring_#_qkv.kernel", "layers.#.self_attn.q_proj.weight", Columns::queries, true},
     {"ring_#_qkv.kernel", "layers.#.self_attn.k_proj.weight", Columns::keys, true},
     {"ring_#_qkv.kernel", "layers.#.self_attn.v_proj.weight", Columns::values, true},
     {"ring_#_qkv.bias", "layers.#.self_attn.q_proj.bias", Columns::queries},
     {"ring_#_qkv.bias", "layers.#.self_attn.k_proj.bias", Columns::keys},
     {"ring_#_qkv.bias", "layers.#.self_attn.v_proj.bias", Columns::values},
     {"ring_#_q_norm.gamma", "layers.#.self_attn.q_norm.weight"},
     {"ring_#_k_norm.gamma", "layers.#.self_attn.k_norm.weight"},
     {"ring_#_out_proj.kernel", "layers.#.self_attn.o_proj.weight", Columns::all, true},
     {"ring_#_out_proj.bias", "layers.#.self_attn.o_proj.bias"},
     {"ring_#_ffn_norm.gamma", "layers.#.post_attention_layernorm.weight"},
     {"ring_#_ffn_gate.kernel", "layers.#.mlp.gate_proj.weight", Columns::all, true},
     {"ring_#_ffn_gate.bias", "layers.#.mlp.gate_proj.bias"},
     {"ring_#_ffn_up.kernel", "layers.#.mlp.up_proj.weight", Columns::all, true},
     {"ring_#_ffn_up.bias", "layers.#.mlp.up_proj.bias"},
     {"ring_#_ffn_down.kernel", "layers.#.mlp.down_proj.weight", Columns::all, true},
     {"ring_#_ffn_down.bias", "layers.#.mlp.down_proj.bias"},
     {"final_norm.gamma", "norm.weight"},
     {"head.kernel", head_name, Columns::all, true}}};

inline constexpr std::array<PublishedName, 3> gemma2_names{
    {{"ring_#_attn_post_norm.gamma", "layers.#.post_attention_layernorm.weight"},
     {"ring_#_ffn_norm.gamma", "layers.#.pre_feedforward_layernorm.weight"},
     {"ring_#_ffn_post_norm.gamma", "layers.#.post_feedforward_layernorm.weight"}}};

/// Its kernels are [in, out], queries, keys and values side by side, as ours.
inline constexpr std::array<PublishedName, 17> gpt2_names{
    {{"embedding.table", "wte.weight"},
     {"positions.table", "wpe.weight"},
     {"ring_#_attn_norm.gamma", "h.#.ln_1.weight"},
     {"ring_#_attn_norm.beta", "h.#.ln_1.bias"},
     {"ring_#_qkv.kernel", "h.#.attn.c_attn.weight"},
     {"ring_#_qkv.bias", "h.#.attn.c_attn.bias"},
     {"ring_#_out_proj.kernel", "h.#.attn.c_proj.weight"},
     {"ring_#_out_proj.bias", "h.#.attn.c_proj.bias"},
     {"ring_#_ffn_norm.gamma", "h.#.ln_2.weight"},
     {"ring_#_ffn_norm.beta", "h.#.ln_2.bias"},
     {"ring_#_ffn_up.kernel", "h.#.mlp.c_fc.weight"},
     {"ring_#_ffn_up.bias", "h.#.mlp.c_fc.bias"},
     {"ring_#_ffn_down.kernel", "h.#.mlp.c_proj.weight"},
     {"ring_#_ffn_down.bias", "h.#.mlp.c_proj.bias"},
     {"final_norm.gamma", "ln_f.weight"},
     {"final_norm.beta", "ln_f.bias"},
     {"head.kernel", head_name, Columns::all, true}}};

inline constexpr std::array<PublishedName, 21> bert_names{
    {{"embedding.table", "embeddings.word_embeddings.weight"},
     {"positions.table", "embeddings.position_embeddings.weight"},
     {"token_types.table", "embeddings.token_type_embeddings.weight"},
     {"embedding_norm.gamma", "embeddings.LayerNorm.weight"},
     {"embedding_norm.beta", "embeddings.LayerNorm.bias"},
     {"ring_#_qkv.kernel", "encoder.layer.#.attention.self.query.weight", Columns::queries, true},
     {"ring_#_qkv.kernel", "encoder.layer.#.attention.self.key.weight", Columns::keys, true},
     {"ring_#_qkv.kernel", "encoder.layer.#.attention.self.value.weight", Columns::values, true},
     {"ring_#_qkv.bias", "encoder.layer.#.attention.self.query.bias", Columns::queries},
     {"ring_#_qkv.bias", "encoder.layer.#.attention.self.key.bias", Columns::keys},
     {"ring_#_qkv.bias", "encoder.layer.#.attention.self.value.bias", Columns::values},
     {"ring_#_out_proj.kernel", "encoder.layer.#.attention.output.dense.weight", Columns::all, true},
     {"ring_#_out_proj.bias", "encoder.layer.#.attention.output.dense.bias"},
     {"ring_#_attn_norm.gamma", "encoder.layer.#.attention.output.LayerNorm.weight"},
     {"ring_#_attn_norm.beta", "encoder.layer.#.attention.output.LayerNorm.bias"},
     {"ring_#_ffn_up.kernel", "encoder.layer.#.intermediate.dense.weight", Columns::all, true},
     {"ring_#_ffn_up.bias", "encoder.layer.#.intermediate.dense.bias"},
     {"ring_#_ffn_down.kernel", "encoder.layer.#.output.dense.weight", Columns::all, true},
     {"ring_#_ffn_down.bias", "encoder.layer.#.output.dense.bias"},
     {"ring_#_ffn_norm.gamma", "encoder.layer.#.output.LayerNorm.weight"},
     {"ring_#_ffn_norm.beta", "encoder.layer.#.output.LayerNorm.bias"}}};

// Buffers that old folders hold beside the weights, and heads of tasks.
inline constexpr std::array<IgnoredNames, 1> llama_ignored{{{"", ".rotary_emb.inv_freq"}}};
inline constexpr std::array<IgnoredNames, 2> gpt2_ignored{
    {{"h.", ".attn.bias"}, {"h.", ".attn.masked_bias"}}};
inline constexpr std::array<IgnoredNames, 3> bert_ignored{
    {{"embeddings.position_ids", ""}, {"pooler.", ""}, {"cls.", ""}}};

inline constexpr std::array<OldName, 2> old_names{
    {{"LayerNorm.gamma", "LayerNorm.weight"}, {"LayerNorm.beta", "LayerNorm.bias"}}};

inline constexpr std::array<FamilyTable, 7> families{{{Family::llama,
                                                       "llama",
                                                       "LlamaForCausalLM",
                                                       "model.",
                                                       true,
                                                       {32'000, 4096, 11'008, 32, 32, 0, 0},
                                                       {},
                                                       llama_names,
                                                       llama_ignored},
                                                      {Family::mistral,
                                                       "mistral",
                                                       "MistralForCausalLM",
                                                       "model.",
                                                       true,
                                                       {32'000, 4096, 14'336, 32, 32, 8, 0},
                                                       {},
                                                       llama_names,
                                                       llama_ignored},
                                                      {Family::qwen2,
                                                       "qwen2",
                                                       "Qwen2ForCausalLM",
                                                       "model.",
                                                       true,
                                                       {151'936, 4096, 22'016, 32, 32, 32, 0},
                                                       {},
                                                       llama_names,
                                                       llama_ignored},
                                                      {Family::qwen3,
                                                       "qwen3",
                                                       "Qwen3ForCausalLM",
                                                       "model.",
                                                       true,
                                                       {151'936, 4096, 22'016, 32, 32, 32, 128},
                                                       {},
                                                       llama_names,
                                                       llama_ignored},
                                                      {Family::gemma2,
                                                       "gemma2",
                                                       "Gemma2ForCausalLM",
                                                       "model.",
                                                       true,
                                                       {256'000, 2304, 9216, 26, 8, 4, 256, 0},
                                                       gemma2_names,
                                                       llama_names,
                                                       llama_ignored},
                                                      {Family::gpt2,
                                                       "gpt2",
                                                       "GPT2LMHeadModel",
                                                       "transformer.",
                                                       true,
                                                       {50'257, 768, 0, 12, 12, 0, 0},
                                                       {},
                                                       gpt2_names,
                                                       gpt2_ignored},
                                                      {Family::bert,
                                                       "bert",
                                                       "BertModel",
                                                       "bert.",
                                                       false,
                                                       {30'522, 768, 3072, 12, 12, 0, 0, 0},
                                                       {},
                                                       bert_names,
                                                       bert_ignored}}};

/// Null for a model_type that is none of them.
constexpr const FamilyTable* find_family(std::string_view model_type) {
    for (const FamilyTable& table : families)
        if (table.model_type == model_type) return &table;
    return nullptr;
}

constexpr const FamilyTable& table_of(Family family) {
    for (const FamilyTable& table : families)
        if (table.family == family) return table;
    return families[0];
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
