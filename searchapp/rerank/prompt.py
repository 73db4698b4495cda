"""What a decoder is asked about a query and a document, in the words of the checkpoint where it has any of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.encoder.json_files import read_json
from searchapp.errors import ModelError

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)  # Qwen3-Reranker's protocol, which other checkpoints have taken over
ROLES = ("query", "document")
Render = Callable[[str, str], str]
ROUNDS = 8  # attempts to cut a text to a number of tokens; cutting can change the token at the cut


class Prompt:
    """Writes a pair as one text and tokenizes it, cutting the document alone where it gets longer than ``limit``.

    ``special`` adds the tokenizer's own BOS and EOS; a chat template has them already.
    """

    def __init__(self, tokenizer: Any, render: Render, limit: int, special: bool) -> None:
        self._tokenizer = tokenizer
        self._render = render
        self._limit = limit
        self._special = special

    def __call__(self, queries: Sequence[str], documents: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each pair."""
        texts = [self._render(*pair) for pair in zip(queries, documents, strict=True)]
        found = self._tokenizer(texts, add_special_tokens=self._special)["input_ids"]
        return [
            np.asarray(ids if len(ids) <= self._limit else self._cut(query, document, ids))
            for ids, query, document in zip(found, queries, documents, strict=True)
        ]

    def _cut(self, query: str, document: str, ids: list[int]) -> list[int]:
        for _ in range(ROUNDS):
            document = shorten(self._tokenizer, document, len(ids) - self._limit)
            ids = self._tokenizer(self._render(query, document), add_special_tokens=self._special)["input_ids"]
            if len(ids) <= self._limit:
                return ids
        raise ModelError(
            f"a query of {len(query):,} characters leaves no room for a document within {self._limit} tokens; "
            "shorten the query"
        )


def shorten(tokenizer: Any, text: str, excess: int) -> str:
    """A text without its last ``excess`` tokens, cut between characters."""
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    left = len(spans) - excess
    return text[: spans[left - 1][1]] if left > 0 else ""


def saved_prompt(directory: Path) -> str | None:
    """The prompt a sentence-transformers folder takes unasked."""
    path = directory / "config_sentence_transformers.json"
    content = read_json(path) if path.exists() else {}
    prompts, name = content.get("prompts") or {}, content.get("default_prompt_name")
    return prompts.get(name) if isinstance(prompts, dict) and name else None


def role_template(tokenizer: Any, directory: Path, instruction: str | None) -> Render | None:
    """The checkpoint's own chat template, if it has the roles ``query`` and ``document``; None if it lacks them.

    A template that writes any role there is has them only in the folder of a sentence-transformers reranker: a chat
    model knows no such roles.
    """
    template = str(getattr(tokenizer, "chat_template", None) or "")
    if not template or not (all(role in template for role in ROLES) or (directory / "modules.json").exists()):
        return None
    path = directory / "sentence_bert_config.json"
    content = read_json(path) if path.exists() else {}
    options = dict((content.get("processing_kwargs") or {}).get("chat_template") or {})
    options.pop("restore_suffix", None)  # sentence-transformers' own; what it restores is never cut here

    def render(query: str, document: str, structured: bool = False) -> str:
        messages: list[dict[str, Any]] = [{"role": "system", "content": instruction}] if instruction else []
        messages += [{"role": "query", "content": query}, {"role": "document", "content": document}]
        if structured:
            messages = [{**item, "content": [{"type": "text", "text": item["content"]}]} for item in messages]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))

    for structured in (False, True):
        try:
            text = render("a query 1723", "a document 8246", structured)
        except Exception:  # noqa: S112 - a template refuses roles with exceptions of its own
            continue
        if "a query 1723" in text and "a document 8246" in text:
            return lambda query, document: render(query, document, structured)
    return None


def question(tokenizer: Any, instruction: str) -> tuple[Render, bool]:
    """A yes-or-no question in the words of Qwen3-Reranker, as a chat if the model has one; with ``Prompt.special``."""

    def ask(query: str, document: str) -> str:
        return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"

    chat = chat_of(tokenizer)
    if chat is None:
        return lambda query, document: f"{SYSTEM}\n{ask(query, document)}\nAnswer:", True
    return lambda query, document: chat(SYSTEM, ask(query, document)), False


def chat_of(tokenizer: Any) -> Callable[[str, str], str] | None:
    """Writes (system, user) up to where the model's answer begins, thinking left out; None without a chat template."""
    if not getattr(tokenizer, "chat_template", None):
        return None

    def chat(system: str, user: str) -> str:
        both = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        one = [{"role": "user", "content": f"{system}\n\n{user}"}]
        for messages in (both, one):  # some templates have no system role
            try:
                text = tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
                )
            except Exception:  # noqa: S112 - a template refuses roles with exceptions of its own
                continue
            if system in text:
                return str(text)
        raise ModelError("the model's chat template takes neither a system nor a user message; use another model")

    return chat
