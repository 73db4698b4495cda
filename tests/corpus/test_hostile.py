"""What a folder of somebody else may hold: files that are none, that name other files, that would call home."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from searchapp.corpus.blocks import Block
from searchapp.corpus.formats.reading import Facts, Limits, Unreadable
from searchapp.corpus.formats.table import format_of, recognise
from searchapp.corpus.walk import READ, walk
from tests.corpus.formats.packages import CONTAINER, ODF, W, package

SECRET = "the content of another file"


def read(path: Path) -> list[Facts | Block]:
    format = format_of(path.name)
    assert format is not None
    return list((recognise(path, format) or format).load()(path, Limits()))


def words(items: list[Facts | Block]) -> str:
    return " ".join(item.text for item in items if isinstance(item, Block))


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    (tmp_path / "null.pdf").symlink_to("/dev/null")
    (tmp_path / "self.md").symlink_to("self.md")
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.html")
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.docx")
        found = {one.relative: (one.outcome, one.reason) for one in walk(tmp_path)}
    assert READ not in {outcome for outcome, _ in found.values()}
    assert {name: reason for name, (_, reason) in found.items() if name != "self.md"} == {
        "zero.txt": "no regular file", "null.pdf": "no regular file", "pipe.html": "no regular file",
        "socket.docx": "no regular file",
    }  # fmt: skip
    assert "symbolic links" in found["self.md"][1]


def _word(path: Path, head: str, text: str) -> Path:
    return package(
        path,
        {
            "word/document.xml": f"<?xml version='1.0'?>{head}<w:document {W}><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>"
        },
    )


def _odf(path: Path, head: str, text: str) -> Path:
    body = f"<office:document-content {ODF}><office:body><office:text><text:p>{text}</text:p></office:text></office:body></office:document-content>"
    return package(
        path,
        {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": f"<?xml version='1.0'?>{head}{body}"},
    )


def _book(path: Path, head: str, text: str) -> Path:
    opf = '<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>'
    page = f"<?xml version='1.0'?>{head}<html xmlns='http://www.w3.org/1999/xhtml'><body><p>{text}</p></body></html>"
    return package(
        path,
        {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "O/b.opf": opf, "O/a.xhtml": page},
    )


def _flat(path: Path, head: str, text: str) -> Path:
    body = f"<office:document {ODF} office:mimetype='application/vnd.oasis.opendocument.text'><office:body><office:text><text:p>{text}</text:p></office:text></office:body></office:document>"
    path.write_text(f"<?xml version='1.0'?>{head}{body}")
    return path


@pytest.mark.parametrize(("name", "make"), [("a.docx", _word), ("a.odt", _odf), ("a.epub", _book), ("a.fodt", _flat)])
def test_no_entity_of_a_documents_own_is_read(
    tmp_path: Path, name: str, make: Callable[[Path, str, str], Path]
) -> None:
    (tmp_path / "secret.txt").write_text(SECRET)
    heads = {
        "file": f"<!DOCTYPE x [<!ENTITY e SYSTEM '{(tmp_path / 'secret.txt').as_uri()}'>]>",
        "laughs": "<!DOCTYPE x [<!ENTITY a 'ha ha'><!ENTITY e '" + "&a;" * 1_000 + "'>]>",
        "parameter": f"<!DOCTYPE x [<!ENTITY % p SYSTEM '{(tmp_path / 'secret.txt').as_uri()}'> %p;]>",
    }
    for head in heads.values():
        try:
            text = words(read(make(tmp_path / name, head, "before &e; behind")))
        except Unreadable as error:
            text = str(error)
            assert "entit" in text
        assert SECRET not in text and "ha ha" not in text
    assert "before behind" in words(read(make(tmp_path / name, "", "before behind")))


CALLS = (
    '<html><head><link rel="stylesheet" href="http://127.0.0.1:9/a.css"><script src="http://127.0.0.1:9/a.js"></script>'
    '<base href="http://127.0.0.1:9/"></head><body><img src="http://127.0.0.1:9/a.png"><iframe src="http://127.0.0.1:9/">'
    '</iframe><p onclick="x()">A page.</p><object data="http://127.0.0.1:9/"></object></body></html>'
)


def test_no_reader_calls_home_or_runs_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.html").write_text(CALLS)
    (tmp_path / "b.eml").write_text(f"Subject: s\nFrom: a@x.org\nContent-Type: text/html\n\n{CALLS}")
    (tmp_path / "c.rtf").write_text(r'{\rtf1{\field{\*\fldinst INCLUDETEXT "http://127.0.0.1:9/a"}{\fldrslt A page.}}}')
    relations = '<Relationships><Relationship Id="r1" TargetMode="External" Target="http://127.0.0.1:9/a" Type="x/attachedTemplate"/></Relationships>'
    package(tmp_path / "e.docx", {
        "word/document.xml": f"<w:document {W}><w:body><w:p><w:r><w:t>A page.</w:t></w:r></w:p></w:body></w:document>",
        "word/_rels/document.xml.rels": relations, "word/_rels/settings.xml.rels": relations, "word/vbaProject.bin": b"macro",
    })  # fmt: skip
    _book(tmp_path / "f.epub", "", '<img src="http://127.0.0.1:9/a"/><script>x()</script>A page.')
    (tmp_path / "g.ipynb").write_text(json.dumps({"nbformat": 4, "cells": [
        {"cell_type": "code", "source": "import os; os.system('touch x')", "outputs": []},
        {"cell_type": "markdown", "source": "![](http://127.0.0.1:9/a) A page."},
    ]}))  # fmt: skip

    def refused(*arguments: object, **options: object) -> None:
        pytest.fail(f"it asked for {arguments}")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(subprocess, "Popen", refused)
    monkeypatch.setattr(os, "system", refused)
    for path in sorted(tmp_path.iterdir()):
        assert "A page." in words(read(path)), path.name


def test_outputs_of_a_notebook_are_left_out(tmp_path: Path) -> None:
    cell = {"cell_type": "code", "source": "x", "outputs": [{"output_type": "stream", "text": ["y" * 6_000_000]}]}
    picture = {"output_type": "display_data", "data": {"image/png": "A" * 4_000_000}}
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": [cell, {**cell, "outputs": [picture]}]}))
    began = time.process_time()
    assert len(words(read(path))) < 5_000
    assert time.process_time() - began < 5


def _growing() -> Iterator[bytes]:
    yield from (b"{\\rtf1 ", b"{\\pict " * 400, b"ff" * 1_000_000)


def test_pictures_cost_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.rtf"
    path.write_bytes(b"".join(_growing()))
    assert words(read(path)) == ""
