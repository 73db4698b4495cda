"""Links and tags of notes, as Obsidian's manual says what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.corpus import Document
from searchapp.corpus.cut_rule import CutRule, estimate
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.source import find_source
from searchapp.corpus.wiki_links import linked


@pytest.mark.parametrize(
    ("text", "links", "tags"),
    [
        ("see [[Bees]] and [[Bees|the bees]], [[Honey#Taste]], [[Wax#^b1]]", ["Bees", "Honey", "Wax"], None),
        ("![[picture.png|100]] ![[sub/note]]", ["picture.png", "sub/note"], None),
        ("#bees and #bees/honey, (#no) x#no #1984 #y1984 #größe #a-b_c\n#last", None,
         ["bees", "bees/honey", "y1984", "größe", "a-b_c", "last"]),
        ("# Heading\n## bees\n`#code` and `[[no]]`\n```sh\nif [[ -f x ]]; then #no\n```\n#yes", None, ["yes"]),
        ("~~~\n#no [[no]]\n", None, None),
        ("http://x.org/#no [a](b#no) &#no; ##no #", None, None),
        ("[[ ]] [[]] [[a\nb]] [x] [[a]", None, None),
    ],
)  # fmt: skip
def test_links_and_tags_of_a_text(text: str, links: list[str] | None, tags: list[str] | None) -> None:
    found = linked(text, {"a": 1})
    assert (found.pop("a"), found.pop("links", None), found.pop("tags", None), found) == (1, links, tags, {})


@pytest.mark.parametrize(
    ("own", "merged"),
    [
        ({"tags": ["honey", "#bees"]}, {"tags": ["honey", "bees", "wax"]}),
        ({"tags": "honey, #bees"}, {"tags": ["honey", "bees", "wax"]}),
        ({"tags": {"x": 1}}, {"tags": ["wax"], "source.tags": {"x": 1}}),
        ({"links": "mine"}, {"links": ["A"], "source.links": "mine", "tags": ["wax"]}),
    ],
)
def test_what_a_file_says_itself_stays(own: dict[str, object], merged: dict[str, object]) -> None:
    assert {**merged, "links": ["A"]} == linked("#wax [[A]]", own)


def test_notes_of_a_vault(tmp_path: Path) -> None:
    vault = tmp_path / "vault"
    (vault / ".obsidian").mkdir(parents=True)
    (vault / ".obsidian" / "app.md").write_text("no note")
    (vault / "Bees.md").write_text(
        "---\naliases: [Apis, honey bee]\ntags: insects\n---\n# Bees\nThey live in [[Hives|hives]] #social.\n"
        "# Wax\nNothing more.\n"
    )
    (vault / "plain.txt").write_text("[[no]] #no\n")
    items = [record.item for record in find_source(str(vault)).records(Cutter(CutRule(), estimate))]
    found = {item.title: item for item in items if isinstance(item, Document)}
    first, second, plain = found.values()
    assert "[[Hives|hives]]" in first.text  # the text is the file's
    assert (first.metadata["links"], first.metadata["tags"]) == (["Hives"], ["insects", "social"])
    assert second.metadata["tags"] == "insects" and first.metadata["aliases"] == ["Apis", "honey bee"]
    assert "links" not in second.metadata and "tags" not in plain.metadata
