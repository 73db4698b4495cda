"""A map of a corpus that stays where it is when documents are added.

Landmarks are the centres of k-means over the documents the index was first built of, laid out in the plane: by PCA,
then so that their distances there are those between their vectors (SMACOF: De Leeuw, "Applications of convex analysis
to multidimensional scaling", 1977). Every document lies between its ``NEAREST`` nearest landmarks, so that a new one
moves no other. The landmarks are kept in the user's cache, since ``compact`` numbers the first documents anew.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from searchapp.index import VectorIndex
from searchapp.index.storage.hashes import ID
from searchapp.user_cache import remember, remembered

LANDMARKS = 256
LEARNT_FROM = 20_000  # documents
ROUNDS, STEPS = 12, 150  # of k-means, of the layout
NEAREST = 5
SHARPNESS = 12.0  # how much more a nearer landmark weighs: e to this times the difference of cosines
SEED = 7
LABELS, SAMPLED = 32, 40  # labels, documents read for each
SPACING = 0.09  # between labels, where the map is 1 wide
WORD = re.compile(r"[^\W\d_]{3,}")
TITLE = 120  # characters of a title that are sent


@dataclass(frozen=True)
class Landmarks:
    """``centres`` float32 (n, dim) of unit length, ``places`` float32 (n, 2) from 0 to 1."""

    centres: np.ndarray
    places: np.ndarray


@dataclass(frozen=True)
class Landscape:
    """``rows`` int64 (n,) of the documents that are shown, ``places`` float32 (n, 2) from 0 to 1, and labels."""

    rows: np.ndarray
    places: np.ndarray
    labels: list[tuple[float, float, str]]


def landscape(index: VectorIndex, most: int) -> Landscape:
    """The map of an index; of more than ``most`` documents always the same ones are shown, as far as they are there."""
    rows = _shown(index, most)
    if not len(rows):
        return Landscape(rows, np.zeros((0, 2), dtype=np.float32), [])
    marks = landmarks(index)
    places = np.empty((len(rows), 2), dtype=np.float32)
    nearest = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), 4_096):
        part = slice(start, start + 4_096)
        places[part], nearest[part] = placed(marks, index.vectors.gather(rows[part]))
    return Landscape(rows, places, _labels(index, rows, places, nearest))


def placed(marks: Landmarks, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where vectors (n, dim) lie, float32 (n, 2), and the nearest landmark of each, int64 (n,)."""
    cosines = vectors @ marks.centres.T
    count = min(NEAREST, cosines.shape[1])
    chosen = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
    near = np.take_along_axis(cosines, chosen, axis=1)
    weights = np.exp(SHARPNESS * (near - near.max(axis=1, keepdims=True)))
    weights /= weights.sum(axis=1, keepdims=True)
    where = (weights[:, :, None] * marks.places[chosen]).sum(axis=1)
    return where.astype(np.float32), chosen[np.arange(len(chosen)), near.argmax(axis=1)]


def landmarks(index: VectorIndex) -> Landmarks:
    """The landmarks of an index, from the cache or made of its first documents."""
    manifest = index.manifest
    key = f"{index.snapshot.root.resolve()}|{manifest.encoder['fingerprint']['sha256']}|{manifest.dim}|1"
    if (kept := _remembered(key, manifest.dim)) is not None:
        return kept
    first = np.arange(min(manifest.rows, LEARNT_FROM), dtype=np.int64)
    if index.alive is not None and index.alive[first].any():
        first = first[index.alive[first]]
    made = make_landmarks(index.vectors.gather(first))
    centres, places = made.centres.tolist(), made.places.tolist()
    remember("landmarks", key, json.dumps({"centres": centres, "places": places}))
    return made


def make_landmarks(vectors: np.ndarray, count: int = LANDMARKS) -> Landmarks:
    """Landmarks of unit vectors (n, dim): always the same of the same vectors."""
    count = max(1, min(count, len(vectors) // 4))
    centres = _means(vectors, count)
    return Landmarks(centres, _laid_out(centres))


def _means(vectors: np.ndarray, count: int) -> np.ndarray:
    """Spherical k-means; a centre that loses its vectors keeps its place."""
    random = np.random.default_rng(SEED)
    centres = vectors[np.sort(random.choice(len(vectors), count, replace=False))].copy()
    for _ in range(ROUNDS):
        nearest = (vectors @ centres.T).argmax(axis=1)
        order = np.argsort(nearest, kind="stable")
        found, starts = np.unique(nearest[order], return_index=True)
        centres[found] = np.add.reduceat(vectors[order], starts, axis=0)
        norms = np.linalg.norm(centres, axis=1, keepdims=True)
        np.divide(centres, norms, out=centres, where=norms > 0)
    return centres.astype(np.float32)


def _laid_out(centres: np.ndarray) -> np.ndarray:
    """Places (n, 2) from 0 to 1 whose distances are like those of the centres."""
    count = len(centres)
    if count < 3:
        return np.full((count, 2), 0.5, dtype=np.float32) + np.arange(count, dtype=np.float32)[:, None] * 0.1
    wanted = np.sqrt(np.maximum(0.0, 2 - 2 * (centres.astype(np.float64) @ centres.T)))
    middle = centres - centres.mean(axis=0)
    left, sizes, _ = np.linalg.svd(middle.astype(np.float64), full_matrices=False)
    left = left * np.sign(left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])])  # which way is up
    places = left[:, :2] * sizes[:2]
    if places.shape[1] < 2:
        places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    scale = wanted.sum() / max(1e-9, _distances(places).sum())
    places = places * scale
    for _ in range(STEPS):  # the Guttman transform
        now = _distances(places)
        ratio = np.divide(wanted, now, out=np.zeros_like(now), where=now > 1e-9)
        pull = -ratio
        np.fill_diagonal(pull, 0)
        np.fill_diagonal(pull, -pull.sum(axis=1))
        places = pull @ places / count
    low, high = places.min(axis=0), places.max(axis=0)
    spread = max(float((high - low).max()), 1e-9)
    return np.asarray(0.5 + (places - (low + high) / 2) / spread * 0.94, dtype=np.float32)


def _distances(places: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(places[:, None] - places[None], axis=2))


def _shown(index: VectorIndex, most: int) -> np.ndarray:
    """The rows that are shown: those whose ids have the lowest digests, so that most stay when some are added."""
    alive = index.alive
    rows = np.arange(index.manifest.rows) if alive is None else np.flatnonzero(alive)
    if len(rows) > most:
        digests = index.snapshot.hashes()[ID][rows]
        rows = np.sort(rows[np.argpartition(digests, most)[:most]])
    return rows.astype(np.int64)


def _labels(
    index: VectorIndex, rows: np.ndarray, places: np.ndarray, nearest: np.ndarray
) -> list[tuple[float, float, str]]:
    """Words that set a landmark's documents apart from others, where the most documents are, with room between."""
    sizes = np.bincount(nearest)
    words: dict[int, Counter[str]] = {}
    common: Counter[str] = Counter()
    read = 0
    for mark in np.argsort(-sizes, kind="stable")[: 3 * LABELS].tolist():
        members = rows[nearest == mark][:SAMPLED]
        if not len(members):
            continue
        counted: Counter[str] = Counter()
        for row in members.tolist():
            document = index.rows.read(row)
            counted.update(set(WORD.findall(f"{document.title} {document.text[:2_000]}".casefold())))
        words[mark] = counted
        common.update(counted)
        read += len(members)
    labels: list[tuple[float, float, str]] = []
    used: set[str] = set()
    for mark, counted in words.items():
        if len(labels) >= LABELS:
            break
        x, y = np.median(places[nearest == mark], axis=0).tolist()
        if any(math.hypot(x - other[0], y - other[1]) < SPACING for other in labels):
            continue
        ranked = sorted(
            ((count * math.log(read / common[word]), word) for word, count in counted.items() if count > 1),
            key=lambda pair: (-pair[0], pair[1]),
        )
        text = next((word for _, word in ranked if word not in used), None)
        if text is not None:
            used.add(text)
            labels.append((x, y, text))
    return labels


def _remembered(key: str, dim: int) -> Landmarks | None:
    text = remembered("landmarks", key)
    if text is None:
        return None
    try:
        given = json.loads(text)
        centres = np.array(given["centres"], dtype=np.float32)
        places = np.array(given["places"], dtype=np.float32)
    except (ValueError, KeyError, TypeError):
        return None
    fits = centres.ndim == 2 and centres.shape[1] == dim and places.shape == (len(centres), 2) and len(centres) > 0
    return Landmarks(centres, places) if fits and np.isfinite(centres).all() and np.isfinite(places).all() else None
