"""``searchapp info`` and ``searchapp verify``: what an index is, and whether it is sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, notice, plural, say, say_json
from searchapp.cli.describe import describe, describe_cold
from searchapp.cli.signatures import command
from searchapp.cli.wording import INDEX, OUTPUT

SHOWN = 8  # shards that are named

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.index import Snapshot
    from searchapp.index.storage.manifest import Manifest


def _show_history(index: Path, json: bool) -> None:
    """What was done to an index, a line each."""
    from searchapp.errors import SearchAppError
    from searchapp.index.history import read
    from searchapp.shards.opening import open_snapshot

    open_snapshot(index)
    events = read(index)
    if json:
        for event in events:
            say_json({"at": event.at, "what": event.what, **event.facts})
        return
    if not events:
        raise SearchAppError(f"{index} has no history: it was made by an older searchapp, or nothing was done since")
    for event in events:
        counts = [
            f"{name} {value:,}" for name, value in event.facts.items() if isinstance(value, int | float) and value
        ]
        versions = event.facts.get("versions", {})
        made = f"searchapp {versions['searchapp']}" if "searchapp" in versions else ""
        say(f"{event.at}  {event.what:<8} {', '.join(counts)}  {made}")


def _settings(index: Path) -> list[dict[str, Any]]:
    """What configuration files and variables set, with where each value is from; the last of a name holds."""
    from searchapp.cli.configuration import Configuration
    from searchapp.cli.program import app

    found = Configuration(typer.main.get_command(app)).settings([str(index)], every=True)
    return [{"name": one.name, "value": one.value, "from": one.origin} for one in found]


@command("searchapp info indexes/notes", "searchapp info indexes/notes --json")
def info(
    index: options.Directory,
    history: Annotated[
        bool, typer.Option("--history", help="Show what was done to it, and when.", rich_help_panel=OUTPUT)
    ] = False,
    build: Annotated[
        bool,
        typer.Option("--build", help="Show how far a build on many workers is.", rich_help_panel=OUTPUT),
    ] = False,
    json: options.Json = False,
) -> None:
    """Show what an index holds and what made it."""
    if build:
        from searchapp.cli.shard import show_build

        show_build(index, json)
        return
    if history:
        _show_history(index, json)
        return
    from searchapp.index.drift import drift_notice
    from searchapp.index.given import has_given_vectors
    from searchapp.index.storage.manifest_json import to_json
    from searchapp.shards.opening import open_snapshot

    snapshot = open_snapshot(index)
    manifest = snapshot.manifest
    drift = drift_notice(manifest, index)
    languages = _languages(manifest)
    notices = [*snapshot.notices, *([drift] if drift else [])]
    content: dict[str, Any] = {
        "path": str(index),
        "state": manifest.state,
        "scheme": manifest.scheme,
        "cut": manifest.cut,
        "documents": manifest.documents,
        "deleted": manifest.rows - manifest.documents,
        "fresh": manifest.unindexed_rows,
        "segments": len(manifest.segments),
        "dim": manifest.dim,
        "reduction": to_json(manifest.reduction),
        "ann": to_json(manifest.ann),
        "encoder": manifest.encoder,
        "queries": _asked_by(manifest),
        "languages": languages,
        "build": to_json(manifest.build),
        "sources": [to_json(source) for source in manifest.sources],
        "additions": [to_json(addition) for addition in manifest.additions],
        "staged": manifest.staged.rows if manifest.staged else 0,
        "rejected": manifest.rejected,
        "drift": to_json(manifest.drift),
        "bytes": sum(entry.size for entry in manifest.files.values()),
        "generation": manifest.number,
        "format": manifest.format,
        "versions": manifest.versions,
        "settings": _settings(index),
        "notices": notices,
    }
    if shards := _shards(snapshot):
        content["shards"] = shards
    if json:
        say_json(content)
        return
    settings = manifest.encoder["settings"]
    reduced = f" → {manifest.reduction.dim} by PCA" if manifest.reduction else ""
    model = " + ".join([manifest.encoder["reference"]["model"], *manifest.encoder["reference"]["adapters"]])
    variance = f" ({manifest.reduction.explained_variance:.1%} of the variance)" if manifest.reduction else ""
    ann = manifest.ann
    setting = "".join(f", {name} {value}" for name, value in ann.parameters.items()) if ann else ""
    search = f"{ann.factory}{setting}, {ann.candidates or 'no'} candidates rescored" if ann else "not built yet"
    measured = ann.measured if ann else {}
    counts = f"{manifest.documents:,} in {plural(len(manifest.segments), 'segment')}, {manifest.rejected:,} rejected"
    attention = "bidirectional" if settings["bidirectional"] else "causal"
    lengths = f"{settings['document_max_length']} of {settings['max_length']} tokens"
    lines = {
        "index": f"{index} (format {manifest.format}, generation {manifest.number}, {manifest.state})",
        "documents": counts,
        **({"shards": _shown(shards)} if shards else {}),
        "sources": ", ".join(_sources(manifest)),
        "passages": _passages(manifest),
        **_updates(manifest),
        "model": model,
        "encoder": f"{settings['pooling']} pooling, {lengths}, {attention}, {manifest.encoder['dtype']}"
        if not has_given_vectors(manifest)
        else "no model: it is asked by vectors, or by words",
        **({"languages": languages} if languages else {}),
        **_runs(content["queries"]),
        **_instructions(manifest),
        "fingerprint": manifest.encoder["fingerprint"]["sha256"][:16],
        "dimensions": f"{manifest.dim}{reduced}{variance}",
        "search": search,
        "words": describe(manifest.lexical) if manifest.lexical else "none: no --hybrid",
        "on disk": bytes_text(content["bytes"]),
        "versions": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }
    if measured:
        recall = "1, it is exact" if ann is None or ann.is_exact else f"{measured['recall']:.3f} of exact search"
        lines["recall@10"] = f"{recall}, {measured['milliseconds']:.2f} ms/query, {measured['bytes']:.0f} bytes/vector"
        if cold := describe_cold(measured):
            lines["cold"] = cold
    for name, text in lines.items():
        say(f"{name:<12} {text}")
    for setting in content["settings"]:
        say(f"{'setting':<12} {setting['name']} = {setting['value']!r} (from {setting['from']})")
    for text in [*(ann.notes if ann else ()), *notices]:
        say(f"{'notice':<12} {text}")


def _shards(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The shards of a root, in order; none of an index."""
    from dataclasses import asdict

    return [asdict(shard) for shard in getattr(snapshot, "shards", ())]


def _shown(shards: list[dict[str, Any]]) -> str:
    """The line about them."""
    named = ", ".join(f"{one['name']} {one['rows'] - one['deleted']:,}" for one in shards[:SHOWN])
    more = f" and {len(shards) - SHOWN:,} more" if len(shards) > SHOWN else ""
    return f"{len(shards)}: {named}{more}" + (", the last for what was added" if shards[-1]["tail"] else "")


def _languages(manifest: Manifest) -> str:
    """Which languages the model was made for, and who says so; "" where it is not here, or nothing says it."""
    from searchapp.encoder.catalogue import find_model
    from searchapp.index.given import has_given_vectors

    if has_given_vectors(manifest):
        return ""
    reference = manifest.encoder["reference"]
    found = find_model((reference["adapters"] or [reference["model"]])[-1])
    return found.serves if found is not None else ""


def _asked_by(manifest: Manifest) -> dict[str, str] | None:
    """What runs the model for queries, in what precision, and why it is not NumPy; None where that is not known."""
    from searchapp.encoder.light import NumpyBackend, light_refusal

    reference: Any = {**manifest.encoder["reference"], "dtype": manifest.encoder["dtype"]}
    why = light_refusal(reference.pop("model"), reference)
    if why is None:
        return None
    if why:
        return {"backend": "torch", "dtype": reference["dtype"], "why": why}
    return {"backend": NumpyBackend.name, "dtype": NumpyBackend.dtype, "why": ""}


def _runs(found: dict[str, str] | None) -> dict[str, str]:
    """The line about it."""
    if found is None:
        return {}
    why = f"not by numpy: {found['why']}" if found["why"] else "a small model, without importing torch"
    return {"queries": f"encoded by {found['backend']}, {found['dtype']} ({why})"}


def _instructions(manifest: Manifest) -> dict[str, str]:
    """What goes before queries and documents, and who says so."""
    settings, origin = manifest.encoder["settings"], manifest.encoder.get("instruction_origin", "")
    said = {"queries": settings.get("query_instruction"), "documents": settings.get("document_instruction")}
    found = [f"{name} get {text!r}" for name, text in said.items() if text is not None]
    if not found:
        return {"instruction": "none" + (f" ({origin})" if origin else "")}
    return {"instruction": ", ".join(found) + (f" ({origin})" if origin else "")}


def _sources(manifest: Manifest) -> list[str]:
    """Where the sources were when they were last read, with the name in ids where it is another than the path's.

    And what was wanted of them, as options.
    """
    from searchapp.corpus.selection import Selection

    if not manifest.sources:
        return [source["name"] for source in manifest.build.sources]
    found = []
    for source in manifest.sources:
        about = [] if source.label in (source.path, Path(source.path).name) else [f"named {source.label}"]
        if wanted := Selection.from_json(source.selection).options():
            about.append(wanted)
        found.append(f"{source.path} ({', '.join(about)})" if about else source.path)
    return found


def _passages(manifest: Manifest) -> str:
    """The scheme of the ids, and the rule by which text is cut."""
    if manifest.cut is None:
        return (
            "ids hold line numbers (scheme 1), text is cut by characters; `searchapp add --sync` of all its sources "
            "renews both"
        )
    cut = manifest.cut
    tokens = f" and {cut['tokens']:,} tokens" if cut["tokens"] else ""
    return (
        f"ids by content (scheme {manifest.scheme}); text is cut to {cut['characters']:,} characters{tokens} "
        f"(rule {cut['version']}, tokenizer {cut['tokenizer'][:8] or 'none'})"
    )


def _updates(manifest: Manifest) -> dict[str, str]:
    """What was added to an index and deleted from it, and what the next ``compact`` will find to do."""
    lines = {}
    if manifest.additions:
        names = dict.fromkeys(name for addition in manifest.additions for name in addition.names)
        lines["added"] = ", ".join(names)
    waiting = []
    if manifest.unindexed_rows:
        waiting.append(f"{manifest.unindexed_rows:,} added, searched exactly")
    if gone := manifest.rows - manifest.documents:
        waiting.append(f"{gone:,} deleted or replaced")
    if waiting:
        lines["to compact"] = "; ".join(waiting)
    if manifest.staged:
        sources = ", ".join(manifest.staged.sources)
        lines["unfinished"] = f"an add of {sources}: {manifest.staged.rows:,} documents encoded; run it again"
    if manifest.drift:
        lines["recall@10"] = f"{manifest.drift.now:.3f} after the last fold, {manifest.drift.trained:.3f} as trained"
    return lines


@command(
    "searchapp verify indexes/notes",
    "searchapp verify indexes/notes --repair",
    "searchapp verify indexes/notes notes/ --repair --json",
)
def verify(
    index: options.Directory,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="With --repair: where lost documents are; default: those recorded."),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is damaged.", rich_help_panel=INDEX)] = False,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Check every checksum and count of an index, and that a search finds what is stored.

    Each problem is said with the command that mends it.
    """
    from searchapp.errors import IndexStoreError, SearchAppError
    from searchapp.index import examine as examine_index
    from searchapp.shards.kind import is_root

    if sources and not repair:
        raise SearchAppError(f"{sources[0]}: sources are read with --repair only; add --repair, or leave it out")
    if repair:
        _repair(index, sources or [], device)
    try:
        if is_root(index):
            from searchapp.shards.checking import examine as examine_root

            report = examine_root(index)
        else:
            report = examine_index(index)
        problems, notices = list(report.problems), list(report.notices)
    except IndexStoreError as error:
        if not json:
            raise
        problems, notices = [str(error)], []
    if json:
        say_json({"ok": not problems, "problems": problems, "notices": notices})
    else:
        for problem in problems:
            say(f"problem: {problem}")
        for text in notices:
            say(f"notice: {text}")
        if not problems:
            say(f"{index} is sound: every checksum and count holds, and searches find what is stored")
    if problems:
        raise typer.Exit(2)


def _repair(index: Path, sources: list[str], device: str) -> None:
    from searchapp.cli.progress import Bar
    from searchapp.index import recorded_encoder
    from searchapp.index.encoder_match import recorded_backend
    from searchapp.shards.repairing import repair as repair_index

    def load(manifest: Manifest) -> Encoder:
        return recorded_encoder(manifest, index, device, backend=recorded_backend(manifest))

    with Bar() as bar:
        done = repair_index(index, load, sources, progress=bar)
    for text in done.mended:
        notice(f"mended: {text}")
