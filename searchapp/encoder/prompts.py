"""What published models put before queries and documents, by task; and by which of its names a checkpoint is known.

Many embedders were trained behind an instruction and carry none in their files: LLM2Vec's own checkpoints among them.
The texts here are facts of those models, from their model cards and from the settings that mteb (2.26) runs them with;
LLM2Vec's from its own evaluation (``test_configs/mteb/task_to_instructions.json``). A model whose files say something
is not looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from searchapp.encoder.checkpoint import Checkpoint
from searchapp.encoder.json_files import read_json
from searchapp.errors import ModelError

# A sentence for each kind of task, for models that take one in words: mteb's own, and the one of web search, which the
# cards of these models have as their example.
SENTENCES = {
    "retrieval": "Given a web search query, retrieve relevant passages that answer the query",
    "reranking": "Given a web search query, retrieve relevant passages that answer the query",
    "sts": "Retrieve semantically similar text.",
    "classification": "Classify user passages.",
    "clustering": "Identify categories in user passages.",
}
SEARCHES = ("retrieval", "reranking")
QUANTISED = re.compile(r"[-.](i?q\d\w*|f16|bf16|f32|fp16)$", re.IGNORECASE)


@dataclass(frozen=True)
class Prompts:
    """What goes before texts for the models of these ``names`` (owner/name).

    Either ``form`` holds the words ``{task}``, for which a sentence stands, or ``query`` is the fixed text before a
    query, and ``tasks`` has what goes before texts in other kinds of tasks (nothing where it is silent). ``document``
    goes before documents; "" is nothing.
    """

    names: tuple[str, ...]
    query: str = ""
    document: str = ""
    form: str = ""
    tasks: Mapping[str, str] = field(default_factory=dict)

    def of(self, task: str, sentence: str | None = None) -> str | None:
        """What goes before the queries, or the texts, of a kind of task (of ``SENTENCES``); None for nothing.

        ``sentence`` is what a task of its own is described by. Raises ModelError for another kind.
        """
        if task not in SENTENCES:
            raise ModelError(f"task {task!r} is unknown; expected one of {', '.join(SENTENCES)}")
        if not self.form:
            return self.tasks.get(task, self.query if task in SEARCHES else "") or None
        words = (sentence or SENTENCES[task]).strip()
        if self.form.endswith("{task}:"):  # as LLM2Vec ends its sentences
            words = words.rstrip(".:")
        return self.form.replace("{task}", words)


@dataclass(frozen=True)
class Recognised:
    """The prompts of a published model, its name, and ``by`` which name of the checkpoint it was known.

    ``sure`` is false where another adapter lies on the model: what that was trained behind is not known. ``itself`` is
    true where the checkpoint has the name, and not only something that it was made from.
    """

    prompts: Prompts
    name: str
    by: str
    sure: bool = True
    itself: bool = False


def _of(owner: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{owner}/{name}" for name in names)


_BASES = (
    "Sheared-LLaMA", "Llama-2-7b-chat-hf", "Mistral-7B-Instruct-v2", "Meta-Llama-3-8B-Instruct",
    "Meta-Llama-31-8B-Instruct",
)  # fmt: skip
_STAGES = ("mntp", "mntp-unsup-simcse", "mntp-supervised")
_SIZES = ("small", "base", "large")
LLM2VEC = Prompts(
    _of("McGill-NLP", *(f"LLM2Vec-{base}-{stage}" for base in _BASES for stage in _STAGES)), form="{task}:"
)
_ENGLISH = "Represent this sentence for searching relevant passages: "
_INSTRUCT = "Instruct: {task}\nQuery: "
_NOMIC = {"sts": "classification: ", "classification": "classification: ", "clustering": "clustering: "}
_GEMMA = {
    "sts": "task: sentence similarity | query: ", "classification": "task: classification | query: ",
    "clustering": "task: clustering | query: ",
}  # fmt: skip
PUBLISHED = (
    LLM2VEC,
    Prompts(
        (
            *_of("intfloat", *(f"e5-{size}{version}" for size in _SIZES for version in ("", "-v2"))),
            *_of("intfloat", *(f"multilingual-e5-{size}" for size in _SIZES)),
        ),
        query="query: ", document="passage: ", tasks=dict.fromkeys(("sts", "classification", "clustering"), "query: "),
    ),
    Prompts(
        (
            *_of("intfloat", "e5-mistral-7b-instruct", "multilingual-e5-large-instruct"),
            *_of("Alibaba-NLP", "gte-Qwen2-7B-instruct", "gte-Qwen2-1.5B-instruct", "gte-Qwen1.5-7B-instruct"),
            *_of("Salesforce", "SFR-Embedding-Mistral", "SFR-Embedding-2_R"),
            *_of("Linq-AI-Research", "Linq-Embed-Mistral"),
        ),
        form=_INSTRUCT,
    ),
    Prompts(_of("Qwen", *(f"Qwen3-Embedding-{size}" for size in ("0.6B", "4B", "8B"))), form=_INSTRUCT.rstrip()),
    Prompts(_of("GritLM", "GritLM-7B"), form="<|user|>\n{task}\n<|embed|>\n", document="<|embed|>\n"),
    Prompts(
        (
            *_of("BAAI", *(f"bge-{size}-en{version}" for size in _SIZES for version in ("", "-v1.5"))),
            *_of("mixedbread-ai", "mxbai-embed-large-v1"),
            *_of("WhereIsAI", "UAE-Large-V1"),
            *_of("Snowflake", *(f"snowflake-arctic-embed-{size}" for size in ("xs", "s", "m", "m-v1.5", "l"))),
        ),
        query=_ENGLISH,
    ),
    Prompts(
        _of("BAAI", *(f"bge-{size}-zh{version}" for size in _SIZES for version in ("", "-v1.5"))),
        query="为这个句子生成表示以用于检索相关文章：",
    ),
    Prompts(_of("Snowflake", "snowflake-arctic-embed-m-v2.0", "snowflake-arctic-embed-l-v2.0"), query="query: "),
    Prompts(
        _of("nomic-ai", "modernbert-embed-base", *(f"nomic-embed-text-v{number}" for number in ("1", "1.5", "2-moe"))),
        query="search_query: ", document="search_document: ", tasks=_NOMIC,
    ),
    Prompts(
        _of("google", "embeddinggemma-300m"),
        query="task: search result | query: ", document="title: none | text: ", tasks=_GEMMA,
    ),
)  # fmt: skip
BY_NAME = {name: prompts for prompts in PUBLISHED for name in prompts.names}
SPELLED = {name.lower(): name for name in BY_NAME}  # names are compared without regard to case
BY_FOLDER = {name.partition("/")[2]: SPELLED[name] for name in SPELLED}


def recognise(checkpoint: Checkpoint) -> Recognised | None:
    """The published model that a checkpoint is, or was made from, by its names; None where none is known.

    Looked at, in this order: the last adapter, the checkpoint as it was named, the adapters below, ``_name_or_path`` of
    its config.json, the base that its adapters name. Where an adapter of another name lies on what is found, it is not
    ``sure``.
    """
    over = False  # whether an adapter without a known name lies on what is looked at
    for place, given, adapter in _layers(checkpoint):
        for name, by in _names(place, given):
            if known := find(name):
                return Recognised(BY_NAME[known], known, by, sure=not over, itself=not over)
        over = over or adapter
    for name, by in _recorded(checkpoint):
        if known := find(name):
            return Recognised(BY_NAME[known], known, by, sure=not over)
    return None


def find(name: str) -> str | None:
    """The published name (owner/name) that a hub id, or the name of a folder or GGUF file, stands for."""
    asked = name.strip().lower()
    if asked in SPELLED:
        return SPELLED[asked]
    last = re.split(r"/|--|__", asked)[-1]
    return None if "/" in asked else BY_FOLDER.get(QUANTISED.sub("", last.removesuffix(".gguf")))


def _layers(checkpoint: Checkpoint) -> Iterator[tuple[Path, str, bool]]:
    """From the top down: where each part lies, how it was named ("" if by a file), whether it is an adapter."""
    extra = checkpoint.extra_adapters
    chain = checkpoint.adapters[: len(checkpoint.adapters) - len(extra)]
    for place, given in zip(reversed(checkpoint.adapters[len(chain) :]), reversed(extra), strict=True):
        yield place, given, True
    yield checkpoint.settings, checkpoint.name, checkpoint.settings in chain
    for place in reversed(chain):
        if place != checkpoint.settings:
            yield place, "", True


def _names(place: Path, given: str) -> Iterator[tuple[str, str]]:
    if given.count("/") == 1 and not Path(given).expanduser().exists():
        yield given, "its hub id"
    cached = [part for part in place.parts if part.startswith("models--")]
    if cached:
        yield cached[-1].removeprefix("models--").replace("--", "/"), "its folder in the hub's cache"
    yield Path(given).name if given.endswith(".gguf") else place.absolute().name, "the name of its folder"


def _recorded(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Names that the files of a checkpoint give: hub ids, of which a folder's name is not taken."""
    for place in dict.fromkeys([checkpoint.settings, checkpoint.weights]):
        if (file := place / "config.json").is_file() and isinstance(name := read_json(file).get("_name_or_path"), str):
            yield name if name.count("/") == 1 else "", "_name_or_path of config.json"
    yield checkpoint.base_name if checkpoint.base_name.count("/") == 1 else "", "the base that its files name"
    for place in reversed(checkpoint.adapters):
        base = read_json(place / "adapter_config.json").get("base_model_name_or_path")
        if isinstance(base, str):
            yield base if base.count("/") == 1 else Path(base).name, "the base that its adapter names"
