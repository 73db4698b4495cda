"""Builds FAISS indexes over all stored vectors, one config at a time, and measures each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from searchapp.heap import trim_heap
from searchapp.index.ann.calibration import CalibrationQueries, MeasuredIndex, OperatingPoint, calibrate
from searchapp.index.ann.files import check_written, open_ann, write_flat, write_index
from searchapp.index.ann.ivf_writer import shufflable, write_lists
from searchapp.index.ann.kmeans import undertrained_notes
from searchapp.index.ann.pca import Fit, Pca, fit, reduced_blocks, reduced_sample
from searchapp.index.ann.rules import AnnConfig
from searchapp.index.ann.train import add, train, training_rows
from searchapp.index.ann.trained import Trained
from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.manifest import Reduction
from searchapp.index.storage.vectors import Vectors
from searchapp.index.storage.writer import Writer

Stage = Callable[[str], None]


@dataclass(frozen=True)
class BuiltIndex:
    """An index over all vectors: its file, what was measured with it, and the bytes that a vector takes in it.

    ``notes`` say where lists or codebooks had fewer training vectors than FAISS advises.
    """

    config: AnnConfig
    file: str
    point: OperatingPoint
    size: float
    notes: tuple[str, ...] = ()


class AnnBuilder:
    """Fits reductions and builds indexes over ``vectors``, each in a file of its own; tells ``stage`` what it does.

    ``files`` are the files written so far, ``seconds`` the time that fitting reductions took. ``device`` computes what
    can be computed on a GPU: the reduction, and training where FAISS has a GPU. ``row_milliseconds`` is what reading a
    candidate adds to a query where the vectors do not fit into memory. ``trained`` takes the place of fitting and
    training where its type is built.
    """

    def __init__(
        self,
        writer: Writer,
        vectors: Vectors,
        stage: Stage,
        device: str = "cpu",
        row_milliseconds: float = 0.0,
        trained: Trained | None = None,
    ) -> None:
        self._trained = trained
        self.vectors, self.files = vectors, dict[str, FileEntry]()
        self.seconds, self.row_milliseconds = 0.0, row_milliseconds
        self._writer, self._stage, self._device = writer, stage, device
        self._reductions: dict[int, tuple[Pca, Reduction]] = {}
        self._fit: Fit | None = None

    def stage(self, name: str) -> None:
        """Tell that a stage begins; what the one before has freed goes back to the system."""
        trim_heap()
        self._stage(name)

    def fit(self, dim: int) -> Fit:
        """Axes of the vectors, at least ``dim`` of them."""
        if self._fit is None or self._fit.axes.shape[1] < dim:
            self.stage(f"fitting PCA {self.vectors.dim} → {dim}")
            began = time.perf_counter()
            self._fit = fit(self.vectors, dim, device=self._device)
            self.seconds += time.perf_counter() - began
        return self._fit

    def projection(self, dim: int | None) -> Pca | None:
        """The projection to ``dim`` dimensions, in memory alone; None for no reduction."""
        return self.fit(dim).pca(dim) if dim else None

    def pca(self, dim: int | None) -> Pca | None:
        """The projection to ``dim`` dimensions, in a file; None for no reduction."""
        return self._reduction(dim)[0] if dim else None

    def reduction(self, dim: int | None) -> Reduction | None:
        """What the manifest says of the projection to ``dim`` dimensions; None for no reduction."""
        return self._reduction(dim)[1] if dim else None

    def _reduction(self, dim: int) -> tuple[Pca, Reduction]:
        if dim not in self._reductions:
            known = self._trained.pca if self._trained is not None else None
            pca = known if known is not None and known.components.shape[1] == dim else self.fit(dim).pca(dim)
            with self._writer.draft("pca") as (name, draft, entries):
                pca.write(draft)
            self.files.update(entries)
            self._reductions[dim] = pca, Reduction(name, dim, pca.explained_variance)
        return self._reductions[dim]

    def build(
        self, config: AnnConfig, queries: CalibrationQueries, target: float, likely: int | None = None
    ) -> BuiltIndex:
        """Build a config over all vectors, check that its file can be searched, and calibrate it for a recall.

        ``likely`` is how many candidates are expected to be needed.

        Raises IndexStoreError for a type that cannot be trained, written or searched.
        """
        vectors, pca = self.vectors, self.pca(config.pca)
        dim = config.pca or vectors.dim
        self.stage(f"building {config.factory} over {vectors.rows:,} x {dim}")
        name, notes = self._write(config, dim, pca)
        path = self._writer.path(name)
        check_written(path, config, vectors.rows, next(reduced_blocks(vectors.blocks(1), pca)))
        self.stage(f"measuring {config}")
        index = MeasuredIndex(open_ann(path, config.parameters), pca, vectors, vectors.alive, self.row_milliseconds)
        point = calibrate(index, queries, config.factory, target, likely)
        return BuiltIndex(config, name, point, self.files[name].size / vectors.rows, notes)

    def _write(self, config: AnnConfig, dim: int, pca: Pca | None) -> tuple[str, tuple[str, ...]]:
        """Write the file of a config; returns its name, and what there is to say of its training."""
        vectors, notes = self.vectors, tuple[str, ...]()
        with self._writer.draft("faiss") as (name, draft, entries):
            if config.factory == "Flat":
                write_flat(draft, reduced_blocks(vectors.blocks(), pca), vectors.rows, dim)
            else:
                if self._trained is not None and self._trained.factory == config.factory:
                    index = self._trained.empty()
                else:
                    sample = reduced_sample(vectors, training_rows(config.factory, dim), pca)
                    index = train(config, sample, self._device)
                    notes = tuple(undertrained_notes(config.factory, index, len(sample)))
                    del sample
                if shufflable(index):
                    write_lists(draft, index, reduced_blocks(vectors.blocks(), pca), self._writer.path(name).parent)
                else:  # codes of a few bytes a vector, or graphs, which FAISS makes in memory only
                    add(config, index, reduced_blocks(vectors.blocks(), pca))
                    write_index(draft, index)
        self.files.update(entries)
        return name, notes
