"""Shared n-grams and sentences on texts where what is shared is planted, and against a slow program written here."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.evaluate import shared_text
from searchapp.evaluate.shared_text import NGRAM, Shared, SharedTextFinder, normalised_sentences

OWN = [f"own{number}" for number in range(60)]
OTHER = [f"other{number}" for number in range(60)]


def find(text: str | tuple[str, ...], *training: str) -> Shared:
    parts = (text,) if isinstance(text, str) else text
    finder = SharedTextFinder([parts])
    finder.read(training, "train.txt")
    [found] = finder.shared()
    return found


def line(*words: str) -> str:
    return " ".join(words)


@pytest.mark.parametrize("count, ngrams", [(12, 0), (13, 1), (14, 2), (20, 8)])
def test_thirteen_words_count_and_twelve_do_not(count: int, ngrams: int) -> None:
    text = line(*OWN[:10], *OTHER[:count], *OWN[10:20])
    found = find(text, line("before", *OTHER[:count], "after"))
    assert found.shared_ngrams == ngrams and found.overlaps == (ngrams > 0)
    assert (found.words, found.covered) == (20 + count, count if ngrams else 0)
    assert found.ngrams == 20 + count - 12
    assert found.passage == (line(*OTHER[:count]) if ngrams else "")
    assert (found.source, found.place) == (("train.txt", 1) if ngrams else ("", 0))


@pytest.mark.parametrize("at", [0, 1, 30, 47])
def test_an_n_gram_is_found_at_both_ends_of_both_texts(at: int) -> None:
    shared = OTHER[:NGRAM]
    text = line(*OWN[:at], *shared, *OWN[at:47])
    for training in (line(*shared), line("a", *shared), line(*shared, "z")):
        assert find(text, training).shared_ngrams == 1
    assert find(line(*shared), text).shared_ngrams == 1


def test_an_n_gram_goes_beyond_a_sentence_but_not_beyond_a_text_or_a_part() -> None:
    begin, end = line(*OTHER[:6]), line(*OTHER[6:13])
    assert find(f"{begin}. {end}", line("x", *OTHER[:13], "y")).shared_ngrams == 1
    assert find(line("x", *OTHER[:13], "y"), f"{begin}! {end}?").shared_ngrams == 1
    assert not find(line("x", *OTHER[:13], "y"), f"x {begin}", f"{end} y").overlaps
    assert not find((f"x {begin}", f"{end} y"), line("x", *OTHER[:13], "y", "z")).overlaps


@pytest.mark.parametrize("count, counts", [(4, False), (5, True), (12, True)])
def test_a_whole_sentence_counts_from_five_words_on(count: int, counts: bool) -> None:
    sentence = line(*OTHER[:count])
    text = f"{line(*OWN[:8])}. {sentence}. {line(*OWN[8:16])}."
    found = find(text, "Something else before it.", f"Elsewhere it says so! {sentence}?")
    assert found.overlaps is counts and found.shared_sentences == int(counts)
    assert found.sentences == 2 + int(counts) and found.shared_ngrams == 0
    assert found.covered == (count if counts else 0)
    assert found.place == (2 if counts else 0)
    # A part of a sentence is none.
    assert not find(text, f"{sentence} and more.").overlaps


def test_case_punctuation_and_compatibility_forms_do_not_matter() -> None:
    training = "The “quick” brown fox — it’s said — jumps over the lazy dog, ﬁve times a day; isn’t it?"
    same = "THE quick: brown fox it s said jumps over the (lazy) dog five times a day, isn't it"
    assert find(same, training).shared_ngrams == len(same.split()) + 1 - 12  # "isn't" is two words
    assert find(same, training).shared_sentences == 1
    assert not find(same.replace("fox", "fax").replace("five", "nine"), training).overlaps


def test_marks_are_part_of_a_word() -> None:
    [(words, _)] = normalised_sentences("हिन्दी में लिखा गया")
    assert words == ["हिन्दी", "में", "लिखा", "गया"]


def test_what_is_too_short_is_told() -> None:
    assert find("two words", "two words").is_too_short and not find("two words", "two words").overlaps
    assert not find(line(*OWN[:5]), "nothing").is_too_short


def test_the_first_text_that_shares_is_named_across_sources() -> None:
    shared = line(*OTHER[:15])
    finder = SharedTextFinder([(shared,), (line(*OWN[:20]),)])
    finder.read(["nothing at all"], "a.txt")
    finder.read([], "empty.txt")
    finder.read(["nothing", "here", f"x {shared} y"], "b.txt")
    finder.read([shared], "c.txt")
    first, second = finder.shared()
    assert (first.source, first.place, first.shared_ngrams) == ("b.txt", 3, 3)
    assert not second.overlaps and finder.texts == 5


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(13, 60))
def test_the_same_is_found_as_by_looking_up_every_n_gram(seed: int, batch: int) -> None:
    """Texts of two words, so that much is shared, in batches far smaller than a text."""
    rng = random.Random(seed)

    def text() -> str:
        return line(*(rng.choice(("a", "b", "b. ")) for _ in range(rng.randint(1, 40))))

    looked_for, training = [text() for _ in range(3)], [text() for _ in range(12)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_text, "BATCH", batch)
        finder = SharedTextFinder([(one,) for one in looked_for])
        finder.read(training[:5], "a")
        finder.read(training[5:], "b")
    for one, found in zip(looked_for, finder.shared(), strict=True):
        ngrams = {gram for other in training for gram in grams(other)}
        sentences = {sentence for other in training for sentence in split(other)}
        assert found.shared_ngrams == sum(gram in ngrams for gram in grams(one))
        assert found.shared_sentences == sum(sentence in sentences for sentence in split(one))


def grams(text: str) -> list[tuple[str, ...]]:
    words = re.findall("[ab]", text)
    return [tuple(words[start : start + 13]) for start in range(len(words) - 12)]


def split(text: str) -> list[tuple[str, ...]]:
    sentences = [tuple(re.findall("[ab]", part)) for part in re.split(r"\.\s+", text)]
    return [sentence for sentence in sentences if len(sentence) >= 5]


def test_a_stretch_without_an_end_is_no_sentence_and_its_n_grams_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_text, "LONG", 100)
    long = line(*OTHER)
    found = find(long, f"x {long} y")
    assert (found.sentences, found.shared_ngrams, found.covered) == (0, 60 - 12, 60)
