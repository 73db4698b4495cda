"""How well an index does by the judgements of a folder so far: nDCG of each mode, over the queries that have some."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from searchapp.evaluate.bootstrap import bootstrap_mean
from searchapp.search import MODES, SearchOptions, prepare, run

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.serve.served import State

CUTOFF = 10
Qrels = Mapping[str, Mapping[str, int]]


class JudgedFigures:
    """The figures of one folder. What a state found for a query is kept until another state answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: State | None = None
        self._found: dict[str, dict[str, list[str]]] = {}  # by mode, by the query's text

    def of(self, state: State, encoder: Encoder | None, queries: Mapping[str, str], qrels: Qrels) -> dict[str, Any]:
        """``queries``: how many have a judgement, and ``figures``: of each mode of the index its nDCG@10 over them.

        A query without a relevant document counts 0 and stays in the mean, as everywhere in ``searchapp evaluate``;
        what nobody judged counts as not relevant, so that the figures are low until a pool is done. ``encoder`` gives
        the queries' vectors; None leaves the modes out that need them. Raises SearchAppError.
        """
        judged = [name for name in qrels if qrels[name] and name in queries]
        with self._lock:
            if self._state is not state:
                self._state, self._found = state, {}
            modes = [mode for mode in MODES if mode != "auto" and _has(state, encoder, mode)]
            figures = []
            for mode in modes if judged else []:
                found = self._ranked(state, encoder, mode, [queries[name] for name in judged])
                values = [ndcg(found[queries[name]], qrels[name]) for name in judged]
                known = [len(set(found[queries[name]]) & set(qrels[name])) for name in judged]
                shown = sum(len(found[queries[name]]) for name in judged)
                low, high = bootstrap_mean(np.array(values))
                figures.append(
                    {
                        "mode": mode,
                        f"nDCG@{CUTOFF}": sum(values) / len(values),
                        "low": low,
                        "high": high,
                        "judged": sum(known) / shown if shown else 0.0,
                    }
                )
        return {"queries": len(judged), "figures": figures}

    def _ranked(
        self, state: State, encoder: Encoder | None, mode: str, texts: Sequence[str]
    ) -> Mapping[str, list[str]]:
        """The first ids for each text, searched for where they are not known."""
        known = self._found.setdefault(mode, {})
        for text in set(known) - set(texts):
            del known[text]
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            index = state.index
            vectors = None if mode == "bm25" else cast("Encoder", encoder).encode_queries(new)
            stage = run(index, new, vectors, prepare(index, CUTOFF, SearchOptions(mode=mode)).plan)[-1]
            for text, rows in zip(new, stage.rows.tolist(), strict=True):
                known[text] = [document.id for document in index.read(row for row in rows if row >= 0)]
        return known


def _has(state: State, encoder: Encoder | None, mode: str) -> bool:
    return (mode == "dense" or state.has_words) and (mode == "bm25" or encoder is not None)


def ndcg(found: Sequence[str], levels: Mapping[str, int], cutoff: int = CUTOFF) -> float:
    """Normalised discounted cumulative gain of documents, best first, with linear gain as in trec_eval (0 to 1).

    Järvelin and Kekäläinen, TOIS 2002, with the discount log2(rank + 1). 0 where nothing relevant was judged.
    """
    best = sorted((level for level in levels.values() if level > 0), reverse=True)[:cutoff]
    gained = sum(max(levels.get(name, 0), 0) / math.log2(rank + 1) for rank, name in enumerate(found[:cutoff], 1))
    ideal = sum(level / math.log2(rank + 1) for rank, level in enumerate(best, 1))
    return gained / ideal if ideal else 0.0
