"""Compares what an export tokenizes and pools with what its encoder does, before its directory appears.

Many texts of every kind go through the tokenizer as written: as ``Encoder.load`` will read it (``compare_own``), and as
sentence-transformers will (``compare_theirs``), whose reading is computed here without running it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from searchapp.encoder.encoder import Encoder
from searchapp.encoder.export.plan import MODES, ExportPlan
from searchapp.encoder.tokenization import Tokenization, Tokens
from searchapp.errors import ModelError

WORDS = 300  # words of the vocabulary whose tokens are compared behind every prompt
USUAL = (
    "bees", "a", "How do bees fly?", "The quick brown fox jumps over the lazy dog.", "the naïve café, Straße",
    "bees 吾輩は猫である привет", "bee 🐝 + 🍯 = ?", "def f(x):\n    return x[0] * 2", "see https://a.b/c?d=e#f",
    "in 2024: 1,5 kg", "HELLO world", "one\n\ntwo\tthree  four",
)  # fmt: skip
FOREIGN = ("7", "42 bees", "2024-05-01", "吾輩は猫である", "привет мир", "🐝 + 🍯 = ?", "(1) x; y", "élan", "#tag")
LEADING, TRAILING = (" bees fly", "\nbees fly", "  x", "\t(x)"), ("bees fly ", "bees fly\n", "bees \n\n", "bees  ")
BEGINNINGS = (
    "that begin with a rare word, a digit or a sign",
    "that begin with white space",
)  # differ behind a prompt only
ODD = ("that are empty", "that spell out a special token")  # a closing template moved to the tokenizer sees them apart

Pooled = tuple[list[int], dict[int, int]]  # token ids, and the weight of each pooled position


def _same(one: Pooled, other: Pooled) -> bool:
    """Whether two ways of reading a text give one vector; where nothing is pooled it is zero."""
    return one == other or not (one[1] or other[1])


def _ours(item: Tokens, pooling: str) -> Pooled:
    ids = item.ids.tolist()
    if MODES[pooling] in ("lasttoken", "cls"):
        return ids, {len(ids) - 1 if MODES[pooling] == "lasttoken" else 0: 1}
    ramp = pooling == "weighted_mean"
    return ids, {i: i - item.start + 1 if ramp else 1 for i in range(item.start, item.end)}


def _theirs(tokenizer: Any, plan: ExportPlan, mode: str, prompt: str, texts: Sequence[str]) -> list[Pooled]:
    """What sentence-transformers 6 makes of texts (its Transformer.preprocess and Pooling), without running it."""

    def ids(strings: list[str]) -> list[list[int]]:
        return list(tokenizer(strings, truncation=True, max_length=plan.length)["input_ids"])

    skip = 0
    if prompt and not plan.include_prompt:
        [alone] = ids([prompt])
        skip = len(alone) - (alone[-1] in tokenizer.all_special_ids)
    rows: list[Pooled] = []
    for row in ids([prompt + text for text in texts]):
        if mode in ("lasttoken", "cls"):
            rows.append((row, {len(row) - 1 if mode == "lasttoken" else 0: 1}))
        else:
            chosen = (i for i in range(skip, len(row)) if row[i] not in plan.unpooled)
            rows.append((row, {i: i + 1 if mode == "weightedmean" else 1 for i in chosen}))
    return rows


def _words(encoder: Encoder) -> tuple[list[str], list[str]]:
    """Words spread over the vocabulary that are one token behind a blank, and pieces of words, which are not."""
    found: tuple[list[str], list[str]] = ([], [])
    for token in sorted(encoder.tokenizer.get_vocab()):
        word = token.lstrip("Ġ▁")
        if word.isascii() and word.isalpha() and len(word) > 1:
            found[word == token].append(word)
    common, pieces = ([*group[:: max(1, len(group) // WORDS)]] for group in found)
    return common, pieces


def _probes(encoder: Encoder) -> dict[str, list[str]]:
    """Texts by kind; "" are those on which any difference is refused."""
    limit, whole = encoder.settings.document_max_length, encoder.settings.max_length
    beyond = f"of more than {limit} tokens (cut at tokens, not between words)"
    common, pieces = _words(encoder)
    head = " ".join(USUAL[2:7])
    size = len(encoder.tokenizer.backend_tokenizer.encode(head, add_special_tokens=False).ids) + 1
    long = [" ".join([head] * (3 * max(limit, whole) // size + 2)), "bees " * (2 * max(limit, whole))]
    usual = [*USUAL, *common, *(f"{one} {other}" for one, other in zip(common, reversed(common), strict=True))]
    usual += [" ".join([head] * (int(share * limit) // size)) for share in (0.5, 0.95)]
    cut = limit < whole - 1  # texts are cut between words, which a tokenizer does not do
    special = [f"bees {token} fly" for token in encoder.tokenizer.all_special_tokens]
    kinds = {
        "": [*usual, *([] if cut else long)],
        beyond: long if cut else [],
        BEGINNINGS[0]: [*FOREIGN, *pieces],
        BEGINNINGS[1]: list(LEADING),
        "that end with white space": list(TRAILING),
        ODD[0]: [""],
        ODD[1]: special,
    }
    if not cut:
        return kinds
    within = {text for group in kinds.values() for text in group if encoder._tokenize.shorten(text) == text}
    return {
        kind: group if group is kinds[beyond] else [t for t in group if t in within] for kind, group in kinds.items()
    }


def compare_own(draft: Path, encoder: Encoder, plan: ExportPlan) -> None:
    """Raise ModelError unless ``Encoder.load`` of the draft will tokenize and pool as the encoder does."""
    from searchapp.encoder.loading import load_tokenizer

    template = plan.settings.template
    assert template is not None  # noqa: S101 - as above
    positions = getattr(encoder.model.config, "max_position_embeddings", None)
    again = Tokenization(load_tokenizer(draft).backend_tokenizer, plan.settings, template, positions)
    passed = ODD if plan.settings != encoder.settings else ()
    texts = [text for kind, group in _probes(encoder).items() for text in group if kind not in passed]
    for instruction in dict.fromkeys([plan.settings.query_instruction, plan.settings.document_instruction]):
        instructions = [instruction] * len(texts)
        pairs = zip(encoder._tokenize(texts, instructions), again(texts, instructions), texts, strict=True)
        for before, after, text in pairs:
            if not _same(_ours(before, encoder.settings.pooling), _ours(after, encoder.settings.pooling)):
                raise ModelError(
                    f"the tokenizer of {encoder.checkpoint.name} does not survive saving: {text[:40]!a} gives "
                    f"{len(after.ids)} tokens where it gave {len(before.ids)}; save it anew with this transformers"
                )


def compare_theirs(draft: Path, encoder: Encoder, plan: ExportPlan) -> tuple[str, ...]:
    """Compare ids and pooled positions through the tokenizer as sentence-transformers will load it.

    Returns a line for each kind of odd text that differs; raises ModelError where a usual one does.
    """
    from transformers import AutoTokenizer

    from searchapp.encoder.library import quiet

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(draft, model_max_length=plan.length, **plan.processor)
    pooling, notices = encoder.settings.pooling, []
    for kind, texts in _probes(encoder).items():
        wrong: list[tuple[str, str, Pooled, Pooled]] = []
        if not texts:
            continue
        for name, prompt in plan.prompts.items():
            ours = encoder._tokenize(texts, [plan.instructions[name]] * len(texts))
            theirs = _theirs(tokenizer, plan, MODES[pooling], prompt, texts)
            pairs = [(_ours(item, pooling), their, text) for item, their, text in zip(ours, theirs, texts, strict=True)]
            wrong += [(prompt, text, own, their) for own, their, text in pairs if not _same(own, their)]
        bare = [item for item in wrong if not item[0]]
        if bare and kind in BEGINNINGS:
            _refuse(encoder, *bare[0])
        if wrong and kind:
            names = sorted({name for name, prompt in plan.prompts.items() if prompt in {item[0] for item in wrong}})
            behind = "" if len(names) == len(plan.prompts) else f" behind the {names[0]} prompt"
            notices.append(f"texts {kind} get other vectors{behind} in sentence-transformers than here")
        elif wrong:
            _refuse(encoder, *wrong[0])
    return tuple(notices)


def _refuse(encoder: Encoder, prompt: str, text: str, own: Pooled, their: Pooled) -> None:
    behind = f" behind the prompt {prompt!a}" if prompt else ""
    if own[0] != their[0]:
        what = f"reads {text[:40]!a}{behind} as other tokens"
    elif own[1].keys() == their[1].keys():
        what = f"weights the tokens of {text[:40]!a}{behind} from the beginning of the sequence, not of the text"
    else:
        what = f"pools {len(their[1])} tokens of {text[:40]!a}{behind}, searchapp {len(own[1])}"
    rule = ", by its span rule 'count'" if encoder.settings.span == "count" and prompt and own[0] == their[0] else ""
    raise ModelError(
        f"{encoder.checkpoint.name} cannot be expressed in sentence-transformers: it {what}{rule}; "
        "export with --merge-only, for searchapp alone, or without an instruction"
    )
