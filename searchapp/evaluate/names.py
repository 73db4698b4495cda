"""Short names of results that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from searchapp.evaluate.metrics import Scores
from searchapp.evaluate.settings import RerankSetting, RetrievalSetting


class Named(Protocol):
    """A result of any evaluation: what was measured, and on what."""

    @property
    def name(self) -> str:
        """The setting's own name."""
        ...

    @property
    def setting(self) -> RetrievalSetting | RerankSetting:
        """All that decides the figures."""
        ...

    @property
    def scores(self) -> Scores:
        """The figures."""
        ...


def distinct_names(results: Sequence[Named]) -> list[str]:
    """The settings' names, with collection and model in front where there are several of these; fit for file names."""
    collections = {result.setting.collection for result in results}
    models = {str(result.setting.model) for result in results if result.setting.model is not None}
    labels = model_labels(sorted(models))
    names = []
    for result in results:
        parts = [result.setting.collection] if len(collections) > 1 else []
        if len(models) > 1 and result.setting.model is not None and result.name != "bm25":
            parts.append(labels[str(result.setting.model)])
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
