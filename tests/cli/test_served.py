"""``search`` and ``evaluate retrieval`` of a server's address print what they print of the directory."""

from __future__ import annotations

import json
import re
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from searchapp.encoder import Encoder
from searchapp.index import build
from tests.cli.conftest import DOCUMENTS
from tests.serve.running import Running, serving

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Encoder) -> Path:
    """Its source is gone: a server's files are on another machine, so that no line of them is shown."""
    root = tmp_path_factory.mktemp("moved")
    source = root / "docs.jsonl"
    source.write_text("\n".join(map(json.dumps, DOCUMENTS)))
    build([str(source)], root / "ix", tiny_encoder)
    source.unlink()
    return root / "ix"


@pytest.fixture(scope="module")
def server(index: Path):
    with serving({"ix": index, "more of it": index}, token=TOKEN) as running:
        yield running


@pytest.fixture(autouse=True)
def _with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCHAPP_TOKEN", TOKEN)


def without_times(text: str) -> list[str]:
    """Seconds differ, and which stage of several equal scores is named first does not."""
    return [line for line in text.splitlines() if not re.search(r"\b(encode|search) [\d.]+ (µs|ms|s)", line)]


def same_numbers(found: str, wanted: str) -> bool:
    """Lines of JSON are equal but for the last digits of scores."""
    pairs = zip(found.splitlines(), wanted.splitlines(), strict=True)
    return all(json.loads(one, parse_float=lambda x: round(float(x), 4)) == json.loads(other, parse_float=lambda x: round(float(x), 4)) for one, other in pairs)  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        (), ("--mode", "dense"), ("--mode", "bm25", "--no-passages"), ("--fusion", "rrf", "--weight", "0.4", "--hybrid"),
        ("--filter", "year >= 2020", "-k", "1"), ("--instruction", "Find:", "--group", "none"),
    ],
    ids=str,
)  # fmt: skip
def test_hits_are_shown_alike(run, index: Path, server: Running, options: tuple) -> None:
    queries = ("how do bees make honey", "engine")
    local = run("search", index, *queries, *options)
    served = run("search", f"{server.url}/more%20of%20it", *queries, *options)
    assert (served.code, served.err) == (local.code, local.err) == (0, "")
    assert without_times(served.out) == without_times(local.out) != []
    local = run("search", index, *queries, *options, "--json")
    served = run("search", server.url, *queries, *options, "--json")
    assert served.out.count("\n") >= 2
    assert same_numbers(served.out, local.out)


def test_likeness_and_standard_input(run, index: Path, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    local, served = (run("search", place, "--like", "bees") for place in (index, server.url))
    assert without_times(served.out) == without_times(local.out) != []
    outcomes = []
    for place in (index, server.url):
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"honey\nengine\n")))
        outcomes.append(run("search", place))
    assert without_times(outcomes[1].out) == without_times(outcomes[0].out) != []


def test_the_prompt(run, server: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = iter((":filter year > 2020", ":mode bm25", "honey", ":like 1", ":show 1", ":filter wrong ==", ":rerank x", ":k 2", ":quit"))  # fmt: skip

    class Session:
        def __init__(self, history: object) -> None:
            pass

        def prompt(self, _: str) -> str:
            return next(lines)

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("prompt_toolkit.PromptSession", Session)
    monkeypatch.setattr(sys, "stdin", Terminal())
    outcome = run("search", server.url)
    said = outcome.err.splitlines()
    assert outcome.code == 0
    assert said[:3] == ["3 documents; :help for help", "2 of 3 documents pass", "BM25 alone"]
    assert any("wrong ==" in line and "not understood" in line for line in said)
    assert any("has no reranker 'x'; it has none" in line for line in said)
    assert "bees fly and make honey" in outcome.out


def test_refusals(run, index: Path, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, said in (
        ((server.url, "honey", "--rerank", "bundled"), "has no reranker 'bundled'; it has none"),
        ((server.url, "honey", "-k", "2000"), "k is 2,000; expected at most 1,000"),
        ((server.url, "--like", "bee"), "no document has the id 'bee' in generation"),
        ((server.url, "--like", "bees", "--candidates", "5"), "leave out --candidates"),
        ((f"{server.url}/other", "honey"), "no index is named 'other'; there are ix, more of it"),
        ((index, "honey", "--token-file", tmp_path / "t"), "is for a server"),
        ((server.url, "honey", "--token-file", tmp_path / "none"), "No such file or directory"),
    ):
        outcome = run("search", *arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert said in outcome.err
        assert outcome.err.count("\n") == 1
    monkeypatch.delenv("SEARCHAPP_TOKEN")
    assert "asks for a token; give --token-file FILE, or set SEARCHAPP_TOKEN" in run("search", server.url, "honey").err
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert run("search", server.url, "honey", "--token-file", tmp_path / "token").code == 0


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "bees"
    (folder / "qrels").mkdir(parents=True)
    lines = [{"_id": "q1", "text": "make honey"}, {"_id": "fox", "text": "brown dog"}, {"_id": "q3", "text": "measure quality"}]  # fmt: skip
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "bees", "text": "bees"}))
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tbees\t1\nfox\tengine\t1\nq3\tengine\t2\n")
    return folder


@pytest.mark.parametrize("options", [(), ("--self-documents", "drop"), ("--mode", "bm25")], ids=str)
def test_figures_are_those_of_the_directory(
    run, index: Path, server: Running, collection: Path, options: tuple
) -> None:
    found = []
    for place in (index, server.url):
        outcome = run("evaluate", "retrieval", collection, "--index", place, "--json", *options)
        assert outcome.code == 0, outcome.err
        found.append(json.loads(outcome.out)["results"])
    assert [one["setting"]["method"] for one in found[1]] == [one["setting"]["method"] for one in found[0]]
    for served, local in zip(*found, strict=True):
        assert served["metrics"] == local["metrics"]
        for name in ("collection", "split", "queries", "documents", "dim", "fingerprint", "self_documents", "fusion"):
            assert served["setting"][name] == local["setting"][name], name


def test_what_a_server_cannot_give_an_evaluation(run, server: Running, collection: Path) -> None:
    for options, said in (
        (("--duplicates", "collapse"), "leave out --duplicates collapse"),
        (("--depth", "2000"), "expected at most the 1,000"),
        (("--dims", "2,4"), "--dims needs the vectors of an index"),
        (("--self-documents", "x"), "the rule for self documents is 'x'"),
    ):
        outcome = run("evaluate", "retrieval", collection, "--index", server.url, *options)
        assert (outcome.code, said in outcome.err) == (2, True), outcome.err
