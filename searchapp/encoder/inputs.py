"""Texts and what stands before each, as an encoder takes them; what is no text is refused here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from searchapp.encoder.window import EncodeInput
from searchapp.errors import ModelError
from searchapp.unicode import find_surrogate


def inputs_of(texts: Iterable[str], instructions: Iterable[str | None]) -> Iterator[EncodeInput]:
    """Put each text with its instruction, for as long as there are texts. Raises ModelError for what is no text."""
    seen: set[str | None] = set()
    for number, (text, instruction) in enumerate(zip(texts, instructions, strict=False)):
        if not isinstance(text, str):
            raise ModelError(f"encode was given a {type(text).__name__}; expected a string or a list of strings")
        _refuse_surrogates(text, f"text {number} (counted from 0)")
        if instruction not in seen:
            _refuse_surrogates(instruction or "", "an instruction")
            seen.add(instruction)
        yield EncodeInput(text, instruction)


def _refuse_surrogates(text: str, what: str) -> None:
    """Raise ModelError for half of a surrogate pair: it stands for no character, and no tokenizer takes it."""
    if (place := find_surrogate(text)) is not None:
        raise ModelError(
            f"{what} is not valid Unicode: a lone surrogate {text[place]!a} at character {place}; "
            "remove it, or decode the source with errors='replace'"
        )


def spread(instruction: str | None | Sequence[str | None], count: int, *, keep_blank: bool = False) -> list[str | None]:
    """One instruction for each text; empty ones become None, and blank ones unless they are kept."""
    if instruction is None or isinstance(instruction, str):
        instruction = [instruction] * count
    if len(instruction) != count:
        raise ModelError(f"{len(instruction)} instructions for {count} texts; give one string, or one for each text")
    return [item if item and (keep_blank or item.strip()) else None for item in instruction]
