"""Many settings in one call, and what is written of them: runs, values of each query, tables, reports."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder.inference import embed
from searchapp.evaluate import retrieval
from searchapp.evaluate.markdown import put_section
from tests.evaluate.test_reranking import beir  # noqa: F401
from tests.models import make_checkpoint


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("models") / "other", tokenizer, seed=5)


def test_models_reductions_types_and_steps_in_one_call(
    run, beir: Path, tiny_model: Path, other_model: Path, tmp_path: Path, monkeypatch  # noqa: F811
) -> None:  # fmt: skip
    texts: list[str] = []
    real = Encoder.encode_counted

    def counting(self, given, *arguments, **options):
        texts.extend([given] if isinstance(given, str) else given)
        return real(self, given, *arguments, **options)

    monkeypatch.setattr(Encoder, "encode_counted", counting)
    outcome = run("evaluate", "retrieval", beir, "--model", tiny_model, "--model", other_model, "--pca", 0, "--pca", 8,
                  "--factory", "Flat", "--factory", "SQ8", "--hybrid", "--json", "--run", tmp_path / "r.run",
                  "--per-query", tmp_path / "q.jsonl", "--markdown", tmp_path / "m.md")  # fmt: skip
    assert outcome.code == 0, outcome.err
    results = json.loads(outcome.out)["results"]
    assert len(texts) == 2 * (40 + 9)  # once a model
    kinds = [(r["setting"]["pca"], r["setting"]["factory"], r["setting"]["method"]) for r in results[:9]]
    assert kinds[:3] == [(None, "Flat", "dense"), (None, "Flat", "bm25"), (None, "Flat", "hybrid")]
    assert kinds[3:] == [
        (pca, factory, method)
        for pca, factory in ((None, "SQ8"), (8, "Flat"), (8, "SQ8"))
        for method in ("dense", "hybrid")
    ]
    assert len(list(tmp_path.glob("r.*.run"))) == len(results) == 18
    lines = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert len(lines) == 18 * 9
    first = [line["metrics"]["nDCG@10"] for line in lines[:9]]
    assert np.mean(first) == pytest.approx(results[0]["metrics"]["nDCG@10"]["value"])
    assert all(line["query"] for line in lines)
    assert (tmp_path / "m.md").read_text().count("(test)") == 18


def test_a_report_of_reductions_types_and_steps(run, beir: Path, tiny_model: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "report"
    outcome = run("evaluate", "retrieval", beir, "--model", tiny_model, "--pca", 0, "--pca", 8, "--factory", "Flat",
                  "--factory", "SQ8", "--hybrid", "--report", folder)  # fmt: skip
    assert outcome.code == 0, outcome.err
    page = (folder / "index.html").read_text()
    assert not re.search(r"""(src|href|srcset)=["'](?!data:)""", page)  # nothing comes from elsewhere
    assert "url(" not in page
    assert "<script" not in page
    pictures = list(folder.glob("*.png"))
    assert pictures
    assert all(picture.read_bytes()[:4] == b"\x89PNG" for picture in pictures)
    kinds = {re.sub(r"^.*?-(\w+)(-\d+)?\.png$", r"\1", picture.name) for picture in pictures}
    assert {"settings", "dimensions", "latency", "differences", "scores"} <= kinds

    class Checker(HTMLParser):
        open: list[str] = []
        without_words = 0

        def handle_starttag(self, tag: str, attributes: list) -> None:
            if tag not in ("meta", "img", "source", "br"):
                self.open.append(tag)
            self.without_words += tag == "img" and not dict(attributes).get("alt")

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(page)
    assert not checker.open
    assert not checker.without_words


def test_texts_in_a_report_are_texts(run, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "qrels").mkdir()
    evil = "<script>alert(1)</script> & \"quoted\" 'too'"
    (tmp_path / "corpus.jsonl").write_text(
        "\n".join(json.dumps({"_id": f"<{i}>", "title": evil, "text": f"{evil} {i}"}) for i in range(4))
    )
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "<q>", "text": evil}))
    (tmp_path / "qrels" / "test.tsv").write_text("<q>\t<2>\t1\n")
    outcome = run("evaluate", "retrieval", tmp_path, "--model", tiny_model, "--report", tmp_path / "report")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_reranked_setting_says_where_it_starts(run, beir: Path, tiny_model: Path) -> None:  # noqa: F811
    outcome = run("evaluate", "retrieval", beir, "--model", tiny_model, "--hybrid", "--rerank", tiny_model,
                  "--reranker-kind", "bi-encoder", "--rerank-depth", 40, "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    dense, words, both, reranked = json.loads(outcome.out)["results"]
    assert [one["setting"]["rerank"] for one in (dense, words, both)] == [None] * 3
    assert reranked["setting"]["first_stage"] == "full-auto-hybrid"
    assert reranked["setting"]["first_stage_recall"] == 1.0
    # every document is seen, by the model that made the vectors: its order is the vectors'
    assert reranked["metrics"]["MAP"]["value"] == pytest.approx(dense["metrics"]["MAP"]["value"], abs=0.02)


def test_a_cache_spares_the_encoding(run, beir: Path, tiny_model: Path, tmp_path: Path, monkeypatch) -> None:  # noqa: F811
    command = ("evaluate", "retrieval", beir, "--model", tiny_model, "--cache", tmp_path / "cache", "--json")
    first = json.loads(run(*command, "--mode", "dense").out)["results"][0]

    def unexpected(backend: object, items: list[object], *rest: object, **options: object) -> object:
        if items:
            raise ZeroDivisionError("something was encoded")
        return embed(backend, items, *rest, **options)

    monkeypatch.setattr("searchapp.encoder.streaming.embed", unexpected)
    second = run(*command, "--hybrid")
    assert second.code == 0, second.err
    assert json.loads(second.out)["results"][0]["metrics"] == first["metrics"]
    assert run(*command[:-3], "--json").code == 1  # without it everything is encoded


def test_two_collections_of_one_name_are_refused(run, beir: Path) -> None:  # noqa: F811
    outcome = run("evaluate", "retrieval", beir, beir)
    assert outcome.code == 2
    assert "two datasets are called" in outcome.err


def test_only_its_own_section_of_a_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "r.md"
    path.write_text("# Mine\n\nwords\n\n## Retrieval\n\nold\n\n## After\n\nkept\n")
    put_section(path, "Retrieval", "new")
    put_section(path, "Reranking", "more")
    assert path.read_text() == "# Mine\n\nwords\n\n## Retrieval\n\nnew\n\n## After\n\nkept\n\n## Reranking\n\nmore\n"
    before = path.read_text()
    put_section(path, "Reranking", "more")
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mode", "dense", "--weight", "0.3"), "add --hybrid"),
        (("--hybrid", "--weight", "3"), "fusion weight is 3"),
        (("--hybrid", "--fusion", "no"), "fusion 'no' is unknown"),
        (("--model", "a", "--model", "b", "--adapter", "c"), "--adapter was given with 2 models"),
        (("--metric", "nDGC@10"), "did you mean"),
        (("--markdown", "absent/m.md"), "--markdown absent/m.md cannot be written"),
        (("--per-query", "."), "--per-query . cannot be written"),
        (("--report", "/dev/null"), "--report /dev/null cannot be written"),
    ],
)
def test_bad_options_are_one_line(run, beir: Path, options: tuple[str, ...], words: str) -> None:  # noqa: F811
    outcome = run("evaluate", "retrieval", beir, *options)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert words in outcome.err


def test_no_reduction_is_not_the_same_as_leaving_it_to_the_rule(run, beir: Path, tiny_model: Path, monkeypatch) -> None:  # noqa: F811
    asked: list[object] = []
    real = retrieval.build

    def building(*arguments, **options):
        asked.append(arguments[3].pca)
        return real(*arguments, **options)

    monkeypatch.setattr(retrieval, "build", building)
    command = ["evaluate", "retrieval", beir, "--model", tiny_model, "--json"]
    names = []
    for given in ([], ["--pca", 0], ["--pca", 8]):
        outcome = run(*command, *given)
        names.append(json.loads(outcome.out)["results"][0]["setting"]["pca"])
    assert asked == [None, 0, 8]
    assert names == [None, None, 8]
