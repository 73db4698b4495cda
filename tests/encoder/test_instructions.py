"""Which instruction a model's queries get: found by its published name, asked for, kept in an index, or missing."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from searchapp import Encoder
from searchapp.encoder.checkpoint import Checkpoint
from searchapp.encoder.prompts import BY_NAME, PUBLISHED, SENTENCES, find, recognise
from searchapp.encoder.settings import Settings
from searchapp.encoder.template import Template, choose, with_known_end
from searchapp.errors import ModelError

WEB = "Given a web search query, retrieve relevant passages that answer the query"


def checkpoint(tmp_path: Path, name: str, **parts) -> Checkpoint:
    place = tmp_path / name.replace("/", "--")
    place.mkdir(parents=True, exist_ok=True)
    return Checkpoint(
        name, place, parts.get("adapters", ()), place, place, parts.get("base", ""), parts.get("extra", ())
    )


def adapter(tmp_path: Path, name: str, base: str) -> Path:
    place = tmp_path / name
    place.mkdir(parents=True)
    (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return place


@pytest.mark.parametrize(
    ("name", "query", "document"),
    [  # from the models' cards
        ("intfloat/e5-base-v2", "query: ", "passage: "),
        ("intfloat/e5-mistral-7b-instruct", f"Instruct: {WEB}\nQuery: ", ""),
        ("Qwen/Qwen3-Embedding-0.6B", f"Instruct: {WEB}\nQuery:", ""),
        ("GritLM/GritLM-7B", f"<|user|>\n{WEB}\n<|embed|>\n", "<|embed|>\n"),
        ("BAAI/bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("nomic-ai/nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("McGill-NLP/LLM2Vec-Sheared-LLaMA-mntp-supervised", f"{WEB}:", ""),
    ],
)
def test_published_models_by_every_name_they_go_by(tmp_path: Path, name: str, query: str, document: str) -> None:
    owner, _, last = name.partition("/")
    for spelled in (name, name.lower(), last, f"models--{owner}--{last}", f"{owner}__{last}", f"{last}-Q4_K_M.gguf"):
        assert find(spelled) == name, spelled
    found = recognise(checkpoint(tmp_path, name))
    assert found is not None
    assert (found.prompts.of("retrieval"), found.prompts.document) == (query, document)
    assert found.sure
    assert found.itself
    for other in (f"mine/{last}", f"{last}-of-mine", f"x{last}", "", owner):
        assert find(other) is None, other


def test_prompts_by_task() -> None:
    e5, bge, nomic, instruct, llm2vec = (
        BY_NAME[name]
        for name in ("intfloat/e5-base", "BAAI/bge-base-en", "nomic-ai/nomic-embed-text-v1",
                     "Salesforce/SFR-Embedding-2_R", "McGill-NLP/LLM2Vec-Sheared-LLaMA-mntp")
    )  # fmt: skip
    assert [e5.of(task) for task in SENTENCES] == ["query: "] * 5
    assert [bge.of(task) is not None for task in SENTENCES] == [True, True, False, False, False]
    assert nomic.of("clustering") == "clustering: "
    assert instruct.of("sts") == "Instruct: Retrieve semantically similar text.\nQuery: "
    assert llm2vec.of("sts") == "Retrieve semantically similar text:"
    assert llm2vec.of("retrieval", "Given a claim, find documents that refute the claim.").endswith("refute the claim:")
    with pytest.raises(ModelError, match="task 'search' is unknown"):
        e5.of("search")


def test_no_name_is_in_the_table_twice() -> None:
    names = [name for prompts in PUBLISHED for name in prompts.names]
    assert len(names) == len(set(names)) == len(BY_NAME)
    assert all(prompts.of("retrieval") for prompts in PUBLISHED)


def test_an_adapter_without_a_name_leaves_the_task_unknown(tmp_path: Path) -> None:
    base = "McGill-NLP/LLM2Vec-Sheared-LLaMA-mntp"
    mine, theirs = adapter(tmp_path, "mine", base), adapter(tmp_path, "LLM2Vec-Sheared-LLaMA-mntp-supervised", base)
    found = recognise(checkpoint(tmp_path, "model", adapters=(mine,), extra=(str(mine),)))
    assert found is not None
    assert (found.name, found.sure) == (base, False)
    found = recognise(checkpoint(tmp_path, "model", adapters=(theirs,), extra=(str(theirs),)))
    assert found is not None
    assert (found.name, found.sure) == (f"{base}-supervised", True)
    assert recognise(checkpoint(tmp_path, "model", base="meta-llama/Llama-2-7b-chat-hf")) is None


@pytest.fixture
def e5(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "e5-base-v2"))


def test_what_is_found_asked_for_or_said_by_the_files(e5: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = Encoder.load(str(e5))
    assert (found.settings.query_instruction, found.settings.document_instruction) == ("query: ", "passage: ")
    assert found.instruction_origin == "as published for intfloat/e5-base-v2, known by the name of its folder"
    template = found.settings.template
    assert template.wrap("query: ", "bees", close=False)[0] == "query: bees"
    assert found.task_instruction("clustering") == "query: "
    for asked, expected in (("find:", "find:"), ("", None)):
        encoder = Encoder.load(str(e5), query_instruction=asked)
        assert encoder.settings.query_instruction == expected
        assert encoder.reference["query_instruction"] == asked
        assert (encoder.encode_queries("bees") == encoder.encode("bees", expected)).all()
    assert not caplog.records
    Settings(template=Template()).save(e5)  # as an earlier version exported it
    quiet = Encoder.load(str(e5))
    assert (quiet.settings.query_instruction, quiet.settings.document_instruction) == (None, None)
    [record] = caplog.records
    assert "e5-base-v2 (known by the name of its folder), which takes an instruction" in record.getMessage()
    Encoder.load(str(e5), query_instruction="")
    assert len(caplog.records) == 1
    Settings(template=Template(), query_instruction="own:").save(e5)
    assert Encoder.load(str(e5)).settings.query_instruction == "own:"


def test_an_index_keeps_what_it_was_made_with(e5: Path, tmp_path: Path) -> None:
    from searchapp.encoder import instructions
    from searchapp.index import BuildSettings, build
    from searchapp.search import Index

    source = tmp_path / "texts.jsonl"
    source.write_text('{"id": "1", "text": "bees fly and make honey"}\n{"id": "2", "text": "the quick brown fox"}\n')
    old, new, asked = tmp_path / "old", tmp_path / "new", tmp_path / "asked"
    with pytest.MonkeyPatch.context() as patch:  # as before any name was known
        patch.setattr(instructions, "recognise", lambda _: None)
        build([str(source)], old, Encoder.load(str(e5)), BuildSettings())
    build([str(source)], new, Encoder.load(str(e5)), BuildSettings())
    build([str(source)], asked, Encoder.load(str(e5), query_instruction="find:"), BuildSettings())
    for place, query, document in ((old, None, None), (new, "query: ", "passage: "), (asked, "find:", "passage: ")):
        opened = Index.open(place)
        settings = opened.encoder.settings
        assert (settings.query_instruction, settings.document_instruction) == (query, document)
        assert opened.search("bees fly", k=1)[0].id == "1"


def test_an_instruction_that_is_found_keeps_no_model_from_being_exported(e5: Path, tmp_path: Path) -> None:
    from searchapp.encoder.export.export import export

    written = export(str(e5), tmp_path / "out")
    assert any("get 'query: ' by searchapp alone" in text for text in written.notices)
    assert not any((written.prompts or {}).values())
    again, before = Encoder.load(str(tmp_path / "out")), Encoder.load(str(e5))
    assert again.instruction_origin == "as its encoder.json has it"
    assert (again.settings.query_instruction, again.settings.document_instruction) == ("query: ", "passage: ")
    assert abs(again.encode_queries("bees fly") - before.encode_queries("bees fly")).max() < 1e-5
    assert abs(again.encode_documents("bees fly") - before.encode_documents("bees fly")).max() < 1e-5


def test_a_closing_token_is_one_token_or_the_tokenizers_own(tiny_model: Path, tmp_path: Path) -> None:
    from tests.models import make_checkpoint, make_tokenizer

    known = Encoder.load(str(tiny_model), pooling="eos_token")
    assert known.settings.template.end == " </s>"
    tokenizer = make_tokenizer()
    content = json.loads(tokenizer.backend_tokenizer.to_str().replace("</s>", "<|end|>"))
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="<|end|>",
    )
    place = make_checkpoint(tmp_path / "other", other)
    encoder = Encoder.load(str(place), pooling="eos_token")
    assert encoder.settings.template.end == "<|end|>"
    [item] = encoder._tokenize(["bees"], [None])
    assert item.ids[-1] == other.eos_token_id
    assert Encoder.load(str(place)).settings.template.end == " </s>"  # not used, and part of every index's fingerprint
    before = {"template": {"prefix": "", "suffix": "", "end": " </s>", "raw": False}}
    assert Encoder.load(str(place), pooling="eos_token", recorded=before).settings.template.end == " </s>"
    Settings(pooling="eos_token", template=Template(end=" </s>")).save(place)  # trained with it: kept
    assert Encoder.load(str(place)).settings.template.end == " </s>"
    Settings(template=Template(end=" </s>")).save(place)  # trained with means, where it was not used
    assert Encoder.load(str(place), pooling="eos_token").settings.template.end == "<|end|>"
    kept = {"template": {"prefix": "", "suffix": "", "end": "<|end|>", "raw": False}}  # an index over that
    assert Encoder.load(str(place), pooling="eos_token", recorded=kept).settings.template.end == "<|end|>"
    assert Encoder.load(str(place), pooling="eos_token", recorded=before).settings.template.end == " </s>"
    nothing = SimpleNamespace(backend_tokenizer=other.backend_tokenizer, eos_token=None)
    assert with_known_end(choose("", "llama", None), nothing).end == ""


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="searchapp")
