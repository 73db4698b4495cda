"""Column files: words and labels come out as written, what cannot be right is refused by its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from searchapp.adapt.probing.conll import Sentence, find_split, read_conll, to_iob2
from searchapp.errors import AdaptError

CONLL2003 = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
lamb NN I-NP O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER
Ann NNP I-NP B-PER
Paris NNP I-NP I-LOC
"""


def test_a_file_is_read_as_written_and_iob1_becomes_iob2(tmp_path: Path) -> None:
    place = tmp_path / "eng.train"
    place.write_text(CONLL2003)
    first, second = read_conll(place, 4, spans=True)
    assert first == Sentence(("EU", "rejects", "German", "lamb"), ("B-ORG", "O", "B-MISC", "O"))
    assert second.labels == ("B-PER", "I-PER", "B-PER", "B-LOC")
    assert [item.labels for item in read_conll(place, 3, spans=True)][0] == ("B-NP", "B-VP", "B-NP", "I-NP")
    assert read_conll(place, 2)[1].labels == ("NNP",) * 4
    packed = tmp_path / "train.txt.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + CONLL2003.replace("\n", "\r\n").encode()))
    assert read_conll(packed, 4, spans=True) == [first, second]


def test_tabs_part_columns_where_a_word_has_blanks(tmp_path: Path) -> None:
    place = tmp_path / "dev.tsv"
    place.write_text("1 000\tNUM\tCD\nbees\u00a0!\tNOUN\tNNS\n \t \n\n!\tPUNCT\t.")
    assert read_conll(place, 2) == [Sentence(("1 000", "bees\u00a0!"), ("NUM", "NOUN")), Sentence(("!",), ("PUNCT",))]


@pytest.mark.parametrize(
    ("iob1", "iob2"),
    [
        ("I-A I-A O I-A", "B-A I-A O B-A"),
        ("I-A I-B I-B B-B I-B", "B-A B-B I-B B-B I-B"),
        ("B-A I-A O O B-B B-B", "B-A I-A O O B-B B-B"),
        ("O", "O"),
    ],
)
def test_iob2_is_what_the_definition_says_and_stays_so(iob1: str, iob2: str) -> None:
    assert to_iob2(iob1.split()) == iob2.split()
    assert to_iob2(iob2.split()) == iob2.split()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no sentence"),
        ("\n\n", "no sentence"),
        ("a NN B-NP\nb NN\n", "line 2: 2 columns; expected 3"),
        ("a\tNN\tB-NP\n\nb\t\tO\n", "line 3: 2 columns; expected 3"),
        ("a NN\n", "2 columns; expected the labels in column 3"),
        ("a NN O\nb NN NNP\n", "line 2: label 'NNP'; expected O, B-"),
        ("a NN E-NP\n", "label 'E-NP'"),
        (b"caf\xe9 NN O\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_by_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    place = tmp_path / "train.txt"
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AdaptError, match=message):
        read_conll(place, 3, spans=True)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "train.txt.gz"
    for content in (b"no archive", gzip.compress(CONLL2003.encode() * 99)[:-20]):
        place.write_bytes(content)
        with pytest.raises(AdaptError, match="cannot be read"):
            read_conll(place, 2)


def test_the_file_of_a_split_is_found_by_name(tmp_path: Path) -> None:
    names = ("eng.train", "eng.testa", "en_ewt-ud-test.tsv.gz", "README", ".test.txt.swp", "contest.txt")
    for name in names:
        (tmp_path / name).touch()
    assert [find_split(tmp_path, split).name for split in ("train", "dev", "test")] == list(names[:3])
    (tmp_path / "test.txt").touch()
    with pytest.raises(AdaptError, match=r"2 files for the split 'test' \(en_ewt-ud-test.tsv.gz, test.txt\)"):
        find_split(tmp_path, "test")
    with pytest.raises(AdaptError, match="0 files for the split 'extra'"):
        find_split(tmp_path, "extra")
    with pytest.raises(AdaptError, match="is no folder"):
        find_split(tmp_path / "none", "test")


def test_the_published_numbers_of_entities_are_found(shared: Path) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    # names: Tjong Kim Sang & De Meulder 2003, tables 1 and 2; chunks: what conlleval counts in the CoNLL-2000 test data
    published = {("conll2003", "dev", 4): (3_250, 51_362, 5_942), ("conll2000", "test", 3): (2_012, 47_377, 23_852)}
    for (name, split, column), expected in published.items():
        folder = shared / "data" / "wordlevel" / name
        if not folder.is_dir():
            pytest.skip(f"{name} is not in ../shared")
        read = read_conll(find_split(folder, split), column, spans=True)
        entities = sum(len(get_entities(list(sentence.labels))) for sentence in read)
        assert (len(read), sum(len(sentence.words) for sentence in read), entities) == expected
