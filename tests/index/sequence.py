"""Changes made to an index and to the model of it, each of which may be stopped half-way and run again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from searchapp.index.storage.snapshot import Snapshot
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build, compact, delete, reindex
from tests.index.model import Model, write
from tests.index.power import Unsynced
from tests.index.test_build import Stop, StoppingDisk

Change = Callable[[bool], None]


class Sequence:
    """One index, its model, and the changes that are made to both.

    A change is prepared in the model by a method, which returns what makes it in the index; that is told whether it was
    begun before.
    """

    def __init__(
        self, folder: Path, encoder: type[HashEncoder], segment: int, first: dict[str, dict], **wanted
    ) -> None:
        self._folder, self._encoder, self._segment, self._number = folder, encoder, segment, 0
        self.root, self.model = folder / "ix", Model(encoder())
        self.model.add(first)
        build([write(folder / "first.jsonl", first)], self.root, encoder(), segment_size=segment, **wanted)

    def add(self, what: dict[str, dict]) -> Change:
        old = {key: fields["text"] for key, fields in self.model.documents.items()}
        counts = self.model.add(what)
        self._number += 1
        source = write(self._folder / f"more{self._number}.jsonl", what)

        def change(begun: bool) -> None:
            encoder = self._encoder()
            done = add([source], self.root, encoder, segment_size=self._segment)
            if not begun:
                assert (done.added, done.changed, done.unchanged) == counts
                new = [fields["text"] for fields in what.values() if fields["text"] not in old.values()]
                assert sorted(encoder.encoded) == sorted(new), "only texts that are nowhere in the index are encoded"

        return change

    def touch(self, year: int) -> Change:
        """Other metadata for every second document, whose texts stay."""
        touched = list(self.model.documents.items())[::2]
        return self.add({key: {**fields, "year": year} for key, fields in touched} or {"d0": {"text": "a", "year": 1}})

    def delete(self, what: list[str]) -> Change:
        gone = self.model.delete(what)

        def change(begun: bool) -> None:
            done = delete(self.root, what)
            if not begun:
                assert done.deleted == len(gone)
                assert set(done.unknown) == set(what) - gone

        return change

    def delete_where(self, year: int) -> Change:
        self.model.delete([key for key, fields in self.model.documents.items() if fields["year"] == year])
        return lambda _: delete(self.root, filter=f"year == {year}")

    def compact(self) -> Change:
        def change(_: bool) -> None:
            compact(self.root, segment_size=self._segment)
            manifest = Snapshot.open(self.root).manifest
            assert (manifest.rows, manifest.tombstones) == (len(self.model.documents), None)
            assert (
                manifest.unindexed_rows == 0 or manifest.ann is None
            )  # with fewer documents than the reduction has dimensions

        return change

    def reindex(self, factory: str, pca: int) -> Change:
        """Not where all documents are gone, of which nothing can be made."""
        documents = len(self.model.documents)
        return lambda _: reindex(self.root, factory=factory, pca=min(pca, documents)) if documents else None


def stopped(change: Change, step: int) -> None:
    """Run a change up to this durable step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.index.handed.make_disk", lambda: StoppingUnsynced(step))
        try:
            change(True)
        except Stop:
            pass


class StoppingUnsynced(StoppingDisk, Unsynced):
    """Stops at a step, and does not wait for the disk."""
