"""A small index of made text, and a server over it that the tests of a file share."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("msgspec")

from searchapp.index import build
from tests.serve.local import Running, running

WORDS = (
    "bee honey clover hive queen wax nectar swarm river stone bridge boat sail harbour light storm letter ink paper "
    "press type page book shelf"
).split()
LANGUAGES = ("en", "de", "fr")


def records(count: int, seed: int = 1) -> list[dict[str, object]]:
    """Documents with titles and metadata; ids with blanks, slashes and marks among them."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        text = " ".join(chance.choice(WORDS) for _ in range(chance.randint(4, 24)))
        name = f"d {number}/ü#{number}" if number % 7 == 0 else f"d{number}"
        metadata = {"year": 1990 + number % 30, "lang": LANGUAGES[number % 3], "long": number % 2 == 0}
        made.append({"_id": name, "title": f"About {text.split()[0]}", "text": text, "metadata": metadata})
    return made


def write(path: Path, documents: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    """An index that no test changes."""
    folder = tmp_path_factory.mktemp("served")
    build([str(write(folder / "docs.jsonl", records(200)))], folder / "notes", tiny_encoder, segment_size=64)
    return folder / "notes"


@pytest.fixture(scope="module")
def served(built: Path) -> Iterator[Running]:
    """A server over it."""
    with running({"notes": built}) as found:
        yield found
