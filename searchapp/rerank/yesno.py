"""Decoders that are asked whether a document answers a query: the log-odds of yes against no is the score."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.encoder.batching import require_known
from searchapp.encoder.checkpoint import Checkpoint
from searchapp.encoder.json_files import read_json
from searchapp.errors import ModelError
from searchapp.progress import Progress
from searchapp.rerank.pairs import BUDGET, TokenizedPair, pad_left, score_pairs
from searchapp.rerank.prompt import INSTRUCTION, Prompt, question, role_template, saved_prompt
from searchapp.rerank.weights import LANGUAGE, digest, filler, load_headed, longest

LENGTH = 2_048  # tokens of a prompt, where the model takes as many


class YesNo:
    """Qwen3-Reranker and its like: score = logit(yes) - logit(no) where the answer begins, in float32.

    The prompt is the checkpoint's own template where it has the roles ``query`` and ``document``
    (sentence-transformers' way), else Qwen3-Reranker's question as a chat. ``instruction`` says what makes a document
    relevant; default: the checkpoint's own, else that of web search.
    """

    kind = "yes-no"

    def __init__(
        self, checkpoint: Checkpoint, tokenizer: Any, *, instruction: str | None, length: int, device: str, dtype: str
    ) -> None:
        self.name = checkpoint.name
        self._yes, self._no = _answers(checkpoint.settings, tokenizer)
        self._model = load_headed(checkpoint, LANGUAGE, device=device, dtype=dtype)
        asked = saved_prompt(checkpoint.settings) if instruction is None else instruction
        render, special = role_template(tokenizer, checkpoint.settings, asked), False
        if render is None:
            render, special = question(tokenizer, asked or INSTRUCTION)
        limit = longest(tokenizer, self._model.config, length)
        self._prompt = Prompt(tokenizer, render, limit, special)
        self._filler = filler(tokenizer, self._model.config.vocab_size)
        self._positions = "position_ids" in inspect.signature(self._model.forward).parameters
        self.fingerprint = digest(
            checkpoint, self.kind, limit, render("Q", "D"), self._yes, self._no, str(self._model.dtype)
        )

    def score(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """See ``Reranker``."""
        budget = BUDGET[self._model.device.type]
        return score_pairs(self.name, queries, documents, self._tokenize, self._forward, budget, progress)

    def _tokenize(self, queries: Sequence[str], documents: Sequence[str]) -> list[TokenizedPair]:
        return [TokenizedPair(ids) for ids in self._prompt(queries, documents)]

    def _forward(self, batch: list[TokenizedPair]) -> np.ndarray:
        import torch

        ids, mask, positions = pad_left([item.ids for item in batch], self._filler)
        require_known(ids, self._model.config.vocab_size)
        place = self._model.device
        given = {"input_ids": torch.from_numpy(ids).to(place), "attention_mask": torch.from_numpy(mask).to(place)}
        if self._positions:
            given["position_ids"] = torch.from_numpy(positions).to(place)
        with torch.inference_mode():
            head = self._model.get_output_embeddings()
            last: list[torch.Tensor] = []
            hook = head.register_forward_pre_hook(lambda _, arguments: last.append(arguments[0][:, -1].float()))
            try:
                self._model(**given, use_cache=False, logits_to_keep=1)
            finally:
                hook.remove()
            tokens = [self._yes, self._yes if self._no is None else self._no]
            logits = last[0] @ head.weight[tokens].float().T  # in half precision they would tie
            if getattr(head, "bias", None) is not None:
                logits += head.bias[tokens].float()
            logits = _finish(logits, self._model.config)
            scores = logits[:, 0] if self._no is None else logits[:, 0] - logits[:, 1]
        found: np.ndarray = scores.cpu().numpy()
        return found


def _finish(logits: Any, config: Any) -> Any:
    """What some families do to the logits after the head (Gemma 2, Granite, Cohere)."""
    if getattr(config, "logits_scaling", None):
        logits = logits / config.logits_scaling
    if getattr(config, "logit_scale", None):
        logits = logits * config.logit_scale
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = (logits / cap).tanh() * cap
    return logits


def _answers(directory: Path, tokenizer: Any) -> tuple[int, int | None]:
    """The tokens for yes and for no: the checkpoint's own, which may have no second one, or those words."""
    for path in sorted(directory.glob("*_LogitScore/config.json")):
        content = read_json(path)
        yes, no = content.get("true_token_id"), content.get("false_token_id")
        if isinstance(yes, int) and (no is None or isinstance(no, int)):
            return yes, no
        raise ModelError(f"{path} names the tokens {yes!r} and {no!r}; expected the numbers of two tokens")
    found = []
    for word in ("yes", "no"):
        token = tokenizer.convert_tokens_to_ids(word)
        if token is None or token == tokenizer.unk_token_id:
            ids = tokenizer(word, add_special_tokens=False)["input_ids"]
            if len(ids) != 1:
                raise ModelError(
                    f"{directory} has no single token for {word!r}, so it cannot be asked for yes or no; "
                    "use --reranker-kind listwise, or another model"
                )
            token = ids[0]
        found.append(int(token))
    return found[0], found[1]
