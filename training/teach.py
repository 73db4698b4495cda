"""Ask a teacher for the vectors of the distillation texts.

    python training/teach.py --data ../shared/data --teacher DIR --work runs/bundled-2

``DIR`` is a sentence-transformers folder (all-MiniLM-L6-v2, Apache 2.0). Writes ``texts.jsonl`` and
``teacher.npy`` (n, 384) float16, unit vectors, in the same order; a part at a time, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from texts import distillation_texts

log = logging.getLogger("training")
PART = 20_000
LONG = 839  # characters: of texts beyond, which take most of the time, one in four is kept


def whole_words(teacher: SentenceTransformer) -> list[str]:
    """The English words that the teacher's vocabulary holds whole."""
    return [token for token in teacher.tokenizer.get_vocab() if token.isascii() and token.isalpha() and len(token) > 2]


def main() -> None:
    """Encode what is not encoded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/bundled-2"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    teacher = SentenceTransformer(str(options.teacher), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    texts = distillation_texts(options.data, options.seed, whole_words(teacher))
    order = np.argsort([len(text) for text in texts], kind="stable")  # neighbours of one length: little padding
    texts = [texts[i] for i in order]
    texts = [text for number, text in enumerate(texts) if len(text) < LONG or number % 4 == 0]
    (work / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
    parts = work / "teacher"
    parts.mkdir(exist_ok=True)
    began = time.time()
    for start in range(0, len(texts), PART):
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
    np.save(work / "teacher.npy", np.concatenate([np.load(part) for part in sorted(parts.glob("????????.npy"))]))


if __name__ == "__main__":
    main()
