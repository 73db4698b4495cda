"""What is wrapped round a text before it is tokenized, chosen by data: one table by model name, one by family.

The strings are those of the original LLM2Vec package (``llm2vec/llm2vec.py``, version 0.2.3), so that its
published checkpoints keep their vectors. The choice is made once, when a checkpoint is first loaded by the name
its base model was published under, and travels in the saved settings from then on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Template:
    """``prefix + instruction + text + suffix``; ``end`` closes the text when its last token is what is pooled.

    White space at the end of a text is dropped wherever something follows it. ``raw`` puts an instruction straight
    before the text, as sentence-transformers does with its prompts, instead of stripped and with a space.
    """

    prefix: str = ""
    suffix: str = ""
    end: str = ""
    raw: bool = False

    def wrap(self, instruction: str | None, text: str, *, close: bool) -> tuple[str, int, int]:
        """Return the whole string and the character positions where the text and the suffix begin.

        ``close`` asks for ``end`` behind the suffix (pooling of the closing token).
        """
        suffix = self.suffix + (self.end if close else "")
        given = (instruction if self.raw else f"{instruction.strip()} ") if instruction else ""
        head = self.prefix + given
        body = text.rstrip() if suffix else text
        return head + body + suffix, len(head), len(head) + len(body)


LLAMA_3_USER = Template("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>")
INST = Template("[INST] ", " [/INST]", " </s>")
CHATML_USER = Template("<|im_start|>user\n", "<|im_end|>", "<|endoftext|>")

# By the name the base model was published under. The original also writes "<bos>" before Gemma's turn, on top of
# the one its tokenizer adds: here BOS comes once.
BY_NAME = {
    "meta-llama/Meta-Llama-3-8B-Instruct": LLAMA_3_USER,
    "meta-llama/Meta-Llama-3-8B": Template(end="<|end_of_text|>"),
    "meta-llama/Llama-2-7b-chat-hf": INST,
    "mistralai/Mistral-7B-Instruct-v0.2": INST,
    "google/gemma-2-9b-it": Template("<start_of_turn>user\n", "<end_of_turn>", "<eos>"),
    "Qwen/Qwen2-1.5B-Instruct": CHATML_USER,
    "Qwen/Qwen2-7B-Instruct": CHATML_USER,
}

# By ``model_type``, for every other name: no wrapping, only the closing token the original writes.
BY_FAMILY = {
    "llama": Template(end=" </s>"),
    "mistral": Template(end=" </s>"),
    "gemma": Template(end="<eos>"),
    "qwen2": Template(end="<|endoftext|>"),
}


def choose(name: str, family: str, eos_token: str | None) -> Template:
    """Pick the template for a base model's published ``name`` ("" when unknown) and its ``model_type``."""
    return BY_NAME.get(name) or BY_FAMILY.get(family) or Template(end=eos_token or "")


def with_known_end(template: Template, tokenizer: Any) -> Template:
    """The template, with the tokenizer's own closing token where ``end`` is not one token to it.

    ``tokenizer`` is transformers'. The table by family has one name for many vocabularies: ``</s>`` is three ordinary
    tokens to a Llama that was trained with another tokenizer, and the last of them would be pooled.
    """
    backend, token = tokenizer.backend_tokenizer, template.end.strip()
    known = backend.token_to_id(token) if token else None
    if not token or (
        known is not None and backend.encode(f"a{template.end}", add_special_tokens=False).ids[-1] == known
    ):
        return template
    return replace(template, end=tokenizer.eos_token or "")
