"""Train the bundled model from nothing: tokenizer, causal language model, bidirectional contrastive embedder.

    python training/bundled.py --data ../shared/data --work runs/bundled

Stages, each skipped when its output is already in the work directory:

1. ``tokenizer``   byte-level BPE of 14,336 entries over lower-cased text.
2. ``causal``      next-token prediction with a 4-layer Llama decoder on 256-token blocks.
3. ``contrastive-N`` attention made bidirectional; two rounds, the second with half the learning rate, of InfoNCE over
   pairs cut from the same texts (two crops of a passage, a sentence and its passage, a few rare words and their
   passage) and over question-answer pairs.

Only texts whose licence lets a trained model ship are read (see ``TEXTS`` and ``PAIRS``).
What the method loses: at this size and with pairs made by cutting, paraphrase is learnt far less than word overlap.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

log = logging.getLogger("training")

# file stem -> share of the contrastive batches. CC BY 4.0, CC0, public domain or MIT, as data/SOURCES.md states.
TEXTS = {
    "medquad-answers-by": 0.28,
    "openstax-by": 0.17,
    "standardebooks-cc0": 0.15,
    "python-peps-pd": 0.15,
    "movie-reviews-by": 0.08,
    "rust-book-mit": 0.04,
}
PAIRS = {"medquad-qa": 0.08, "pubmedqa": 0.05}
VOCABULARY, BLOCK, QUERY_LENGTH = 14_336, 256, 32
SHAPES = (
    (256, 96),
    (96, 256),
)  # (pairs in a batch, tokens of a document): two shapes, so that compilation happens twice
SCALE = 20.0  # inverse temperature of InfoNCE


def read_paragraphs(data: Path, stem: str) -> list[str]:
    """One paragraph a line."""
    with gzip.open(data / "text" / f"{stem}.txt.gz", "rt", encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def read_pairs(data: Path, stem: str) -> list[tuple[str, str]]:
    """(query, positive) pairs."""
    with gzip.open(data / "pairs" / f"{stem}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [(row["query"], positive) for row in rows for positive in row["positive"]]


def train_tokenizer(data: Path, to: Path) -> None:
    """Byte-level BPE; lower-casing halves what so small a vocabulary has to spell out."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (line for stem in TEXTS for line in read_paragraphs(data, stem))
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=512
    ).save_pretrained(to)


class Passages:
    """The token ids of one file's paragraphs, end to end, with where each word and paragraph starts."""

    def __init__(self, texts: list[str], tokenizer: Tokenizer, word_start: np.ndarray) -> None:
        encoded = [np.asarray(item.ids, dtype=np.int32) for item in tokenizer.encode_batch_fast(texts)]
        self.ids = np.concatenate(encoded)
        self.starts = np.concatenate([[0], np.cumsum([len(item) for item in encoded])])
        self.word_starts = np.flatnonzero(word_start[self.ids])

    def at(self, start: int, length: int) -> np.ndarray:
        """Token ids from the word border nearest before ``start``."""
        border = self.word_starts[max(0, np.searchsorted(self.word_starts, start, side="right") - 1)]
        return self.ids[border : border + length]


def crops(rng: np.random.Generator, source: Passages, length: int, rarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A (query, document) pair from neighbouring text: a crop, a sentence-sized span or a few rare words."""
    paragraph = int(rng.integers(len(source.starts) - 1))
    begin = int(source.starts[paragraph])
    size = int(rng.integers(length // 3, length + 1))
    document = source.at(begin, size)
    kind = rng.random()
    if kind < 0.35:  # a crop that may reach past the document's end
        span = int(rng.integers(8, QUERY_LENGTH + 1))
        query = source.at(begin + int(rng.integers(0, max(1, size + size // 3 - span))), span)
    elif kind < 0.65:  # a span taken out of the document
        span = int(rng.integers(6, min(QUERY_LENGTH, size // 2) + 1))
        offset = int(rng.integers(0, max(1, size - span)))
        query = document[offset : offset + span]
        if rng.random() < 0.6:
            document = np.concatenate([document[:offset], document[offset + span :]])
    else:  # rare words of the document
        positions = source.word_starts[
            np.searchsorted(source.word_starts, begin) : np.searchsorted(source.word_starts, begin + len(document))
        ]
        if len(positions) < 4:
            return document[:QUERY_LENGTH], document
        weight = rarity[source.ids[positions]]
        count = min(len(positions), int(rng.integers(2, 10)))
        chosen = rng.choice(positions, size=count, replace=False, p=weight / weight.sum())
        if rng.random() < 0.5:
            chosen.sort()
        ends = source.word_starts[
            np.minimum(np.searchsorted(source.word_starts, chosen) + 1, len(source.word_starts) - 1)
        ]
        words = [source.ids[start : max(start + 1, end)] for start, end in zip(chosen, ends, strict=True)]
        query = np.concatenate(words)[:QUERY_LENGTH]
    return query, document


def pad(rows: list[np.ndarray], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and attention mask, both (n, length)."""
    ids = np.zeros((len(rows), length), dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row[:length]
        mask[i, : len(row)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then linear decay to a twentieth."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 - 0.95 * (step - warmup) / max(1, steps - warmup))


def optimise(model: LlamaForCausalLM, steps: int, peak: float, loss_at, history: Path) -> None:  # noqa: ANN001
    """AdamW over ``steps`` calls of ``loss_at(step)``; a line of JSON every 20 steps."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    began, total, recent = time.time(), 0, []
    with history.open("a") as file:
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = rate(step, steps, peak, warmup=50)
            loss, tokens = loss_at(step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            total, recent = total + tokens, [*recent[-19:], loss.item()]
            if step % 20 == 19:
                row = {
                    "step": step + 1,
                    "loss": round(float(np.mean(recent)), 4),
                    "tokens": total,
                    "s": round(time.time() - began),
                }
                file.write(json.dumps(row) + "\n")
                file.flush()
                log.info("%s", row)


def train_causal(sources: dict[str, Passages], to: Path, steps: int, seed: int) -> None:
    """Next-token prediction; each block is a stretch of one file."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config).train()
    sizes = np.array([len(source.ids) for source in sources.values()], dtype=float)
    files = list(sources.values())

    def forward(ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            logits = hidden[:, :-1].reshape(-1, config.hidden_size) @ model.lm_head.weight.T
        return F.cross_entropy(logits.float(), ids[:, 1:].reshape(-1))

    compiled = torch.compile(forward)

    def loss_at(_: int) -> tuple[torch.Tensor, int]:
        rows = []
        for index in rng.choice(len(files), size=32, p=sizes / sizes.sum()):
            start = int(rng.integers(0, len(files[index].ids) - BLOCK))
            rows.append(files[index].ids[start : start + BLOCK])
        return compiled(torch.from_numpy(np.stack(rows).astype(np.int64))), 32 * BLOCK

    optimise(model, steps, 2e-3, loss_at, to.parent / "causal.jsonl")
    model.save_pretrained(to)


def train_contrastive(
    sources: dict[str, Passages],
    pairs: dict[str, tuple[list[np.ndarray], list[np.ndarray]]],
    base: Path,
    to: Path,
    steps: int,
    seed: int,
    peak: float,
) -> None:
    """InfoNCE in both directions, in-batch negatives from one source at a time (they are the harder ones)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    model.config.is_causal = False
    counts = np.zeros(VOCABULARY)
    for source in sources.values():
        counts += np.bincount(source.ids, minlength=VOCABULARY)
    rarity = 1.0 / np.sqrt(counts + 20.0)
    names = [*TEXTS, *PAIRS]
    shares = np.array([*TEXTS.values(), *PAIRS.values()])

    def embed(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        weight = mask.unsqueeze(-1).float()
        return F.normalize((hidden.float() * weight).sum(1) / weight.sum(1), dim=-1)

    compiled = torch.compile(embed)

    def draw(name: str, size: int, length: int) -> list[tuple[np.ndarray, np.ndarray]]:
        if name in sources:
            return [crops(rng, sources[name], length, rarity) for _ in range(size)]
        queries, documents = pairs[name]
        chosen = rng.choice(len(queries), size=size, replace=False)
        return [(queries[i][:QUERY_LENGTH], documents[i][:length]) for i in chosen]

    def loss_at(step: int) -> tuple[torch.Tensor, int]:
        size, length = SHAPES[step % 5 in (1, 3)]
        batch = draw(names[rng.choice(len(names), p=shares / shares.sum())], size, length)
        queries, documents = (
            compiled(*pad(list(side), width))
            for side, width in zip(zip(*batch, strict=True), (QUERY_LENGTH, length), strict=True)
        )
        scores = SCALE * queries @ documents.T
        target = torch.arange(size)
        return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2, size * (QUERY_LENGTH + length)

    optimise(model, steps, peak, loss_at, to.parent / f"{to.name}.jsonl")
    model.model.save_pretrained(to)


def main() -> None:
    """Run the stages that are not done yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds text/ and pairs/")
    parser.add_argument("--work", type=Path, default=Path("runs/bundled"))
    parser.add_argument("--causal-steps", type=int, default=900)
    parser.add_argument("--contrastive-steps", type=int, nargs=2, default=[900, 700], help="of the two rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "tokenizer").exists():
        train_tokenizer(options.data, work / "tokenizer")
    tokenizer = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
    word_start = np.zeros(VOCABULARY, dtype=bool)
    word_start[[i for token, i in tokenizer.get_vocab().items() if token.startswith("Ġ")]] = True
    sources = {stem: Passages(read_paragraphs(options.data, stem), tokenizer, word_start) for stem in TEXTS}
    log.info("tokens: %s", {stem: len(source.ids) for stem, source in sources.items()})
    if not (work / "causal").exists():
        train_causal(sources, work / "causal", options.causal_steps, options.seed)
    pairs = {}
    for stem in PAIRS:
        columns = zip(*read_pairs(options.data, stem), strict=True)
        pairs[stem] = tuple(
            [np.asarray(item.ids, dtype=np.int32) for item in tokenizer.encode_batch_fast(list(column))]
            for column in columns
        )
    base = work / "causal"
    for number, steps in enumerate(options.contrastive_steps, 1):
        to = work / f"contrastive-{number}"
        if not to.exists():
            train_contrastive(sources, pairs, base, to, steps, options.seed + number - 1, peak=1e-3 / number)
        base = to


if __name__ == "__main__":
    main()
