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
        # In a table a bar is escaped.
        ("| [[Bees\\|the bees]] | ![[a.png\\|100]] | [[Wax#Use\\|wax]] | [[a]] |", ["Bees", "a.png", "Wax", "a"], None),
        # A backtick that is alone begins no code, whatever stands in the next paragraph, heading, item or row.
        ("it`s #a [[B]]\n\n#c it`s", ["B"], ["a", "c"]),
        ("> it`s #a\n>\n> #c it`s", None, ["a", "c"]),
        ("` #a\n# #b `\n- ` #c\n- #d `\n1. #e `\n| ` | #f |\n| #g ` |", None, ["a", "b", "c", "d", "e", "f", "g"]),
        ("`#no\n#no` #yes ``#no ` #no`` #yes2 \\`#yes3` #yes4", None, ["yes", "yes2", "yes4"]),
        ("`` #a `#no` #b", None, ["a", "b"]),
        # Code between fences holds blank lines, in a list and in a quote as well; a line of backticks is no fence.
        ("- one\n\n  ```sh\n  #no\n\n  # #no\n  ```\n  #yes\n> ~~~\n> #no\n>\n> #no\n> ~~~\n> #yes2", None,
         ["yes", "yes2"]),
        ("- ```\n  #no\n\n  #no\n  ```\n#yes", None, ["yes"]),
        ("```#no``` #yes\n\n#yes2", None, ["yes", "yes2"]),
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
        ({"tags": ["honey", 2024, True]}, {"tags": ["honey", "2024", "true", "wax"]}),
        ({"tags": 2024}, {"tags": ["2024", "wax"]}),
        ({"tags": {"x": 1}}, {"tags": ["wax"], "source.tags": {"x": 1}}),
        ({"tags": [["x"]]}, {"tags": ["wax"], "source.tags": [["x"]]}),
        ({"links": "mine"}, {"links": ["A"], "source.links": "mine", "tags": ["wax"]}),
    ],
)
def test_what_a_file_says_itself_stays(own: dict[str, object], merged: dict[str, object]) -> None:
    assert {**merged, "links": ["A"]} == linked("#wax [[A]]", own)
    # A passage without any has the file's own in the same form.
    tags = merged["tags"]
    assert isinstance(tags, list)
    without = {name: value for name, value in merged.items() if name not in ("links", "tags")}
    assert linked("nothing", own) == without | ({"tags": tags[:-1]} if tags[:-1] else {})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("Apis", {"aliases": ["Apis"]}),
        ("honey bee, Apis", {"aliases": ["honey bee", "Apis"]}),
        (["honey bee", 1984], {"aliases": ["honey bee", "1984"]}),
        ({"a": 1}, {"source.aliases": {"a": 1}}),
    ],
)
def test_aliases_are_a_list(given: object, found: dict[str, object]) -> None:
    assert linked("nothing", {"aliases": given}) == found


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
    assert second.metadata["tags"] == ["insects"] and first.metadata["aliases"] == ["Apis", "honey bee"]
    assert "links" not in second.metadata and "tags" not in plain.metadata


def test_code_that_is_cut_stays_code(tmp_path: Path) -> None:
    code = "\n".join(f"#include <header{n}.h> [[no{n}]]" for n in range(400))
    (tmp_path / "long.md").write_text(f"# Code\n\n#intro\n\n```c\n{code}\n```\n\n#done [[End]]\n")
    items = [record.item for record in find_source(str(tmp_path)).records(Cutter(CutRule(), estimate))]
    passages = [item for item in items if isinstance(item, Document)]
    assert len(passages) > 3
    assert {tag for one in passages for tag in one.metadata.get("tags", [])} == {"intro", "done"}
    assert [link for one in passages for link in one.metadata.get("links", [])] == ["End"]


def test_what_a_file_calls_source_links_is_not_lost() -> None:
    own = {"links": ["a"], "source.links": "b", "tags": {"c": 1}, "source.tags": 2}
    found = linked("nothing", own)
    assert sorted(map(str, found.values())) == sorted(map(str, own.values())) and not {"links", "tags"} & set(found)
