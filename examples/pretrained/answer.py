"""answer.py PROGRAM MODEL_DIR [QUESTION]: the program answers in words, greedily; beside it, Hugging Face's transformers
with the same weights. Ends with an error where the tokens differ, on any number of ranks, or the logits of a long text."""

import os
import shutil
import sys

import numpy
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from program import Program

LENGTH = 64
CHAT = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n")


def require_same_tokens(program, tokenizer, model, question):
    prompt = tokenizer.encode(CHAT.format(question)).ids
    ours = Program(program).generate(prompt, LENGTH)
    print(f"\n  {question}\n  {tokenizer.decode(ours).strip()}\n", flush=True)
    with torch.no_grad():
        both = model.generate(torch.tensor([prompt]), do_sample=False, min_new_tokens=LENGTH, max_new_tokens=LENGTH)
    if ours != both[0, len(prompt):].tolist():
        sys.exit(f"answer.py: transformers say {tokenizer.decode(both[0, len(prompt):].tolist())}")
    print(f"The {LENGTH} tokens are those of transformers.", flush=True)
    for ranks in (1, 2, 4) if shutil.which("mpiexec") else ():
        if Program(program, ranks).generate(prompt, LENGTH) != ours:
            sys.exit(f"answer.py: other tokens on {ranks} ranks")
        print(f"They are the same on {ranks} rank{'s' if ranks > 1 else ''}.", flush=True)


def require_same_logits(program, tokenizer, model, length=300):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../README.md")) as text:
        tokens = numpy.array([tokenizer.encode(text.read()).ids[:length]])
    ours = Program(program).evaluate(input_ids=tokens)
    with torch.no_grad():
        theirs = model(torch.from_numpy(tokens)).logits.numpy()
    difference = numpy.abs(ours - theirs).max() / numpy.abs(theirs).max()
    print(f"Logits of {length} tokens: the largest difference is {difference:.1e} of the largest logit.")
    if not difference <= 1e-3:
        sys.exit("answer.py: expected at most 1e-3")


def main(program, folder, question="Why is the sky blue?"):
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    require_same_tokens(program, tokenizer, model, question)
    require_same_logits(program, tokenizer, model)


if __name__ == "__main__":
    main(*sys.argv[1:])
