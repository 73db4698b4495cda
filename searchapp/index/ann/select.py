"""What can always be made again from the stored vectors: the reduction and the FAISS index over it.

With ``--factory auto`` the rules that fit are tried on a sample; the fastest that reaches the target is built over all
vectors and measured again there. One that misses is replaced by the next, and the summary says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.heap import freed_memory_returned, give_back_freed_memory
from searchapp.index.ann.calibration import Point, Probes, Subject, calibrate
from searchapp.index.ann.faiss_lib import check_factory
from searchapp.index.ann.files import open_ann, prove, write_flat, write_index
from searchapp.index.ann.ivf_writer import spillable, write_lists
from searchapp.index.ann.kmeans import sparse
from searchapp.index.ann.pca import Fit, Pca, check_dimension, fit, reduced_blocks, reduced_sample
from searchapp.index.ann.queries import PROBES, Ask, asked, imagined, read_probes, write_probes
from searchapp.index.ann.rules import Choice, Rule, Targets, applicable, check_targets, start
from searchapp.index.ann.train import add, train, training_rows
from searchapp.index.ann.trials import NEARLY, SAMPLE, dimensions, screen, smallest_dimension
from searchapp.index.storage.deletions import read_gone
from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.documents import Rows
from searchapp.index.storage.manifest import Ann, Build, Manifest, Reduction
from searchapp.index.storage.store import Store
from searchapp.index.storage.vectors import Vectors

Stage = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is asked of derived files: ``pca`` is a dimension, ``auto``, 0 for none, None to leave it to the rule."""

    pca: int | str | None = None
    factory: str = "auto"
    targets: Targets = Targets()

    def check(self, dim: int, rows: int | None = None) -> None:
        """Raise IndexStoreError for what cannot be made of vectors of ``dim``, before anything is computed."""
        check_targets(self.targets)
        check_dimension(self.pca, dim, rows)
        check_factory(self.factory, self.pca if isinstance(self.pca, int) and self.pca else dim)

    @classmethod
    def of(cls, build: Build) -> Wanted:
        """What a state was made by."""
        return cls(build.pca, build.factory, Targets.of(build.targets))


def derive(
    store: Store,
    pca: int | str | None,
    factory: str,
    stage: Stage | None = None,
    *,
    targets: Targets | None = None,
    ask: Ask | None = None,
    device: str = "cpu",
) -> Manifest:
    """Fit the reduction, build the FAISS index over all stored vectors, commit both at once, return the new state.

    Options as in ``derived``. Raises IndexStoreError when what is wanted does not fit the vectors.
    """
    if store.manifest is None or store.manifest.rows == 0:
        raise IndexStoreError(f"{store.root} holds no vectors to index; run `searchapp build`")
    if store.manifest.documents == 0:
        raise IndexStoreError(f"{store.root} is empty; add documents first: searchapp add {store.root} SOURCE...")
    return store.commit(derived(store, store.manifest, pca, factory, stage, targets=targets, ask=ask, device=device))


def derived(
    store: Store,
    manifest: Manifest,
    pca: int | str | None,
    factory: str,
    stage: Stage | None = None,
    *,
    targets: Targets | None = None,
    ask: Ask | None = None,
    device: str = "cpu",
) -> Manifest:
    """What ``derive`` would commit after a manifest with a document, whose files need not be committed yet.

    Rows that are gone keep their numbers in it, but it is neither trained nor measured on them. No document is encoded.
    ``pca`` and ``factory`` are as in ``Wanted``; ``targets`` are by default those that the state was made with. ``ask``
    encodes probe queries where there are none yet. ``device`` computes what can be computed on a GPU: the reduction,
    the exact hits of the probes, and training where FAISS has a GPU.
    """
    wanted = Wanted(pca, factory, targets or Targets.of(manifest.build.targets))
    wanted.check(manifest.dim, manifest.documents)
    with freed_memory_returned():
        return _Work(store, manifest, wanted, stage or (lambda _: None), ask, device).run()


@dataclass(frozen=True)
class _Built:
    """An index over all vectors: its file, what it measured, and the bytes that a vector takes in it."""

    choice: Choice
    name: str
    point: Point
    size: float

    def reaches(self, target: float) -> bool:
        """Whether its recall is what was asked for."""
        return self.point.recall >= target


class _Work:
    """One derivation: the vectors, the files written so far, what was found out and how long each stage took."""

    def __init__(
        self, store: Store, manifest: Manifest, wanted: Wanted, tell: Stage, ask: Ask | None, device: str
    ) -> None:
        self._store, self._manifest, self._wanted, self._ask = store, manifest, wanted, ask
        self._told = tell
        self._device = device
        alive = None if manifest.tombstones is None else ~read_gone(store.data, manifest)
        self._vectors = Vectors(store.data, manifest.segments, manifest.dim, mapped=False, alive=alive)
        self._files: dict[str, FileEntry] = {}
        self._reductions: dict[int, tuple[Pca, Reduction]] = {}
        self._fit: Fit | None = None
        self._notes: list[str] = []
        self._reducing = 0.0
        self._reached = False  # whether what was built has the recall that is wanted

    def run(self) -> Manifest:
        """Choose, build and measure; where a choice misses its target, or may not be the fastest, another follows."""
        began = time.perf_counter()
        queries, probes_name = self._queries()
        self._tell("finding the exact hits of the probe queries")
        probes = Probes.over(queries, self._vectors.living(), self._device)
        built: list[_Built] = []
        for choice, close in self._choices(queries):
            if self._reached and not close:
                break
            built.append(self._built(choice, probes))
            self._reached |= built[-1].reaches(self._wanted.targets.recall)
        if not built:
            raise IndexStoreError(
                f"no index of {self._manifest.rows:,} vectors of {self._manifest.dim} dimensions fits into "
                f"{self._wanted.targets.memory or 0:,.0f} bytes; give more --memory, or a --factory"
            )
        chosen = self._best(built)
        choice, name, point, size = chosen.choice, chosen.name, chosen.point, chosen.size
        self._complain(point, size)
        measured = {"recall": point.recall, "milliseconds": point.milliseconds, "bytes": size, "queries": len(queries)}
        ann = Ann(name, choice.factory, self._manifest.rows, point.candidates, point.parameters)
        seconds = {**self._manifest.build.seconds, "reduce": self._reducing}
        seconds["index"] = time.perf_counter() - began - self._reducing
        if choice.pca is None:
            del seconds["reduce"]
        return self._manifest.with_files(
            state="ready",
            reduction=self._reductions[choice.pca][1] if choice.pca else None,
            ann=replace(ann, measured=measured, notes=tuple(self._notes)),
            probes=probes_name,
            drift=None,
            build=replace(
                self._manifest.build,
                pca=self._wanted.pca,
                factory=self._wanted.factory,
                targets=self._wanted.targets.asked(),
                seconds=seconds,
            ),
            files=self._files,
        )

    def _best(self, built: list[_Built]) -> _Built:
        """The smallest that reaches the target in nearly the shortest time, else the best recall; notes the others."""
        target, latency = self._wanted.targets.recall, self._wanted.targets.latency
        reached = [one for one in built if one.reaches(target)]
        reached = [one for one in reached if self._within(one)] or reached
        shortest = min((one.point.milliseconds for one in reached), default=0.0)
        longest = NEARLY * shortest
        if latency is not None and shortest <= latency:
            longest = min(longest, latency)
        near = [one for one in reached if one.point.milliseconds <= longest]
        best = min(near, key=lambda one: one.size) if near else max(built, key=lambda one: one.point.recall)
        for one in built:
            if not one.reaches(target):
                of = f"recall {one.point.recall:.3f} of {target:g}"
                self._notes += [f"{one.choice} reached {of} over all vectors"] if one is not best else []
            elif one is not best:
                self._notes.append(f"{one.choice} took {one.point.milliseconds:.2f} ms a query over all vectors")
        return best

    def _within(self, one: _Built) -> bool:
        """Whether an index keeps to the memory and the latency that are wanted."""
        targets = self._wanted.targets
        small = targets.memory is None or one.size * self._manifest.rows <= targets.memory
        return small and (targets.latency is None or one.point.milliseconds <= targets.latency)

    def _complain(self, point: Point, size: float) -> None:
        """Note each target that was missed."""
        targets, whole = self._wanted.targets, size * self._manifest.rows
        if point.recall < targets.recall:
            self._notes.append(f"recall@10 is {point.recall:.3f}; {targets.recall:g} was asked for")
        if targets.latency is not None and point.milliseconds > targets.latency:
            self._notes.append(f"a query takes {point.milliseconds:.2f} ms; {targets.latency:g} ms were asked for")
        if targets.memory is not None and whole > targets.memory:
            self._notes.append(f"the index takes {whole:,.0f} bytes; {targets.memory:,.0f} were asked for")

    def _queries(self) -> tuple[np.ndarray, str | None]:
        """The probe queries and the file they are kept in: those there are, else asked, else made up (and not kept)."""
        manifest = self._manifest
        if manifest.probes is not None and not self._store.check([manifest.probes]):
            return read_probes(self._store.path(manifest.probes), manifest.dim), manifest.probes
        if self._ask is None or self._exact():
            return imagined(self._vectors), None
        self._tell("encoding probe queries")
        queries = asked(Rows(self._store.data, manifest.segments), self._vectors.sampled(PROBES), self._ask)
        with self._store.draft("probes") as (name, draft, entries):
            write_probes(draft, queries)
        self._files.update(entries)
        return read_probes(self._store.path(name), manifest.dim), name

    def _exact(self) -> bool:
        """Whether the index will be exact, so that there is nothing to measure but its speed."""
        wanted = self._wanted
        if wanted.factory != "auto" or isinstance(wanted.pca, str):
            return not wanted.pca and wanted.factory == "Flat"
        return all(choice.candidates == 0 for _, choice in self._pairs(wanted.pca))

    def _pairs(self, reduced: int | None) -> list[tuple[Rule, Choice]]:
        """The rules worth trying for the documents that are there; rows that are gone take memory all the same."""
        targets, count = self._wanted.targets, self._vectors.count
        if targets.memory is not None:
            targets = replace(targets, memory=targets.memory * count / self._manifest.rows)
        return applicable(count, self._manifest.dim, reduced, targets)

    def _choices(self, queries: np.ndarray) -> Iterator[tuple[Choice, bool]]:
        """What is to be built, in this order, until one reaches its target; and whether it is to be built even then."""
        pca = self._wanted.pca
        if isinstance(pca, str):
            for dim in [*self._smallest(queries), 0]:
                yield from self._with(dim, queries)
                if self._reached:
                    return
        else:
            yield from self._with(pca, queries)

    def _with(self, reduced: int | None, queries: np.ndarray) -> Iterator[tuple[Choice, bool]]:
        """The choices for one reduction: a dimension, 0 for none, None to leave it to the rule."""
        wanted, manifest = self._wanted, self._manifest
        if wanted.factory != "auto":
            choice = start(wanted.factory, bool(reduced))
            yield replace(choice, pca=reduced or None), False
            return
        pairs = self._pairs(reduced)
        if len(pairs) < 2:
            yield from ((choice, False) for _, choice in pairs)
            return
        self._tell(f"trying {len(pairs)} types of index on a sample")
        trials, notes = screen(
            pairs,
            self._vectors.sample(SAMPLE),
            manifest.rows,
            queries,
            wanted.targets.recall,
            lambda dim: self._reduction(dim)[0],
        )
        self._notes += notes
        yield from ((trial.choice, trial.close) for trial in trials)

    def _smallest(self, queries: np.ndarray) -> list[int]:
        """The reductions worth building for ``--pca auto``, the smallest first."""
        dims = dimensions(self._manifest.dim, self._vectors.count)
        if not dims:
            return []
        self._fitted(dims[-1])
        assert self._fit is not None  # noqa: S101 - for mypy
        sample = self._vectors.sample(SAMPLE)
        found, notes = smallest_dimension(sample, queries, self._fit, self._wanted.targets.recall)
        self._notes += notes
        return found

    def _fitted(self, dim: int) -> Fit:
        """Axes of the vectors, at least ``dim`` of them."""
        if self._fit is None or self._fit.axes.shape[1] < dim:
            self._tell(f"fitting PCA {self._manifest.dim} → {dim}")
            began = time.perf_counter()
            self._fit = fit(self._vectors, dim, device=self._device)
            self._reducing += time.perf_counter() - began
        return self._fit

    def _reduction(self, dim: int) -> tuple[Pca, Reduction]:
        """The projection to ``dim`` dimensions and the file that holds it."""
        if dim not in self._reductions:
            pca = self._fitted(dim).pca(dim)
            with self._store.draft("pca") as (name, draft, entries):
                pca.write(draft)
            self._files.update(entries)
            self._reductions[dim] = pca, Reduction(name, dim, pca.explained_variance)
        return self._reductions[dim]

    def _tell(self, stage: str) -> None:
        """A stage begins: what the one before has freed goes back to the system."""
        give_back_freed_memory()
        self._told(stage)

    def _built(self, choice: Choice, probes: Probes) -> _Built:
        """Build a choice over all vectors, prove that it can be opened, and measure it."""
        manifest, vectors = self._manifest, self._vectors
        pca = self._reduction(choice.pca)[0] if choice.pca else None
        dim = choice.pca or manifest.dim
        self._tell(f"building {choice.factory} over {manifest.rows:,} x {dim}")
        with self._store.draft("faiss") as (name, draft, entries):
            if choice.factory == "Flat":
                write_flat(draft, reduced_blocks(vectors.blocks(), pca), manifest.rows, dim)
            else:
                sample = reduced_sample(vectors, training_rows(choice.factory, dim), pca)
                index = train(choice, sample, self._device)
                if self._wanted.factory != "auto":  # whose lists and codes are as many as suit the vectors
                    found = sparse(choice.factory, index, len(sample))
                    self._notes += [note for note in found if note not in self._notes]
                del sample
                if spillable(index):
                    write_lists(draft, index, reduced_blocks(vectors.blocks(), pca), self._store.data)
                else:  # codes of a few bytes a vector, or graphs, which FAISS makes in memory only
                    add(choice, index, reduced_blocks(vectors.blocks(), pca))
                    write_index(draft, index)
                del index
        path = self._store.path(name)
        prove(path, choice, manifest.rows, next(reduced_blocks(vectors.blocks(1), pca)))
        self._files.update(entries)
        self._tell(f"measuring {choice}")
        subject = Subject(open_ann(path, choice.parameters), pca, vectors, vectors.alive)
        point = calibrate(subject, probes, choice.factory, self._wanted.targets.recall)
        return _Built(choice, name, point, self._files[name].size / manifest.rows)
