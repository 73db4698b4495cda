"""The hits of a query, as people read them and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from searchapp.cli.cells import cells, clip, lines
from searchapp.cli.console import BOLD, DIM, GREEN, plain, plural, say, say_json, seconds_text, style, width
from searchapp.cli.links import linked
from searchapp.cli.places import spots

if TYPE_CHECKING:
    from searchapp.index.storage.manifest import Manifest
    from searchapp.search import Answer, Group, Hit, Index

PLAIN = ("exact", "compressed", "rescored")  # stages whose scores are cosines
ALONE = (*PLAIN, "bm25")  # stages with one side, whose scores are shown as they are
NAMES = {"exact": "cosine", "compressed": "cosine, compressed", "rescored": "cosine", "bm25": "BM25"}
BARE = "rank by"  # in what a score means: it comes of ranks
INDENT = " " * 12
NAMED = 3  # copies of a text
EIGHTHS = " ▏▎▍▌▋▊▉"


def show_json(answer: Answer, groups: Sequence[Group] | None = None, like: str | None = None) -> None:
    """One JSON line for each hit; ``stage`` says what its score is, ``places`` where it stood in the stages before.

    For groups also ``passages``, how many of its file were found, and ``copies``, the ids of equal texts. ``like`` is
    the id that took the place of a query.
    """
    for rank, hit in enumerate(answer.hits, 1):
        line: dict[str, Any] = {"query": answer.query} if like is None else {"like": like}
        line |= {
            "rank": rank,
            "id": hit.id,
            "score": hit.score,
            "title": hit.title,
            "text": hit.text,
            "metadata": dict(hit.metadata),
        }
        if hit.stage not in PLAIN:
            line["stage"] = hit.stage
            line["places"] = {name: {"rank": at.rank, "score": at.score} for name, at in hit.places.items()}
        if groups is not None:
            line["passages"] = 1 + len(groups[rank - 1].more)
            line["copies"] = [copy.id for copy in groups[rank - 1].copies]
        say_json(line)


def show(
    index: Index,
    answer: Answer,
    passages: bool = True,
    groups: Sequence[Group] | None = None,
    like: str | None = None,
) -> None:
    """Print the hits of one query: rank, score, title, place, id, and the passage that fits best.

    ``groups`` says what else each hit stands for, ``like`` is the id that took the place of a query.
    """
    asked = answer.query if like is None else f"like {like}"
    say(style(f"» {' '.join(asked.split())}", BOLD, GREEN))
    if not answer.hits:
        say("  nothing passes")
    snippets = _snippets(index, answer, passages, width() - len(INDENT))
    manifest = index.vectors.manifest
    for rank, (hit, shown, spot) in enumerate(zip(answer.hits, snippets, spots(manifest, answer.hits), strict=True), 1):
        group = groups[rank - 1] if groups is not None else None
        say(f"{rank:>3}  {_worth(hit, answer)}  {_heading(hit, group, spot.text)}")
        if spot.text:
            fits = cells(f"{spot.text}  {hit.id}") <= width() - len(INDENT)
            say(INDENT + linked(spot) + ("  " if fits else "\n" + INDENT) + style(hit.id, DIM))
        for line in shown:
            say(INDENT + line)
        if group is not None and group.copies:
            for line in _copies(manifest, group):
                say(style(INDENT + line, DIM))
        if hit.stage not in ALONE:
            say(style(INDENT + _parts(hit), DIM))
    if answer.hits and answer.hits[0].stage != "exact":
        say(style(f"     score: {answer.meaning}{_bar_says(answer)}", DIM))
    spent = [f"encode {seconds_text(answer.encode_seconds)}"] if answer.query else []
    spent += [f"search {seconds_text(answer.search_seconds)}"]
    spent += [f"rerank {seconds_text(answer.rerank_seconds)}"] if answer.rerank_seconds else []
    say(style(f"     {', '.join(spent)}", DIM))
    say()


def _heading(hit: Hit, group: Group | None, place: str) -> str:
    """The title, as much of it as fits; how many passages; the id, where no place is shown that has it."""
    count = f"  ({1 + len(group.more)} passages)" if group is not None and group.more else ""
    title = name_of(hit)
    shown = style(clip(plain(title), width() - 14 - len(count)), BOLD) + style(count, DIM)
    return shown if title == hit.id or place else f"{shown}  {style(hit.id, DIM)}"


def _copies(manifest: Manifest, group: Group) -> list[str]:
    """Where else the text stands, each file by its best passage: the first of them, and how many more."""
    from searchapp.search.groups import file_of

    names: dict[str, str] = {}
    for copy, spot in zip(group.copies, spots(manifest, group.copies), strict=True):
        names.setdefault(file_of(copy) or copy.id, spot.text or copy.id)
    rest = len(names) - NAMED
    named = ", ".join(list(names.values())[:NAMED])
    text = " ".join(plain(f"same text: {named}" + (f" and {plural(rest, 'other')}" if rest > 0 else "")).split())
    return [text[start:end] for start, end in lines(text, width() - len(INDENT))]


def name_of(hit: Hit) -> str:
    """What a hit is called: by its title, else by the file it stands in, else by its id."""
    file = hit.metadata.get("file")
    return hit.title or (file if isinstance(file, str) and file else hit.id)


def _worth(hit: Hit, answer: Answer) -> str:
    """A score that has a scale as it is; one whose size says nothing as a bar.

    The bar is empty at 0, or at the last hit's score where that is below it. Five columns either way, and a line below
    the hits says what they are.
    """
    if hit.stage in PLAIN:
        return f"{hit.score:.3f}"
    if not _is_bar(hit, answer):
        return f"{hit.score:5.2f}"
    scores = [other.score for other in answer.hits]
    low, high = min(0.0, *scores), max(scores)
    full = round(8 * 5 * (hit.score - low) / (high - low)) if high > low else 0
    return ("█" * (full // 8) + EIGHTHS[full % 8]).strip().ljust(5)


def _is_bar(hit: Hit, answer: Answer) -> bool:
    """Ranks and rerankers give scores without a scale."""
    return hit.stage == "reranked" or (hit.stage == "fused" and BARE in answer.meaning)


def _bar_says(answer: Answer) -> str:
    """What the bars are, where there are any."""
    return "; a full bar is the best hit's" if _is_bar(answer.hits[0], answer) else ""


def _parts(hit: Hit) -> str:
    """What each stage gave a hit, with its rank: ``cosine 0.612 (rank 3) · BM25 12.4 (rank 1) · fused (rank 2)``.

    A score without a rank was looked up: that side was not asked so deep.
    """
    parts = []
    for name, at in hit.places.items():
        score = "" if name == "fused" else f" {at.score:.3g}"
        parts.append(f"{NAMES.get(name, name)}{score}" + ("" if at.rank is None else f" (rank {at.rank})"))
    return " · ".join(parts)


def _snippets(index: Index, answer: Answer, passages: bool, columns: int) -> list[list[str]]:
    """The lines shown of each hit: the passage that fits best, marked; or the beginning, where no model is asked."""
    from searchapp.cli.snippet import snippet
    from searchapp.index import Analyzer
    from searchapp.index.given import has_given_vectors
    from searchapp.index.lexical.bm25 import analyzer_of
    from searchapp.search import highlights
    from searchapp.search.highlight import beginnings

    texts = [hit.text for hit in answer.hits]
    part = index.vectors.manifest.lexical
    analyzer = analyzer_of(part) if part is not None else Analyzer()
    if passages and answer.query:
        # no model is loaded for what was found without one
        without = answer.mode == "bm25" or has_given_vectors(index.vectors.manifest)
        encoder = None if without else index.encoder
        marked = highlights(encoder, analyzer, answer.words or answer.query, texts)
    else:
        marked = beginnings(analyzer, answer.query, texts)
    return [snippet(text, one, columns) for text, one in zip(texts, marked, strict=True)]
