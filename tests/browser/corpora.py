"""Two small corpora: notes that a search finds things in, and documents that try to run something in the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOTES = {
    "bees": ("Keeping bees", "A hive holds one queen. Bees gather nectar from clover and turn it into honey. Wax is what they build of."),
    "honey": ("Harvesting honey", "Take the frames out in July. Honey is spun from the comb and strained. Store honey in jars away from light."),
    "wax": ("Candles of wax", "Melt the wax slowly in a bath of water. Dip the wick again and again until the candle is thick."),
    "river": ("Boats on the river", "The ferry crosses the river under the stone bridge. In spring the water is high and the boats stay in harbour."),
    "storm": ("Storms at sea", "A storm is announced by a falling barometer. Take in sail early and keep away from the shore."),
    "bridge": ("Stone bridges", "An arch carries its load to both banks. The Romans built bridges of stone without mortar."),
    "press": ("The printing press", "Type is set by hand, inked and pressed on damp paper. A page is printed in one pull."),
    "ink": ("Making ink", "Oak galls and iron give a black ink. It bites into paper and grows darker over the years."),
    "shelf": ("A shelf for books", "Books stand better between ends. A shelf of oak carries forty books to the metre."),
    "bread": ("Baking bread", "Flour, water, salt and time. The dough rests overnight in the cold and is baked hot on a stone."),
    "rust": ("Iron and rust", "Iron rusts where water and air meet it. Oil or paint keeps both away."),
    "emoji": ("Bees in letters 🐝", "🐝🐝🐝 In our letters a 🐝 stands for the hive, and 🍯 for honey. Honey is signed 🍯 by the keeper."),
}  # fmt: skip
ARABIC = ("النحل والعسل", "يجمع النحل الرحيق من الأزهار ويحوله إلى عسل. الخلية فيها ملكة واحدة.")
LONG = "honey and a title without an end " * 310

RUNS = "window.hacked = (window.hacked || 0) + 1"
PAYLOADS = [
    f"<img src=x onerror='{RUNS}'>", f"<script>{RUNS}</script>", f'"><svg onload="{RUNS}">', f"javascript:{RUNS}",
    f"</title></textarea></style><script>{RUNS}</script>", f"<iframe srcdoc='<script>parent.{RUNS}</script>'></iframe>",
    f"' autofocus onfocus='{RUNS}", "{{hits}} {{query}} ${" + RUNS + "}", f"<a href='javascript:{RUNS}'>bee</a>",
    f"<math><mi//xlink:href='data:x,<script>{RUNS}</script>'>", "<!--", "]]>", f"<style>@import 'javascript:{RUNS}'</style>",
    f"data:text/html,<script>{RUNS}</script>", "\u202e<b>bee</b>", "<base href='//evil.example/'>",
]  # fmt: skip


def notes() -> list[dict[str, Any]]:
    """The notes, with years and kinds; one right to left, one with a title of 10,000 characters."""
    made = [
        {"_id": name, "title": title, "text": text,
         "metadata": {"year": 1990 + number, "kind": ("craft", "trade")[number % 2], "done": number % 3 == 0, "file": f"notes/{name}.md", "line": number + 1}}
        for number, (name, (title, text)) in enumerate(NOTES.items())
    ]  # fmt: skip
    made.append({"_id": "arabic", "title": ARABIC[0], "text": ARABIC[1], "metadata": {"year": 2020, "kind": "trade"}})
    made.append(
        {"_id": "long", "title": LONG[:10_000], "text": "Honey, and hive.", "metadata": {"year": 2021, "kind": "craft"}}
    )
    return made


def hostile() -> list[dict[str, Any]]:
    """Documents all of whose parts are payloads: id, title, text, keys and values of the metadata."""
    return [
        {"_id": f"{number}{payload}", "title": payload, "text": f"bee honey {payload} hive. {payload}",
         "metadata": {payload: payload, "url": payload, "file": payload, "line": number, "kind": payload}}
        for number, payload in enumerate(PAYLOADS)
    ]  # fmt: skip


def write(path: Path, documents: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def write_pool(folder: Path, documents: list[str], query: str = "honey of bees") -> Path:
    """A folder to judge in, as ``searchapp evaluate init`` leaves it."""
    folder.mkdir()
    write(folder / "queries.jsonl", [{"_id": "q1", "text": query}])
    write(folder / "pool.jsonl", [{"query-id": "q1", "corpus-id": name} for name in documents])
    return folder
