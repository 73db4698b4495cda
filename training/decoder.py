"""Train the decoder of docs/reproduction.md from nothing: causal, 6 layers of hidden size 256, 8,192 tokens.

    python training/decoder.py --data ../shared/data --work runs/base

Data of any licence is read, and the model does not ship. Its vocabulary is a third of the bundled model's: predicting
the next of 24,576 tokens took most of the time there, and a decoder is better for the text it has seen instead.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path

import torch
from bundled import Blocks, train_causal, train_tokenizer
from texts import read_paragraphs
from tokenizers import Tokenizer

ENTRIES, LAYERS = 8_192, 6


def main() -> None:
    """Train the tokenizer and the decoder, unless they are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/base"))
    parser.add_argument("--steps", type=int, default=2_400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    files = sorted((options.data / "text").glob("*.txt.gz"))
    texts = [read_paragraphs(options.data, file.name.removesuffix(".txt.gz")) for file in files]
    tokenizer, to = options.work / "tokenizer", options.work / "causal"
    if not tokenizer.exists():
        train_tokenizer([line for file in texts for line in file], tokenizer, ENTRIES)
    if not to.exists():
        blocks = Blocks(texts, Tokenizer.from_file(str(tokenizer / "tokenizer.json")), options.seed)
        train_causal(blocks, to, options.steps, ENTRIES, LAYERS)
        shutil.copytree(tokenizer, to, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
