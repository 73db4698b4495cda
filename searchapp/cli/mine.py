"""``searchapp adapt mine``: hard negatives for pairs, found with an index and the model that made it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import notice, say, say_json

if TYPE_CHECKING:
    from searchapp.adapt.hard_negatives import Candidate, MiningSummary, Retriever, TextScorer
    from searchapp.search import Index


def mine(
    pairs: Annotated[
        list[Path], typer.Argument(metavar="PAIRS...", help="JSONL files of pairs, plain or .gz.", show_default=False)
    ],
    index: Annotated[
        Path, typer.Option("--index", help="The index to search, with its own model.", show_default=False)
    ],
    to: Annotated[Path, typer.Option("--to", help="Where the pairs go, .jsonl or .jsonl.gz.", show_default=False)],
    count: Annotated[int, typer.Option(help="Negatives to add to each pair.")] = 4,
    skip: Annotated[int, typer.Option(help="Best hits to pass over, as likely answers.")] = 0,
    depth: Annotated[int, typer.Option(help="Hits to look at.")] = 100,
    max_share: Annotated[
        float, typer.Option(help="A hit that scores this share of a positive's score, or more, is taken for an answer.")
    ] = 0.95,
    margin: Annotated[float, typer.Option(help="How far below a positive's score a negative's is at least.")] = 0.0,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw among the hits that will do; default: the best.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides what --sample draws.")] = 0,
    titles: Annotated[bool, typer.Option(help="Put titles before texts, as they were embedded.")] = True,
    instruction: options.Instruction = None,
    device: options.Device = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    json: options.Json = False,
) -> None:
    """Add hard negatives to pairs: what the index ranks high for the query and is no answer to it."""
    from searchapp.adapt.data import PairFile, read_pairs
    from searchapp.adapt.hard_negatives import MiningConfig, check_target, write_mined
    from searchapp.adapt.hard_negatives import mine as mine_pairs
    from searchapp.cli.progress import Bar
    from searchapp.errors import AdaptError
    from searchapp.index import recorded_encoder
    from searchapp.search import Index

    if not 0 < max_share <= 1:
        raise AdaptError(f"--max-share is {max_share}; expected a share above 0 and up to 1, such as 0.95")
    config = MiningConfig(
        num_negatives=count,
        range_min=skip,
        range_max=depth,
        relative_margin=1 - max_share,
        absolute_margin=margin,
        sample=sample,
        seed=seed,
        titles=titles,
    )
    check_target(to, overwrite=overwrite)
    streams = [read_pairs(PairFile(path)) for path in pairs]  # a missing file is said before a model is loaded
    found = Index.open(index, device=device).vectors
    encoder = recorded_encoder(found.manifest, found.snapshot.root, device)  # not the one for a few queries
    opened = Index.open(index, encoder=encoder, device=device)
    for text in opened.vectors.snapshot.notices:
        notice(f"notice: {text}")
    search, score = _asking(opened, instruction)
    with Bar(lines=False) as bar:
        rows = mine_pairs((pair for stream in streams for pair in stream), search, score, config, progress=bar)
        summary = write_mined(rows, to, num_negatives=count, overwrite=overwrite)
    if json:
        say_json({"to": str(to), **asdict(summary)})
    else:
        report(to, summary)


def report(to: Path, summary: MiningSummary) -> None:
    """Print what was mined, one fact a line."""
    say(f"queries          {summary.queries:,}")
    say(f"negatives        {summary.mined:,}")
    say(f"dropped          {summary.dropped_known:,} hits that are known, {summary.dropped_suspect:,} likely answers")
    say(f"too few          {summary.short:,} queries")
    say(f"written to       {to}")


def _asking(index: Index, instruction: str | None) -> tuple[Retriever, TextScorer]:
    """How the index is searched, and how its encoder scores a text for a query: by the cosine, as hits are scored."""
    from searchapp.adapt.hard_negatives import Candidate

    def search(queries: list[str], k: int) -> list[list[Candidate]]:
        answers = index.answer(queries, k, mode="dense", instruction=instruction)
        return [[Candidate(hit.text, hit.id, hit.score, hit.title) for hit in answer.hits] for answer in answers]

    def score(queries: list[str], texts: list[tuple[str, ...]]) -> list[list[float]]:
        asked = index.encoder.encode_queries(queries, instruction)
        vectors = index.encoder.encode_documents([text for several in texts for text in several])
        scores, begin = [], 0
        for query, several in zip(asked, texts, strict=True):
            scores.append((vectors[begin : begin + len(several)] @ query).tolist())
            begin += len(several)
        return scores

    return search, score
