"""Exported chats: threads over several days, pauses, names, and exports that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from searchapp.corpus.formats.chats import read_discord, read_slack
from searchapp.corpus.formats.reading import Limits, Unreadable
from searchapp.corpus.formats.table import BY_NAME, recognise
from tests.corpus.formats import packages
from tests.corpus.formats.packages import package, shown

USERS = [{"id": "U1", "name": "ann", "profile": {"display_name": "Ann"}}, {"id": "U2", "real_name": "Bob B"}]


def slack(path: Path, days: dict[str, list[Any]]) -> Path:
    parts = {"users.json": json.dumps(USERS), "channels.json": "[]", "integration_logs.json": "[]"}
    return package(path, parts | {f"{name}.json": json.dumps(items) for name, items in days.items()})


def message(user: str, text: str, ts: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": ts, **more}


def test_a_slack_thread_is_one_passage_over_days(tmp_path: Path) -> None:
    path = slack(tmp_path / "a.zip", {
        "general/2024-05-06": [
            message("U1", "Who has <https://x.org|honey> &amp; wax, <@U2>?", "1714990000.1", thread_ts="1714990000.1"),
            message("U2", "Good morning <!here>", "1714990100.0"),
            message("U9", "\ud800", "1714990200.0"),
            {"type": "message", "ts": "x"}, "no message", {"type": "other", "text": "no"},
        ],
        "general/2024-05-07": [
            message("U2", "I do, see <#C1|bees>", "1715080000.0", thread_ts="1714990000.1", files=[{"name": "h.pdf"}]),
            message("U1", "Later", "1715090000.0"),
        ],
        "other/2024-05-06": [message("U1", "Else", "1714990000.0")],
    })  # fmt: skip
    facts, blocks = packages.read(read_slack, path)
    assert shown(blocks) == [
        "*H1 #general, 2024-05-06", "T Ann: Who has honey & wax, @Bob B?", "T Bob B: I do, see #bees\n[h.pdf]",
        "*H1 #general, 2024-05-06", "T Bob B: Good morning", "T U9: ?",
        "*H1 #general, 2024-05-07", "T Ann: Later", "*H1 #other, 2024-05-06", "T Ann: Else",
    ]  # fmt: skip
    assert blocks[1].where == {
        "from": "Ann",
        "date": "2024-05-06T10:06:40Z",
        "thread": "1714990000.1",
        "channel": "general",
    }
    assert recognise(path, BY_NAME["archive"]) is BY_NAME["slack"]


def test_a_discord_channel(tmp_path: Path) -> None:
    def said(id: str, name: str, text: str, time: str, answers: str = "") -> dict[str, Any]:
        reference = {"reference": {"messageId": answers}} if answers else {}
        return {"id": id, "timestamp": time, "content": text, "author": {"name": name}, **reference}

    messages = [
        said("1", "Ann", "Honey?", "2024-05-06T10:00:00+00:00"),
        said("2", "Bob", "Hello", "2024-05-06T10:01:00+00:00"),
        said("3", "Cy", "Yes", "2024-05-08T10:02:00+00:00", "1"),
        said("4", "Ann", "Thanks", "2024-05-08T10:03:00+00:00", "3"),
        said("5", "Dan", "", "never"),
    ]
    content = {"guild": {"name": "Bees"}, "channel": {"name": "talk"}, "messages": messages}
    (tmp_path / "a.json").write_text(json.dumps(content))
    facts, blocks = packages.read(read_discord, tmp_path / "a.json")
    assert facts.title == "Bees"
    assert shown(blocks) == [
        "*H1 #talk, 2024-05-06",
        "T Ann: Honey?",
        "T Cy: Yes",
        "T Ann: Thanks",
        "*H1 #talk, 2024-05-06",
        "T Bob: Hello",
    ]


@pytest.mark.parametrize("content", ["{}", "[]", "x", '{"channel": 1, "messages": []}'])
def test_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(Unreadable):
        list(read_discord(tmp_path / "a.json", Limits()))
    with pytest.raises(Unreadable):
        list(read_slack(package(tmp_path / "a.zip", {"channels.json": content}), Limits()))
