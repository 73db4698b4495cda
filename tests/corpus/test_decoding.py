from __future__ import annotations

import codecs
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapp.corpus import Document, open_source
from searchapp.corpus.decoding import Unreadable, text_lines
from searchapp.errors import CorpusError
from tests.corpus.records import read

MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
FILES = {
    "a.jsonl": '{"_id": "1", "text": "é 川 😀"}\n{"_id": "2", "text": "x"}\n',
    "a.csv": "id,text\n1,é 川 😀\n2,x\n",
    "a.tsv": "id\ttext\n1\té 川 😀\n2\tx\n",
}
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(st.lists(words.filter(str.strip)), st.sampled_from([*MARKS]), st.sampled_from(["\n", "\r\n", "\r"]))
def test_lists_are_read_as_their_mark_says(lines: list[str], codec: str, end: str) -> None:
    text = "".join(line + end for line in lines)
    found = list(text_lines(io.BytesIO(MARKS[codec] + text.encode(codec))))
    # One line of an old Mac has no end that could be told from a stray character: it is cut off all the same.
    assert [line for _, line in found] == lines
    assert [number for number, _ in found] == list(range(1, len(lines) + 1))


@pytest.mark.parametrize(
    "data", [b"a\0b\n", "ab\n".encode("utf-16-le"), b"\0a\0b", "ab".encode("utf-32-be"), b"x\n\xff\n"]
)
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_what_is_no_text_is_refused(data: bytes, mark: bytes) -> None:
    with pytest.raises(Unreadable, match="NUL|byte order mark|not valid UTF-8"):
        list(text_lines(io.BytesIO(mark + data)))


@pytest.mark.parametrize("data", [b"\xff\xfea\0\n\0\x00\xd8\n\0", b"\xff\xfea\0\n\0b"])
def test_half_a_character_of_utf16(data: bytes) -> None:
    with pytest.raises(Unreadable, match="line 2 holds half a character of UTF-16"):
        list(text_lines(io.BytesIO(data)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("codec", [*MARKS])
@pytest.mark.parametrize("name", [*FILES])
def test_sources_are_read_as_their_mark_says(tmp_path: Path, name: str, codec: str, packed: bool) -> None:
    path = tmp_path / (name + ".gz" * packed)
    data = MARKS[codec] + FILES[name].encode(codec)
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read(path) == ([Document("1", "é 川 😀"), Document("2", "x")], [])


@pytest.mark.parametrize("codec", [*MARKS])
def test_markdown_is_read_as_its_mark_says(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.md"
    path.write_bytes(MARKS[codec] + "# Öl\r\n\r\nText\r\n".encode(codec))
    ((document,), rejected) = read(path)
    assert (document.title, document.text, rejected) == ("Öl", "# Öl\n\nText", [])


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["x", "é 川 😀", "川川川川川川川川"])
@pytest.mark.parametrize("name", [*FILES])
def test_without_a_mark_they_are_refused(tmp_path: Path, name: str, text: str, codec: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name].replace("é 川 😀", text).encode(codec))
    with pytest.raises(CorpusError, match=f"{codec[:6].upper()} without a byte order mark"):
        open_source(str(path))


@pytest.mark.parametrize("codec", ["latin-1", "cp1251", "shift_jis", "euc_kr", "gb18030", "big5", "koi8_r", "cp1252"])
@pytest.mark.parametrize("name", [*FILES])
def test_legacy_encodings_are_rejected_by_row(tmp_path: Path, name: str, codec: str) -> None:
    word = {"latin-1": "é", "cp1252": "“é”", "cp1251": "река", "koi8_r": "река", "euc_kr": "강"}.get(codec, "川")
    path = tmp_path / name
    path.write_bytes(FILES[name].replace("é 川 😀", word).encode(codec))
    found, rejected = read(path)
    assert found == [Document("2", "x")]
    assert ["invalid UTF-8" in item.reason for item in rejected] == [True]


@pytest.mark.parametrize("codec", ["iso2022_jp", "iso2022_jp_2", "iso2022_kr"])
@pytest.mark.parametrize("name", [*FILES])
def test_encodings_of_seven_bits_are_rejected_too(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    text = "강" if codec == "iso2022_kr" else "川"
    if name.endswith("jsonl"):
        pytest.skip("JSON has no escape characters: the line is rejected as it is")
    path.write_bytes(FILES[name].replace("é 川 😀", text).encode(codec))
    found, rejected = read(path)
    assert "2" in [document.id for document in found]
    assert not any("\x1b" in document.text for document in found)
    assert all("ISO-2022" in item.reason for item in rejected)


@pytest.mark.parametrize("name", [*FILES])
@pytest.mark.parametrize("marks", [1, 2])
def test_files_put_together_have_marks_in_their_middle(tmp_path: Path, name: str, marks: int) -> None:
    path = tmp_path / name
    one = codecs.BOM_UTF8 * marks + FILES[name].encode()
    path.write_bytes(one + one.replace(b"1", b"3").replace(b"2", b"4"))
    found, rejected = read(path)
    assert [document.id for document in found] == ["1", "2", "3", "4"]
    assert all("header row again" in item.reason for item in rejected)


def test_lists_and_judgements_put_together(tmp_path: Path) -> None:
    from searchapp.evaluate.collection import read_qrels

    mark = codecs.BOM_UTF8
    assert [text for _, text in text_lines(io.BytesIO(mark + b"a\n" + mark + b"b\n"))] == ["a", "b"]
    (tmp_path / "q.tsv").write_bytes(mark + b"q 0 a 1\n" + mark + b"r 0 b 1\n")
    assert read_qrels(tmp_path / "q.tsv") == {"q": {"a": 1}, "r": {"b": 1}}
