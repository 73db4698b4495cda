"""The hits of a query, as people read them and as JSON."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from searchapp.cli.console import BOLD, DIM, GREEN, say, say_json, seconds_text, style, width

if TYPE_CHECKING:
    from searchapp.search import Answer, Hit, Index

PLAIN = ("exact", "compressed", "rescored")  # stages whose scores are cosines
NAMES = {"exact": "vectors", "compressed": "vectors", "rescored": "vectors", "bm25": "BM25"}
EIGHTHS = " ▏▎▍▌▋▊▉"


def show_json(answer: Answer) -> None:
    """One JSON line for each hit; ``stage`` says what its score is, ``places`` where it stood in the stages before."""
    for rank, hit in enumerate(answer.hits, 1):
        line = {
            "query": answer.query,
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
        say_json(line)


def show(index: Index, answer: Answer, passages: bool = True) -> None:
    """Print the hits of one query: rank, score, title, id, and the passage that fits best."""
    say(style(f"» {answer.query}", BOLD, GREEN))
    if not answer.hits:
        say("  nothing passes")
    snippets = _snippets(index, answer, passages)
    for rank, (hit, snippet) in enumerate(zip(answer.hits, snippets, strict=True), 1):
        title = name_of(hit)
        label = "" if title == hit.id else "  " + style(hit.id, DIM)
        say(f"{rank:>3}  {_worth(hit, answer)}  {style(textwrap.shorten(title, width() - 14), BOLD)}{label}")
        for line in textwrap.wrap(snippet, width() - 12, max_lines=3, placeholder=" …"):
            say(" " * 12 + line)
        if hit.stage not in PLAIN:
            say(style(" " * 12 + _parts(hit), DIM))
    spent = [f"encode {seconds_text(answer.encode_seconds)}", f"search {seconds_text(answer.search_seconds)}"]
    spent += [f"rerank {seconds_text(answer.rerank_seconds)}"] if answer.rerank_seconds else []
    say(style(f"     {', '.join(spent)}", DIM))
    say()


def name_of(hit: Hit) -> str:
    """What a hit is called: by its title, else by the file it stands in, else by its id."""
    file = hit.metadata.get("file")
    return hit.title or (file if isinstance(file, str) and file else hit.id)


def _worth(hit: Hit, answer: Answer) -> str:
    """A cosine as it is; a score whose size says nothing by itself as a bar, empty at 0 or at the last hit's below it.

    Five columns either way.
    """
    if hit.stage in PLAIN:
        return f"{hit.score:.3f}"
    scores = [other.score for other in answer.hits]
    low, high = min(0.0, *scores), max(scores)
    full = round(8 * 5 * (hit.score - low) / (high - low)) if high > low else 0
    return ("█" * (full // 8) + EIGHTHS[full % 8]).strip().ljust(5)


def _parts(hit: Hit) -> str:
    """What each stage gave a hit, best rank 1: ``vectors 0.612 (3) · BM25 12.4 (1) · fused (2)``."""
    return " · ".join(
        f"{NAMES.get(name, name)} ({at.rank})"
        if name == "fused"
        else f"{NAMES.get(name, name)} {at.score:.3g} ({at.rank})"
        for name, at in hit.places.items()
    )


def _snippets(index: Index, answer: Answer, passages: bool) -> list[str]:
    from searchapp.search import best_passages

    texts = [hit.text for hit in answer.hits]
    if not passages:
        return [" ".join(text.split()) for text in texts]
    chosen = best_passages(index.encoder, answer.query, texts)
    snippets = []
    for text, passage in zip(texts, chosen, strict=True):
        before = "… " if passage.start > 0 else ""
        snippets.append(before + " ".join(text[passage.start : passage.end].split()))
    return snippets
