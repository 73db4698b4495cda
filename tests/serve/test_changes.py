"""States that come and go under a server, judgements, and writing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from searchapp.evaluate.judging import Judging
from searchapp.evaluate.metrics import score
from searchapp.index import add, build, compact, delete
from searchapp.index.encoder_match import recorded_encoder
from searchapp.search import Index
from searchapp.serve.landscape import landmarks, make_landmarks, placed
from tests.serve.conftest import write
from tests.serve.local import Running, running


@pytest.fixture
def own(built: Path, tmp_path: Path) -> Path:
    """An index that the test may change."""
    return Path(shutil.copytree(built, tmp_path / "own"))


def settled(served: Running, number: int, *, at_once: bool = False) -> None:
    """Wait until a state is served; ``at_once`` without the watcher's own second between two looks."""
    if at_once:
        served.server.watcher.look_now()
    end = time.monotonic() + 20
    while served.get("/readyz").json["indexes"]["own"] < number:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_new_states_are_taken_and_old_files_go(own: Path, tmp_path: Path, tiny_encoder) -> None:
    with running({"own": own}) as served:
        more = write(tmp_path / "more.jsonl", [{"_id": "new", "text": "a lighthouse keeper"}])
        done = add([str(more)], own, tiny_encoder)
        settled(served, done.manifest.number)
        assert served.search("lighthouse", mode="bm25")["hits"][0]["id"] == "new"
        gone = delete(own, ["new"])
        settled(served, gone.manifest.number, at_once=True)
        assert served.search("lighthouse", mode="bm25")["hits"] == []
        small = compact(own)
        settled(served, small.manifest.number, at_once=True)
        assert served.search("bee", k=3)["hits"]


def test_answers_under_change_are_those_of_the_state_they_name(own: Path, tmp_path: Path, tiny_encoder) -> None:
    """Every answer is compared with the library on a copy of the state whose number it has."""
    states: dict[int, Index] = {}

    def keep() -> None:
        place = tmp_path / f"state-{len(states)}"
        shutil.copytree(own, place)
        index = Index.open(place, encoder=tiny_encoder)
        states[index.vectors.manifest.number] = index

    keep()
    wrong: list[object] = []
    answers: list[tuple[int, list[str]]] = []
    stop = threading.Event()
    with running({"own": own}) as served:

        def ask(query: str) -> None:
            while not stop.is_set():
                answer = served.post("/api/search", {"query": query, "k": 5})
                if answer.status != 200:
                    wrong.append(answer.content)
                    continue
                answers.append((answer.json["generation"], query, answer.json["results"][0]["hits"]))

        askers = [threading.Thread(target=ask, args=(query,)) for query in ("bee honey", "river stone", "paper")]
        for asker in askers:
            asker.start()
        for step in range(3):
            more = write(tmp_path / "more.jsonl", [{"_id": f"n{step}", "text": f"bee honey river paper {step}"}])
            add([str(more)], own, tiny_encoder)
            keep()
            delete(own, [f"d{step + 1}"])
            keep()
        compact(own)
        keep()
        settled(served, max(states))
        time.sleep(0.3)
        stop.set()
        for asker in askers:
            asker.join()
    assert not wrong
    assert len({number for number, _, _ in answers}) >= 2
    for number, query, hits in answers:
        expected = states[number].search(query, 5)
        assert [hit["id"] for hit in hits] == [hit.id for hit in expected]
        assert [hit["text"] for hit in hits] == [hit.text for hit in expected]


def test_a_state_that_is_damaged_leaves_the_old_one_and_says_so(own: Path, tmp_path: Path, tiny_encoder) -> None:
    with running({"own": own}) as served:
        before = served.post("/api/search", {"query": "bee"}).json["generation"]
        newest = max(own.glob("manifest-*.json"))
        (own / f"manifest-{before + 5:010}.json").write_text(newest.read_text()[:200])
        end = time.monotonic() + 20
        while not served.get("/api/index").json["failure"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        answer = served.post("/api/search", {"query": "bee"}).json
        assert answer["generation"] == before and answer["results"][0]["hits"]
        assert "cannot be taken" in answer["notices"][0] and str(own) not in answer["notices"][0]
        assert b'searchapp_reload_failures_total{index="own"} 1.0' in served.get("/metrics").content


def test_an_index_that_is_built_anew_in_its_place_is_taken(own: Path, tmp_path: Path, tiny_encoder) -> None:
    """Its generations begin anew, below or at the number of the state that answers."""

    def waited(what: Callable[[dict], bool]) -> dict:
        end = time.monotonic() + 20
        while not what(found := served.get("/api/index").json):
            assert time.monotonic() < end, found
            time.sleep(0.02)
        return found

    with running({"own": own}) as served:
        served.server.watcher.look_now()
        before = served.get("/api/index").json
        own.rename(tmp_path / "away")
        served.server.watcher.look_now()
        assert "cannot be read" in waited(lambda found: found["failure"] is not None)["failure"]
        (tmp_path / "away").rename(own)
        served.server.watcher.look_now()
        assert waited(lambda found: found["failure"] is None) == before
        for count in (3, 5):  # fewer generations, then as many
            other = tmp_path / f"other{count}"
            lines = [{"_id": f"o{number}", "text": f"a lighthouse {number}"} for number in range(count)]
            build([str(write(tmp_path / "other.jsonl", lines))], other, tiny_encoder)
            shutil.rmtree(own)
            other.rename(own)
            served.server.watcher.look_now()
            waited(lambda found, count=count: found["documents"] == count)
            assert len(served.search("lighthouse", mode="bm25", k=9)["hits"]) == count


def test_an_index_that_is_removed_is_said_to_be_gone(own: Path) -> None:
    with running({"own": own}) as served:
        assert served.search("bee", k=3)["hits"]
        shutil.rmtree(own)
        statuses = {}
        for path, body in (("/api/documents", {"ids": ["d1"]}), ("/api/explain", {"query": "bee", "id": "d1"})):
            answer = served.post(path, body)
            statuses[path] = answer.status
            assert answer.status == 200 or answer.problem["code"] == "index_gone", answer.content
        for method, path, body in (
            ("POST", "/api/search", {"query": "never asked before", "k": 3, "passages": "words"}),
            ("GET", "/api/map", None),
        ):
            answer = served.ask(method, path, body)
            assert answer.status == 200 or answer.problem["code"] == "index_gone", answer.content
        assert served.post("/api/search", {"query": "bee", "filter": "nokey == 1"}).status == 400


def test_nothing_is_ready_before_it_is_loaded(built: Path) -> None:
    with running({"notes": built}, loaded=False) as served:
        assert served.get("/livez").status == 200
        for answer in (served.get("/readyz"), served.post("/api/search", {"query": "bee"})):
            assert answer.status == 503 and int(answer.headers["retry-after"]) > 0
        served.server.load()
        assert served.get("/readyz").status == 200


def test_a_model_that_fails_is_not_ready_and_is_again_when_it_works(built: Path, monkeypatch) -> None:
    with running({"notes": built}) as served:
        [encoder] = served.server.models.by_name.values()
        works = encoder.tokenize

        def broken(inputs):
            raise RuntimeError("the device is on fire")

        monkeypatch.setattr(encoder, "tokenize", broken)
        served.server.thread.succeeded -= 60
        answer = served.get("/readyz")
        assert answer.status == 503 and "does not answer" in answer.problem["message"]
        failed = served.post("/v1/embeddings", {"input": "bee"})
        assert failed.status == 500 and "fire" not in failed.problem["message"]
        monkeypatch.setattr(encoder, "tokenize", works)
        assert served.get("/readyz").status == 200
        assert served.post("/v1/embeddings", {"input": "bee"}).status == 200


def test_too_much_at_once_is_told_to_come_again(built: Path, monkeypatch) -> None:
    from searchapp.serve.limits import Limits

    with running({"notes": built}, limits=Limits(waiting=4, waiting_each=3)) as served:
        [encoder] = served.server.models.by_name.values()
        gate, works = threading.Event(), encoder.tokenize

        def slow(inputs):
            gate.wait(10)
            return works(inputs)

        monkeypatch.setattr(encoder, "tokenize", slow)
        statuses: list[int] = []

        def ask(number: int) -> None:
            statuses.append(served.post("/v1/embeddings", {"input": f"bee {number}"}).status)

        askers = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for asker in askers:
            asker.start()
        end = time.monotonic() + 10
        while len(statuses) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        refused = served.post("/v1/embeddings", {"input": "more"})
        assert refused.status == 429 and refused.headers["retry-after"] == "1"
        gate.set()
        for asker in askers:
            asker.join()
        assert sorted(statuses) == [200] * 3 + [429] * 3
        assert served.server.admission.requests == 0 and served.server.admission.tokens == pytest.approx(0)


def test_deadlines_and_clients_that_leave(built: Path, monkeypatch) -> None:
    import socket

    with running({"notes": built}) as served:
        [encoder] = served.server.models.by_name.values()
        gate, works, seen = threading.Event(), encoder.tokenize, []

        def slow(inputs):
            seen.append([item.text for item in inputs])
            gate.wait(10)
            return works(inputs)

        monkeypatch.setattr(encoder, "tokenize", slow)
        late = served.post("/api/search", {"query": "late"}, {"x-timeout-ms": "200"})
        assert late.status == 504
        body = json.dumps({"query": "leaving"}).encode()
        with socket.create_connection(("127.0.0.1", served.port)) as link:
            head = "POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
            link.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
            end = time.monotonic() + 5
            while served.server.admission.requests == 0 and time.monotonic() < end:
                time.sleep(0.01)
        end = time.monotonic() + 5
        while served.server.admission.requests and time.monotonic() < end:
            time.sleep(0.01)
        gate.set()
        assert served.search("after")["hits"]
        assert ["leaving"] not in seen
        for wrong in ("0", "soon", "-5", "1.5"):
            assert served.post("/api/search", {"query": "x"}, {"x-timeout-ms": wrong}).status == 400


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "judged"
    folder.mkdir()
    write(folder / "queries.jsonl", [{"_id": "q1", "text": "bees"}, {"_id": "q2", "text": "boats"}])
    pool = [{"query-id": query, "corpus-id": name} for query in ("q1", "q2") for name in ("d1", "d2", "d 7/ü#7")]
    write(folder / "pool.jsonl", pool)
    return folder


def test_judging(built: Path, collection: Path) -> None:
    with running({"notes": built}, collections={"mine": collection}) as served:
        (found,) = served.get("/api/judgements").json["collections"]
        assert found == {"name": "mine", "left": 6, "judged": 0, "queries": 0, "figures": []}
        first = served.get("/api/judgements/mine/next").json
        assert (first["query"], first["query_id"], first["document"]["id"]) == ("bees", "q1", "d1")
        assert first["document"]["text"]
        after = served.get("/api/judgements/mine/next?query=q1&document=d2").json
        assert after["document"]["id"] == "d 7/ü#7"
        began = time.perf_counter()
        done = served.ask("PUT", "/api/judgements/mine", {"query": "q1", "document": "d1", "level": 2})
        assert done.status == 200 and done.json["left"] == 5 and time.perf_counter() - began < 1
        assert Judging.open(collection).qrels == {"q1": {"d1": 2}}  # on disk when it is answered
        other = Judging.open(collection)  # another program judges meanwhile
        other.judge(("q1", "d2"), 0)
        assert served.get("/api/judgements/mine/next").json["document"]["id"] == "d 7/ü#7"
        served.ask("PUT", "/api/judgements/mine", {"query": "q2", "document": "d1", "level": 1})
        assert Judging.open(collection).qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}
        served.ask("PUT", "/api/judgements/mine", {"query": "q1", "document": "d1", "level": None})
        assert "d1" not in Judging.open(collection).qrels["q1"]


def test_figures_of_the_judgements_so_far_are_those_of_evaluate(built: Path, collection: Path, tiny_encoder) -> None:
    library = Index.open(built, encoder=tiny_encoder)
    with running({"notes": built}, collections={"mine": collection}) as served:
        for query, text in (("q1", "bees"), ("q2", "boats")):
            for mode in ("dense", "bm25", "hybrid"):
                for number, hit in enumerate(library.search(text, 6, mode=mode)[1::2]):
                    body = {"query": query, "document": hit.id, "level": number % 3, "text": text}
                    assert served.ask("PUT", "/api/judgements/mine", body).status == 200
            qrels = Judging.open(collection).qrels
            found = served.get("/api/judgements/mine/figures").json
            assert found["queries"] == len(qrels)
            assert [one["mode"] for one in found["figures"]] == ["dense", "bm25", "hybrid"]
            for one in found["figures"]:
                ran = {
                    name: {hit.id: -float(rank) for rank, hit in enumerate(library.search(asked, 10, mode=one["mode"]))}
                    for name, asked in (("q1", "bees"), ("q2", "boats"))
                    if name in qrels
                }
                scores = score(ran, qrels, ("nDCG@10", "Unjudged@10"))
                expected = scores.estimate("nDCG@10")
                assert (one["nDCG@10"], one["low"], one["high"]) == pytest.approx(
                    (expected.value, expected.low, expected.high), abs=1e-6
                )
                assert one["judged"] == pytest.approx(1 - scores.estimate("Unjudged@10").value)
        (listed,) = served.get("/api/judgements").json["collections"]
        assert listed["figures"] == found["figures"]
        assert served.get("/api/judgements/other/figures").status == 404
        (collection / "qrels" / "test.tsv").write_text("broken")
        assert served.get("/api/judgements/mine/figures").status == 409


def test_judging_a_hit_makes_its_query(built: Path, collection: Path) -> None:
    with running({"notes": built}, collections={"mine": collection}) as served:
        for document in ("d3", "d4"):
            body = {"query": "", "document": document, "level": 1, "text": "printing"}
            answer = served.ask("PUT", "/api/judgements/mine", body)
            assert answer.json["query_id"] == "q3", answer.content
        found = Judging.open(collection)
        assert found.queries["q3"] == "printing" and found.qrels["q3"] == {"d3": 1, "d4": 1}
        assert served.get("/api/judgements/mine?text=printing").json == {"query_id": "q3", "levels": {"d3": 1, "d4": 1}}


def test_a_folder_that_cannot_be_read_or_written_keeps_what_it_has(built: Path, collection: Path) -> None:
    """The server says so each time, goes on when it is mended, and shows no judgement that is not on disk."""
    queries, judged = collection / "queries.jsonl", collection / "qrels" / "test.tsv"
    whole = queries.read_text()
    with running({"notes": built}, collections={"mine": collection}) as served:
        put = partial(served.ask, "PUT", "/api/judgements/mine")
        (collection / "qrels").write_text("in the way")
        assert put({"query": "q1", "document": "d1", "level": 2}).status == 409
        assert served.get("/api/judgements/mine?text=bees").json["levels"] == {}
        (collection / "qrels").unlink()
        assert put({"query": "q1", "document": "d1", "level": 1}).status == 200
        for path, broken in ((queries, "{"), (judged, "broken")):
            kept = path.read_text()
            path.write_text(broken)
            for _ in range(2):
                assert "problem" in served.get("/api/judgements").json["collections"][0]
                answer = put({"query": "q1", "document": "d2", "level": 2})
                assert answer.status == 409 and str(collection) not in answer.content.decode()
                answer = served.get("/api/judgements/mine?text=bees")
                assert answer.status in (400, 409) and str(collection) not in answer.content.decode()
            assert path.read_text() == broken
            path.write_text(kept)
        assert served.get("/api/judgements/mine?text=bees").json["levels"] == {"d1": 1}
    assert queries.read_text() == whole


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_why_a_judgement_or_a_document_cannot_be_written_is_said(
    own: Path, collection: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Room is asked for where there is none, and nowhere else."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("searchapp.evaluate.judging.write_text", fail)
    monkeypatch.setattr("searchapp.serve.jobs.write_text", fail)
    with running({"own": own}, collections={"mine": collection}, writable=True) as served:
        judged = served.ask("PUT", "/api/judgements/mine", {"query": "q1", "document": "d1", "level": 2})
        pooled = served.ask("PUT", "/api/judgements/mine", {"query": "", "document": "d1", "level": 2, "text": "new"})
        job = served.ask("PUT", "/api/documents", {"documents": [{"id": "a", "text": "b"}]}).json
        for said in (judged.problem["message"], pooled.problem["message"], served.done(job)["problem"]):
            assert os.strerror(number) in said, said
            assert ("make room" in said) == (number == errno.ENOSPC), said


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"query": "q1", "document": "d1", "level": 3}, 400),
        ({"query": "q1", "document": "d1", "level": "2"}, 400),
        ({"query": "q9", "document": "d1", "level": 1}, 404),
        ({"query": "q1", "document": "d9", "level": 1}, 404),
        ({"query": "a\tb", "document": "d1", "level": 1, "text": "x"}, 409),
        ({"query": "q1", "document": "d1"}, 400),
        ({"query": "", "document": "d1", "level": 1, "text": " "}, 400),
    ],
)
def test_judgements_that_cannot_be_kept(built: Path, collection: Path, body: dict, status: int) -> None:
    with running({"notes": built}, collections={"mine": collection}) as served:
        answer = served.ask("PUT", "/api/judgements/mine", body)
        assert answer.status == status, answer.content
        assert str(collection) not in answer.content.decode()
    assert not (collection / "qrels" / "test.tsv").exists()


def test_writing_is_off_by_default(served: Running) -> None:
    for method, body in (("PUT", {"documents": [{"id": "a", "text": "b"}]}), ("DELETE", {"ids": ["d1"]})):
        answer = served.ask(method, "/api/documents", body)
        assert answer.status == 403 and answer.problem["code"] == "read_only"


def test_documents_are_written_and_deleted(own: Path, tiny_encoder) -> None:
    with running({"own": own}, writable=True) as served:
        documents = [
            {"id": "w/1", "text": "a lighthouse keeper", "title": "Light", "metadata": {"year": 1999}},
            {"id": "d1", "text": "no longer about bees"},
        ]
        job = served.ask("PUT", "/api/documents", {"documents": documents})
        assert job.status == 202 and job.headers["location"] == f"/api/jobs/{job.json['id']}"
        done = served.done(job.json)
        assert done["state"] == "done" and (done["result"]["added"], done["result"]["changed"]) == (1, 1), done
        assert served.search("lighthouse", mode="bm25")["hits"][0]["metadata"] == {"year": 1999}
        assert served.post("/api/documents", {"ids": ["d1"]}).json["documents"][0]["text"] == "no longer about bees"
        found = Index.open(own, encoder=tiny_encoder).search("lighthouse keeper", 1)
        assert found[0].id == "w/1"
        again = served.done(served.ask("PUT", "/api/documents", {"documents": documents}).json)
        assert again["result"]["unchanged"] == 2 and again["result"]["encoded"] == 0
        gone = served.done(served.ask("DELETE", "/api/documents", {"ids": ["w/1", "nobody"]}).json)
        assert (gone["result"]["deleted"], gone["result"]["unknown"]) == (1, ["nobody"])
        assert served.search("lighthouse", mode="bm25")["hits"] == []
        filtered = served.done(served.ask("DELETE", "/api/documents", {"filter": "year < 1995"}).json)
        assert filtered["result"]["deleted"] > 0
        assert served.ask("DELETE", "/api/documents", {}).status == 400
        assert served.ask("DELETE", "/api/documents", {"filter": "nokey == 1"}).problem["param"] == "filter"
        events = served.get(f"/api/jobs/{filtered['id']}/events")
        assert events.headers["content-type"] == "text/event-stream"
        assert events.content.startswith(b"event: end\ndata: {") and events.content.endswith(b"}\n\n")


def test_what_writes_is_loaded_before_it_is_asked_for(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []

    def load(manifest, root, device, backend):
        loaded.append(root)
        return recorded_encoder(manifest, root, device, backend=backend)

    monkeypatch.setattr("searchapp.serve.jobs.recorded_encoder", load)
    with running({"own": own}, writable=True) as served:
        assert served.server.index("own").state.encoder.backend.name != "torch"  # which searches, and does not write
        end = time.monotonic() + 20
        while not loaded:
            assert time.monotonic() < end
            time.sleep(0.02)
        body = {"documents": [{"id": "w", "text": "a lighthouse"}]}
        done = served.done(served.ask("PUT", "/api/documents", body).json)
        assert done["state"] == "done" and loaded == [own], done


def test_documents_that_come_move_no_other_on_the_map(own: Path, tmp_path: Path, tiny_encoder) -> None:
    with running({"own": own}) as served:
        before = served.get("/api/map").json
        more = write(tmp_path / "more.jsonl", [{"_id": f"n{n}", "text": f"storm letter {n}"} for n in range(30)])
        settled(served, add([str(more)], own, tiny_encoder).manifest.number, at_once=True)
        settled(served, delete(own, ["d1"]).manifest.number, at_once=True)
        settled(served, compact(own).manifest.number, at_once=True)
        after = served.get("/api/map").json
    places = dict(zip(after["ids"], zip(after["x"], after["y"], strict=True), strict=True))
    assert len(places) == 229 and "d1" not in places
    for name, x, y in zip(before["ids"], before["x"], before["y"], strict=True):
        if name != "d1":
            assert places[name] == (x, y)


def test_near_documents_are_near_on_the_map() -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((6, 32))
    vectors = np.repeat(centres, 50, axis=0) + 0.3 * random.standard_normal((300, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    places, _ = placed(make_landmarks(vectors, 40), vectors)
    middles = places.reshape(6, 50, 2).mean(axis=1)
    within = np.linalg.norm(places.reshape(6, 50, 2) - middles[:, None], axis=2).mean()
    between = np.linalg.norm(middles[:, None] - middles[None], axis=2)[~np.eye(6, dtype=bool)].min()
    assert within < between / 2


def test_landmarks_are_the_same_each_time(built: Path, tiny_encoder, monkeypatch, tmp_path: Path) -> None:
    index = Index.open(built, encoder=tiny_encoder).vectors
    one = landmarks(index)
    monkeypatch.setenv("SEARCHAPP_CACHE", str(tmp_path / "other"))
    two = landmarks(index)
    np.testing.assert_array_equal(one.places, two.places)
