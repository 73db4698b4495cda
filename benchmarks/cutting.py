"""The two rules by which text files are cut, side by side: what the encoder never reads, speed, and what is found.

    python -m benchmarks.cutting reach --locale /usr/share/locale [--texts FOLDER] [--model M]
    python -m benchmarks.cutting speed FOLDER [FOLDER ...]
    python -m benchmarks.cutting search FOLDER [--queries 400] [--cache runs/cutting] [--model M]

`reach` cuts plain text of many languages (the translations of programs that every Linux has, or files `LANGUAGE.txt`)
and counts the share of tokens beyond what the encoder reads. `search` takes one sentence out of each of some hundred
paragraphs of a folder of Markdown or reStructuredText, cuts what is left by both rules, and asks with the sentences:
a hit is a passage over the line where the sentence stood. Such queries share no more words with headings than by
chance. Figures: the share of queries with a hit among five passages, and within the first 6,000 characters that a
reader sees; 95 % intervals by bootstrap, of the differences over the same queries.
"""

from __future__ import annotations

import argparse
import gettext
import hashlib
import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from searchapp.corpus import Document, open_source, passage_of
from searchapp.corpus.block_readers import BLOCK_READERS, read_blocks
from searchapp.corpus.blocks import BlockKind
from searchapp.corpus.cut import CutPassage, cut
from searchapp.corpus.cut_rule import CutRule, Measure
from searchapp.corpus.document import joined
from searchapp.corpus.folder import text_files
from searchapp.encoder import Encoder
from searchapp.evaluate.bootstrap import bootstrap_mean
from searchapp.index import VectorIndex, build
from searchapp.search import Index

LANGUAGES = ("en_GB", "ru", "uk", "ko", "zh_CN", "ja", "ar", "hi", "fa", "el", "th", "id")
CHARACTERS = 300_000  # of a language
READ = 6_000  # characters a reader looks at
SENTENCE = re.compile(r"(?<=[.!?]) +(?=[A-Z])|(?<=[.!?])\n\s*(?=[A-Z])")


def measure_of(encoder: Encoder) -> Measure:
    """Tokens of a title and a text as the encoder reads them."""
    return lambda title, text: int(encoder.document_tokens([joined(title, text)])[0])


def numbered(text: str) -> list[tuple[int, str]]:
    """Lines with their ends, from 1."""
    return [(number, f"{line}\n") for number, line in enumerate(text.split("\n"), start=1)]


def by_rule_2(text: str, ending: str, encoder: Encoder, name: str) -> Iterator[CutPassage]:
    """The passages of version 2, up to the encoder's reach."""
    rule = CutRule(tokens=encoder.document_reach, tokenizer=encoder.tokenizer_digest)
    return cut(read_blocks(numbered(text), ending), rule, measure_of(encoder), name=name)


def catalogue(locale: Path, language: str) -> str:
    """The translations into a language, a paragraph each, in the order of their files."""
    parts: dict[str, None] = {}
    for path in sorted(locale.glob(f"{language}/LC_MESSAGES/*.mo")):
        try:
            with path.open("rb") as file:
                texts = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        except (OSError, ValueError, UnicodeDecodeError):
            continue
        parts.update(dict.fromkeys(text for key, text in texts.items() if key and len(text) > 40))
    return "\n\n".join(parts)[:CHARACTERS]


def reach(encoder: Encoder, texts: dict[str, str]) -> None:
    """Print the share of tokens beyond reach by both rules, for each text."""
    print("| text | characters | tokens a character | beyond reach, rule 1 | rule 2 | passages 1 | 2 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, text in texts.items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "text.txt").write_text(text, encoding="utf-8")
            first = [passage_of(document) for document in documents(Path(folder))]
        second = [joined(passage.title, passage.text) for passage in by_rule_2(text, ".txt", encoder, "text.txt")]
        shares = []
        for passages in (first, second):
            counts = encoder.document_tokens(passages)
            shares.append(np.maximum(0, counts - encoder.document_reach).sum() / counts.sum())
        rate = encoder.document_tokens([text])[0] / len(text)
        print(
            f"| {name} | {len(text):,} | {rate:.2f} | {shares[0]:.1%} | {shares[1]:.1%} "
            f"| {len(first)} | {len(second)} |"
        )


def documents(folder: Path) -> Iterator[Document]:
    """The documents of a folder as today's reader cuts them."""
    for record in open_source(str(folder)).records():
        if isinstance(record.item, Document):
            yield record.item


def speed(folders: Sequence[Path], encoder: Encoder) -> None:
    """Print megabytes a second of CPU, with and without counting, and the counts a passage."""
    counted = measure_of(encoder)
    for folder in folders:
        files = [(path, path.read_text(encoding="utf-8", errors="replace")) for path in text_files(folder)]
        size = sum(len(text.encode()) for _, text in files) / 1e6
        calls = 0

        def measure(title: str, text: str) -> int:
            nonlocal calls
            calls += 1
            return counted(title, text)

        spent, count = [], 0
        for rule, way in ((CutRule(), None), (CutRule(tokens=encoder.document_reach), measure)):
            began = time.process_time()
            count = sum(
                1 for path, text in files for _ in cut(read_blocks(numbered(text), path.suffix.lower()), rule, way)
            )
            spent.append(time.process_time() - began)
        print(
            f"{folder}: {size:.1f} MB, {size / spent[0]:.1f} MB/s without counting, {size / spent[1]:.1f} with; "
            f"{count:,} passages, {calls / max(1, count):.2f} counts a passage"
        )


def take_sentences(text: str, ending: str) -> tuple[str, list[tuple[int, str]]]:
    """The text without one sentence of each paragraph of three or more, and the sentences with their lines."""
    taken: list[tuple[int, str]] = []
    out, place = [], 0
    for block in read_blocks(numbered(text), ending):
        if block.kind is not BlockKind.TEXT:
            continue
        borders = [0, *(match.end() for match in SENTENCE.finditer(block.text)), len(block.text.rstrip())]
        spans = [
            (a, b) for a, b in zip(borders, borders[1:], strict=False) if 50 <= len(block.text[a:b].strip()) <= 300
        ]
        if len(borders) < 4 or not spans:
            continue
        a, b = spans[int(hashlib.sha256(block.text.encode()).hexdigest(), 16) % len(spans)]
        sentence = block.text[a:b]
        out += [text[place : block.start + a], re.sub(r"[^\n]+", "", sentence)]  # the lines keep their numbers
        place = block.start + b
        taken.append((block.line + block.text.count("\n", 0, a), " ".join(sentence.split())))
    return "".join([*out, text[place:]]), taken


def search(folder: Path, encoder: Encoder, cache: Path, most: int) -> None:
    """Print how often the place of a sentence that was taken out is found, by both rules."""
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        queries = []
        for path in text_files(folder):
            text, taken = take_sentences(path.read_text(encoding="utf-8", errors="replace"), path.suffix.lower())
            target = Path(place) / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            queries += [(path.relative_to(folder).as_posix(), line, sentence) for line, sentence in taken]
        queries.sort(key=lambda query: hashlib.sha256(repr(query).encode()).hexdigest())
        queries = queries[:most]
        first = [
            {"_id": document.id, "title": document.title, "text": document.text, **document.metadata}
            for document in documents(Path(place))
        ]
        second = []
        for path in text_files(Path(place)):
            file, text = path.relative_to(place).as_posix(), path.read_text(encoding="utf-8")
            for number, passage in enumerate(by_rule_2(text, path.suffix.lower(), encoder, path.name)):
                second.append(
                    {"_id": f"{file}#{number}", "title": passage.title, "text": passage.text, "file": file,
                     "line": passage.line, "end_line": passage.end_line}
                )  # fmt: skip
    for name, rows in (("rule 1", first), ("rule 2", second)):
        found[name] = ask(rows, queries, encoder, cache / f"{folder.name}-{name[-1]}")
    print(f"{folder}: {len(queries)} queries, {len(first):,} and {len(second):,} passages")
    for figure, values in found["rule 2"].items():
        old = np.array(found["rule 1"][figure])
        low, high = bootstrap_mean(np.array(values) - old)
        print(f"  {figure}: {old.mean():.3f} -> {np.mean(values):.3f}, difference {low:+.3f} to {high:+.3f}")


def ask(rows: list[dict], queries: list[tuple[str, int, str]], encoder: Encoder, place: Path) -> dict[str, list[float]]:
    """Build an index of the passages, ask it, and say for each figure and query whether the place was found."""
    place.parent.mkdir(parents=True, exist_ok=True)
    corpus = place.with_suffix(".jsonl")
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build([str(corpus)], place, encoder, overwrite=True)
    index = Index(VectorIndex.open(place), encoder)
    values: dict[str, list[float]] = {}
    for way, hybrid in (("hybrid", True), ("vectors", False)):
        answers = index.answer([sentence for _, _, sentence in queries], 30, hybrid=hybrid)
        for (file, line, _), answer in zip(queries, answers, strict=True):
            hits = [
                hit.metadata["file"] == file and hit.metadata["line"] <= line <= hit.metadata["end_line"]
                for hit in answer.hits
            ]
            read = np.cumsum([len(hit.text) for hit in answer.hits])
            rank = hits.index(True) + 1 if any(hits) else 0
            seen = bool(rank) and (rank == 1 or read[rank - 2] < READ)
            for figure, value in (
                ("among 5", float(0 < rank <= 5)),
                (f"within {READ:,} characters", float(seen)),
                ("1 / rank", 1 / rank if 0 < rank <= 10 else 0.0),
            ):
                values.setdefault(f"{way}, {figure}", []).append(value)
    return values


def main() -> None:
    """Run one of the three measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("reach", "speed", "search"))
    parser.add_argument("folders", nargs="*", type=Path, help=f"folders with {', '.join(BLOCK_READERS)} files")
    parser.add_argument("--locale", type=Path, help="folder of message catalogues, LANGUAGE/LC_MESSAGES/*.mo")
    parser.add_argument("--texts", type=Path, help="folder of files LANGUAGE.txt")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--cache", type=Path, default=Path("runs/cutting"), help="where indexes are built")
    arguments = parser.parse_args()
    encoder = Encoder.load(arguments.model)
    if arguments.what == "reach":
        texts = {}
        if arguments.locale:
            texts |= {language: catalogue(arguments.locale, language) for language in LANGUAGES}
        if arguments.texts:
            texts |= {
                path.stem: path.read_text(encoding="utf-8")[:CHARACTERS] for path in arguments.texts.glob("*.txt")
            }
        reach(encoder, {name: text for name, text in texts.items() if text})
    elif arguments.what == "speed":
        speed(arguments.folders, encoder)
    else:
        for folder in arguments.folders:
            search(folder, encoder, arguments.cache, arguments.queries)


if __name__ == "__main__":
    main()
