"""model_peer.py NAME MODEL THREADS LENGTH < TOKENS: one peer with one model. Reads the prompt, prints the seconds of the
prefill, those of LENGTH tokens more, one at a time and the likeliest each, and the tokens."""

import json
import sys
import time


def pytorch(model, threads):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    torch.inference_mode().__enter__()
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    cache = None

    def push(tokens):
        nonlocal cache
        # Logits of the last token alone, as generate() has it.
        result = network(torch.tensor([tokens]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = result.past_key_values
        return int(result.logits[0, -1].argmax())

    def reset():
        nonlocal cache
        cache = None

    return push, reset


def llama_cpp(model, threads):
    import numpy
    from llama_cpp import Llama

    # float32 for keys and values too
    network = Llama(model, n_ctx=8192, n_threads=threads, n_threads_batch=threads, type_k=0, type_v=0, verbose=False)

    def push(tokens):
        network.eval(tokens)
        return int(numpy.argmax(network.scores[network.n_tokens - 1] if network._logits_all else
                                numpy.ctypeslib.as_array(network._ctx.get_logits(), (network.n_vocab(),))))

    return push, network.reset


PEERS = {"PyTorch": pytorch, "llama.cpp": llama_cpp}


def main(name, model, threads, length):
    prompt = [int(token) for token in sys.stdin.read().split()]
    push, reset = PEERS[name](model, int(threads))
    push([push(prompt[:32])])  # makes what is made once in a process
    reset()
    start = time.perf_counter()
    token = push(prompt)
    prefilled = time.perf_counter()
    tokens = [token]
    for _ in range(int(length)):
        tokens.append(push(tokens[-1:]))
    done = time.perf_counter()
    print(json.dumps({"prefill": prefilled - start, "decode": done - prefilled, "tokens": tokens}))


main(*sys.argv[1:])
