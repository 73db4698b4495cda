"""Parts of sources: whatever the size of a part, the records of all parts in order are those of the source."""

from __future__ import annotations

import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from searchapp.corpus import open_source
from searchapp.corpus.cut_rule import CutRule, estimate
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.part import BYTES, FILES, WHOLE, lines_in, mark_of, part_of, pieces_of
from searchapp.corpus.selection import Selection
from searchapp.errors import CorpusError

CUTTER = Cutter(CutRule(), estimate)
ROWS = [{"_id": f"d{n}", "title": f"t{n % 3}", "text": f"text {n} " * (n % 7 + 1)} for n in range(60)]


def items(source):
    return [record.item for record in source.records(CUTTER)]


def in_parts(source, tokens):
    pieces = list(pieces_of(source, tokens))
    return pieces, [item for piece in pieces for item in items(part_of(source, piece.span))]


def plain(found):
    return [(getattr(item, "id", None), getattr(item, "text", None), getattr(item, "reason", None)) for item in found]


def lines(end="\n"):
    return "".join(json.dumps(row) + end for row in ROWS)


@pytest.mark.parametrize("tokens", [1, 7, 100, 10_000])
@pytest.mark.parametrize(
    "content",
    [
        lines(),
        lines("\r\n"),
        lines().rstrip("\n"),
        "\ufeff" + lines(),
        "\n\n" + lines() + "\n\n",
        "no json\n[1, 2]\n".join(["", lines(), "[]\n", lines().replace('"d', '"e')])[17:],
    ],
)
def test_lines_in_parts(tmp_path, content, tokens):
    path = tmp_path / "docs.jsonl"
    path.write_bytes(content.encode())
    source = open_source(str(path))
    pieces, found = in_parts(source, tokens)
    assert plain(found) == plain(items(source))
    assert len(pieces) == 1 or tokens < 10_000
    if tokens == 7:
        assert len(pieces) > 30 and all(piece.span.unit == BYTES for piece in pieces)
    if pieces[0].span.unit == BYTES:
        assert (pieces[0].span.begin, pieces[-1].span.end) == (0, path.stat().st_size)
        at = 0
        for piece in pieces:  # the line of a record is that of the file, once the lines before its part are added
            for item in items(part_of(source, piece.span)):
                number = at + (item.place[1] if hasattr(item, "place") else item.line)
                wanted = content.encode().split(b"\n")[number - 1]
                assert not hasattr(item, "text") or json.loads(wanted.decode("utf-8-sig"))["_id"] == item.id
            at += lines_in(path, piece.span.begin, piece.span.end)


@pytest.mark.parametrize("tokens", [1, 50, 10_000])
@pytest.mark.parametrize("head", ["id,text,n", "sep=;\nid;text;n", "id\ttext\tn", "\n\nid,text,n"])
def test_tables_in_parts(tmp_path, head, tokens):
    sign = ";" if ";" in head else "\t" if "\t" in head else ","
    rows = [sign.join((f"r{n}", f"text {n}", str(n))) for n in range(40)] + [head.strip().split("\n")[-1], "short"]
    path = tmp_path / ("t.tsv" if sign == "\t" else "t.csv")
    path.write_text("\n".join([head, *rows]))
    source = open_source(str(path))
    pieces, found = in_parts(source, tokens)
    assert plain(found) == plain(items(source))
    assert (len(pieces) > 1) == (tokens < 10_000)


def test_what_cannot_be_cut_is_one_part(tmp_path):
    quoted = "id,text\n" + "".join(f'a{n},"two\nlines, {n}"\n' for n in range(30))
    (tmp_path / "quoted.csv").write_text(quoted)
    (tmp_path / "array.jsonl").write_text(json.dumps(ROWS, indent=1))
    (tmp_path / "wide.jsonl").write_bytes(lines().encode("utf-16"))
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(lines().encode()))
    (tmp_path / "note.md").write_text("# a\n\ntext\n" * 50)
    for path in sorted(tmp_path.iterdir()):
        source = open_source(str(path))
        pieces, found = in_parts(source, 1)
        assert [piece.span.unit for piece in pieces] == [WHOLE], path.name
        assert plain(found) == plain(items(source)) and len(found) > 0


def test_row_groups(tmp_path):
    path = tmp_path / "t.parquet"
    table = pa.table({"id": [row["_id"] for row in ROWS], "text": [row["text"] for row in ROWS]})
    pq.write_table(table, path, row_group_size=7)
    source = open_source(str(path))
    pieces, found = in_parts(source, 1)
    assert len(pieces) == 9
    assert plain(found) == plain(items(source))
    assert [item.place[1] for item in found] == list(range(1, 61))


def test_row_groups_whose_columns_are_named(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"key": ["a", "b", "c"], "body": ["x", "y", "z"]}), path, row_group_size=1)
    source = open_source(str(path), selection=Selection(columns="id=key,text=body"))
    pieces, found = in_parts(source, 1)
    assert len(pieces) == 3 and plain(found) == plain(items(source)) == [
        ("a", "x", None),
        ("b", "y", None),
        ("c", "z", None),
    ]


def test_a_folder_in_runs_of_files(tmp_path):
    for number in range(12):
        (tmp_path / f"{number:02d}.md").write_text(f"# head {number}\n\nsome text of {number}\n")
    (tmp_path / "x.bin").write_bytes(b"\0")
    source = open_source(str(tmp_path))
    pieces, found = in_parts(source, 12)
    assert len(pieces) > 3 and all(piece.span.unit == FILES for piece in pieces)
    assert plain(found) == plain(items(source))
    every = [file.path for piece in pieces for file in part_of(source, piece.span).files(CUTTER)]
    assert every == [file.path for file in source.files(CUTTER)]


def test_a_mark_tells_a_changed_file(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("a text\n" * 20)
    source = open_source(str(tmp_path))
    pieces = list(pieces_of(source, 1))
    assert [mark_of(source, piece.span) for piece in pieces] == [piece.mark for piece in pieces]
    os.utime(tmp_path / "2.txt", ns=(1, 1))
    assert [mark_of(source, piece.span) == piece.mark for piece in pieces] == [True, True, False, True]


def test_documents_in_memory_are_refused():

    with pytest.raises(CorpusError, match="write them to a file"):
        list(pieces_of(_memory(), 10))


def _memory():
    from searchapp.corpus.source import MEMORY, Source

    return Source("memory:x", MEMORY, "x", None, lambda: iter(()), lambda: iter(()))
