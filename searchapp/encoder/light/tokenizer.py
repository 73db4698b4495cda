"""A checkpoint's tokenizer from tokenizer.json alone, where transformers would change nothing about it.

transformers 5 rebuilds some tokenizers by their class, adds the tokens that tokenizer_config.json names and the file
lacks, and writes a post-processor where there is none. None of it happens to a tokenizer that is read here; any other
is refused.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from searchapp.encoder.json_files import read_json
from searchapp.encoder.light.refusal import NotLightError

CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")  # which take tokenizer.json as it is
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
SILENT = {
    "backend", "chat_template", "clean_up_tokenization_spaces", "is_local", "local_files_only", "model_max_length",
    "name_or_path", "padding_side", "tokenizer_class",
}  # fmt: skip
EMPTY = {"additional_special_tokens", "extra_special_tokens"}  # read as long as there is nothing in them
OTHERS = ("special_tokens_map.json", "added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt", "tekken.json")
MOST = 100_000  # tokens: above, transformers may mend the pre-tokenizer of models of Mistral's


class LightTokenizer:
    """What the encoder asks of transformers' fast tokenizers; ``backend_tokenizer`` is ``tokenizers.Tokenizer``."""

    is_fast = True
    truncation_side = "right"

    def __init__(self, backend: Any, named: dict[str, str]) -> None:
        self.backend_tokenizer = backend
        self._named = named

    @property
    def all_special_tokens(self) -> list[str]:
        """The special tokens that have a name, each once."""
        return list(dict.fromkeys(self._named[name] for name in NAMED if name in self._named))

    @property
    def eos_token(self) -> str | None:
        """The token that ends a sequence."""
        return self._named.get("eos_token")

    @cached_property
    def bos_token_id(self) -> int | None:
        """The token that begins a sequence; None where there is none."""
        return self._number("bos_token")

    @cached_property
    def eos_token_id(self) -> int | None:
        """The number of ``eos_token``."""
        return self._number("eos_token")

    @cached_property
    def pad_token_id(self) -> int | None:
        """The token that fills up batches; None where there is none."""
        return self._number("pad_token")

    def get_vocab(self) -> dict[str, int]:
        """Every token with its number, added ones among them."""
        vocabulary: dict[str, int] = self.backend_tokenizer.get_vocab(with_added_tokens=True)
        return vocabulary

    def _number(self, name: str) -> int | None:
        token = self._named.get(name)
        number: int | None = None if token is None else self.backend_tokenizer.token_to_id(token)
        return number


def read_tokenizer(directory: Path) -> LightTokenizer:
    """Read tokenizer.json and tokenizer_config.json. Raises NotLightError, and ModelError for what is no JSON."""
    path, settings = directory / "tokenizer.json", directory / "tokenizer_config.json"
    if not path.exists() or not settings.exists() or any((directory / name).exists() for name in OTHERS):
        raise NotLightError("its tokenizer is not tokenizer.json and tokenizer_config.json alone")
    named = _named(read_json(settings))
    from tokenizers import Tokenizer

    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more precise
        raise NotLightError("its tokenizer.json cannot be read") from error
    if backend.post_processor is None or backend.truncation is not None or backend.padding is not None:
        raise NotLightError("its tokenizer.json truncates, pads, or has no post-processor")
    if backend.get_vocab_size() > MOST:
        raise NotLightError(f"its vocabulary is above {MOST:,} tokens")
    special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    if not special.issuperset(named.values()):
        raise NotLightError("its tokenizer_config.json names a special token that its tokenizer.json has not as one")
    return LightTokenizer(backend, named)


def _named(content: dict[str, Any]) -> dict[str, str]:
    """The special tokens by name, of a tokenizer_config.json in which nothing else is asked for."""
    if content.get("tokenizer_class") not in CLASSES:
        raise NotLightError(f"its tokenizer is a {content.get('tokenizer_class')!r:.60}")
    for key, value in content.items():
        known = key in SILENT or (key in EMPTY and not value) or (key == "truncation_side" and value == "right")
        if not known and not (key in NAMED and (value is None or isinstance(value, str))):
            raise NotLightError(f"its tokenizer_config.json sets {key}")
    return {name: content[name] for name in NAMED if content.get(name) is not None}
