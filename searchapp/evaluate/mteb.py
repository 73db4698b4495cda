"""Our encoder and our index as models that mteb 2 scores: ``mteb.evaluate(MtebEncoder("bundled"), task)``.

``MtebEncoder`` is an ``EncoderProtocol``: mteb embeds with it and searches by itself. ``MtebIndex`` is a
``SearchProtocol``: what mteb scores is a searchapp index with its reduction, its FAISS type, BM25 and reranker.
Queries get the instruction that LLM2Vec used for the task; documents never get it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Unpack, cast

import numpy as np

from searchapp.client import Client
from searchapp.corpus import passage_of
from searchapp.encoder import Encoder
from searchapp.encoder.options import LoadOptions, refuse_unknown
from searchapp.encoder.prompts import LLM2VEC, Prompts
from searchapp.errors import EvaluationError
from searchapp.index import BuildSettings, VectorIndex, build
from searchapp.rerank import Reranker
from searchapp.search import Fusion, Plan, run


@cache
def published_instructions() -> Mapping[str, str]:
    """Task name → what LLM2Vec put before the task's queries, for its retrieval and reranking tasks."""
    content = resources.files("searchapp.evaluate").joinpath("instructions.json").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(content)["instructions"]
    return found


# mteb's type of a task → the kind of task that prompts are known for; a type that is not here is a search
KINDS = {
    "Reranking": "reranking", "STS": "sts", "PairClassification": "sts", "Summarization": "sts", "BitextMining": "sts",
    "Classification": "classification", "MultilabelClassification": "classification", "Clustering": "clustering",
}  # fmt: skip


def instruction_for(
    task: Any, instructions: Mapping[str, str] | None = None, prompts: Prompts | None = None
) -> str | None:
    """What a task's queries get: its line in ``instructions``, else the prompt mteb has for its queries.

    ``prompts`` are those of a published model: they hold for every task, with mteb's prompt as the sentence in models
    that take one; "" where the model has none for that kind of task.
    ``task`` is mteb's metadata of it. Without ``instructions`` those that LLM2Vec published are used, for every
    CQADupstack forum the one they share, and names may differ by a suffix mteb has added (``SciFactHardNegatives``).
    Given ones are taken as they are: a task that is not among them has None, and the encoder's own instruction holds.
    """
    name = str(task.name)
    if instructions is not None:
        return instructions.get(name)
    found = getattr(task, "prompt", None)
    found = found.get("query") if isinstance(found, Mapping) else found
    if prompts is not None and prompts is not LLM2VEC:
        return prompts.of(KINDS.get(str(task.type), "retrieval"), str(found) if found else None) or ""
    known = published_instructions()
    fitting = [short for short in known if name == short or name.startswith((f"{short}HardNegatives", f"{short}.v"))]
    if name.lower().startswith("cqadupstack"):
        fitting = ["CQADupstack"]
    if fitting:
        return known[fitting[0]]
    if not found:
        return LLM2VEC.of(KINDS.get(str(task.type), "retrieval")) if prompts is not None else None
    prompt = str(found)
    return prompt if prompt.endswith(":") else prompt.strip().rstrip(".") + ":"  # as LLM2Vec ends its own


def _meta(name: str, revision: str | None, dim: int) -> Any:
    try:
        from mteb.models.model_meta import ModelMeta, ScoringFunction
    except ImportError as error:
        raise EvaluationError(f"mteb cannot be imported ({error}); install searchapp[mteb]") from error
    return ModelMeta.create_empty(
        overwrites={
            "name": f"searchapp/{Path(name).name}",
            "revision": revision or "local",
            "embed_dim": dim,
            "similarity_fn_name": ScoringFunction.COSINE,
            "use_instructions": True,
        }
    )


def _encoder(model: str | Encoder, options: LoadOptions, known: Iterable[str], whose: str) -> Encoder:
    """The encoder itself, or the one that the options load; options say nothing beside an encoder."""
    refuse_unknown(options, known, whose)
    if isinstance(model, Encoder):
        return model
    given = {name: value for name, value in options.items() if name in LoadOptions.__annotations__}
    return Encoder.load(model, **cast(LoadOptions, given))


class MtebEncoder:
    """Our encoder for mteb.

    ``model_name`` is a model as ``Encoder.load`` takes it, an encoder, or a server (``searchapp.client.connect``) that
    embeds in its place; ``instructions`` as in ``instruction_for``; ``options`` go to ``Encoder.load``.
    """

    def __init__(
        self,
        model_name: str | Encoder | Client,
        revision: str | None = None,
        *,
        instructions: Mapping[str, str] | None = None,
        **options: Unpack[LoadOptions],
    ) -> None:
        self.encoder: Encoder | Client
        if isinstance(model_name, Client):
            refuse_unknown(options, (), "MtebEncoder of a server")
            self.encoder, name = model_name, model_name.model
        else:
            self.encoder = _encoder(model_name, options, LoadOptions.__annotations__, "MtebEncoder")
            name = self.encoder.checkpoint.name
        self._instructions = instructions
        revision = revision or self.encoder.fingerprint["sha256"][:12]
        self._meta = _meta(name, revision, self.encoder.dim)

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb writes down about the model."""
        return self._meta

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **_: Any,
    ) -> np.ndarray:
        """Embed batches of texts, float32 (n, dim), unit rows.

        Documents (``prompt_type`` document) get no instruction but what the checkpoint itself has for them; queries,
        and the texts of tasks that do not tell the two apart, get the task's.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        if getattr(prompt_type, "value", prompt_type) in ("document", "passage"):
            return self.encoder.encode_documents(texts)
        return self.encoder.encode_queries(
            texts, instruction_for(task_metadata, self._instructions, self.encoder.prompts)
        )

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of every pair, a float32 tensor (n, m); rows are unit vectors already."""
        import torch

        first, second = (torch.as_tensor(one).float() for one in (embeddings1, embeddings2))
        return first.reshape(-1, first.shape[-1]) @ second.reshape(-1, second.shape[-1]).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of the pairs that stand side by side, a float32 tensor (n,)."""
        import torch

        return (torch.as_tensor(embeddings1).float() * torch.as_tensor(embeddings2).float()).sum(-1)


class MtebIndexOptions(LoadOptions, total=False):
    """Keywords of ``MtebIndex``: those of ``Encoder.load``, and how its indexes are built and searched.

    ``pca``, ``factory`` (default auto) and ``candidates`` are those of ``searchapp build`` and ``search``. ``fusion``
    adds BM25, ``reranker`` a last step over the best ``rerank_depth`` (default 100). ``folder`` keeps the indexes;
    without it they vanish.
    """

    pca: int | None
    factory: str
    candidates: int | None
    fusion: Fusion | None
    reranker: Reranker | None
    rerank_depth: int
    folder: str | Path | None


class MtebIndex:
    """A searchapp index for mteb: each task's corpus is built into one and searched.

    ``model_name`` and ``instructions`` are as for ``MtebEncoder``, ``options`` as in ``MtebIndexOptions``. In a
    reranking task the given candidates are put in the order of the reranker, or of the exact cosine without one.
    """

    def __init__(
        self,
        model_name: str | Encoder,
        revision: str | None = None,
        *,
        instructions: Mapping[str, str] | None = None,
        **options: Unpack[MtebIndexOptions],
    ) -> None:
        self.encoder = _encoder(model_name, options, MtebIndexOptions.__annotations__, "MtebIndex")
        self._instructions = instructions
        pca, factory, folder = options.get("pca"), options.get("factory", "auto"), options.get("folder")
        fusion, reranker = options.get("fusion"), options.get("reranker")
        self._pca, self._factory, self._candidates = pca, factory, options.get("candidates")
        self._fusion, self._reranker, self._rerank_depth = fusion, reranker, options.get("rerank_depth", 100)
        self._own = tempfile.TemporaryDirectory(prefix="searchapp-mteb-") if folder is None else None
        self._folder = Path(folder) if folder is not None else Path(self._own.name) if self._own else Path()
        self._index: VectorIndex | None = None
        kinds = [f"pca{pca}" if pca else "", factory, "hybrid" if fusion else "", reranker.kind if reranker else ""]
        name = f"{Path(self.encoder.checkpoint.name).name}-{'-'.join(filter(None, kinds))}".replace(",", "-")
        self._meta = _meta(name, revision or self.encoder.fingerprint["sha256"][:12], pca or self.encoder.dim)

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb writes down about the model."""
        return self._meta

    def index(
        self, corpus: Iterable[Mapping[str, Any]], *, task_metadata: Any, hf_split: str, hf_subset: str, **_: Any
    ) -> None:
        """Build an index over a task's corpus."""
        work = self._folder / f"{task_metadata.name}-{hf_subset}-{hf_split}"
        work.mkdir(parents=True, exist_ok=True)
        source = work / "corpus.jsonl"
        lines = (
            json.dumps({"_id": str(row["id"]), "title": row.get("title") or "", "text": row["text"]}) + "\n"
            for row in corpus
        )
        text = "".join(lines).encode()
        if not source.exists() or source.read_bytes() != text:
            source.write_bytes(text)
        settings = BuildSettings(self._pca, self._factory, lexical=self._fusion is not None)
        build([str(source)], work / "index", self.encoder, settings)
        self._index = VectorIndex.open(work / "index")

    def search(
        self,
        queries: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        top_ranked: Mapping[str, Iterable[str]] | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Return query id → document id → score of the ``top_k`` best, or of the given candidates."""
        if self._index is None:
            raise EvaluationError("search was called before index; call index(corpus, …) first")
        rows = list(queries)
        names, texts = [str(row["id"]) for row in rows], [row["text"] for row in rows]
        vectors = self.encoder.encode_queries(
            texts, instruction_for(task_metadata, self._instructions, self.encoder.prompts)
        )
        ids = self._index.ids()
        if top_ranked is not None:
            return self._rerank(self._index, ids, names, texts, vectors, top_ranked)
        plan = Plan(
            k=top_k,
            candidates=self._candidates,
            fusion=self._fusion,
            reranker=self._reranker,
            rerank_depth=self._rerank_depth,
        )
        last = run(self._index, texts, vectors, plan)[-1]
        return {
            name: {str(ids[row]): float(score) for row, score in zip(found, points, strict=True) if row >= 0}
            for name, found, points in zip(names, last.rows.tolist(), last.scores.tolist(), strict=True)
        }

    def _rerank(
        self,
        index: VectorIndex,
        ids: np.ndarray,
        names: list[str],
        texts: list[str],
        vectors: np.ndarray,
        top_ranked: Mapping[str, Iterable[str]],
    ) -> dict[str, dict[str, float]]:
        row_of = {name: row for row, name in enumerate(ids.tolist())}
        found: dict[str, dict[str, float]] = {}
        for number, name in enumerate(names):
            candidates = [one for one in map(str, top_ranked.get(name, ())) if one in row_of]
            rows = np.array([row_of[one] for one in candidates], dtype=np.int64)
            if self._reranker is None:
                scores = index.vectors.gather(rows) @ vectors[number]
            else:
                passages = [index.rows.read(int(row)) for row in rows]
                [scores] = self._reranker.score([texts[number]], [[passage_of(one) for one in passages]])
            found[name] = dict(zip(candidates, scores.tolist(), strict=True))
        return found
