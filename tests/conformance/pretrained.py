"""pretrained.py PROGRAM FOLDER: has Hugging Face's transformers write small models of each family, in several types and
in shards, the program conformance_pretrained read and write them, and transformers read what it wrote. Weights have to be
equal, and so does what the model gives. Ends with 1 if anything differs. Files go to FOLDER.
"""

import pathlib
import shutil
import subprocess
import sys
import warnings

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

SMALL = dict(vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=5, num_attention_heads=6)
ROPE = dict(rope_theta=5e5, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=16)
GROUPED = SMALL | dict(num_key_value_heads=2)

# Of each model its type and settings.
MODELS = {
    "llama": ("llama", GROUPED),
    "llama, tied, llama3": ("llama", GROUPED | dict(tie_word_embeddings=True, rope_parameters=ROPE, head_dim=10)),
    "llama, biases, linear": ("llama", SMALL | dict(attention_bias=True, mlp_bias=True, hidden_act="gelu",
                              rope_parameters=dict(rope_theta=1e4, rope_type="linear", factor=2.0))),
    "mistral": ("mistral", GROUPED | dict(sliding_window=7, head_dim=6)),
    "mistral, no window": ("mistral", GROUPED | dict(sliding_window=None, head_dim=8)),
    "qwen2": ("qwen2", GROUPED),
    "qwen2, windows": ("qwen2", GROUPED | dict(use_sliding_window=True, sliding_window=6, max_window_layers=2)),
    "qwen3": ("qwen3", GROUPED | dict(head_dim=14)),
    "qwen3, windows, biases": ("qwen3", GROUPED | dict(head_dim=8, attention_bias=True, use_sliding_window=True,
                               sliding_window=6, layer_types=["sliding_attention", "full_attention"] * 2 +
                               ["sliding_attention"])),
    "gemma2": ("gemma2", GROUPED | dict(head_dim=12, query_pre_attn_scalar=20, sliding_window=6)),
    "gemma2, no caps": ("gemma2", GROUPED | dict(head_dim=12, query_pre_attn_scalar=12, attn_logit_softcapping=None,
                        final_logit_softcapping=None, sliding_window=6)),
    "gpt2": ("gpt2", dict(vocab_size=97, n_embd=48, n_layer=3, n_head=4, n_positions=40)),
    "gpt2, other": ("gpt2", dict(vocab_size=97, n_embd=48, n_layer=3, n_head=4, n_positions=40, n_inner=50,
                    tie_word_embeddings=False, scale_attn_weights=False, activation_function="relu")),
    "bert": ("bert", SMALL | dict(max_position_embeddings=40)),
    "bert, decoder": ("bert", SMALL | dict(max_position_embeddings=40, type_vocab_size=3, hidden_act="gelu_new",
                      is_decoder=True)),
}


def reader(model_type):
    return AutoModel if model_type == "bert" else AutoModelForCausalLM


def made(model_type, settings, dtype):
    torch.manual_seed(1)
    config = AutoConfig.for_model(model_type, **settings)
    model = reader(model_type).from_config(config).eval()
    for parameter in model.parameters():  # norms and biases begin as ones and zeros
        torch.nn.init.normal_(parameter, std=0.3)
    return model.to(dtype)


def output(model):
    tokens = torch.arange(60).reshape(2, 30) * 7 % 96 + 1
    with torch.no_grad():
        return model(tokens)[0]


def difference(original, written):
    """What differs, or nothing. A BERT's pooler is not part of the model."""
    weights = {name: tensor for name, tensor in original.state_dict().items() if not name.startswith("pooler")}
    read = written.state_dict()
    for name, tensor in weights.items():
        if name not in read:
            return f"{name} is missing"
        if read[name].dtype != tensor.dtype or not torch.equal(read[name], tensor):
            return f"{name} differs"
    # The same function under two names may be computed by other code.
    expected = output(original)
    distance = (output(written) - expected).abs().max() / expected.abs().max()
    if distance > 1e-5:
        return f"the output differs by {distance} of the largest"
    return None


def main(program, folder):
    shutil.rmtree(folder, ignore_errors=True)
    good = total = 0
    for name, (model_type, settings) in MODELS.items():
        for dtype, kind, shard in [(torch.float32, "float", "5GB"), (torch.bfloat16, "float", "50KB"),
                                   (torch.float16, "double", "80KB"), (torch.float64, "double", "5GB")]:
            total += 1
            source, target = (folder / f"{total}-{side}" for side in ("hugging-face", "ours"))
            made(model_type, settings, dtype).save_pretrained(source, max_shard_size=shard)
            answer = subprocess.run([program, source, target, kind], capture_output=True, text=True)
            fault = answer.stderr.strip()
            if answer.returncode == 0:
                written, loading = reader(model_type).from_pretrained(target, dtype="auto", output_loading_info=True)
                left = [key for key in loading["missing_keys"] if not key.startswith("pooler")]
                left += loading["unexpected_keys"]
                original = reader(model_type).from_pretrained(source, dtype=written.dtype)
                fault = f"{left} missing or unexpected" if left else difference(original.eval(), written.eval())
            good += not fault
            if fault:
                print(f"{name}, {dtype} to {kind}: {fault}")
    print(f"Hugging Face transformers {transformers.__version__}: {good} of {total}")
    return good == total


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1], pathlib.Path(sys.argv[2])) else 1)
