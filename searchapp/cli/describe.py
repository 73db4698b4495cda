"""What several commands print of an index: what was built, its words, and how it is searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.cli.console import bytes_text, plural, say, seconds_text

if TYPE_CHECKING:
    from searchapp.index import BuildSummary
    from searchapp.index.intake.files import FileCounts
    from searchapp.index.storage.manifest import Lexical, Manifest


SHOWN = 8  # reasons
NEEDS = "needs `"  # in the reason why a file is skipped, before the command that installs its reader
SKIPPED = "skipped"
# Formats without a reader, and what their own programs save them as.
CONVERTED = {
    ".msg": ".eml", ".pst": ".mbox",
    ".doc": ".docx", ".dot": ".docx", ".ppt": ".pptx", ".pages": ".docx", ".key": ".pptx",
    ".numbers": ".xlsx", ".mobi": ".epub", ".azw3": ".epub", ".djvu": ".pdf", ".ps": ".pdf", ".wpd": ".odt",
}  # fmt: skip


def report(path: Path, summary: BuildSummary) -> None:
    """Print what was built, one fact a line."""
    manifest = summary.manifest
    plan = manifest.build
    if summary.already_done:
        say(f"{path} is already built from these sources by this model: nothing to do")
    elif summary.resumed_at == manifest.rows:
        say(f"{summary.resumed_at:,} documents were already encoded; only the index was built again")
    elif summary.resumed_at:
        say(f"went on after {summary.resumed_at:,} documents that were already encoded")
    say(f"documents      {manifest.rows:,}")
    reasons = ", ".join(
        f"{count:,} {reason}" for reason, count in sorted(plan.reasons.items(), key=lambda item: -item[1])
    )
    say(f"rejected       {plan.rejected:,}" + (f" ({reasons}); see {path / 'rejected.jsonl'}" if plan.rejected else ""))
    if summary.files.walked:  # an index of the first scheme has no ledger
        say(f"files          {describe_files(summary.files)}")
        for line in describe_notes(summary.files):
            say(line)
    for line in describe_cut(manifest):
        say(line)
    describe_index(manifest)
    if manifest.lexical is not None:
        say(f"words          {describe(manifest.lexical)}")
    say(f"on disk        {bytes_text(sum(entry.size for entry in manifest.files.values()))}")
    encode = plan.seconds.get("encode", 0.0)
    rate = f" ({plan.tokens / encode:,.0f} tokens/s)" if encode and plan.tokens else ""  # none where all were cached
    stages = [f"encode {seconds_text(encode)}{rate}"]
    stages += [
        f"{name} {seconds_text(plan.seconds[name])}" for name in ("words", "reduce", "index") if name in plan.seconds
    ]
    if "read" in plan.seconds:
        stages.insert(0, f"read {seconds_text(plan.seconds['read'])}")
    worked = f"; reading and encoding took {seconds_text(plan.seconds['cpu'])} of CPU" if "cpu" in plan.seconds else ""
    say(f"time           {', '.join(stages)}{worked}")
    if apart := describe_work(plan.seconds):
        say(f"work and wait  {apart}")


def describe_work(seconds: Mapping[str, float]) -> str:
    """Of each part of a build, what the processors worked and how long nothing did; empty where that is not known."""
    parts = []
    for name, words in (("read", "read"), ("encode", "encode"), ("index", "reduce and index")):
        if f"{name}_wait" in seconds:
            cpu, wait = (seconds_text(seconds[f"{name}_{kind}"]) for kind in ("cpu", "wait"))
            parts.append(f"{words} {cpu} of CPU, {wait} waiting")
    return "; ".join(parts)


def describe_files(files: FileCounts) -> str:
    """What became of files, in words: each of them is read, refused or skipped."""
    parts = [f"{files.read:,} read"]
    for name, count in (("refused", files.refused), ("skipped", files.skipped)):
        reasons = files.reasons[name].items()
        common = sorted((item for item in reasons if NEEDS not in item[0]), key=lambda item: -item[1])
        why = ", ".join(f"{number:,} {reason.removeprefix('no reader for ')}" for reason, number in common[:SHOWN])
        if rest := sum(number for _, number in common[SHOWN:]):
            why += f", {rest:,} others"
        if lacking := sum(number for reason, number in reasons if NEEDS in reason):
            why += f"{', ' if why else ''}{lacking:,} without their reader"
        parts.append(f"{count:,} {name}" + (f" ({why})" if why else ""))
    unopened = f"; {files.unopened:,} had not changed" if files.unopened else ""
    return f"{', '.join(parts)}, of {files.walked:,}{unopened}"


def describe_notes(files: FileCounts) -> Iterator[str]:
    """What was left out of files that were read, and what those need that were not."""
    for reason, count in files.reasons[SKIPPED].items():
        label, mark, command = reason.partition(f" {NEEDS}")
        if mark:
            yield f"needs          {plural(count, f'{label} file')} need{'s' if count == 1 else ''} `{command}"
    for ending, other in CONVERTED.items():
        if count := files.reasons[SKIPPED].get(f"no reader for {ending}", 0):
            yield f"convert        {plural(count, f'{ending} file')} to {other}, which can be read"
    notes = []
    for name, (count, of) in files.notes.items():
        noun, _, rest = name.partition(" ")
        noun = noun if count != 1 else noun.removesuffix("s")
        whose = "" if noun.startswith("file") else f" of {plural(of, 'file')}"
        notes.append(f"{count:,} {noun}{whose} {rest}" + (" (scans?)" if rest == "without text" else ""))
    if notes:
        yield f"notes          {', '.join(notes)}"


def describe_cut(manifest: Manifest) -> Iterator[str]:
    """How texts were cut, and how much of what was not cut the encoder does not read."""
    from searchapp.corpus.cut_rule import LEAST_TOKENS

    kinds = {source.kind for source in manifest.sources}
    if manifest.cut and kinds & {"folder", "text"}:
        limits = (manifest.encoder["settings"][name] for name in ("max_length", "document_max_length"))
        reach = min(limit for limit in limits if limit)
        whole = manifest.cut["tokens"] > LEAST_TOKENS or reach >= LEAST_TOKENS
        what = "0 tokens beyond the encoder's reach" if whole else f"the encoder reads {reach} of them"
        yield (
            f"passages       up to {manifest.cut['characters']:,} characters and {manifest.cut['tokens']:,} tokens; "
            f"{what}"
        )
    reached = manifest.build.reach
    if reached.tokens:
        yield (
            f"beyond reach   {reached.beyond / reached.tokens:.1%} of the tokens of documents that were not cut to it "
            f"({reached.documents:,} of them counted)"
        )


def describe(part: Lexical) -> str:
    """A BM25 part in words."""
    stems = f"{part.stemmer} stems" if part.stemmer else "no stemming"
    stopped = f"{part.stop_words} stop words left out" if part.stop_words else "all words"
    return f"{stems}, {stopped}; BM25 with k1 = {part.k1:g}, b = {part.b:g}; analysis {part.analysis}"


def describe_cold(measured: Mapping[str, float]) -> str:
    """What a query takes while the files are not in memory, in words; empty where that is not known."""
    if "cold_milliseconds" not in measured:
        return ""
    if not measured["pages"]:  # an exact index, whose own file has all that is compared
        return f"reading the whole index, once, {seconds_text(measured['load_milliseconds'] / 1_000)}"
    reads = f"{measured['pages']:.0f} reads of {1_000 * measured['page_milliseconds']:.0f} µs"
    return (
        f"{measured['cold_milliseconds']:.2f} ms/query while the vectors are on disk only ({reads}); "
        f"reading all codes, once, {seconds_text(measured['load_milliseconds'] / 1_000)}"
    )


def describe_index(manifest: Manifest) -> None:
    """Print what is searched: reduction, type, what was measured of it, and what there is to say about the choice."""
    ann, measured = manifest.ann, manifest.ann.measured if manifest.ann else {}
    if manifest.reduction is not None:
        kept = manifest.reduction.explained_variance
        say(f"dimensions     {manifest.dim} → {manifest.reduction.dim} by PCA, {kept:.1%} of the variance explained")
    else:
        say(f"dimensions     {manifest.dim}")
    if ann is None:
        return
    setting = "".join(f", {name} {value}" for name, value in ann.parameters.items())
    rescored = ", exact" if ann.is_exact else f", {ann.candidates} candidates rescored"
    say(f"index          {ann.factory}{setting}{rescored}")
    if measured:
        against = "1, it is exact" if ann.is_exact else f"{measured['recall']:.3f} of exact search"
        say(
            f"recall@10      {against}, {measured['milliseconds']:.2f} ms/query on one thread "
            f"({measured['queries']:.0f} queries)"
        )
        if cold := describe_cold(measured):
            say(f"not in memory  {cold}")
    size = manifest.files[ann.file].size
    say(f"bytes/vector   {size / max(1, ann.rows):.0f} in the index, {2 * manifest.dim} stored for rescoring")
    for note in ann.notes:
        say(f"note           {note}")
