"""Exports of Notion: titles without ids, pages in one another, databases joined with the pages of their rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.notion import read
from searchapp.corpus.formats.reading import Limits, Unreadable
from searchapp.corpus.formats.table import BY_NAME, recognise
from tests.corpus.formats.packages import package

ID = "0123456789abcdef0123456789abcde"
TASKS = 'Name,Status,Due\r\nBuy honey,Done,"May 6, 2024"\r\nSell wax,Open,\r\nA long title that is cut in the name,Open,\r\n'
PARTS = {
    f"Home {ID}0.md": "# Home\n\nWelcome.\n\n## News\n\nNothing.\n",
    f"Home/Tasks {ID}1.csv": "Name,Status\r\nBuy honey,Done\r\n",
    f"Home/Tasks {ID}1_all.csv": "\ufeff" + TASKS,
    f"Home/Tasks/Buy honey {ID}2.md": "# Buy honey\n\nStatus: Done\nDue: May 6, 2024\n\nFrom Ann.\n",
    f"Home {ID}0/Tasks {ID}1/A long title {ID}3.md": "# A long title that is cut in the name\n\nText.\n",
    f"Other {ID}4.md": "no heading\n",
    "Home/picture.png": "x",
}


def passages(path: Path) -> dict[str, tuple[str, dict[str, object]]]:
    found: dict[str, tuple[str, dict[str, object]]] = {}
    heading = ""
    for item in read(path, Limits()):
        if not isinstance(item, Block):
            continue
        if item.whole:
            heading = item.text.strip()
            found[heading] = ("", dict(item.where or {}))
        else:
            text, where = found[heading]
            assert dict(item.where or {}) == where
            found[heading] = (f"{text}|{item.text.strip()}", where)
    return found


@pytest.mark.parametrize("nested", [False, True])
def test_pages_and_databases(tmp_path: Path, nested: bool) -> None:
    path = package(tmp_path / "export.zip", PARTS)
    if nested:
        inner = path.read_bytes()
        path = package(tmp_path / "outer.zip", {f"ExportBlock-{ID[:8]}-0000-0000-0000-{ID[:12]}-Part-1.zip": inner})
    assert recognise(path, BY_NAME["archive"]) is BY_NAME["notion"]
    found = passages(path)
    assert {heading: text for heading, (text, _) in found.items()} == {
        "Home": "|Welcome.|## News|Nothing.",
        "Home / Tasks / Buy honey": "|Status: Done\nDue: May 6, 2024|From Ann.",
        "Home / Tasks / A long title that is cut in the name": "|Text.",
        "Other": "|no heading",
        "Home / Tasks / Sell wax": "|Status: Open",
    }
    where = found["Home / Tasks / Buy honey"][1]
    assert (where["Status"], where["Due"], where["database"]) == ("Done", "May 6, 2024", "Tasks")
    assert str(where["archive"]).endswith(f".zip!/Home/Tasks/Buy honey {ID}2.md")
    assert found["Home / Tasks / Sell wax"][1]["Status"] == "Open"
    news = next(item for item in read(path, Limits()) if isinstance(item, Block) and item.label == "News")
    assert (news.kind, news.level) == (BlockKind.HEADING, 3)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    path = package(tmp_path / "a.zip", {"notes.md": "x", f"{ID}.md": "x"})
    assert recognise(path, BY_NAME["archive"]) is BY_NAME["archive"]
    with pytest.raises(Unreadable, match="no export of Notion"):
        list(read(path, Limits()))
    path.write_bytes(b"x")
    with pytest.raises(Unreadable, match="no zip file"):
        list(read(path, Limits()))
