"""What is trained and what is measured: the variants, the tasks, and the order in which they tell the most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from searchapp.adapt.config import StageConfig, make_stage
from searchapp.adapt.data import PairFile

BASE = "base"
POOLINGS = ("last_token", "mean", "weighted_mean")  # one pass gives all; a closing token takes one of its own
TASKS = ("sts", "words", "reranking", "retrieval", "sts_eos")
CURVE, SUPERVISED_STEPS = (25, 50, 100), 200  # checkpoints of a supervised run that are measured; its length
SEEDS = (42, 43)

COMMON = {"lora_r": 16, "lora_alpha": 32}
MNTP = COMMON | {
    "steps": 1_000, "batch_size": 8, "max_length": 128, "learning_rate": 5e-4, "warmup_steps": 50, "save_steps": 50,
    "keep_checkpoints": 0,
}  # fmt: skip
SHORT_MNTP = MNTP | {"steps": 200, "warmup_steps": 20}  # for comparing masks: a fifth of the tokens
SIMCSE = COMMON | {
    "steps": 160, "batch_size": 64, "max_length": 48, "learning_rate": 2e-4, "warmup_steps": 16, "save_steps": 20,
    "chunk": 16,
}  # fmt: skip
SUPERVISED = COMMON | {
    "steps": SUPERVISED_STEPS, "batch_size": 32, "max_length": 192, "learning_rate": 5e-4, "warmup_steps": 20,
    "save_steps": 25, "keep_checkpoints": 0, "chunk": 8, "scale": 20.0,
}  # fmt: skip
MNTP_TEXTS = ("openstax-by", "standardebooks-cc0", "medquad-answers-by", "python-peps-pd", "rust-book-mit")
SENTENCES = ("simcse-sentences",)
PAIRS = {  # name → (instruction, symmetric, share of its rows an epoch)
    "medquad-qa": ("Given a medical question, retrieve passages that answer it:", False, 0.3),
    "pubmedqa": ("Given a question, retrieve abstracts that answer it:", False, 1.0),
    "openstax-section-heading": ("Given a heading, retrieve the passage below it:", False, 0.5),
    "openstax-glossary": ("Given a term, retrieve its definition:", False, 0.5),
    "multi30k-captions": ("Retrieve captions of the same picture:", True, 0.1),
    "medical-question-pairs": ("Retrieve questions that ask the same:", True, 1.0),
}


@dataclass(frozen=True)
class Variant:
    """A model of the ablation: ``start`` is the variant it is trained on, ``stage`` how, None for the base itself."""

    name: str
    label: str
    start: str = BASE
    stage: StageConfig | None = None
    bidirectional: bool = True
    checkpoint: int = 0  # step of the run of ``start`` that it is; 0: a model of its own
    tasks: tuple[str, ...] = TASKS


def variants(seed: int) -> dict[str, Variant]:
    """All variants by name, each after the one that it starts from."""
    at = {"seed": seed}
    supervised = make_stage("supervised", SUPERVISED | at)
    every = [
        Variant("causal", "causal", bidirectional=False),
        Variant("bi", "bidirectional"),
        Variant("mntp", "+ MNTP", BASE, make_stage("mntp", MNTP | at)),
        Variant("mntp+supervised", "+ MNTP + supervised", "mntp", supervised),
        Variant("bi+supervised", "bidirectional + supervised", BASE, supervised),
        Variant("mntp+simcse", "+ MNTP + SimCSE", "mntp", make_stage("simcse", SIMCSE | at)),
        Variant("bi+simcse", "bidirectional + SimCSE", BASE, make_stage("simcse", SIMCSE | at)),
        Variant(
            "causal+simcse", "causal + SimCSE", BASE, make_stage("simcse", SIMCSE | at | {"bidirectional": False}),
            bidirectional=False,
        ),
    ]  # fmt: skip
    for steps in CURVE:
        for start in ("mntp+supervised", "bi+supervised"):
            label = f"{'+ MNTP' if start.startswith('mntp') else 'bidirectional'} + {steps} supervised steps"
            every.append(Variant(f"{start}@{steps}", label, start, checkpoint=steps, tasks=("sts", "retrieval")))
    for steps in (100, 500):
        every.append(
            Variant(f"mntp@{steps}", f"+ {steps} steps of MNTP", "mntp", checkpoint=steps, tasks=("sts", "words"))
        )
    masks = {
        "blank": {},
        "rate-0.4": {"mask_rate": 0.4},
        "eos": {"mask_token": "eos"},
    }
    for name, change in masks.items():
        stage = make_stage("mntp", SHORT_MNTP | at | change)
        label = f"+ 200 steps of MNTP, {stage.mask_rate:g} masked by {stage.mask_token}"  # type: ignore[union-attr]
        every.append(Variant(f"mask-{name}", label, BASE, stage, tasks=("sts", "words")))
    return {variant.name: variant for variant in every}


def cells() -> list[tuple[str, str, int]]:
    """(variant, task, seed) of every cell, the most telling first."""
    first, again = SEEDS
    order = [(name, task, first) for task in ("sts", "words") for name in ("causal", "bi", "mntp")]
    order += [(name, "retrieval", first) for name in ("causal", "bi", "mntp")]
    order += [("mntp+supervised", task, first) for task in ("sts", "retrieval")]
    order += [("bi+supervised", task, first) for task in ("sts", "retrieval")]
    order += [
        (name, task, first) for name in ("mntp+simcse", "bi+simcse", "causal+simcse") for task in ("sts", "words")
    ]
    order += [(name, "sts_eos", first) for name in ("causal", "bi", "mntp")]
    known = variants(first)
    order += [(name, "reranking", first) for name, variant in known.items() if "reranking" in variant.tasks]
    rest = [(name, task, first) for name, variant in known.items() for task in variant.tasks]
    second = [(name, "sts", again) for name, variant in known.items() if variant.stage or variant.checkpoint]
    return list(dict.fromkeys(order + rest + second))


def texts(data: Path, stage: StageConfig) -> list[Path]:
    """The files that a stage without pairs reads."""
    names = {"mntp": MNTP_TEXTS, "simcse": SENTENCES}.get(stage.name, ())
    return [data / "text" / f"{name}.txt.gz" for name in names]


def pairs(data: Path, stage: StageConfig) -> list[PairFile]:
    """The pairs that a supervised stage reads."""
    if stage.name != "supervised":
        return []
    return [
        PairFile(data / "pairs" / f"{name}.jsonl.gz", instruction, symmetric=symmetric, share=share)
        for name, (instruction, symmetric, share) in PAIRS.items()
    ]
