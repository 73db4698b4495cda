"""The questions of the demo have answers, and places are counted from them."""

from __future__ import annotations

from pydoc import locate

import pytest

from searchapp.cli.everyday import QUESTIONS, Question, ask_everyday_questions
from searchapp.search import Answer, Hit

ANSWERS = (
    "tempfile.TemporaryDirectory", "time.sleep", "random.Random.shuffle", "genericpath.getsize", "shlex.split",
    "json.dumps", "datetime.date.weekday", "math.gcd", "getpass.unix_getpass", "asyncio.threads.to_thread",
)  # fmt: skip


@pytest.mark.parametrize(("question", "answer"), zip(QUESTIONS, ANSWERS, strict=True))
def test_the_answer_of_a_question_is_in_the_standard_library(question: Question, answer: str) -> None:
    assert locate(answer) is not None
    assert question.place([Hit("time", 1, "", ""), Hit(answer, 1, "", "")]) == 2
    others = [Hit(other, 1, "", "") for other in ANSWERS if other != answer]
    assert question.place(others) is None


def test_places_are_counted(capsys) -> None:
    class Fake:
        def answer(self, queries: list[str], k: int) -> list[Answer]:
            wrong = [Hit(f"no.{place}", 1, "", "") for place in range(k)]
            found = []
            for number in range(len(queries)):
                hits = list(wrong)
                if number < 7:
                    hits[number] = Hit(ANSWERS[number], 1, "", "")
                found.append(Answer("q", tuple(hits), 0, 0))
            return found

    ask_everyday_questions(Fake())
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "right in the first 3: 3 of 10; in the first 10: 7"
    assert lines[2].split()[-2:] == ["1", ANSWERS[0]] and lines[-2].split()[-3:] == ["-", "not", "no.0"]
