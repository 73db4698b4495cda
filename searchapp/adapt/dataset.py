"""Texts and pairs by row number: files are copied once into memory-mapped Arrow files, which need no memory.

The name of a copy is a hash of the content of its files, by which it is found again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchapp.adapt.data import PairFile, TrainingPair, hash_file, read_pairs, read_texts
from searchapp.errors import AdaptError, reason_of

if TYPE_CHECKING:
    from datasets import Dataset

DATASET_VERSION = 1  # raise it when the same file is read as other rows: else copies that were kept hide the change


def text_dataset(paths: Sequence[Path], cache: Path) -> Dataset:
    """Copy texts into a memory-mapped data set below ``cache``, or find the copy of the same content there.

    Returns a ``datasets.Dataset`` with the column ``text``, in the order of ``read_texts``. Raises as ``read_texts``
    does, and AdaptError where the extra packages are missing or the copy cannot be written.
    """
    datasets = _import_datasets()
    texts = read_texts(paths)
    features = datasets.Features({"text": datasets.Value("large_string")})
    return _cached_dataset(lambda: ({"text": text} for text in texts), features, paths, cache)


def pair_dataset(file: PairFile, cache: Path) -> Dataset:
    """Copy pairs into a memory-mapped data set below ``cache``, or find the copy of the same content there.

    Returns a ``datasets.Dataset`` with the columns ``query``, ``positives``, ``negatives`` and ``scores`` (null where
    there are none), in the order of ``read_pairs``; ``as_pair`` makes a pair of a row. Raises as ``read_pairs`` does,
    and AdaptError where the extra packages are missing or the copy cannot be written.
    """
    datasets = _import_datasets()
    pairs = read_pairs(file)
    texts = datasets.List(datasets.Value("large_string"))
    features = datasets.Features(
        {
            "query": datasets.Value("large_string"),
            "positives": texts,
            "negatives": texts,
            "scores": datasets.List(datasets.Value("float64")),
        }
    )
    return _cached_dataset(lambda: (asdict(pair) for pair in pairs), features, [file.path], cache)


def as_pair(row: Mapping[str, Any]) -> TrainingPair:
    """Make the pair of a row of ``pair_dataset``."""
    scores = row["scores"]
    positives, negatives = tuple(row["positives"]), tuple(row["negatives"])
    return TrainingPair(row["query"], positives, negatives, None if scores is None else tuple(scores))


def _import_datasets() -> Any:
    try:
        return import_module("datasets")
    except ImportError as error:
        raise AdaptError("training needs the extra packages: pip install 'searchapp[adapt]'") from error


def _cached_dataset(
    rows: Callable[[], Iterator[dict[str, Any]]], features: Any, paths: Sequence[Path], cache: Path
) -> Dataset:
    """Write rows below ``cache`` under a name made of the files' content, unless they are there."""
    datasets = _import_datasets()
    content = [str(DATASET_VERSION), *features, *(str(hash_file(path)["sha256"]) for path in paths)]
    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return datasets.Dataset.from_generator(
            rows,
            features=features,
            cache_dir=str(cache),
            fingerprint=hashlib.sha256("\n".join(content).encode()).hexdigest(),
        )
    except (OSError, datasets.exceptions.DatasetGenerationError) as error:
        reason = error.__cause__ if isinstance(error.__cause__, AdaptError | OSError) else error
        if isinstance(reason, AdaptError):
            raise reason from None
        if isinstance(reason, OSError):
            found = f"{cache}: the training data cannot be copied there ({reason_of(reason)})"
            raise AdaptError(f"{found}; free some space or give another folder") from error
        raise
    finally:
        if not bars:
            datasets.enable_progress_bars()
