"""Documents for the tests of assistants: plain ones, passages of a file, and some that are hard to show."""

from __future__ import annotations

import random
from typing import Any

WORDS = "bee honey clover hive queen wax nectar swarm river stone bridge boat sail harbour light storm".split()
HARD = "in\u202evisible \U000e0041\U000e0042tags\u200b and\x1b[31m colour"
LONG = "é" * 300 + " honey in the comb. " + "word " * 14_000
PASSAGES = [f"Passage {number} of the guide is about the {WORDS[number]}." for number in range(8)]


def records() -> list[dict[str, Any]]:
    """120 documents."""
    chance = random.Random(7)
    made: list[dict[str, Any]] = []
    for number in range(109):
        text = " ".join(chance.choice(WORDS) for _ in range(chance.randint(4, 30)))
        metadata = {"year": 1990 + number % 30, "lang": ("en", "de")[number % 2]}
        name = f"d {number}/ü#{number}" if number % 7 == 0 else f"d{number}"
        made.append({"_id": name, "title": f"About {text.split()[0]}", "text": text, "metadata": metadata})
    for number, text in enumerate(PASSAGES):
        place = {"file": "guide/bees.md", "line": 10 * number + 1, "end_line": 10 * number + 3, "source": "guide"}
        made.append({"_id": f"guide/bees.md#{number}", "title": "Guide", "text": text, "metadata": place})
    made.append(
        {
            "_id": "hard",
            "title": f"Title {HARD}",
            "text": f"lighthouse {HARD}",
            "metadata": {"note": HARD, "year": 3000},
        }
    )
    made.append({"_id": "long", "title": "t" * 5_000, "text": LONG, "metadata": {"url": "https://example.org/long"}})
    made.append(
        {"_id": "web", "title": "W", "text": "zeppelin", "metadata": {"url": "javascript:alert(1)", "file": "/etc/x"}}
    )
    return made
