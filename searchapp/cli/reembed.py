"""``searchapp reembed``: another model for an index that stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchapp.cli import options
from searchapp.cli.console import bytes_text, notice, plural, say, say_json, seconds_text
from searchapp.cli.describe import describe_index
from searchapp.cli.option_fields import option
from searchapp.cli.options import EncoderOptions, TargetOptions
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import FACTORY, INDEX, OUTPUT
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.evaluate.collection import Collection
    from searchapp.index import Reembedded, VectorIndex

METRIC = "nDCG@10"


@dataclass(frozen=True)
class NewIndex:
    """What the new index is to be."""

    out: Path | None = option(None, "Where the new index goes; default: in the place of the old one.", OUTPUT)
    pca: str | None = option(None, options.PCA, INDEX)
    factory: str | None = option(None, f"{FACTORY}; default: as the index was made.", INDEX)
    targets: TargetOptions = TargetOptions()
    judged: tuple[Path, ...] = option(
        (), "Test collections to measure before and after. Default: those drawn from the index, nearby.", OUTPUT
    )


@command(
    "searchapp reembed indexes/notes --model models/mine",
    "searchapp reembed indexes/notes --model bundled --out indexes/notes-bundled",
    "searchapp reembed indexes/notes --model SmolLM2-135M.Q8_0.gguf --pca 128 --json",
)
@options_from("encoder", EncoderOptions(model=""))
@options_from("asked", NewIndex())
def reembed(
    index: options.Directory,
    encoder: EncoderOptions,
    asked: NewIndex,
    json: options.Json = False,
) -> None:
    """Encode the documents of an index by another model, from its stored texts; the sources are not read.

    The index answers as before until the new one is there. One that was interrupted goes on where it was.
    """
    from searchapp.cli.progress import Bar
    from searchapp.encoder.checkpoint import locate
    from searchapp.index import ReembedSettings
    from searchapp.shards import noted
    from searchapp.shards.opening import open_index, targets_of

    if not encoder.model:
        raise SearchAppError(f"--model names the model to encode {index} by; give it")
    locate(encoder.model, list(encoder.adapter))  # a missing one is said before anything is measured
    before = open_index(index)  # held: what is measured before is this state
    collections = _collections(asked.judged, index)
    settings = ReembedSettings(options.dimension(asked.pca), asked.factory, asked.targets.over(targets_of(before)))
    scores: dict[str, list[float | None]] = {}
    if collections:
        former = _former(before, index, encoder.device)
        scores = {item.name: [_ndcg(item, before, former) if former else None] for item in collections}
        del former  # one model in memory at a time
    loaded = encoder.load()
    notice(f"model {encoder.model}: {loaded.description}")
    with Bar() as bar:
        done = noted.reembed(index, loaded, settings, to=asked.out, progress=bar)
    if collections:
        after = open_index(done.root)
        for item in collections:
            scores[item.name].append(_ndcg(item, after, loaded))
    if json:
        say_json(_as_json(done, scores))
        return
    _report(done, index, scores, loaded)


def _collections(given: Sequence[Path], index: Path) -> list[Collection]:
    """The test collections that were named, else those with judgements that were drawn from this index."""
    from searchapp.evaluate import load_collection
    from searchapp.evaluate.judging import drawn_from

    found = list(given) or drawn_from(index, [Path.cwd(), index.absolute().parent])
    collections = [load_collection(folder) for folder in found]
    if len({item.name for item in collections}) < len(collections):
        raise SearchAppError("two of the test collections have one name; measure the other with `evaluate retrieval`")
    return collections


def _former(index: VectorIndex, path: Path, device: str) -> Encoder | None:
    """The encoder before; None, which is said, where it cannot be loaded any more."""
    from searchapp.errors import ModelError
    from searchapp.index import recorded_encoder

    try:
        return recorded_encoder(index.manifest, path, device)
    except ModelError as error:
        notice(f"notice: {METRIC} before is not measured: {error}")
        return None


def _ndcg(collection: Collection, index: VectorIndex, encoder: Encoder) -> float:
    from searchapp.evaluate.retrieval import Request, evaluate_index

    [result] = evaluate_index(collection, index, encoder, Request([METRIC], depth=10))
    return float(result.scores.estimate(METRIC).value)


def _as_json(done: Reembedded, scores: dict[str, list[float | None]]) -> dict[str, Any]:
    return {
        "index": str(done.root),
        "documents": done.manifest.documents,
        "encoded": done.encoded,
        "resumed": done.resumed,
        "already_done": done.already_done,
        "tokens": done.tokens,
        "beyond": {"documents": done.long, "tokens": done.beyond},
        "scores": {name: {METRIC: {"before": one, "after": two}} for name, (one, two) in scores.items()},
        "notices": done.notices,
    }


def _report(done: Reembedded, index: Path, scores: dict[str, list[float | None]], encoder: Encoder) -> None:
    """Print what was done, one fact a line."""
    if done.already_done:
        say(f"{done.root} is made by this model already: nothing to do; another type of index: searchapp reindex")
    else:
        if done.resumed:
            say(f"went on after {plural(done.resumed, 'document')} that had been encoded before")
        rate = f" ({done.tokens / done.seconds:,.0f} tokens/s)" if done.tokens and done.seconds else ""
        say(f"documents      {done.manifest.documents:,}, {done.encoded:,} encoded now{rate}")
        share = f"{done.beyond:,} of {done.tokens:,} tokens, in {plural(done.long, 'document')}"
        say(f"beyond reach   {share}: the model reads {encoder.document_reach:,} of each")
        describe_index(done.manifest)
        say(f"on disk        {bytes_text(sum(entry.size for entry in done.manifest.files.values()))}")
        seconds = done.manifest.build.seconds
        say(f"time           encode {seconds_text(done.seconds)}, index {seconds_text(seconds.get('index', 0.0))}")
    for name, (one, two) in scores.items():
        before = "not measured" if one is None else f"{one:.3f}"
        say(f"{METRIC:<14} {before} → {two:.3f} ({name})")
    for text in done.notices:
        notice(f"notice: {text}")
