from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.corpus.records import read


@pytest.mark.parametrize(
    ("top", "title", "metadata"),
    [
        ("---\ntitle: The shop\n# SPDX: x\ntags: [a, b]\n---\n", "The shop", {"tags": ["a", "b"]}),
        ("---\ntitle: A page\n\nlayout: post\n---\n", "A page", {"layout": "post"}),
        ("---\ntitle: A\n...\n", "A", {}),
        ("---\n# only a comment\n---\n", "", {}),
        ('+++\ntitle = "T"\n# c\ndate = 2020-01-02\nn = 3\n+++\n', "T", {"date": "2020-01-02", "n": 3}),
        (
            '---\ndate: 2020-01-02\ntime: 12:30\nok: yes\nn: 010\nq: "12"\nt: true\nv: 1.10\ni: 7\nz: ~\n---\n',
            "",
            {
                "date": "2020-01-02", "time": "12:30", "ok": "yes", "n": "010", "q": "12", "t": True, "v": "1.10",
                "i": 7,
            },
        ),
        ("\n---\ntitle: A\n---\n", "A", {}),
        ("<!--\n---\ntitle: A\n# c\nk: 7\n---\n-->\n", "A", {"k": 7}),
        ("<!-- ---\ntitle: A\n--- -->\n", "A", {}),
        ('<!--\ntitle: "A"\nsidebar: B\n-->\n', "A", {"sidebar": "B"}),
        ("<!--\n+++\ntitle = 'A'\n+++\n-->\n", "A", {}),
        ("---\ntitle: [A, B]\n---\n", "A B", {}),
        ("---\ntitle: {en: A, de: B}\n---\n", "A B", {}),
        ("---\n1: a\ntrue: b\n---\n", "", {"1": "a", "true": "b"}),
        ("---\nmetadata: {lang: en, k: 1}\nk: 2\n---\n", "", {"lang": "en", "k": 2}),
        ("---\nid: mine\n_id: mine\ntext: mine\nfile: mine\nk: v\n---\n", "", {"k": "v"}),
    ],
)  # fmt: skip
def test_front_matter_is_metadata(tmp_path: Path, top: str, title: str, metadata: dict[str, Any]) -> None:
    path = tmp_path / "a.md"
    path.write_text(top + "\n## Hours\n\nAt nine.\n")
    ((document,), rejected) = read(path)
    assert not rejected
    assert (document.id, document.text) == ("a.md", "## Hours\n\nAt nine.")
    assert document.title == (f"{title} > Hours" if title else "Hours")
    line = top.count("\n") + 2
    assert document.metadata == {**metadata, "file": "a.md", "line": line, "end_line": line + 2}


@pytest.mark.parametrize(
    "top", ["---\ntitle: a: b\n# com\n---\n", "---\na: &x [1]\nb: *x\n# com\n---\n", "---\na: 1\na: 2\n# c\n---\n"]
)
def test_what_is_not_understood_is_text_without_headings(tmp_path: Path, top: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(top + "Body\n")
    ((document,), rejected) = read(path)
    assert not rejected
    assert document.title == "a.md"
    assert document.text == top + "\nBody"


def test_a_file_of_front_matter_alone_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("---\ntitle: only\n---\n")
    ((document,), _) = read(path)
    assert "title: only" in document.text


@pytest.mark.parametrize(
    "above", ["<!-- SPDX: MIT -->\n", "<!--\nNote: made by hand\n-->\n\n", "# -*- coding: utf-8 -*-\n"]
)
def test_comments_above_front_matter_stay_text(tmp_path: Path, above: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(above + "---\ntitle: T\n# c\n---\nBody\n")
    ((document,), rejected) = read(path)
    assert not rejected
    assert document.title == "T"
    assert document.text == above.rstrip() + "\n\nBody"


@pytest.mark.parametrize("top", ["<!--\nNote: made by hand\n-->\n", "<!-- a\nb -->\n", "<!--\ntitle: T\n"])
def test_a_comment_that_is_none_is_text(tmp_path: Path, top: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(top + "# H\n")
    text = " ".join(document.text for document in read(path)[0])
    assert all(line in text for line in top.splitlines())
