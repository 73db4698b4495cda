"""What travels to a machine without a network, and what that machine makes of it, on a CPU and tiny."""

from __future__ import annotations

import gzip
import json
import random
import tarfile
from pathlib import Path

import pytest

from benchmarks.gpu.record import make_run
from searchapp.errors import AdaptError
from tests.models import make_checkpoint, make_tokenizer
from training.reproduction import on_gpu
from training.reproduction.tasks import STS
from training.reproduction.travel import needed, pack, unpack


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("base") / "base", make_tokenizer())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every file that is needed; those of STS hold pairs."""
    root, rng = tmp_path_factory.mktemp("data"), random.Random(0)
    for path in needed(root):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(path.name.encode()))
        else:
            path.mkdir()
            (path / "about").write_text(path.name)
    for name in STS:
        rows = [f"bees {rng.random()}\thoney {rng.random()}\t{rng.random()}\n" for _ in range(5)]
        (root / "sts" / f"{name}.tsv.gz").write_bytes(gzip.compress("".join(rows).encode()))
    return root


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parts_become_the_same_files_again(base: Path, data: Path, tmp_path: Path) -> None:
    (data / "text" / "another.txt.gz").write_bytes(b"is not needed")
    parts = pack(base, data, tmp_path / "parts", size=40_000)
    assert len(parts) > 2 and all((part / "content").stat().st_size <= 40_000 for part in parts)
    to = unpack(tmp_path / "parts", tmp_path / "there")
    assert files(to[0]) == files(base)
    expected = files(data)
    del expected["text/another.txt.gz"]
    assert files(to[1]) == expected


def test_what_has_not_come_or_is_damaged_is_named(base: Path, data: Path, tmp_path: Path) -> None:
    parts = pack(base, data, tmp_path / "parts", size=40_000)
    content = parts[1] / "content"
    whole = content.read_bytes()
    content.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(AdaptError, match="content is damaged: .* bring part 2 again"):
        unpack(tmp_path / "parts", tmp_path / "there")
    (parts[1] / "part.json").unlink()
    with pytest.raises(AdaptError, match=r"holds parts 1, 3.* of \d+; bring the others"):
        unpack(tmp_path / "parts", tmp_path / "there")
    with pytest.raises(AdaptError, match="holds no part; bring"):
        unpack(tmp_path / "nothing", tmp_path / "there")
    assert not (tmp_path / "there").exists()
    with pytest.raises(AdaptError, match="is not there; name the checkpoint"):
        pack(tmp_path, data, tmp_path / "parts")


def test_results_and_adapters_are_brought_out_and_a_second_run_goes_on(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(base, data, tmp_path / "carried" / "reproduction")
    monkeypatch.setenv("GPU_CARRY", str(tmp_path / "carried"))
    monkeypatch.setenv("GPU_WORK", str(tmp_path / "home"))
    monkeypatch.setattr(on_gpu, "EVERY", 0.2)
    adapter = tmp_path / "home" / "made" / "seed-42" / "mntp" / "adapter_model.safetensors"
    adapter.parent.mkdir(parents=True)
    adapter.write_bytes(b"weights")
    (tmp_path / "out").mkdir()
    found = on_gpu.gone_on(make_run("reproduction", "cpu", "tiny", tmp_path / "out", tmp_path))
    assert found["cells"] == 2 and found["left_out"] == 0
    with tarfile.open(tmp_path / "out" / "recipe.tar.0") as archive:
        names = archive.getnames()
        assert names == [
            "results/bi.sts.42.json", "results/causal.sts.42.json", "seed-42/mntp/adapter_model.safetensors"
        ]  # fmt: skip
        result = json.load(archive.extractfile(names[0]))  # type: ignore[arg-type]
    assert set(result["figures"]) == {"last_token", "mean", "weighted_mean"}
