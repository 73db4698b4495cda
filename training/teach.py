"""Ask a teacher for the vectors of the distillation texts.

    python training/teach.py --data ../shared/data --teacher DIR --work runs/bundled-2

``DIR`` is a sentence-transformers folder (all-MiniLM-L6-v2, Apache 2.0). Writes ``texts.jsonl`` and
``teacher.npy`` (n, 384) float16, unit vectors, in the same order; a part at a time, so that a stopped run goes on.
Two processes share the work with ``--share 0 2`` and ``--share 1 2``; the first to be started chooses the texts.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path

import faiss
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from texts import distillation_texts, topics

log = logging.getLogger("training")
PART = 20_000
LONG = 839  # characters: of texts beyond, which take most of the time, one in four is kept
TOPICS, NEIGHBOURS = 300_000, 48  # bags of words of one field; words that make a field


def whole_words(teacher: SentenceTransformer) -> list[str]:
    """The English words that the teacher's vocabulary holds whole."""
    return [token for token in teacher.tokenizer.get_vocab() if token.isascii() and token.isalpha() and len(token) > 2]


def choose_texts(data: Path, teacher: SentenceTransformer, seed: int) -> list[str]:
    """All texts, the shortest first: neighbours of one length make little padding."""
    texts, vocabulary = distillation_texts(data, seed, whole_words(teacher))
    words = teacher.encode(vocabulary, batch_size=256, normalize_embeddings=True, show_progress_bar=False)
    index = faiss.IndexFlatIP(words.shape[1])
    index.add(words)
    _, neighbours = index.search(words, NEIGHBOURS)
    texts = list(dict.fromkeys([*texts, *topics(np.random.default_rng([seed, 1]), vocabulary, neighbours, TOPICS)]))
    order = np.argsort([len(text) for text in texts], kind="stable")
    texts = [texts[i] for i in order]
    return [text for number, text in enumerate(texts) if len(text) < LONG or number % 4 == 0]


def main() -> None:
    """Encode what is not encoded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/bundled-2"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--share", type=int, nargs=2, default=(0, 1), help="this process's number, and how many there are"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    work: Path = options.work
    parts = work / "teacher"
    parts.mkdir(parents=True, exist_ok=True)
    teacher = SentenceTransformer(str(options.teacher), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    if not (work / "texts.jsonl").exists():
        texts = choose_texts(options.data, teacher, options.seed)
        unfinished = work / "texts.part.jsonl"
        unfinished.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
        unfinished.rename(work / "texts.jsonl")
    texts = [json.loads(line) for line in (work / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    number, share = options.share
    began = time.time()
    starts = range(0, len(texts), PART)
    for start in starts[number::share]:
        part = parts / f"{start:08d}.npy"
        if part.exists():
            continue
        vectors = teacher.encode(
            texts[start : start + PART], batch_size=64, normalize_embeddings=True, show_progress_bar=False
        )
        unfinished = part.with_suffix(".part.npy")
        np.save(unfinished, vectors.astype(np.float16))
        unfinished.rename(part)
        log.info("%d of %d texts, %.0f s", start + PART, len(texts), time.time() - began)
    finished = sorted(parts.glob("????????.npy"))
    if len(finished) == len(starts):
        np.save(work / "teacher.npy", np.concatenate([np.load(part) for part in finished]))


if __name__ == "__main__":
    main()
