"""convert_gguf.py GGUF FOLDER: a Llama model from a GGUF file as a folder in Hugging Face's format: config.json,
model.safetensors in float32, tokenizer.json. What is quantised there is dequantised."""

import json
import os
import sys

import numpy
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def published_name(name):
    """blk.3.attn_q.weight => model.layers.3.self_attn.q_proj.weight"""
    stem = name.removesuffix(".weight")
    if stem.startswith("blk."):
        _, layer, part = stem.split(".")
        return f"model.layers.{layer}.{NAMES[part]}.weight"
    return NAMES[stem] + ".weight"


def halves_of_pairs(weight, heads):
    """GGUF has the features that rotary positions turn together side by side; Hugging Face has them half a head apart."""
    rows, width = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def weights_of(reader, config):
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        part = tensor.name.split(".")[-2]
        if part in heads:
            weight = halves_of_pairs(weight, heads[part])
        yield published_name(tensor.name), numpy.ascontiguousarray(weight)


def config_of(field, reader):
    if field("general.architecture") != "llama":
        sys.exit(f"convert_gguf.py: the architecture is {field('general.architecture')}, expected llama")
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": len(field("tokenizer.ggml.tokens")),
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": field("llama.attention.head_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "max_position_embeddings": field("llama.context_length"),
        "rope_theta": field("llama.rope.freq_base"),
        "rms_norm_eps": float(f"{field('llama.attention.layer_norm_rms_epsilon'):.6g}"),  # a float32 there
        "bos_token_id": field("tokenizer.ggml.bos_token_id"), "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        "dtype": "float32",
    }


def tokenizer_of(field):
    """Byte pairs as GPT-2 has them, each digit for itself (what GGUF calls smollm)."""
    if (field("tokenizer.ggml.model"), field("tokenizer.ggml.pre")) != ("gpt2", "smollm"):
        sys.exit(f"convert_gguf.py: the tokenizer is {field('tokenizer.ggml.pre')}, expected smollm")
    tokens = field("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    control = 3  # among GGUF's kinds of tokens
    kinds = field("tokenizer.ggml.token_type")
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False) for token, kind in zip(tokens, kinds) if kind == control])
    return tokenizer


def main(gguf, folder):
    reader = GGUFReader(gguf)
    field = lambda name: reader.fields[name].contents()
    config = config_of(field, reader)
    os.makedirs(folder, exist_ok=True)
    save_file(dict(weights_of(reader, config)), os.path.join(folder, "model.safetensors"), {"format": "pt"})
    tokenizer_of(field).save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(config, out, indent=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
