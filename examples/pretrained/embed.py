"""embed.py PROGRAM MODEL_DIR: sentences as vectors by a sentence-transformers BERT, the mean over the true tokens of what
the program gives; the cosines of all pairs, beside those of Hugging Face's transformers. Ends with an error where they
differ."""

import os
import sys

import numpy
import torch
from tokenizers import Tokenizer
from transformers import BertModel

from program import Program

SENTENCES = [
    "The cat sits on the mat.",
    "A kitten is lying on a rug.",
    "Stock markets fell sharply on Monday.",
    "Shares dropped at the start of the week, after the central bank had raised its interest rates once more.",
    "How do I boil an egg?",
]


def tokenise(folder, sentences):
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(sentences)
    return {name: numpy.array([getattr(encoding, of) for encoding in encodings], numpy.int64)
            for name, of in (("input_ids", "ids"), ("attention_mask", "attention_mask"), ("token_type_ids", "type_ids"))}


def embeddings(hidden, mask):
    """The mean over the true tokens, of length 1."""
    mask = mask[..., None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return mean / numpy.linalg.norm(mean, axis=1, keepdims=True)


def transformers_output(folder, inputs):
    model = BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(**{name: torch.from_numpy(array) for name, array in inputs.items()}).last_hidden_state.numpy()


def main(program, folder):
    inputs = tokenise(folder, SENTENCES)
    mask = inputs["attention_mask"]
    ours = embeddings(Program(program).evaluate(**inputs), mask)
    theirs = embeddings(transformers_output(folder, inputs), mask)

    for number, sentence in enumerate(SENTENCES, 1):
        print(f"  {number}  {sentence}")
    print(f"\n{'cosine':>10}{'ours':>12}{'transformers':>15}")
    for i in range(len(SENTENCES)):
        for j in range(i):
            print(f"{f'{j + 1} {i + 1}':>10}{ours[i] @ ours[j]:12.7f}{theirs[i] @ theirs[j]:15.7f}")
    of_embeddings = numpy.abs(ours - theirs).max()
    of_cosines = numpy.abs(ours @ ours.T - theirs @ theirs.T).max()
    print(f"\nlargest difference of embeddings {of_embeddings:.1e}, of cosines {of_cosines:.1e}")
    if not (of_embeddings <= 2e-6 and of_cosines <= 1e-6):
        sys.exit("embed.py: expected at most 2e-6 and 1e-6")


if __name__ == "__main__":
    main(*sys.argv[1:])
