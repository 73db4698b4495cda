"""Reports: what an evaluation found, as a page with tables, plots, and the queries that went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from searchapp.corpus import Document
from searchapp.evaluate import figures
from searchapp.evaluate.collection import Collection, Qrels, Query
from searchapp.evaluate.metrics import Scores
from searchapp.evaluate.names import model_labels
from searchapp.evaluate.page import Page, table_html, text
from searchapp.evaluate.protocol import Ranking
from searchapp.evaluate.settings import RerankSetting, RetrievalSetting

if TYPE_CHECKING:
    from searchapp.evaluate.candidates import Candidates
    from searchapp.evaluate.compare import Comparison
    from searchapp.evaluate.reranking import Reranked
    from searchapp.evaluate.retrieval import Result

FAILURES = 10  # queries shown of those that failed
SHOWN = 5  # documents shown of each
SNIPPET = 240  # characters of a text
HISTOGRAMS = 4  # settings whose scores are drawn
DIFFERENCES = 6  # settings that are drawn against the first, query by query; the table of all queries has the rest


class Scored(Protocol):
    """What the tables and plots are made from."""

    @property
    def setting(self) -> RetrievalSetting | RerankSetting:
        """All that decides the figures."""
        ...

    @property
    def scores(self) -> Scores:
        """The figures."""
        ...

    @property
    def run(self) -> Ranking:
        """The documents of each query, best first."""
        ...

    @property
    def qrels(self) -> Qrels:
        """What they were measured against."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know."""
        ...


def retrieval_report(folder: Path, results: Sequence[Result], collections: Sequence[Collection]) -> Path:
    """Write the report of a retrieval evaluation into ``folder``; return the page's path."""
    from searchapp.evaluate.candidates import documents_of

    page = Page("How good the search is", _sizes(results))
    for collection, own in _by_collection([(one.setting.label, one) for one in results]):
        test = next(one for one in collections if one.name == collection)
        _figures_of(page, f"{collection} ({own[0][1].setting.split})", own)
        _plots(page, collection, own)
        failing = _failing(own[0][1])
        wanted = _wanted(own[0][1], failing)
        documents = {document.id: document for document in documents_of(test, wanted)}
        queries = {query.id: query for query in test.queries}
        _failures(page, own[0], queries, documents, failing)
        _all_queries(page, own, queries)
    return page.write(folder)


def reranking_report(folder: Path, results: Sequence[Reranked], loaded: Sequence[Candidates]) -> Path:
    """Write the report of a reranking evaluation into ``folder``; return the page's path."""
    page = Page("How good the order is", _sizes(results))
    for collection, own in _by_collection([(one.setting.label, one) for one in results]):
        given = next(one for one in loaded if one.name == collection)
        _figures_of(page, f"{collection} ({own[0][1].setting.split})", own)
        if (first := own[-1][1].setting.first_stage) is not None:
            page.paragraph(
                f"Recall@{first.depth} of the first stage is {first.recall:.4f}: "
                "no order of its documents can find more."
            )
        _intervals(page, collection, own)
        _differences(page, collection, own)
        _histograms(page, collection, own)
        after = next(pair for pair in own if pair[1].name == "reranked")
        failing = _failing(after[1])
        shown = _wanted(after[1], failing) & given.texts.keys()
        documents = {name: Document(name, given.texts[name]) for name in shown}
        queries = {query.id: query for query in given.queries}
        _failures(page, after, queries, documents, failing)
        _all_queries(page, own, queries)
    return page.write(folder)


def comparison_report(folder: Path, found: Comparison, texts: Mapping[str, str], most: int = 20) -> Path:
    """Write the report of a comparison into ``folder``; return the page's path."""
    page = Page("Runs compared", f"{len(found.queries)} queries, {found.permutations:,} draws")
    for sentence in found.dropped:
        page.paragraph(sentence)
    metrics = list(next(iter(found.scores.values())).per_query)
    estimates = {name: scores.estimates() for name, scores in found.scores.items()}
    page.table(
        "Runs",
        ["run", *map(text, metrics)],
        [[text(name), *(_cell(own[metric]) for metric in metrics)] for name, own in estimates.items()],
    )
    main = metrics[0]
    rows = [(name, own[main].value, own[main].low, own[main].high) for name, own in estimates.items()]
    page.figure(figures.intervals("runs", main, rows))
    for number, pair in enumerate(found.pairs, 1):
        page.heading(f"{pair.second} - {pair.first}")
        corrected = len(found.pairs) > 1
        page.table(
            f"Differences of {pair.second} and {pair.first}",
            ["metric", "difference", "p", *(["p (Holm)"] if corrected else []), "wins", "ties", "losses"],
            [
                [
                    text(metric),
                    f"{one.value:+.4f}<small>[{one.low:+.4f}, {one.high:+.4f}]</small>",
                    f"{one.p:.4f}",
                    *([f"{one.p_holm:.4f}"] if corrected else []),
                    *map(str, (one.wins, one.ties, one.losses)),
                ]
                for metric, one in pair.metrics.items()
            ],
        )
        first, second = (found.scores[name].per_query[main] for name in (pair.first, pair.second))
        values = [second[query] - first[query] for query in found.queries]
        page.figure(figures.differences(f"differences-{number}", main, f"{pair.second} - {pair.first}", values))
        moved = found.moved(pair, main, most)
        if moved:
            page.heading(f"Queries that moved most in {main}", 3)
            page.table(
                "Queries that moved most",
                ["query", "id", text(pair.first), text(pair.second), "difference"],
                [
                    [
                        text(texts.get(query, "")),
                        text(query),
                        f"{before:.4f}",
                        f"{after:.4f}",
                        _signed(after - before),
                    ]
                    for query, before, after in moved
                ],
            )
    return page.write(folder)


Group = TypeVar("Group", bound=Scored)


def _by_collection(labelled: Sequence[tuple[str, Group]]) -> Iterator[tuple[str, list[tuple[str, Group]]]]:
    """Yield each collection with its labelled results; the models' names go in front where there are several."""
    groups: dict[str, list[tuple[str, Group]]] = {}
    for words, one in labelled:
        groups.setdefault(one.setting.collection, []).append((words, one))
    for collection, own in groups.items():
        models = model_labels(sorted({str(one.setting.model) for _, one in own if one.setting.model}))
        several = len(models) > 1
        yield (
            collection,
            [
                (f"{models[str(one.setting.model)]}: {words}" if several and one.setting.model else words, one)
                for words, one in own
            ],
        )


def _sizes(results: Sequence[Scored]) -> str:
    models = dict.fromkeys(Path(str(one.setting.model)).name for one in results if one.setting.model)
    collections = dict.fromkeys(f"{one.setting.collection} ({one.setting.queries} queries)" for one in results)
    return f"Model: {', '.join(models)}. Collections: {', '.join(collections)}."


def _figures_of(page: Page, title: str, own: Sequence[tuple[str, Scored]]) -> None:
    """The table of a collection, with the sentences that belong to it."""
    page.heading(title)
    for sentence in dict.fromkeys(sentence for _, one in own for sentence in one.notes):
        page.paragraph(sentence)
    metrics = list(own[0][1].scores.per_query)
    page.table(
        title,
        ["setting", *map(text, metrics)],
        [[text(name), *(_cell(estimate) for estimate in one.scores.estimates().values())] for name, one in own],
    )
    page.paragraph("In brackets: 95 % bootstrap interval over the queries.", soft=True)


def _cell(estimate: Any) -> str:
    return f"{estimate.value:.4f}<small>[{estimate.low:.3f}, {estimate.high:.3f}]</small>"


def _signed(value: float) -> str:
    return f'<span class="{"good" if value > 0 else "bad"}">{value:+.4f}</span>'


def _plots(page: Page, collection: str, own: Sequence[tuple[str, Result]]) -> None:
    main = next(iter(own[0][1].scores.per_query))
    lines: dict[str, list[tuple[int, float, float, float]]] = {}
    for _, one in own:
        estimate = one.scores.estimate(main)
        setting = one.setting
        if setting.method == "dense" and setting.reranked_by is None:
            line = lines.setdefault(f"{Path(setting.model).name}, {setting.index.factory}", [])
            line.append((setting.index.pca or setting.index.dim, estimate.value, estimate.low, estimate.high))
    _intervals(page, collection, own)
    lines = {label: points for label, points in lines.items() if len({point[0] for point in points}) > 1}
    if lines:
        page.figure(figures.against_dimension(f"{collection}-dimensions", main, lines))
    recall = next((name for name in own[0][1].scores.per_query if name.startswith(("Recall@", "R@"))), main)
    points = [(name, one.setting.search_ms_per_query, one.scores.estimate(recall).value) for name, one in own]
    page.figure(figures.against_latency(f"{collection}-latency", recall, points))
    _differences(page, collection, own)
    _histograms(page, collection, own)


def _intervals(page: Page, collection: str, own: Sequence[tuple[str, Scored]]) -> None:
    if len(own) > 1:
        main = next(iter(own[0][1].scores.per_query))
        estimates = [(name, one.scores.estimate(main)) for name, one in own]
        rows = [(name, found.value, found.low, found.high) for name, found in estimates]
        page.figure(figures.intervals(f"{collection}-settings", main, rows))


def _differences(page: Page, collection: str, own: Sequence[tuple[str, Scored]]) -> None:
    """Each setting against the first, query by query."""
    main = next(iter(own[0][1].scores.per_query))
    name, first = own[0]
    for number, (other, one) in enumerate(own[1 : 1 + DIFFERENCES], 1):
        values = [one.scores.per_query[main][query] - value for query, value in first.scores.per_query[main].items()]
        page.figure(figures.differences(f"{collection}-differences-{number}", main, f"{other} - {name}", values))


def _histograms(page: Page, collection: str, own: Sequence[tuple[str, Scored]]) -> None:
    for number, (name, one) in enumerate(own[:HISTOGRAMS], 1):
        relevant: list[float] = []
        others: list[float] = []
        for query, hits in one.run.items():
            for document, score in hits:
                (relevant if one.qrels[query].get(document, 0) > 0 else others).append(score)
        if relevant and others:
            page.figure(figures.histogram(f"{collection}-scores-{number}", name, relevant, others))


def _failing(one: Scored) -> list[str]:
    """The queries with the lowest value in the first metric; among equals, those found last of all."""
    main = next(iter(one.scores.per_query))
    values = one.scores.per_query[main]
    relevant = [query for query in values if any(level > 0 for level in one.qrels[query].values())]
    return sorted(relevant, key=lambda query: (values[query], -_first_relevant(one, query), query))[:FAILURES]


def _first_relevant(one: Scored, query: str) -> int:
    hits = one.run.get(query, [])
    found = (place for place, (name, _) in enumerate(hits, 1) if one.qrels[query].get(name, 0) > 0)
    return next(found, len(hits) + 1_000_000)


def _wanted(one: Scored, failing: Sequence[str]) -> set[str]:
    returned = {name for query in failing for name, _ in one.run.get(query, [])[:SHOWN]}
    return returned | {name for query in failing for name in _relevant(one, query)[:SHOWN]}


def _relevant(one: Scored, query: str) -> list[str]:
    return [name for name, level in one.qrels[query].items() if level > 0]


def _failures(
    page: Page,
    named: tuple[str, Scored],
    queries: Mapping[str, Query],
    documents: Mapping[str, Document],
    failing: Sequence[str],
) -> None:
    """The queries that fail most: what was returned, and what should have been."""
    name, one = named
    main = next(iter(one.scores.per_query))
    page.heading("Queries that fail most", 3)
    page.paragraph(f"By {main} of {name}, with what was returned and what is relevant.", soft=True)
    for query in failing:
        hits = one.run.get(query, [])
        ranks = {document: place for place, (document, _) in enumerate(hits, 1)}
        returned = "".join(
            f"<li>{_judgement(one.qrels[query], document)} {score:.3f} {_document(document, documents)}</li>"
            for document, score in hits[:SHOWN]
        )
        missed = [document for document in _relevant(one, query) if ranks.get(document, SHOWN + 1) > SHOWN]
        relevant = "".join(
            f"<li>{'rank ' + str(ranks[document]) if document in ranks else 'not returned'}: "
            f"{_document(document, documents)}</li>"
            for document in missed[:SHOWN]
        )
        question = queries[query].text if query in queries else query
        page.fold(
            f"<b>{one.scores.per_query[main][query]:.3f}</b> {text(question)}",
            f"<p class=soft>Returned (query {text(query)}):</p><ol>{returned or '<li>nothing</li>'}</ol>"
            + (f"<p class=soft>Relevant, and not among the first {SHOWN}:</p><ul>{relevant}</ul>" if relevant else ""),
        )


def _all_queries(page: Page, own: Sequence[tuple[str, Scored]], queries: Mapping[str, Query]) -> None:
    """Every query's value in every setting."""
    main = next(iter(own[0][1].scores.per_query))
    columns = [one.scores.per_query[main] for _, one in own]
    rows = [
        [
            f"{text(queries[query].text if query in queries else '')} <small>{text(query)}</small>",
            *(f"{column[query]:.3f}" for column in columns),
        ]
        for query in columns[0]
    ]
    head = ["query", *(text(name) for name, _ in own)]
    page.fold(f"All {len(rows):,} queries: {text(main)}", table_html("All queries", head, rows))


def _judgement(judged: Mapping[str, int], document: str) -> str:
    if document not in judged:
        return '<span class="soft">not judged</span>'
    return '<span class="good">relevant</span>' if judged[document] > 0 else '<span class="bad">not relevant</span>'


def _document(name: str, documents: Mapping[str, Document]) -> str:
    document = documents.get(name)
    if document is None:
        return text(name)
    snippet = " ".join(document.text.split())
    cut = snippet if len(snippet) <= SNIPPET else snippet[: SNIPPET - 1] + "…"
    title = f"<b>{text(document.title)}</b> " if document.title else ""
    return f'{title}{text(cut)} <span class="soft">{text(name)}</span>'
