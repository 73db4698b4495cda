"""The hits of a query, as people read them and as JSON."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from searchapp.cli.console import BOLD, DIM, GREEN, say, say_json, seconds_text, style, width

if TYPE_CHECKING:
    from searchapp.search import Answer, Hit, Index

PLAIN = ("exact", "compressed", "rescored")  # stages whose scores are cosines
ALONE = (*PLAIN, "bm25")  # stages with one side, whose scores are shown as they are
NAMES = {"exact": "cosine", "compressed": "cosine, compressed", "rescored": "cosine", "bm25": "BM25"}
BARE = "rank by"  # in what a score means: it comes of ranks
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
        if hit.stage not in ALONE:
            say(style(" " * 12 + _parts(hit), DIM))
    if answer.hits and answer.hits[0].stage != "exact":
        say(style(f"     score: {answer.meaning}{_bar_says(answer)}", DIM))
    spent = [f"encode {seconds_text(answer.encode_seconds)}", f"search {seconds_text(answer.search_seconds)}"]
    spent += [f"rerank {seconds_text(answer.rerank_seconds)}"] if answer.rerank_seconds else []
    say(style(f"     {', '.join(spent)}", DIM))
    say()


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
