"""Help pages: options stand below headings, examples can be pasted, and defaults are those of the library."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterator
from dataclasses import fields
from itertools import takewhile
from typing import Any

import pytest
import typer

from searchapp.cli.build import IndexOptions
from searchapp.cli.evaluate.retrieval import RetrievalOptions
from searchapp.cli.lazy import LazyGroup
from searchapp.cli.message_options import PANEL
from searchapp.cli.options import EncoderOptions, TargetOptions
from searchapp.cli.program import app
from searchapp.cli.search import QueryOptions
from searchapp.cli.search_options import FusionOptions, RerankOptions
from searchapp.cli.signatures import GroupedCommand
from searchapp.encoder import Encoder, backends
from searchapp.encoder.options import LoadOptions
from searchapp.evaluate.retrieval import Request
from searchapp.index import BuildSettings
from searchapp.index.ann.request import Targets
from searchapp.search import Index, SearchOptions

PROGRAM = typer.main.get_command(app)


def commands(command: Any, *path: str) -> Iterator[Any]:
    if isinstance(command, LazyGroup):
        for name in command.table:
            yield from commands(command.load(name), *path, name)
    elif hasattr(command, "commands"):
        for name, one in command.commands.items():
            yield from commands(one, *path, name)
    else:
        yield pytest.param(command, path, id=" ".join(path))


def parsed(line: str) -> dict[str, Any]:
    """What a command line means, found by the command it names; nothing is run."""
    words = list(takewhile(lambda word: word not in ("<", ">"), shlex.split(line)))
    assert words.pop(0) == "searchapp"
    command: Any = PROGRAM
    while hasattr(command, "commands"):
        context = command.make_context(command.name, list(words))
        name, command, words = command.resolve_command(context, words)
    return command.make_context(command.name, words).params


@pytest.mark.parametrize("command, path", commands(PROGRAM))
def test_every_command_has_examples_that_it_understands(command: Any, path: tuple[str, ...]) -> None:
    assert isinstance(command, GroupedCommand)
    lines = (command.epilog or "").splitlines()
    own = [one for one in command.params if one.param_type_name == "argument" or one.rich_help_panel != PANEL]
    assert lines and (len(lines) >= 2 or len(own) < 2)
    for line in lines:
        assert line.startswith(" ".join(("searchapp", *path)))
        parsed(line)


def test_an_example_that_is_wrong_would_be_found() -> None:
    assert parsed("searchapp search ix 'a query' -k 3 < queries.txt")["k"] == 3
    for line in ("searchapp build", "searchapp search ix -k 0", "searchapp evaluate compare a b", "searchapp buidl"):
        with pytest.raises(typer.TyperException):
            parsed(line)


@pytest.mark.parametrize("command, path", commands(PROGRAM))
def test_every_option_stands_below_a_heading(command: Any, path: tuple[str, ...]) -> None:
    if path[0] != "adapt":
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or parameter.rich_help_panel, parameter.name


def _defaults(function: Any) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


def test_the_defaults_are_those_of_the_library() -> None:
    encoder, named = EncoderOptions(), {"device": "auto", "dtype": "auto", "attention": "auto", "backend": "torch"}
    for field in fields(encoder):
        name = {"adapter": "adapters"}.get(field.name, field.name)
        if name != "model":  # which a library call has to name
            assert name in LoadOptions.__annotations__, name
            assert (getattr(encoder, field.name) or None) == named.get(name), name
    source = inspect.getsource(Encoder.load) + inspect.getsource(backends)
    assert all(f'named(options, "{name}", "{value}")' in source for name, value in named.items())
    assert IndexOptions().settings() == BuildSettings()
    assert TargetOptions().over() == Targets()
    asked = QueryOptions()
    assert asked.k == _defaults(Index.answer)["k"]
    assert (asked.reranking.rerank_depth, asked.filter) == (SearchOptions.rerank_depth, SearchOptions.filter)
    assert (RerankOptions().load(), FusionOptions().of(None)) == (None, None)
    wanted = Request()
    assert FusionOptions().mode == SearchOptions.mode == "auto"
    plain = RetrievalOptions(fusing=FusionOptions(mode="dense"))
    assert plain.request(tuple(wanted.metrics), None) == Request(tuple(wanted.metrics))
