"""Train the bundled model from nothing: tokenizer, causal decoder, bidirectional MNTP, distillation, contrastive pairs.

    python training/teach.py --data ../shared/data --teacher DIR --work runs/bundled-2
    python training/bundled.py --data ../shared/data --work runs/bundled-2

Stages, each skipped when its output is already in the work directory:

1. ``tokenizer``  byte-level BPE of 24,576 entries over lower-cased text.
2. ``causal``     next-token prediction with a 4-layer Llama decoder on 256-token blocks.
3. ``mntp``       attention made bidirectional, masked next-token prediction (the first step of LLM2Vec).
4. ``distilled-N`` rounds, each with a lower learning rate: the mean of the last hidden states is drawn to the
                  teacher's vector of the same text, and the similarities within a batch to the teacher's.

All weights are trained, not LoRA ones: a model this small has too few of them to leave most where they began.
What the method loses: the model cannot be better than its teacher, and knows only the words its texts hold.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from texts import TEXTS, read_pairs, read_paragraphs
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from searchapp.adapt.objectives.losses import mntp_loss
from searchapp.adapt.objectives.masking import mask_tokens

log = logging.getLogger("training")

VOCABULARY, BLOCK, TOKENS = 24_576, 256, 8_192  # entries; tokens of a block; tokens of a batch
LENGTHS = (8, 16, 32, 64, 128, 256)  # the widths batches are padded to: each is compiled once
SHARES = (0.08, 0.17, 0.30, 0.20, 0.15, 0.10)  # of the distillation batches
torch._dynamo.config.recompile_limit = 4 * len(LENGTHS)  # each width, with gradients and without
SCALE = 20.0  # inverse temperature of the similarities within a batch
CLUSTER = 16  # texts of one cluster in a batch: neighbours are what ranking is about


def train_tokenizer(texts: list[str], to: Path, entries: int = VOCABULARY) -> None:
    """Byte-level BPE; lower-casing halves what so small a vocabulary has to spell out."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=512
    ).save_pretrained(to)


def texts_of(data: Path) -> list[list[str]]:
    """The paragraphs of each file that a model which ships may learn from."""
    files = [read_paragraphs(data, stem) for stem in TEXTS]
    return [*files, [document for _, document in read_pairs(data, "pubmedqa")]]


def rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then linear decay to a twentieth."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 - 0.95 * (step - warmup) / max(1, steps - warmup))


def optimise(
    model: LlamaForCausalLM,
    steps: int,
    peak: float,
    loss_at: Callable[[int], torch.Tensor],
    history: Path,
    keep: Path | None = None,
) -> None:
    """AdamW over ``steps`` calls of ``loss_at(step)``; a line of JSON every 20 steps, the model so far every 500."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    began, recent = time.time(), []
    with history.open("a") as file:
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = rate(step, steps, peak, warmup=50)
            loss = loss_at(step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            recent = [*recent[-19:], loss.item()]
            if step % 20 == 19:
                row = {"step": step + 1, "loss": round(float(np.mean(recent)), 4), "s": round(time.time() - began)}
                file.write(json.dumps(row) + "\n")
                file.flush()
                log.info("%s %s", history.stem, row)
            if keep is not None and step % 500 == 499:
                model.model.save_pretrained(keep)


class Blocks:
    """Stretches of ``BLOCK`` tokens drawn from the files, in proportion to their size."""

    def __init__(self, texts: list[list[str]], tokenizer: Tokenizer, seed: int) -> None:
        self.files = [
            np.concatenate([np.asarray(item.ids, dtype=np.int32) for item in tokenizer.encode_batch_fast(file)])
            for file in texts  # one of the texts is the paragraphs of a file
        ]
        sizes = np.array([len(file) for file in self.files], dtype=float)
        self.shares, self.rng = sizes / sizes.sum(), np.random.default_rng(seed)
        log.info("%.1f million tokens", sizes.sum() / 1e6)

    def draw(self) -> torch.Tensor:
        """Token ids, (TOKENS / BLOCK, BLOCK)."""
        rows = []
        for index in self.rng.choice(len(self.files), size=TOKENS // BLOCK, p=self.shares):
            start = int(self.rng.integers(0, len(self.files[index]) - BLOCK))
            rows.append(self.files[index][start : start + BLOCK])
        return torch.from_numpy(np.stack(rows).astype(np.int64))


def train_causal(blocks: Blocks, to: Path, steps: int, vocabulary: int = VOCABULARY, layers: int = 4) -> None:
    """Next-token prediction; each block is a stretch of one file."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).train()

    def forward(ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            logits = hidden[:, :-1].reshape(-1, config.hidden_size) @ model.lm_head.weight.T
        return F.cross_entropy(logits.float(), ids[:, 1:].reshape(-1))

    compiled = torch.compile(forward)
    history = to.parent / "causal.jsonl"
    optimise(model, steps, 2e-3, lambda _: compiled(blocks.draw()), history, keep=to.parent / "causal-so-far")
    model.save_pretrained(to)


def train_mntp(blocks: Blocks, mask_id: int, base: Path, to: Path, steps: int, seed: int) -> None:
    """Masked next-token prediction with bidirectional attention: 20 % of the tokens, BERT's 80/10/10."""
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    model.config.is_causal = False
    generator = torch.Generator().manual_seed(seed)

    @torch.compile
    def hidden_of(ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model.model(input_ids=ids, use_cache=False).last_hidden_state

    def loss_at(_: int) -> torch.Tensor:
        ids = blocks.draw()
        masked = mask_tokens(ids, ids < 3, mask_id=mask_id, vocabulary=VOCABULARY, rate=0.2, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            return mntp_loss(hidden_of(masked.ids), model.lm_head.weight, masked.labels)

    optimise(model, steps, 1e-3, loss_at, to.parent / "mntp.jsonl")
    model.save_pretrained(to)


def pad(rows: list[np.ndarray], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and attention mask, both (n, length)."""
    ids = np.zeros((len(rows), length), dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row[:length]
        mask[i, : len(row)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def embedder(model: LlamaForCausalLM) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Unit vectors (n, dim) float32: the mean of the last hidden states over the tokens of each text."""

    def embed(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        weight = mask.unsqueeze(-1).float()
        return F.normalize((hidden.float() * weight).sum(1) / weight.sum(1), dim=-1)

    return torch.compile(embed, dynamic=False)


def similarity_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the student's similarities within the batch against the teacher's, each row a distribution."""
    self_pair = torch.eye(len(student), dtype=torch.bool)
    target = (SCALE * teacher @ teacher.T).masked_fill(self_pair, -1e4).softmax(-1)
    scores = (SCALE * student @ student.T).masked_fill(self_pair, -1e4).log_softmax(-1)
    return F.kl_div(scores, target, reduction="batchmean")


class Taught:
    """The distillation texts by length and by cluster of their teacher's vectors."""

    def __init__(self, work: Path, tokenizer: Tokenizer, dim: int, seed: int) -> None:
        import faiss

        self.rng = np.random.default_rng(seed)
        with (work / "texts.jsonl").open(encoding="utf-8") as file:
            encoded = tokenizer.encode_batch_fast([json.loads(line) for line in file])
        sizes = np.array([len(item.ids) for item in encoded])
        self.ids = np.concatenate([np.asarray(item.ids, dtype=np.int32) for item in encoded])
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self.vectors = np.load(work / "teacher.npy", mmap_mode="r")
        sample = self.vectors[np.sort(self.rng.choice(len(sizes), 60_000, replace=False))].astype(np.float32)
        _, basis = np.linalg.eigh(sample.T @ sample)
        self.basis = np.ascontiguousarray(basis[:, ::-1][:, :dim])  # uncentred, so that cosines are kept
        kept = float(np.square(sample @ self.basis).sum() / np.square(sample).sum())
        kmeans = faiss.Kmeans(sample.shape[1], 1_500, niter=8, seed=seed, max_points_per_centroid=40)
        kmeans.train(sample)
        cluster = np.concatenate(
            [
                kmeans.index.search(self.vectors[start : start + 50_000].astype(np.float32), 1)[1][:, 0]
                for start in range(0, len(sizes), 50_000)
            ]
        )
        bucket = np.searchsorted(LENGTHS, np.minimum(sizes, LENGTHS[-1]))
        self.groups = []  # for each length, the texts of each cluster
        for number in range(len(LENGTHS)):
            rows = np.flatnonzero(bucket == number)
            rows = rows[np.argsort(cluster[rows], kind="stable")]
            self.groups.append(np.split(rows, np.flatnonzero(np.diff(cluster[rows])) + 1))
            log.info("up to %d tokens: %d texts", LENGTHS[number], len(rows))
        self.weights = [np.array([len(part) for part in group], float) for group in self.groups]
        log.info("%d texts; %.3f of the teacher's length kept in %d dimensions", len(sizes), kept, dim)

    def seen_by(
        self, embed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], batches: int = 60
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The student's vectors (n, dim) and the teacher's (n, 384) of some thousand texts."""
        drawn = [self.draw() for _ in range(batches)]
        with torch.no_grad():
            return torch.cat([embed(ids, mask) for ids, mask, _ in drawn]), torch.cat([item[2] for item in drawn])

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Ids and mask (n, length), the teacher's vectors (n, 384)."""
        bucket = int(self.rng.choice(len(LENGTHS), p=SHARES))
        size = TOKENS // LENGTHS[bucket]
        weights = self.weights[bucket]
        rows: list[int] = []
        for part in self.rng.choice(len(weights), size=max(2, size // CLUSTER), p=weights / weights.sum()):
            members = self.groups[bucket][part]
            rows += members[self.rng.integers(len(members), size=CLUSTER)].tolist()
        rows = list(dict.fromkeys(rows))
        while len(rows) < size:
            part = self.groups[bucket][self.rng.choice(len(weights), p=weights / weights.sum())]
            rows = list(dict.fromkeys([*rows, int(part[self.rng.integers(len(part))])]))
        rows = rows[:size]
        tokens = [self.ids[self.starts[row] : self.starts[row + 1]] for row in rows]
        ids, mask = pad(tokens, LENGTHS[bucket])
        return ids, mask, torch.from_numpy(self.vectors[np.array(rows)].astype(np.float32))


def turn(student: torch.Tensor, teacher: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """The rotation (dim, dim) that lays the teacher's axes where the student has learnt them (orthogonal Procrustes).

    A round on other texts finds the same subspace but other axes in it; without the turn it would unlearn the first.
    """
    left, _, right = torch.linalg.svd(F.normalize(teacher @ basis, dim=-1).T @ student)
    return left @ right


def train_distilled(taught: Taught, base: Path, to: Path, steps: int, peak: float) -> None:
    """Draw each text's vector to its teacher's, turned into the student's dimensions, and so its neighbourhood."""
    # Compiled, attention by plain matrix products takes 0.59 s a step, and the fused kernel's backward pass 0.86 s.
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").train()
    model.config.is_causal = False
    embed = embedder(model)
    basis = torch.from_numpy(taught.basis)
    if base.name.startswith("distilled"):
        basis = basis @ turn(*taught.seen_by(embed), basis)

    def loss_at(_: int) -> torch.Tensor:
        ids, mask, teacher = taught.draw()
        student = embed(ids, mask)
        cosine = (student * F.normalize(teacher @ basis, dim=-1)).sum(-1)
        return 10 * (1 - cosine.mean()) + similarity_loss(student, teacher)

    optimise(model, steps, peak, loss_at, to.parent / f"{to.name}.jsonl", keep=to.parent / f"{to.name}-so-far")
    model.model.save_pretrained(to)


def main() -> None:
    """Run the stages that are not done yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds text/ and pairs/")
    parser.add_argument("--work", type=Path, default=Path("runs/bundled-2"))
    parser.add_argument("--causal-steps", type=int, default=600)
    parser.add_argument("--mntp-steps", type=int, default=250)
    parser.add_argument("--distil-steps", type=int, nargs="+", default=[4_600], help="of each round")
    parser.add_argument("--tokenizer", type=Path, help="take this folder's tokenizer instead of training one")
    parser.add_argument("--stop-after", choices=("causal", "mntp", "distilled"), default="distilled")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "tokenizer").exists():
        if options.tokenizer is not None:
            shutil.copytree(options.tokenizer, work / "tokenizer", ignore=lambda _, names: _others(names))
        else:
            with (work / "texts.jsonl").open(encoding="utf-8") as file:
                words = [text for text in map(json.loads, file) if text.isalpha() and text.islower()]
            counted = [" ".join([word] * 20) for word in words]
            train_tokenizer([line for file in texts_of(options.data) for line in file] + counted, work / "tokenizer")
    tokenizer = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
    if not (work / "mntp").exists():
        blocks = Blocks(texts_of(options.data), tokenizer, options.seed)
        if not (work / "causal").exists():
            train_causal(blocks, work / "causal", options.causal_steps)
            shutil.copytree(work / "tokenizer", work / "causal", dirs_exist_ok=True)
        if options.stop_after == "causal":
            return
        mask_id = tokenizer.token_to_id("Ġ_") or tokenizer.token_to_id("_")
        train_mntp(blocks, mask_id, work / "causal", work / "mntp", options.mntp_steps, options.seed)
    base = work / "mntp"
    for number, steps in enumerate(options.distil_steps if options.stop_after == "distilled" else [], 1):
        to = work / f"distilled-{number}"
        if not to.exists():
            taught = Taught(work, tokenizer, 256, options.seed)
            taught.rng = np.random.default_rng([options.seed, number])
            train_distilled(taught, base, to, steps, peak=1e-3 / number**0.75)
        base = to


def _others(names: list[str]) -> set[str]:
    """What is no part of a tokenizer."""
    return {name for name in names if not name.startswith("tokenizer")}


if __name__ == "__main__":
    main()
