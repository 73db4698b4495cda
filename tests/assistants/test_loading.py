"""Before the model is there, and where it never comes."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("msgspec")

from searchapp.assistants.desk import Desk
from searchapp.assistants.fault import ToolError
from searchapp.assistants.loading import Loading
from searchapp.assistants.local import LocalLibrary
from searchapp.assistants.tools import TOOLS
from searchapp.errors import ModelError
from searchapp.index import build
from searchapp.serve.served import Models

QUERY = {"query": "honey"}


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    """An index whose words are not counted."""
    folder = tmp_path_factory.mktemp("wordless")
    records = [{"_id": str(number), "text": text} for number, text in enumerate(["bees make honey", "a fox", "wax"])]
    (folder / "d.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    build([str(folder / "d.jsonl")], folder / "ix", tiny_encoder, lexical=False)
    return folder / "ix"


def test_an_index_without_words_waits_for_its_model(wordless: Path) -> None:
    library = LocalLibrary({"w": wordless}, "cpu")
    library.open()
    impatient = Desk(["w"], lambda deadline: library, deadline=1.1)
    with pytest.raises(
        ToolError, match="the index w has no words counted, and its model is still loading; ask again in 5 s"
    ):
        impatient.call(TOOLS["search"], QUERY)
    threading.Timer(0.3, library.load_models).start()
    assert Desk(["w"], lambda deadline: library).call(TOOLS["search"], QUERY)["mode"] == "dense"


def test_a_model_that_is_gone_leaves_the_words(place: Path, wordless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self, index) -> None:
        raise ModelError(f"the model of {index.snapshot.root} cannot be loaded: /home/me/models/x is gone")

    monkeypatch.setattr(Models, "of", gone)
    library = LocalLibrary({"notes": place, "w": wordless}, "cpu")
    library.open()
    library.load_models()
    desk = Desk(["notes", "w"], lambda deadline: library)
    answer = desk.call(TOOLS["search"], QUERY)
    assert answer["mode"] == "bm25"
    assert answer["note"].startswith("Found by words alone: the model cannot be loaded.")
    began = time.monotonic()
    with pytest.raises(ToolError, match="its model cannot be loaded: the model of w cannot be loaded: x is gone$"):
        desk.call(TOOLS["search"], {**QUERY, "index": "w"})
    assert time.monotonic() - began < 5  # nobody waits for what does not come
    assert desk.call(TOOLS["similar"], {"id": "w/0"})["results"]


def test_an_index_that_cannot_be_opened_is_said_at_each_call(tmp_path: Path) -> None:
    (tmp_path / "manifest-0000000001.json").write_text("{")
    loading = Loading({"broken": tmp_path})
    desk = Desk(["broken"], loading.library, deadline=30)
    with pytest.raises(ToolError, match="the indexes are still being opened; ask again in 5 s"):
        Desk(["broken"], loading.library, deadline=0.1).call(TOOLS["search"], QUERY)
    loading.start()
    with pytest.raises(ToolError, match="broken.*a person has to put that right") as refused:
        desk.call(TOOLS["search"], QUERY)
    assert str(tmp_path) not in str(refused.value)
