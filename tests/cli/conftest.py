"""A small index, built once by the program itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

DOCUMENTS = [
    {"_id": "bees", "title": "Bees", "text": "bees fly and make honey in their hives", "lang": "en", "year": 2021},
    {"_id": "fox", "title": "Fox", "text": "the quick brown fox jumps over the lazy dog", "lang": "en", "year": 2019},
    {
        "_id": "engine",
        "title": "",
        "text": "how do you measure the quality of a search engine",
        "lang": "de",
        "year": 2024,
    },
]


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    from searchapp.cli import main

    root = tmp_path_factory.mktemp("program")
    (root / "docs.jsonl").write_text("\n".join(map(json.dumps, DOCUMENTS)))
    with pytest.raises(SystemExit) as stop:
        main(["build", str(root / "docs.jsonl"), "--index", str(root / "ix"), "--model", str(tiny_model)])
    assert stop.value.code == 0
    return root / "ix"
