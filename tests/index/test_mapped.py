"""Files in one range of memory, against the same files read, and copies of some rows against the others."""

from __future__ import annotations

import gc
import mmap
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import IndexStoreError
from searchapp.index.storage.mmap import MappedFiles
from searchapp.index.storage.vectors import Copied, Held, block_rows

SIZES = (1, mmap.PAGESIZE, 3 * mmap.PAGESIZE + 7, 0, 2)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    made = [tmp_path / "ix" / "data" / f"f{number}" for number in range(len(SIZES))]
    made[0].parent.mkdir(parents=True)
    for path, size in zip(made, SIZES, strict=True):
        path.write_bytes(rng.bytes(size))
    return made


def test_every_file_is_where_its_start_says(paths: list[Path]) -> None:
    mapped = MappedFiles(paths, SIZES)
    for path, size, start in zip(paths, SIZES, mapped.starts, strict=True):
        assert start % mmap.PAGESIZE == 0
        assert mapped.bytes[start : start + size].tobytes() == path.read_bytes()
    with pytest.raises(ValueError, match="read-only"):
        mapped.bytes[0] = 1


def test_what_is_mapped_outlives_its_files_and_its_object(paths: list[Path]) -> None:
    want = paths[2].read_bytes()
    mapped = MappedFiles(paths, SIZES)
    start = int(mapped.starts[2])
    view = mapped.bytes[start : start + len(want)]
    for path in paths:
        path.unlink()
    del mapped
    gc.collect()
    assert view.tobytes() == want


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc, which lists what is mapped")
def test_it_is_unmapped_with_its_last_view_and_holds_no_file_open(paths: list[Path]) -> None:
    def listed() -> int:
        return Path("/proc/self/maps").read_text().count(str(paths[0].parent))

    opened = len([*Path("/proc/self/fd").iterdir()])
    mapped = MappedFiles(paths, SIZES)
    assert listed() == sum(size > 0 for size in SIZES)
    assert len([*Path("/proc/self/fd").iterdir()]) == opened
    del mapped
    gc.collect()
    assert listed() == 0


def test_a_file_that_is_missing_or_cut_is_said_with_what_mends_it(paths: list[Path]) -> None:
    index = paths[0].parent.parent
    paths[1].write_bytes(b"x" * 9)
    with pytest.raises(
        IndexStoreError, match=rf"f1 has 9 bytes, {mmap.PAGESIZE:,} were .* `searchapp verify {index} --repair`"
    ):
        MappedFiles(paths, SIZES)
    paths[1].unlink()
    with pytest.raises(IndexStoreError, match=rf"f1 cannot be read .* `searchapp verify {index} --repair`"):
        MappedFiles(paths, SIZES)


def test_copies_stand_in_for_their_rows_and_no_others() -> None:
    held = Held(np.arange(40, dtype=np.float16).reshape(10, 4))

    class Counting(Held):
        asked = 0

        def stored(self, rows: np.ndarray) -> np.ndarray:
            self.asked += 1
            return super().stored(rows)

    counting = Counting(held.stored(np.arange(10)))
    copied = Copied(counting, np.array([7, 2, 7, 5]))
    for rows, asked in (([2, 7, 7, 5], 1), ([5], 1), ([2, 3], 2), ([9], 3), ([0], 4)):
        np.testing.assert_array_equal(copied.stored(np.array(rows)), held.stored(np.array(rows)))
        assert counting.asked == asked
    nothing = Copied(counting, np.array([], dtype=np.int64))
    np.testing.assert_array_equal(nothing.stored(np.array([1])), held.stored(np.array([1])))


def test_a_block_has_about_as_many_numbers_whatever_the_dimension() -> None:
    assert [block_rows(dim) for dim in (1, 128, 256, 1_024, 4_096, 1 << 20)] == [8_192, 8_192, 4_096, 1_024, 256, 256]


@pytest.mark.parametrize("whole", [0, 1, 3])
@pytest.mark.parametrize("least", [1, 2 * mmap.PAGESIZE + 50])
def test_small_files_behind_are_read_without_a_gap(tmp_path: Path, whole: int, least: int) -> None:
    """As if all were one file, behind files of whole pages; more bytes than are to be read are mapped as they were."""
    rng = np.random.default_rng(whole)
    sizes = [*[mmap.PAGESIZE] * whole, least, 10, 0, mmap.PAGESIZE, 5]
    paths = [tmp_path / str(number) for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(rng.bytes(size + 3))  # a file may be longer than what is asked for
    want = b"".join(path.read_bytes()[:size] for path, size in zip(paths, sizes, strict=True))
    mapped = MappedFiles(paths, sizes, mmap.PAGESIZE + 15)
    assert mapped.starts.tolist() == np.cumsum([0, *sizes[:-1]]).tolist()
    assert mapped.bytes[: sum(sizes)].tobytes() == want
    apart = MappedFiles(paths, sizes, mmap.PAGESIZE + 14)
    assert (apart.starts % mmap.PAGESIZE == 0).all()
    assert [apart.bytes[start : start + 1].tobytes() for start in apart.starts[:2].tolist()] == [
        path.read_bytes()[:1] for path in paths[:2]
    ]
    with pytest.raises(IndexStoreError, match="were expected"):
        MappedFiles(paths, [*sizes[:-1], 9], mmap.PAGESIZE + 30)
