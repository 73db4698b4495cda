"""The whole suite runs offline, on one thread a process, and never touches the user's own caches."""

from __future__ import annotations

import gc
import os
import uuid

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from pathlib import Path

import pytest

from tests.tiers import is_integration

TESTS = Path(__file__).resolve().parent
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is of the integration tier."""
    for item in items:
        if is_integration(item.path.relative_to(TESTS).as_posix()):
            item.add_marker(pytest.mark.integration)


def pytest_configure() -> None:
    """Search for cycles less often: the libraries are a million objects that stay."""
    gc.set_threshold(50_000, 10, 10)


def pytest_collection_finish() -> None:
    """Leave the tests themselves out of every later search for cycles."""
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test collections beside the checkout; tests that need it skip where it is absent."""
    if not (SHARED / "README.md").exists():
        pytest.skip("../shared is not beside the checkout")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _nothing_known(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one has left in the user's cache; the folder is made by who writes into it."""
    monkeypatch.setenv("SEARCHAPP_CACHE", str(tmp_path_factory.getbasetemp() / "cache" / uuid.uuid4().hex))


@pytest.fixture(autouse=True, scope="session")
def _same_precision_everywhere():
    """``dtype="auto"`` is float32 in this process, as on a CPU without bfloat16, so that equal means equal anywhere.

    Programs that tests start choose for themselves, and ``tests/encoder/test_precision.py`` is about the choice.
    """
    from searchapp.encoder import devices

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "cpu_has_bfloat16", lambda: False)
        yield


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    """A byte-level BPE tokenizer with BOS, trained on a few lines."""
    from tests.models import make_tokenizer

    return make_tokenizer()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Path:
    """A checkpoint directory: random Llama decoder, hidden 32, 2 layers, safetensors, fast tokenizer."""
    from tests.models import make_checkpoint

    return make_checkpoint(tmp_path_factory.mktemp("models") / "tiny-llama", tokenizer)


@pytest.fixture(scope="session")
def tiny_encoder(tiny_model: Path):
    """The encoder over ``tiny_model``."""
    from searchapp import Encoder

    return Encoder.load(str(tiny_model))


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory):
    """Starts programs that need no import of the libraries: see ``tests/preloaded.py``."""
    from tests.preloaded import serving

    with serving(tmp_path_factory.mktemp("preloaded")) as server:
        yield server


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Run the program in this process: (arguments) -> exit code, standard output, standard error."""
    from searchapp.cli import main
    from tests.program import Outcome

    def call(*arguments: object) -> object:
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
