"""What the server answers is what the library answers, one by one, in mixed batches, and while the index changes."""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import SearchAppError
from searchapp.index import BuildSettings, add, build, compact, delete
from searchapp.search import Answer, Fusion, Index
from tests.serve.running import Requester, Running, serving

WORDS = (
    "bees honey clover hive queen wax nectar swarm flower garden summer winter apple pear orchard river stone water "
    "mountain valley snow storm engine wheel road bridge city harbour ship sail wind wave island forest wolf bear"
).split()
CLOSE = 2e-5  # a vector differs in its last bits by the batch it was encoded in


def text_of(number: int, rng: random.Random) -> str:
    return f"{' '.join(rng.choices(WORDS, k=rng.randint(3, 12)))} number {number}"


def write(path: Path, numbers: range, seed: int = 0) -> str:
    rng = random.Random(seed)
    lines = [
        {"_id": f"d{number}", "title": rng.choice(WORDS), "text": text_of(number, rng), "year": 1990 + number % 30,
         "lang": rng.choice(("en", "de")), "metadata": {}}
        for number in numbers
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    root = tmp_path_factory.mktemp("equal")
    build([write(root / "d.jsonl", range(240))], root / "ix", tiny_encoder, BuildSettings(pca=12, segment_size=100))
    delete(root / "ix", [f"d{number}" for number in range(0, 240, 9)])
    return root / "ix"


@pytest.fixture(scope="module")
def running(place: Path):
    with serving({"ix": place}) as one:
        yield one


@pytest.fixture(scope="module")
def library(place: Path) -> Index:
    return Index.open(place)


def random_plan(rng: random.Random) -> dict:
    """The body of a request; one in ten asks for what cannot be."""
    plan: dict = {
        "k": rng.choice((1, 3, 3, 10, 10, 10, 40, 300)),
        "mode": rng.choice(("auto", "dense", "bm25", "hybrid")),
    }
    queries = [text_of(rng.randrange(300), rng) for _ in range(rng.choice((1, 1, 1, 2, 5)))]
    plan |= {"query": queries[0]} if len(queries) == 1 else {"queries": queries}
    if rng.random() < 0.5:
        plan["filter"] = rng.choice(
            ('lang == "de"', "year >= 2010", 'year < 2000 and lang == "en"', "year == 1900", "not (year > 1995)")
        )
    if rng.random() < 0.3:
        plan["candidates"] = rng.choice((0, 5, 40, 1_000))
    if rng.random() < 0.3:
        plan["instruction"] = rng.choice(("", "Given a web search query:"))
    if plan["mode"] == "hybrid" and rng.random() < 0.7:
        plan["fusion"] = {
            "method": rng.choice(("rrf", "weighted")),
            "weight": rng.choice((0.0, 0.3, 0.5, 1.0)),
            "normalisation": rng.choice(("minmax", "zscore", "spread")),
            "depth": rng.choice((5, 60, 1_000)),
        }
    if rng.random() < 0.1:
        plan |= rng.choice(
            ({"k": 0}, {"filter": "year >"}, {"filter": "colour == 1"}, {"mode": "dense", "fusion": {"weight": 0.5}},
             {"candidates": -1}, {"mode": "lexical"}, {"mode": "hybrid", "fusion": {"weight": 3}})
        )  # fmt: skip
    return plan


def expected(library: Index, plan: dict) -> tuple[list[Answer] | None, str]:
    """The library's answers, or what it says against the plan."""
    queries = plan.get("queries") or [plan["query"]]
    named = {name: plan[name] for name in ("filter", "candidates", "instruction", "mode") if name in plan}
    try:
        hybrid = Fusion(**plan["fusion"]) if "fusion" in plan else None
        return library.answer(queries, plan["k"], hybrid=hybrid, **named), ""
    except SearchAppError as error:
        return None, str(error).removeprefix("--")  # names of options are those of the command line


def difference(status: int, body: dict, answers: list[Answer] | None, said: str) -> str:
    """What is not equal, in words; nothing where all is."""
    if answers is None:
        return "" if (status, body["error"]["message"]) == (400, said) else f"{status} {body}, not {said!r}"
    if status != 200:
        return f"{status} {body}"
    for result, answer in zip(body["results"], answers, strict=True):
        if (result["query"], result["mode"], result["meaning"]) != (answer.query, answer.mode, answer.meaning):
            return f"{result['query'], result['mode'], result['meaning']}, not {answer.mode, answer.meaning}"
        found = [(hit["id"], hit["score"]) for hit in result["hits"]]
        wanted = [(hit.id, hit.score) for hit in answer.hits]
        if len(found) != len(wanted):
            return f"{len(found)} hits, not {len(wanted)}"
        scores = np.array([score for _, score in found]), np.array([score for _, score in wanted])
        if not np.allclose(*scores, rtol=CLOSE, atol=CLOSE):
            return f"scores {found[:5]}, not {wanted[:5]}"
        by_id = {hit["id"]: hit for hit in result["hits"]}
        for number, hit in enumerate(answer.hits):
            if hit.id not in by_id:  # equal scores may stand in either order, at the end too
                if abs(hit.score - answer.hits[-1].score) > CLOSE * max(1, abs(hit.score)):
                    return f"{hit.id} is missing"
                continue
            there = by_id[hit.id]
            if there["rank"] != number + 1 and abs(there["score"] - hit.score) > CLOSE * max(1, abs(hit.score)):
                return f"{hit.id} has rank {there['rank']}, not {number + 1}"
            if (there["title"], there.get("text"), there.get("metadata", {}), there["stage"]) != (
                hit.title, hit.text, dict(hit.metadata), hit.stage,
            ):  # fmt: skip
                return f"{there}, not {hit}"
            places = {name: asdict(at) for name, at in hit.places.items()}
            if places.keys() != there["places"].keys():
                return f"places {there['places']}, not {places}"
            for name, at in places.items():
                if abs(there["places"][name]["score"] - at["score"]) > CLOSE * max(1, abs(at["score"])):
                    return f"places {there['places']}, not {places}"
    return ""


Plans = list[tuple[dict, list[Answer] | None, str]]


def random_plans(library: Index, count: int) -> Plans:
    rng = random.Random(21)
    asked = [random_plan(rng) for _ in range(count)]
    return [(plan, *expected(library, plan)) for plan in asked]


@pytest.mark.parametrize("count", [120, pytest.param(500, marks=pytest.mark.slow)])
def test_plans_one_by_one_and_in_mixed_batches(
    running: Running, library: Index, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = random_plans(library, count)
    assert sum(answers is None for _, answers, _ in plans) > 4, "some plans must be refused"
    for plan, *wanted in plans:
        status, _, body = running.requester("POST", "/api/search", plan)
        assert not (wrong := difference(status, body, *wanted)), f"{plan}: {wrong}"

    batches: list[int] = []
    real = running.server.metrics.batch
    monkeypatch.setattr(running.server.metrics, "batch", lambda *figures: (batches.append(figures[1]), real(*figures)))
    running.server.searching._vectors._kept.clear()  # what was encoded above would not be encoded again
    random.Random(3).shuffle(plans)

    def ask(share: Plans) -> list[str]:
        requester = Requester(running.port)
        return [
            f"{plan}: {wrong}"
            for plan, *wanted in share
            if (wrong := difference(*requester("POST", "/api/search", plan)[::2], *wanted))
        ]

    with ThreadPoolExecutor(16) as pool:
        found = [wrong for part in pool.map(ask, [plans[number::16] for number in range(16)]) for wrong in part]
    assert not found, f"{len(found)}: {found[0]}"
    assert max(batches) > 4, "no batch was shared, so nothing was tested"


@pytest.mark.parametrize(("rounds", "clients"), [(2, 4), pytest.param(34, 8, marks=pytest.mark.slow)])
def test_no_answer_fails_or_is_mixed_while_the_index_changes(
    tmp_path: Path, tiny_encoder, rounds: int, clients: int
) -> None:
    """Each round is three new states: of ``add``, ``delete`` and ``compact``."""
    place = tmp_path / "ix"
    build([write(tmp_path / "d.jsonl", range(90))], place, tiny_encoder, BuildSettings(segment_size=40))
    states = {1: Index.open(place)}
    states = {index.vectors.manifest.number: index for index in states.values()}  # they hold what compact would remove
    answered: list[tuple[dict, int, dict]] = []
    stop = threading.Event()
    rng = random.Random(5)
    plans = [
        {"query": text_of(number, rng), "k": 5, "mode": rng.choice(("dense", "bm25", "hybrid"))} for number in range(40)
    ]
    with serving({"ix": place}) as running:

        def ask(number: int) -> None:
            requester, choose = Requester(running.port), random.Random(number)
            while not stop.is_set():
                plan = choose.choice(plans)
                status, _, body = requester("POST", "/api/search", plan)
                answered.append((plan, status, body))
                time.sleep(0.002)  # or the writer would have no processor

        def change(work) -> None:
            work()
            index = Index.open(place)
            states[index.vectors.manifest.number] = index
            running.requester("POST", "/api/reload")
            until = time.monotonic() + 20
            while running.server.served["ix"].state.number != index.vectors.manifest.number:
                assert time.monotonic() < until, running.server.served["ix"].failure
                time.sleep(0.005)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            for number in range(rounds):
                source = write(tmp_path / "more.jsonl", range(20 * number, 20 * number + 40), seed=number + 1)
                change(lambda source=source: add([source], place, tiny_encoder))
                change(lambda number=number: delete(place, [f"d{20 * number + step}" for step in range(0, 40, 3)]))
                change(lambda: compact(place))
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
        metrics = running.requester("GET", "/metrics")[2].decode()
        assert f'searchapp_reloads_total{{index="ix"}} {3 * rounds}.0' in metrics
        assert 'searchapp_reload_failures_total{index="ix"}' not in metrics
    seen = {body["generation"] for _, status, body in answered if status == 200}
    assert len(seen) > 2 * rounds, f"answers are of {len(seen)} states alone"
    known: dict[tuple[int, str], tuple] = {}
    for plan, status, body in answered:
        assert status == 200, body
        key = body["generation"], json.dumps(plan)
        known.setdefault(key, expected(states[key[0]], plan))
        assert not (wrong := difference(status, body, *known[key])), f"{plan} in {key[0]}: {wrong}"
    held = {index.vectors.snapshot for index in states.values()}
    assert len(held) == 3 * rounds + 1
    states.clear(), known.clear(), held.clear()
