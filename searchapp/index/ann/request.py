"""What a user asks of an index: a reduction, a type, and targets of recall, memory and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from searchapp.errors import IndexStoreError
from searchapp.index.ann.faiss_lib import check_factory
from searchapp.index.ann.pca import check_dimension
from searchapp.index.storage.manifest import Build

RECALL = 0.99  # the target of recall@10 where the user gives none


@dataclass(frozen=True)
class Targets:
    """Recall@10 against exact search, bytes of memory for the whole index, and milliseconds a query.

    Memory and latency are None where the user leaves them to the rules.
    """

    recall: float = RECALL
    memory: float | None = None
    latency: float | None = None

    def check(self) -> None:
        """Raise IndexStoreError for a target that no index can meet."""
        if not 0 < self.recall <= 1:
            raise IndexStoreError(
                f"recall {self.recall:g} (--recall) is no share; give a number above 0 and up to 1, e.g. 0.95"
            )
        if self.memory is not None and self.memory <= 0:
            raise IndexStoreError(
                f"memory {self.memory:g} (--memory) is no size; give bytes above 0, or --memory 500MB"
            )
        if self.latency is not None and self.latency <= 0:
            raise IndexStoreError(f"latency {self.latency:g} (--latency) is no time; give milliseconds above 0")

    def to_json(self) -> dict[str, float]:
        """What a manifest stores: the targets that differ from the defaults."""
        named = {"recall": self.recall, "memory": self.memory, "latency": self.latency}
        return {
            name: value for name, value in named.items() if value is not None and (name, value) != ("recall", RECALL)
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, float]) -> Targets:
        """The targets of a manifest."""
        return cls(stored.get("recall", RECALL), stored.get("memory"), stored.get("latency"))


@dataclass(frozen=True)
class AnnRequest:
    """Which index to build over the stored vectors.

    ``pca`` is the number of dimensions to reduce to, ``auto`` to measure it, 0 for no reduction, None to leave it to
    the rules. ``factory`` is a FAISS factory string, or ``auto`` for the rules.
    """

    pca: int | str | None = None
    factory: str = "auto"
    targets: Targets = Targets()

    def changed(self, pca: int | str | None, factory: str | None, targets: Targets | None) -> AnnRequest:
        """The request with what is given in its place; what is None stays."""
        return AnnRequest(self.pca if pca is None else pca, factory or self.factory, targets or self.targets)

    def check(self, dim: int, rows: int | None = None) -> None:
        """Raise IndexStoreError for what no ``rows`` vectors of ``dim`` numbers allow, before anything is computed."""
        self.targets.check()
        check_dimension(self.pca, dim, rows)
        check_factory(self.factory, self.pca if isinstance(self.pca, int) and self.pca else dim)

    @classmethod
    def of(cls, build: Build) -> AnnRequest:
        """The request that an index was built by."""
        return cls(build.pca, build.factory, Targets.from_json(build.targets))
