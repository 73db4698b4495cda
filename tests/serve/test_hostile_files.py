"""Files that no friend sends are added to an index while a server answers questions about it.

Not among them, as they take long to make or to read: a PDF of 5,000 pages or with 300 MB of text, 100,001 parts, a page of
54 MB. Fonts without a map to Unicode, and files that change or vanish while they are read, have tests of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
import warnings
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from searchapp.corpus.selection import ARCHIVES, Selection
from searchapp.index import add
from searchapp.search import Index
from tests.corpus.formats.packages import CONTAINER, ODF, W, package
from tests.corpus.formats.test_sheets import workbook
from tests.corpus.pdfs import bomb, locked, raw_pdf, write_pages, write_scan
from tests.serve.local import Running, running

LONGEST = 5.0  # seconds that a question may wait beside the add, on a machine that does other work too
QUESTIONS = ("bee honey", "river stone", "paper press")
SECRET = "root:x:0:0"
DRM = '<encryption xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData><enc:EncryptionMethod Algorithm="x"/></enc:EncryptedData></encryption>'
CALLS = (
    '<p>A page.</p><script>x()</script><img src="http://127.0.0.1:9/a.png"><iframe src="http://127.0.0.1:9/"></iframe>'
)
CELLS = '<row r="1"><c r="A1"><v>71077345</v></c></row><row r="1048576"><c r="XFD1048576"><f>SUM(A1)</f></c></row>'


def word(path: Path, head: str, text: str) -> None:
    body = f"<w:document {W}><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>"
    package(path, {"word/document.xml": f"<?xml version='1.0'?>{head}{body}"})


def odf(path: Path, head: str, text: str) -> None:
    body = f"<office:document-content {ODF}><office:body><office:text><text:p>{text}</text:p></office:text></office:body></office:document-content>"
    content = f"<?xml version='1.0'?>{head}{body}"
    package(path, {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content})


def book(path: Path, head: str, text: str, **more: str) -> None:
    opf = '<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>'
    page = f"<?xml version='1.0'?>{head}<html xmlns='http://www.w3.org/1999/xhtml'><body><p>{text}</p></body></html>"
    parts = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "O/b.opf": opf, "O/a.xhtml": page}
    package(path, parts | {f"META-INF/{name}.xml": content for name, content in more.items()})


def zips(folder: Path) -> None:
    package(folder / "bomb.zip", {"a.md": b" " * 12_000_000})
    package(folder / "outer.zip", {"bomb.zip": (folder / "bomb.zip").read_bytes()})
    deep = (package(folder / "deep.zip", {"a.md": "deep"})).read_bytes()
    for depth in range(5):
        deep = package(folder / "deep.zip", {f"{depth}.zip": deep}).read_bytes()
    package(folder / "out.zip", {"../out.md": "x"})
    with zipfile.ZipFile(folder / "twice.zip", "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for text in "xy":
            file.writestr("a.md", text)
    data = bytearray(package(folder / "locked.zip", {"a.md": "x"}).read_bytes())
    for place in (data.index(b"PK\x01\x02") + 8, 6):
        data[place] |= 1
    (folder / "locked.zip").write_bytes(data)


def pdfs(folder: Path) -> None:
    write_pages(folder / "good.pdf", [["A good page of a PDF."]])
    for name, lines in (("locked", "Nobody reads this."), ("owned", "The owner lets everybody read.")):
        write_pages(folder / f"{name}.pdf", [[lines]])
    locked(folder / "locked.pdf", user="secret")
    locked(folder / "owned.pdf", user="")
    good = (folder / "good.pdf").read_bytes()
    write_scan(folder / "scan.pdf", ["", "", ""])
    write_scan(folder / "mixed.pdf", ["", "One page has words.", ""])
    contents = {"q": b"q " * 500_000, "arrays": b"[" * 200_000 + b"]" * 200_000}
    for name, content in contents.items():
        (folder / f"{name}.pdf").write_bytes(raw_pdf(zlib.compress(content)))
    (folder / "bomb.pdf").write_bytes(bomb(2_000))
    (folder / "circle.pdf").write_bytes(raw_pdf(b"", kids=b"[2 0 R]"))
    for name, data in {
        "half": good[:200], "zeros": bytes(5_000), "empty": b"", "late": b"x" * 900 + good,
        "page": b"<html><body><p>A page though named so.</p></body></html>",
    }.items():  # fmt: skip
        (folder / f"{name}.pdf").write_bytes(data)


def pages(folder: Path) -> None:
    found = {
        "tables": b"<table><tr><td>" * 20_000 + b"Deep in tables.",
        "divs": b"<div>" * 100_000 + b"Deep in boxes.",
        "attributes": b"<p " + b" ".join(b"a%d=b" % n for n in range(200_000)) + b">With attributes.</p>",
        "comment": b"<p>Before a comment.</p><!-- <p>never",
        "script": b"<p>Before a script.</p><script> <p>never",
        "nul": b"<p>With\0out zeros.</p>",
        "wide": "<p>Sixteen bits wide.</p>".encode("utf-16"),
        "cyrillic": '<meta charset="windows-1251"><p>Пчёлы летят домой.</p>'.encode("cp1251"),
        "japanese": '<meta charset="shift_jis"><p>蜂は花から蜜を集める。</p>'.encode("cp932"),
        "calls": CALLS.encode(),
    }
    for name, data in found.items():
        (folder / f"{name}.html").write_bytes(data)


def others(folder: Path) -> None:
    entity = "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"
    laughs = "<!DOCTYPE x [<!ENTITY a 'ha ha'><!ENTITY e '" + "&a;" * 1_000 + "'>]>"
    for make, ending in ((word, "docx"), (odf, "odt"), (book, "epub")):
        make(folder / f"entity.{ending}", entity, "&e;")
        make(folder / f"laughs.{ending}", laughs, "&e;")
        make(folder / f"fine.{ending}", "", f"A fine {ending}.")
    book(folder / "drm.epub", "", "Hidden.", encryption=DRM)
    (folder / "ole.docx").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512))
    (folder / "old.doc").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512))
    workbook(folder / "sheet.xlsx", CELLS, "A1:XFD1048576")
    mail = "From a@x.org Mon May  6 10:00:00 2024\nFrom: a@x.org\nSubject: One\n\nFrom here on it is the body.\n\n"
    (folder / "box.mbox").write_bytes(mail.encode() + mail.replace("One", "Caf\xe9").encode("latin-1").rstrip())
    loud = {
        "cell_type": "code",
        "source": "quiet_code()",
        "outputs": [{"output_type": "stream", "text": "y" * 5_000_000}],
    }
    (folder / "loud.ipynb").write_text(json.dumps({"nbformat": 4, "cells": [loud]}))
    old = {"cell_type": "code", "input": "third_format()", "outputs": []}
    (folder / "three.ipynb").write_text(json.dumps({"nbformat": 3, "worksheets": [{"cells": [old]}]}))
    (folder / "none.ipynb").write_text(json.dumps({"nbformat": 4, "cells": []}))
    (folder / "bare.ipynb").write_text("{}")


def specials(folder: Path) -> None:
    (folder / "zero.txt").symlink_to("/dev/zero")
    (folder / "self.md").symlink_to("self.md")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "pipe.html")
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(".", os.O_RDONLY)
        try:
            os.chdir(folder)  # the address of a socket is short
            made.bind("socket.docx")
        finally:
            os.chdir(here)
            os.close(here)
    (folder / os.fsdecode(b"n\xff.md")).write_text("A name that is no UTF-8.")


# What a passage of each file that is read says; of mixed.pdf on one page of three.
READ = {
    "good.pdf": "A good page of a PDF.", "owned.pdf": "The owner lets everybody read.", "late.pdf": "A good page of a PDF.",
    "mixed.pdf": "One page has words.", "page.pdf": "A page though named so.",
    "tables.html": "Deep in tables.", "divs.html": "Deep in boxes.", "attributes.html": "With attributes.",
    "comment.html": "Before a comment.", "script.html": "Before a script.", "nul.html": "Without zeros.",
    "wide.html": "Sixteen bits wide.", "cyrillic.html": "Пчёлы летят домой.", "japanese.html": "蜂は花から蜜を集める。",
    "calls.html": "A page.", "fine.docx": "A fine docx.", "fine.odt": "A fine odt.", "fine.epub": "A fine epub.",
    "sheet.xlsx": "71077345", "box.mbox": "From here on it is the body.", "loud.ipynb": "quiet_code()",
    "three.ipynb": "third_format()",
}  # fmt: skip
# How the reason begins of each that is refused.
REFUSED = {
    "bomb.pdf": "needs more than 1 GB of memory to read", "locked.pdf": "password", "scan.pdf": "empty text: 3 pages without text",
    "half.pdf": "damaged", "zeros.pdf": "damaged", "empty.pdf": "damaged", "circle.pdf": "", "q.pdf": "", "arrays.pdf": "",
    **{f"{name}.{ending}": "declares entities" for name in ("entity", "laughs") for ending in ("docx", "odt", "epub")},
    "drm.epub": "DRM", "ole.docx": "password or old Office format", "none.ipynb": "empty text", "bare.ipynb": "damaged",
    "bomb.zip": "12,000,000 bytes packed into", "outer.zip": "12,000,000 bytes packed into", "deep.zip": "empty text",
    "out.zip": "a part leads out of the file", "twice.zip": "two parts of one name", "locked.zip": "password",
    "self.md": "cannot be read: Too many levels of symbolic links",
    "n\\udcff.md": "the file's name is not valid UTF-8",
}  # fmt: skip
SKIPPED = {"no regular file": 3, "a link to a folder": 1, "no reader for .doc": 1}


@dataclass
class Asker(threading.Thread):
    """Asks one question again and again; keeps the answers and how long the longest was waited for."""

    served: Running
    question: str

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.answers: list[tuple[int, list[tuple[str, str]]]] = []
        self.longest = 0.0
        self.failed: list[object] = []

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self.stopped.is_set():
            began = time.monotonic()
            answer = self.served.post("/api/search", {"query": self.question, "k": 5})
            self.longest = max(self.longest, time.monotonic() - began)
            if answer.status == 200:
                hits = answer.json["results"][0]["hits"]
                self.answers.append((answer.json["generation"], [(hit["id"], hit["text"]) for hit in hits]))
            else:
                self.failed.append((answer.status, answer.content))
            time.sleep(0.05)


def test_each_hostile_file_is_handled_beside_questions_that_go_on(built: Path, tmp_path: Path, tiny_encoder) -> None:
    own = Path(shutil.copytree(built, tmp_path / "own"))
    folder = tmp_path / "hostile"
    folder.mkdir()
    for make in (pdfs, pages, others, zips, specials):
        make(folder)
    states = {}

    def expected(place: Path) -> int:
        index = Index.open(place, encoder=tiny_encoder)
        number = index.vectors.manifest.number
        states[number] = {question: [(hit.id, hit.text) for hit in index.search(question, 5)] for question in QUESTIONS}
        return number

    before = expected(own)
    with running({"own": own}) as served:
        askers = [Asker(served, question) for question in QUESTIONS]
        for asker in askers:
            asker.start()
        done = add([str(folder)], own, tiny_encoder, selection=Selection(include=("*", *ARCHIVES)))
        end = time.monotonic() + 20
        while served.get("/readyz").json["indexes"]["own"] < done.manifest.number and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)
        for asker in askers:
            asker.stopped.set()
        for asker in askers:
            asker.join(60)
    after = expected(own)

    assert not any(asker.failed for asker in askers)
    assert {number for asker in askers for number, _ in asker.answers} == {before, after}
    for asker in askers:
        assert all(hits == states[number][asker.question] for number, hits in asker.answers)
        assert asker.longest < LONGEST

    texts: dict[str, str] = {}
    for document in Index.open(own, encoder=tiny_encoder):
        name = str(document.metadata.get("file", ""))
        texts[name] = f"{texts.get(name, '')} {document.text}"
    reasons = {}
    for line in (own / "rejected.jsonl").read_text().splitlines():
        rejected = json.loads(line)
        reasons[rejected["file"].rpartition("/")[2]] = rejected["reason"]
    loose = {name for name, reason in REFUSED.items() if not reason}  # may be read as well: they are empty
    for name, text in READ.items():
        assert text in texts.get(name, ""), (name, reasons.get(name))
    for name in REFUSED.keys() - loose:
        assert reasons.get(name, "").startswith(REFUSED[name]) and name in reasons, (name, reasons.get(name))
    assert set(reasons) | loose == set(REFUSED)
    assert done.files.reasons["skipped"] == Counter(SKIPPED)
    assert done.files.notes["pages without text"][0] == 5
    assert not any(SECRET in text or "ha ha" in text for text in texts.values())
