"""Short names of results that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from searchapp.evaluate.metrics import Scores


class Named(Protocol):
    """A result of any evaluation: what was measured, and on what."""

    @property
    def name(self) -> str:
        """The setting's own name."""
        ...

    @property
    def setting(self) -> dict[str, Any]:
        """All that decides the figures; has ``collection`` and ``model``."""
        ...

    @property
    def scores(self) -> Scores:
        """The figures."""
        ...


def distinct_names(results: Sequence[Named]) -> list[str]:
    """The settings' names, with collection and model in front where there are several of these; fit for file names."""
    collections = {result.setting["collection"] for result in results}
    models = {str(result.setting["model"]) for result in results if result.setting["model"] is not None}
    labels = model_labels(sorted(models))
    names = []
    for result in results:
        parts = [result.setting["collection"]] if len(collections) > 1 else []
        if len(models) > 1 and result.setting["model"] is not None and result.name != "bm25":
            parts.append(labels[str(result.setting["model"])])
        names.append("-".join([*parts, result.name]).replace("/", "-"))
    taken: dict[str, int] = {}
    for place, name in enumerate(names):  # the same BM25 under two models, say
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:
            names[place] = f"{name}-{taken[name]}"
    return names


def model_labels(models: Sequence[str]) -> dict[str, str]:
    """Models by the last part of their path, or by all of it where two end alike."""
    short = {model: Path(model).name for model in models}
    ends = list(short.values())
    return {model: end if ends.count(end) == 1 else model.strip("/").replace("/", "-") for model, end in short.items()}


def label(setting: Mapping[str, Any]) -> str:
    """A setting of a retrieval evaluation in words: how the vectors were indexed, and what came after."""
    if setting["method"] == "bm25":
        words = "BM25"
    else:
        reduced = f"PCA {setting['pca']} ({setting['explained_variance']:.0%} var.)" if setting["pca"] else ""
        rescored = f", {setting['candidates']:,} rescored" if setting["candidates"] else ""
        words = f"{reduced or str(setting['dim']) + ' dim'}, {setting['factory']}{rescored}"
    if setting["fusion"]:
        by = "rrf" if setting["fusion"]["method"] == "rrf" else f"weight {setting['fusion']['weight']:g}"
        words += f" + BM25 ({by})"
    return words + (f" → {Path(setting['rerank']).name}" if setting["rerank"] else "")


def order_label(setting: Mapping[str, Any]) -> str:
    """A setting of a reranking evaluation in words: who put the candidates in order."""
    if setting["model"] is None:
        return {"bm25": "BM25"}.get(setting["kind"], setting["kind"])
    name = Path(setting["model"]).name
    return f"{name} + BM25 ({setting['fusion']['method']})" if setting["fusion"] else f"{name}, {setting['kind']}"
