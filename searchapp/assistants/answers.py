"""What each tool answers: plain functions from values to objects that JSON has, within budgets of tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.assistants.fault import ToolError
from searchapp.assistants.library import Call, Library, Payload
from searchapp.assistants.links import address, identifier, parted
from searchapp.assistants.visible import fitting, one_line, quoted, tokens, visible
from searchapp.corpus.document import Document
from searchapp.errors import SearchAppError
from searchapp.index.storage.commits import copy_of
from searchapp.search import Hit, like
from searchapp.search.neighbours import neighbours
from searchapp.search.passage import Snippet
from searchapp.serve.fields import fields_of
from searchapp.serve.problem import ProblemError
from searchapp.serve.served import State
from searchapp.shards.opening import states

PASSAGE = 280  # characters of a result's text
TITLE = 120
PAGE = 6_000  # tokens of a page of results, and of a description
WHOLE = 18_000  # tokens of a document; hosts cut answers at 25,000
FIELDS, VALUES, VALUE = 40, 8, 40  # of a description: fields, values of each, characters of a value
FEWEST = 50  # documents below which nothing is said of how close hits are
GRAMMAR = (
    'comparisons ==, !=, <, <=, >, >=, in, not in of a field with "text", a number, true, false or [a, list]; and, or, '
    'not, parentheses; meta["odd name"] for other names. Example: lang == "en" and year >= 2020'
)


def search(call: Call) -> Payload:
    """Hits of a query with the passage of each that answers it best."""
    library, values, notes = call.library, call.values, call.notes
    state = library.state(values["index"], call.deadline)
    query, limit, offset = values["query"], values["limit"], values["offset"]
    try:
        found = library.find(state, query, offset + limit + 1, values["filter"], call.deadline)
    except ToolError:
        raise
    except Exception as error:
        raise _with_fields(error, state, values["filter"]) from None
    hits = list(found.hits[offset : offset + limit])
    passages = library.passages(found, state, [hit.text for hit in hits], call.deadline) if hits else []
    notes += [
        *found.notes,
        *map(_sentence, found.typed.notices),
        *_notes(library, state, hits, values["filter"], offset),
    ]
    results = _page(_result(call, state, hit, passage) for hit, passage in zip(hits, passages, strict=True))
    more = len(found.hits) > offset + len(results)
    return _noted(notes, {"results": results, "more": more, "mode": found.mode, "generation": state.number})


def similar(call: Call) -> Payload:
    """Documents whose stored vectors are closest to that of a document; no model is asked."""
    state, _, document = _document(call)
    limit = call.values["limit"]
    found = like(state.index, document.id, limit + 1)
    hits = found.hits[:limit]
    notes = call.notes + _failure(call.library, state)
    if not hits:
        notes.append("There is no other document.")
    results = _page(_result(call, state, hit, Snippet(0, len(hit.text))) for hit in hits)
    more = len(found.hits) > len(results)
    return _noted(notes, {"results": results, "more": more, "mode": "dense", "generation": state.number})


def fetch(call: Call) -> Payload:
    """A document, perhaps with the passages of its file that stand next to it."""
    values, notes = call.values, call.notes
    state, row, document = _document(call)
    text, first = document.text, document
    if values["context"]:
        near = neighbours(state.index, row, document, values["context"])
        text, first = "\n\n".join(one.text for one in near), near[0]
        notes.append(f"{len(near)} passages of the file." if len(near) > 1 else "It has no neighbours in its file.")
    start = values["start"]
    if start and start >= len(text):
        raise ToolError(f"start is {start:,} and the text has {len(text):,} characters; start below that")
    metadata = _metadata(document.metadata)
    shown, end = fitting(text, start, values["max_chars"], WHOLE - tokens(json.dumps(metadata, ensure_ascii=False)))
    if end < len(text):
        notes.append(f"Characters {start:,} to {end:,} of {len(text):,}.")
    payload = {
        "id": visible(identifier(state.name, document.id)),
        "title": one_line(document.title, 4 * TITLE),
        "url": address(state.name, document.id, document.metadata),
        "text": shown,
        "metadata": metadata,
        **_place({**document.metadata, "line": first.metadata.get("line")}, ("line",)),
    }
    if end < len(text):
        payload["next"] = end
    return _noted(notes + _failure(call.library, state), payload)


def describe(call: Call) -> Payload:
    """What an index holds, and what a filter can name."""
    notes = call.notes
    state = call.library.state(call.values["index"], call.deadline)
    manifest = state.index.manifest
    found = fields_of(state)
    fields: list[Payload] = []
    left = PAGE - tokens(GRAMMAR) - 200
    for one in found[:FIELDS]:
        field: Payload = {"name": visible(one.name), "kind": " or ".join(one.kinds)}
        if one.values:
            values = [value for value, _ in one.values if not (one.name == "file" and Path(value).is_absolute())]
            field["values"] = [one_line(value, VALUE) for value in values[:VALUES]]
        if one.low is not None and one.high is not None:
            field["range"] = f"{one.low:.15g} to {one.high:.15g}"
        left -= tokens(json.dumps(field, ensure_ascii=False))
        if left < 0:
            break
        fields.append(field)
    if len(fields) < len(found):
        notes.append(f"{len(fields)} of {len(found)} fields.")
    model = state.model or Path(str(manifest.encoder["reference"]["model"])).name
    if state.encoder is None:
        notes.append("The model is not loaded: searches go by words." if state.has_words else "The model is loading.")
    payload = {
        "index": state.name,
        "documents": manifest.documents,
        "built": _built(state).isoformat(timespec="seconds"),
        "generation": state.number,
        "model": model,
        "fields": fields,
        "filter": GRAMMAR,
    }
    return _noted(notes + _failure(call.library, state), payload)


ANSWERS: Mapping[str, Callable[[Call], Payload]] = {
    "search": search,
    "fetch": fetch,
    "similar": similar,
    "describe": describe,
}


def _noted(notes: list[str], payload: Payload) -> Payload:
    return {"note": " ".join(notes), **payload} if notes else payload


def _page(results: Iterable[Payload]) -> list[Payload]:
    """As many results as fit into a page, at least one."""
    kept: list[Payload] = []
    left = PAGE
    for result in results:
        left -= tokens(json.dumps(result, ensure_ascii=False))
        if left < 0 and kept:
            break
        kept.append(result)
    return kept


def _result(call: Call, state: State, hit: Hit, passage: Snippet) -> Payload:
    whole = hit.text[passage.start : passage.end].strip()
    text, end = fitting(whole, 0, PASSAGE, PASSAGE)
    if end < len(whole):
        text = (text.rpartition(" ")[0] or text).rstrip() + " …"
    result: Payload = {
        "id": visible(identifier(state.name, hit.id)),
        "title": one_line(hit.title, TITLE),
        "url": address(state.name, hit.id, hit.metadata),
        "text": text,
        "score": round(hit.score, 4),
        **_place(hit.metadata),
    }
    folder = call.folders.get(state.name)
    if folder is not None and _is_newer(folder, hit.metadata.get("file"), state):
        result["stale"] = True
    return result


def _place(metadata: Mapping[str, Any], numbers: tuple[str, ...] = ("line", "end_line", "page")) -> Payload:
    """Where a passage stands in its file, whose path is one below the folder that was indexed."""
    place: Payload = {}
    file = metadata.get("file")
    if isinstance(file, str) and file and not Path(file).is_absolute():
        place["file"] = one_line(file, 4 * TITLE)
    for name in numbers:
        if isinstance(metadata.get(name), int) and not isinstance(metadata[name], bool):
            place[name] = metadata[name]
    return place


def _metadata(metadata: Mapping[str, Any]) -> Payload:
    """Metadata with nothing unseen in it, and without an absolute path as the file; the longest values cut."""

    def shown(value: Any) -> Any:
        if isinstance(value, str):
            return visible(value[: 4 * PASSAGE])
        if isinstance(value, Mapping):
            return {visible(str(name)): shown(one) for name, one in list(value.items())[:FIELDS]}
        return [shown(one) for one in value[:FIELDS]] if isinstance(value, (list, tuple)) else value

    found = {name: value for name, value in metadata.items() if name != "file" or not Path(str(value)).is_absolute()}
    kept: Payload = shown(found)
    while kept and tokens(json.dumps(kept, ensure_ascii=False)) > PAGE:
        kept.pop(max(kept, key=lambda name: len(json.dumps(kept[name]))))
    return kept


def _document(call: Call) -> tuple[State, int, Document]:
    """The document of an id, as search gave it, and its row. Raises ToolError."""
    given = call.values["id"]
    name, document = parted(given, call.indexes)
    if not name:
        raise ToolError(
            f"{quoted(given, TITLE)} names no index; ids are NAME/ID with {' or '.join(call.indexes)} for NAME. "
            "Take an id from search"
        )
    state = call.library.state(name, call.deadline)
    try:
        row = state.row(document)
    except ProblemError as problem:
        near = one_line(problem.message.partition("near it: ")[2], 4 * TITLE)
        hint = f"near it: {near}" if near else "take one from search"
        raise ToolError(
            f"no document has the id {quoted(document, TITLE)} in generation {state.number} of {name}; {hint}"
        ) from None
    return state, row, state.index.rows.read(row)


def _notes(library: Library, state: State, hits: Sequence[Hit], filter: str | None, offset: int) -> list[str]:
    """What is to be said of hits beside themselves."""
    notes = _failure(library, state)
    if not hits:
        passing = f" among those that pass the filter {one_line(filter, TITLE)}" if filter else ""
        notes.append("There are no more results." if offset else f"Nothing was found{passing}.")
    elif _is_far(state, hits):
        notes.append(
            "Nothing close to the query was found: these have none of its words, and are no closer to it than random "
            "documents are to each other."
        )
    return notes


def _is_far(state: State, hits: Sequence[Hit]) -> bool:
    """Whether no hit has a word of the query, nor a cosine that pairs of random documents seldom have."""
    places = [(name, place.score) for hit in hits for name, place in hit.places.items()]
    cosines = [score for name, score in places if name in ("exact", "rescored", "compressed")]
    if not cosines or any(name == "bm25" and score > 0 for name, score in places):
        return False
    chance = _chance(state)
    return chance is not None and max(cosines) < chance


def _sentence(notice: str) -> str:
    """What is said of a query, which has words of documents in it, as a sentence."""
    said = one_line(notice, 2 * TITLE)
    return f"{said[:1].upper()}{said[1:]}."


def _failure(library: Library, state: State) -> list[str]:
    failure = library.failure(state.name)
    return [] if failure is None else [f"Generation {state.number} answers; a newer one cannot be taken."]


def _chance(state: State) -> float | None:
    """The cosine that one in a hundred pairs of random documents is above; None for few documents. Kept by state."""
    if "_chance" not in state.__dict__:
        sampled = state.index.sampled
        chance = None
        if len(sampled) >= FEWEST:
            shifts = [1 + number * len(sampled) // 40 for number in range(20)]
            pairs = [np.einsum("nd,nd->n", sampled, np.roll(sampled, shift, axis=0)) for shift in shifts]
            chance = float(np.percentile(np.concatenate(pairs), 99))
        state.__dict__["_chance"] = chance
    found: float | None = state.__dict__["_chance"]
    return found


def _built(state: State) -> datetime:
    """When the state was committed."""
    if "_built" not in state.__dict__:
        path = dict(states(state.index.snapshot.root))[state.number]  # held, so that it stays
        path = path if path.exists() else copy_of(path)
        state.__dict__["_built"] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    found: datetime = state.__dict__["_built"]
    return found


def _is_newer(folder: Path, file: object, state: State) -> bool:
    """Whether a file below a folder was written after the state was committed."""
    if not isinstance(file, str) or "\0" in file:
        return False
    path = folder / file
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        return inside and path.stat().st_mtime > _built(state).timestamp()
    except OSError:
        return False


def _with_fields(error: Exception, state: State, filter: str | None) -> Exception:
    """An error of a filter with the fields that there are, where it does not name them."""
    if filter is None or not isinstance(error, SearchAppError) or "filter" not in str(error):
        return error
    names = ", ".join(visible(one.name) for one in fields_of(state)[:FIELDS])
    return error if any(word in str(error) for word in ("keys", "fields")) else type(error)(f"{error}. Fields: {names}")
