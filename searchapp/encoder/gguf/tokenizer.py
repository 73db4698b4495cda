"""The tokenizer of a GGUF file, as the model's own tokenizer.json has it.

Two kinds are known: byte-level BPE (``gpt2``), where ``tokenizer.ggml.pre`` names how text is split before it is
merged, and SentencePiece BPE (``llama``), whose merges follow from the scores of its pieces. The names and what they
stand for are those of llama.cpp (src/llama-vocab.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchapp.encoder.gguf.header import Header, read_header
from searchapp.errors import ModelError

NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6  # types of tokens
SPACE = "▁"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True)
class Split:
    """How byte-level BPE cuts text before it merges.

    ``pattern`` cuts it, "" by GPT-2's; ``digits`` cuts every digit off first; ``composed`` composes characters (NFC).
    ``whole`` takes a piece that is a token as it is, whatever the merges say. ``bos`` puts BOS in front where the file
    does not say.
    """

    pattern: str = ""
    digits: bool = False
    composed: bool = False
    whole: bool = False
    bos: bool = False


SPLITS = {
    "gpt-2": Split(),
    "smollm": Split(digits=True),
    "starcoder": Split(digits=True),
    "llama-bpe": Split(LLAMA_3, whole=True, bos=True),
    "llama3": Split(LLAMA_3, whole=True, bos=True),
    "llama-v3": Split(LLAMA_3, whole=True, bos=True),
    "qwen2": Split(QWEN_2, composed=True),
}


def load_tokenizer(path: Path) -> Any:
    """The fast tokenizer of a file. Raises ModelError for a kind, or a way to split text, that is not known."""
    from transformers import PreTrainedTokenizerFast

    header = read_header(path)
    kind = header.metadata.get("tokenizer.ggml.model")
    if kind not in ("gpt2", "llama"):
        raise ModelError(
            f"{path} has a tokenizer of kind {kind!r}; expected gpt2 or llama: give the model's safetensors"
        )
    try:
        backend, bos = _byte_level(header) if kind == "gpt2" else _sentencepiece(header)
        named = {name: _token(header, key) for name, key in NAMED.items()}
        _add_tokens(backend, header)
        _add_ends(backend, header, named, bos)
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            **{name: token for name, token in named.items() if token is not None},
            chat_template=header.metadata.get("tokenizer.chat_template"),
        )
    except ModelError:
        raise
    except Exception as error:  # tokenizers itself raises nothing more precise
        raise ModelError(f"the tokenizer in {path} cannot be used: {error}; convert the model again") from error


NAMED = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def _vocabulary(header: Header) -> dict[str, int]:
    tokens = header.metadata.get("tokenizer.ggml.tokens") or []
    found = {token: number for number, token in enumerate(tokens)}
    if not found or len(found) < len(tokens):
        what = "no tokens" if not found else f"{len(tokens) - len(found)} tokens twice"
        raise ModelError(f"{header.path} lists {what}; convert the model again")
    return found


def _types(header: Header) -> list[int]:
    tokens = header.metadata["tokenizer.ggml.tokens"]
    return list(header.metadata.get("tokenizer.ggml.token_type") or [NORMAL] * len(tokens))


def _token(header: Header, name: str) -> str | None:
    number = header.metadata.get(f"tokenizer.ggml.{name}_token_id")
    tokens = header.metadata["tokenizer.ggml.tokens"]
    if number is None:
        return None
    if not 0 <= number < len(tokens):
        raise ModelError(f"{header.path} names token {number} as {name}, of {len(tokens):,}; convert the model again")
    return str(tokens[number])


def _byte_level(header: Header) -> tuple[Any, bool]:
    """A byte-level BPE tokenizer, and whether BOS comes first where the file does not say."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    name = header.metadata.get("tokenizer.ggml.pre")
    if name not in SPLITS:
        raise ModelError(
            f"{header.path} splits text in the way {name!r} (tokenizer.ggml.pre); known are {', '.join(SPLITS)}: give "
            "the model's safetensors"
        )
    split, merges = SPLITS[name], header.metadata.get("tokenizer.ggml.merges")
    if not merges:
        raise ModelError(f"{header.path} has no tokenizer.ggml.merges; convert the model again")
    pairs = [tuple(merge.split(" ")) for merge in merges]
    backend = Tokenizer(models.BPE(vocab=_vocabulary(header), merges=pairs, ignore_merges=split.whole))
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if split.digits else []
    if split.pattern:
        steps.append(pre_tokenizers.Split(Regex(split.pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split.pattern))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if split.composed:
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    return backend, split.bos


def _sentencepiece(header: Header) -> tuple[Any, bool]:
    """A SentencePiece BPE tokenizer with bytes for what it has no piece for; BOS comes first unless the file says no.

    Whole texts are prefixed with a space, and so is what follows a special token, unless the file says no.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers

    vocabulary, scores = _vocabulary(header), header.metadata.get("tokenizer.ggml.scores")
    if header.metadata.get("tokenizer.ggml.precompiled_charsmap"):
        raise ModelError(f"{header.path} normalises text by rules of its own; give the model's safetensors")
    if not scores or len(scores) != len(vocabulary):
        raise ModelError(f"{header.path} has {len(scores or ())} scores for {len(vocabulary):,} pieces; convert again")
    types = _types(header)
    pieces = {token: number for token, number in vocabulary.items() if types[number] in (NORMAL, USER_DEFINED)}
    merges: list[tuple[float, int, int, str, str]] = []
    for whole in pieces:
        cuts = ((whole[:place], whole[place:]) for place in range(1, len(whole)))
        known = sorted((pieces[one], pieces[two], one, two) for one, two in cuts if one in pieces and two in pieces)
        merges += ((-scores[pieces[whole]], *pair) for pair in known)
    merges.sort(key=lambda merge: merge[0])  # the best first; equal ones as their pieces stand
    unknown = _token(header, "unknown")
    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=[(left, right) for *_, left, right in merges], unk_token=unknown,
            fuse_unk=True, byte_fallback=True,
        )
    )  # fmt: skip
    steps: list[Any] = [normalizers.Replace(" ", SPACE)]
    prefixed = header.metadata.get("tokenizer.ggml.add_space_prefix", True)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), *steps] if prefixed else steps)
    after: list[Any] = [decoders.Strip(" ", 1, 0)] if prefixed else []
    decoding: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    backend.decoder = decoders.Sequence(decoding)
    return backend, True


def _add_tokens(backend: Any, header: Header) -> None:
    """Make whole tokens of those that text is never cut within: control tokens, and those a user defined."""
    from tokenizers import AddedToken

    tokens, types = header.metadata["tokenizer.ggml.tokens"], _types(header)
    marked = list(zip(tokens, types, strict=True))
    backend.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token, kind in marked if kind == CONTROL]
    )
    backend.add_tokens([AddedToken(token, normalized=False) for token, kind in marked if kind == USER_DEFINED])


def _add_ends(backend: Any, header: Header, named: dict[str, str | None], bos: bool) -> None:
    """Have BOS in front and EOS behind where the file says so."""
    from tokenizers import processors

    wanted = {
        "bos_token": header.metadata.get("tokenizer.ggml.add_bos_token", bos),
        "eos_token": header.metadata.get("tokenizer.ggml.add_eos_token", False),
    }
    used = {name: token for name, token in named.items() if wanted.get(name) and token is not None}
    if not used:
        return
    first, last = ([used[name]] if name in used else [] for name in ("bos_token", "eos_token"))
    one = [*first, "$A", *last]
    two = [*one, *(f"{part}:1" for part in [*first, "$B", *last])]
    special = [(token, backend.token_to_id(token)) for token in {*used.values()}]
    backend.post_processor = processors.TemplateProcessing(single=one, pair=two, special_tokens=special)
