"""Which instruction the queries of a loaded model get, and who says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from searchapp.encoder.checkpoint import Checkpoint
from searchapp.encoder.prompts import LLM2VEC, Prompts, Recognised, recognise
from searchapp.encoder.settings import FILE, Settings, settings_file
from searchapp.encoder.template import Template

PUBLISHED = "as published for"  # how the origin of an instruction that was found by name begins


@dataclass(frozen=True)
class Instructed:
    """``settings`` with their instructions, ``origin`` of the query's as a phrase, and ``prompts`` for other tasks.

    ``missing`` says in a line that a model takes an instruction and has none; "" where that is not so.
    """

    settings: Settings
    origin: str
    prompts: Prompts | None = None
    missing: str = ""


def instructed(
    settings: Settings, checkpoint: Checkpoint, *, asked: str | None, recorded: Mapping[str, Any] | None
) -> Instructed:
    """Settle what goes before queries and documents.

    Queries: what is ``asked`` for ("" is nothing), else what an index has ``recorded``, else what the checkpoint's own
    files say, else what its published name stands for. Documents: the same without ``asked``, but the files come before
    what is recorded, so that an index of other documents is refused.
    """
    found = recognise(checkpoint)
    prompts = found.prompts if found is not None else None
    file = settings_file(checkpoint.settings, checkpoint.adapters)
    own = file is not None and file.name == FILE  # which always says what queries get, nothing included
    says = own or settings.query_instruction is not None or settings.document_instruction is not None
    origin, missing = f"as its {file.name} has it" if says and file is not None else "", ""
    if recorded is not None:
        settings = replace(settings, query_instruction=recorded.get("query_instruction"))
        if not says:
            settings = replace(settings, document_instruction=recorded.get("document_instruction"))
        origin = "as the index keeps it"
    elif found is not None and found.sure and not says:
        settings = replace(
            settings,
            query_instruction=found.prompts.of("retrieval"),
            document_instruction=found.prompts.document or None,
        )
        if settings.template is not None and file is None and not _followed_by_blank(settings, found.prompts):
            settings = replace(settings, template=replace(settings.template, raw=True))  # exactly as they are published
        origin = f"{PUBLISHED} {found.name}, known by {found.by}"
    elif found is not None and settings.query_instruction is None and asked is None and (found.itself or not says):
        missing = _missing(checkpoint, found, says=says)
    if asked is not None:
        settings = replace(settings, query_instruction=asked or None)
        origin = "as asked for"
    return Instructed(settings, origin, prompts, missing)


def _followed_by_blank(settings: Settings, prompts: Prompts) -> bool:
    """Whether instructions come out as they are published where one blank is put behind each, as LLM2Vec does."""
    texts = [text for text in (settings.query_instruction, settings.document_instruction) if text]
    return prompts is LLM2VEC or all(text == f"{text.strip()} " for text in texts)


def _missing(checkpoint: Checkpoint, found: Recognised, *, says: bool) -> str:
    why = f"its {FILE} names none" if says else "what this adapter was trained behind is not known"
    return (
        f"{checkpoint.name} comes of {found.name} (known by {found.by}), which takes an instruction before queries, "
        f"and {why}: queries go without; give --instruction TEXT, or --instruction '' if none is meant"
    )


def recorded_template(recorded: Mapping[str, Any] | None) -> Template | None:
    """The template among the settings that an index keeps; None where there is none."""
    found = recorded.get("template") if recorded is not None else None
    return Template(**found) if isinstance(found, Mapping) else None
